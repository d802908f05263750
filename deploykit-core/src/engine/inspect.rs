//! What the services have written, and whether all is in order that a deployment needs.

use camino::Utf8PathBuf;

use super::application::Application;
use super::error::Error;
use super::place::release_in;
use super::report::Status;
use super::stored::StoredRelease;
use crate::backend::service_backend_name;
use crate::config::{CheckConfig, RuntimeConfig};
use crate::context::Context;
use crate::id::ReleaseId;
use crate::traits::{Finding, LogLine, LogRequest, Look, ServiceState, ServiceStatus, Severity};

impl Application {
    /// Hands over what the services have written, line by line.
    ///
    /// # Errors
    /// When the service backend keeps nothing, or it cannot be read. [`Error::Cancelled`] when it is
    /// cancelled, which is how following ends.
    pub fn logs(
        &self,
        ctx: &Context,
        request: &LogRequest,
        on_line: &mut dyn FnMut(LogLine),
    ) -> Result<(), Error> {
        let ctx = self.masked(ctx);
        let operation = self.operation(&self.present_runtime()?)?;
        match operation.supervisor.logs(&ctx, request, on_line) {
            Err(_) if ctx.check().is_err() => Ok(ctx.check()?),
            result => Ok(result?),
        }
    }

    /// Looks whether all is in order that a deployment needs and that lies outside of releases, and
    /// whether the active release is served and decided. What is in order is told, too. Changes nothing.
    ///
    /// # Errors
    /// None but [`Error::Cancelled`]: whatever is wrong is a finding.
    pub fn check(&self, ctx: &Context) -> Result<Vec<Finding>, Error> {
        let ctx = self.masked(ctx);
        let operation = match self.operation(&self.config.runtime()) {
            Ok(operation) => operation,
            Err(error) => return Ok(vec![Finding::failure("service", &error).hint(error.hint())]),
        };
        let mut findings = operation.supervisor.inspect(&ctx);
        let is_wrong = |finding: &Finding| finding.severity == Severity::Error;
        if !findings.iter().any(is_wrong)
            && let Err(error) = operation.preflight(&ctx, None)
        {
            findings.push(Finding::failure("service", &error).hint(error.hint()));
        }
        match self.status(&ctx) {
            Ok(status) => findings.extend(of_status(&status)),
            Err(error) => findings.push(Finding::failure("state", &error).hint(error.hint())),
        }
        ctx.check()?;
        Ok(findings)
    }

    /// How the service of the active release is, with its instances, as its backend sees it; as a
    /// deployment would run it, when nothing is active.
    ///
    /// # Errors
    /// When the state cannot be read, and when the backend sees nothing.
    pub fn service(&self, ctx: &Context) -> Result<ServiceStatus, Error> {
        let ctx = self.masked(ctx);
        Ok(self.operation(&self.present_runtime()?)?.supervisor.status(&ctx)?)
    }

    /// Looks once through a check, as if it were one of the active release.
    ///
    /// # Errors
    /// When the state cannot be read, when there is no such check, or when nothing is active.
    pub fn look_through(&self, ctx: &Context, check: &CheckConfig) -> Result<Look, Error> {
        let ctx = self.masked(ctx);
        let state = self.state()?;
        let path = self.activator().active()?;
        let active = path.and_then(|path| release_in(&self.layout, &state, &path));
        let active = active.cloned().ok_or(Error::NothingActive)?;
        let check = self.health_check(check)?;
        Ok(check.look(&ctx, &StoredRelease::new(&self.layout, active)))
    }

    /// The name of the service backend that runs the active release; that which would run the first one,
    /// when nothing is active.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn service_backend(&self) -> Result<String, Error> {
        let config = self.config.with_runtime(&self.present_runtime()?);
        Ok(service_backend_name(&config).to_owned())
    }

    /// How the services of the releases are run that there are.
    ///
    /// # Errors
    /// When the state or the link cannot be read.
    pub fn runtimes(&self) -> Result<Runtimes, Error> {
        let state = self.state()?;
        let path = self.activator().active()?;
        let active = path.and_then(|path| release_in(&self.layout, &state, &path));
        let kept = state.releases.values().filter(|release| release.is_usable());
        Ok(Runtimes {
            active: active.map(|release| ActiveRuntime {
                release: release.id.clone(),
                root: self.layout.root().join(&release.path),
                runtime: self.present(&state, release),
            }),
            kept: kept.filter_map(|release| state.runtime(release).cloned()).collect(),
        })
    }

    /// How the service of the active release is run; as a deployment would run it, when there is none.
    fn present_runtime(&self) -> Result<RuntimeConfig, Error> {
        let state = self.state()?;
        let path = self.activator().active()?;
        let found = path.and_then(|path| release_in(&self.layout, &state, &path));
        Ok(found.map_or_else(|| self.config.runtime(), |release| self.present(&state, release)))
    }
}

/// How the services of an application's releases are run, as far as that is recorded.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Runtimes {
    /// That of the active release.
    pub active: Option<ActiveRuntime>,
    /// Those of all releases to which there is a way back.
    pub kept: Vec<RuntimeConfig>,
}

/// The active release, and how its service is run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ActiveRuntime {
    /// Which it is.
    pub release: ReleaseId,
    /// Where it lies.
    pub root: Utf8PathBuf,
    /// How it is run.
    pub runtime: RuntimeConfig,
}

/// What a look at the whole shows that nobody may have seen.
fn of_status(status: &Status) -> Vec<Finding> {
    // Whoever is at it tells what comes of it.
    if status.busy.is_some() || status.watching.is_some() {
        return Vec::new();
    }
    let mut findings: Vec<Finding> = status
        .broken_off
        .iter()
        .map(|broken| {
            let found = "it was broken off, and is not put right yet";
            Finding::error(format!("deployment {}", broken.deployment), found)
                .why("nobody has decided which release serves")
                .mend("`deploykit recover`")
        })
        .collect();
    let down = |service: &&ServiceStatus| {
        !matches!(service.state, ServiceState::Running | ServiceState::Unknown)
    };
    if let (Some(active), Some(service)) = (&status.active, status.service.as_ref().filter(down)) {
        let found = match service.state {
            // It may be just about to be up.
            ServiceState::Starting => Finding::warning("service", service.detail.clone()),
            _ => Finding::error("service", service.detail.clone()),
        };
        findings.push(
            found
                .why(format!("the active release {} is not served", active.record.id))
                .mend("`deploykit logs` tells why; `deploykit restart` starts it again"),
        );
    }
    findings
}
