//! The supervisor `command`: programs that start, stop and restart the service and tell its state.

use std::any::Any;
use std::sync::Arc;

use camino::Utf8PathBuf;

use super::environment::Environment;
use super::none::releases_in_use;
use super::service_log;
use crate::config::{Argv, Config, OnDeploy, ServiceConfig};
use crate::context::Context;
use crate::event::Stream;
use crate::id::ReleaseId;
use crate::process::{self, Exit, Finished, Outcome, Output, ProcessSpec};
use crate::registry::BackendRequest;
use crate::state::Layout;
use crate::time::Timestamp;
use crate::traits::{
    BoxError, LogLine, LogRequest, Manner, Release, ServiceState, ServiceStatus, Supervisor,
    SupervisorError, Switching,
};

/// Runs the argument lists of `[service]`.
///
/// Their output goes to a file, never through a pipe: a daemon that a command leaves behind may
/// keep it for as long as it likes.
#[derive(Debug)]
pub(crate) struct CommandService {
    service: ServiceConfig,
    config: Config,
    layout: Layout,
}

/// Where a command runs, and what it is told of the release.
struct Place {
    dir: Utf8PathBuf,
    environment: Environment,
}

impl CommandService {
    pub(crate) fn construct(request: &BackendRequest<'_>) -> Result<Arc<dyn Supervisor>, BoxError> {
        Ok(Arc::new(Self::new(request.config, request.layout)?))
    }

    fn new(config: &Config, layout: &Layout) -> Result<Self, BoxError> {
        let service = config.service.clone();
        if service.start.is_none() && service.restart.is_none() && service.reload.is_none() {
            return Err("it needs service.start, service.restart or service.reload".into());
        }
        Ok(Self { service, config: config.clone(), layout: layout.clone() })
    }

    /// In the directory of this release.
    fn place_of(&self, release: &dyn Release) -> Place {
        let mut environment = self.environment();
        environment
            .set("DEPLOYKIT_RELEASE", release.id().as_str())
            .set("DEPLOYKIT_REVISION", release.source().digest())
            .set("DEPLOYKIT_ROOT", release.root().as_str());
        Place { dir: release.root().to_owned(), environment }
    }

    /// In the directory of the active release, or the application's when there is none. The revision
    /// is not known here.
    fn active_place(&self) -> Place {
        let mut environment = self.environment();
        let active = self.layout.active_link().canonicalize_utf8().ok().filter(|dir| dir.is_dir());
        let Some(dir) = active else {
            return Place { dir: self.layout.root().to_owned(), environment };
        };
        environment.set("DEPLOYKIT_ROOT", dir.as_str());
        if let Some(name) = dir.file_name() {
            environment.set("DEPLOYKIT_RELEASE", name);
        }
        Place { dir, environment }
    }

    fn environment(&self) -> Environment {
        let mut environment = Environment::inherited(&self.config);
        environment.set("DEPLOYKIT_APP", self.layout.root().as_str());
        environment
    }

    /// Runs one of the commands; its output is told of and kept.
    fn run(
        &self,
        ctx: &Context,
        name: &str,
        command: &Argv,
        place: Place,
    ) -> Result<(), SupervisorError> {
        // A service that can be started is not left alone because nothing can be written of it.
        let log = service_log::open(&self.layout).unwrap_or_else(|error| {
            ctx.warn(format!("the output of the service is not kept: {error}"));
            "/dev/null".into()
        });
        let spec = self.spec(name, command, place, Output::File(log));
        let finished = self.execute(ctx, command, &spec, &mut |stream, line| {
            ctx.output(name, stream, line);
        })?;
        succeeded(command, finished)
    }

    fn spec(&self, name: &str, command: &Argv, place: Place, output: Output) -> ProcessSpec {
        let mut spec = ProcessSpec::new(name, command.as_slice(), place.dir);
        spec.env = place.environment.into_vec();
        spec.timeout = Some(self.service.timeout.get());
        spec.output = output;
        spec
    }

    fn execute(
        &self,
        ctx: &Context,
        command: &Argv,
        spec: &ProcessSpec,
        on_line: &mut dyn FnMut(Stream, &str),
    ) -> Result<Finished, SupervisorError> {
        process::run(ctx, spec, on_line)
            .map_err(|source| SupervisorError::Process { command: command.to_string(), source })
    }

    /// `stop`, then `start`.
    ///
    /// That `stop` fails is no error by itself: before the first start, and after a crash, there is
    /// nothing to stop, and most programs say so with an exit code. It is one when the service is
    /// seen to run still, since `start` would then leave the old release serving.
    fn stop_and_start(
        &self,
        ctx: &Context,
        start: &Argv,
        release: &dyn Release,
    ) -> Result<(), SupervisorError> {
        if let Some(stop) = &self.service.stop {
            match self.run(ctx, "stop", stop, self.place_of(release)) {
                Err(error @ SupervisorError::Failed { .. }) => {
                    if self.state(ctx)?.state == ServiceState::Running {
                        return Err(error);
                    }
                    ctx.warn(format!("{error}; it is started all the same"));
                }
                result => result?,
            }
        }
        self.run(ctx, "start", start, self.place_of(release))
    }

    fn state(&self, ctx: &Context) -> Result<ServiceStatus, SupervisorError> {
        let Some(command) = &self.service.status else {
            return Ok(ServiceStatus::new(
                ServiceState::Unknown,
                "no service.status is configured",
            ));
        };
        // Asked every second while health is watched: its output is for the detail only.
        let spec = self.spec("status", command, self.active_place(), Output::Lines);
        let finished = self.execute(ctx, command, &spec, &mut |_, _| {})?;
        let (exit, tail) = exit_of(command, finished)?;
        let said = tail.into_iter().rfind(|line| !line.trim().is_empty());
        let detail = said.unwrap_or_else(|| format!("{command} {exit}"));
        Ok(ServiceStatus::new(state_of(exit), detail))
    }
}

impl Supervisor for CommandService {
    fn name(&self) -> &str {
        "command"
    }

    fn switching(&self) -> Switching {
        Switching::Restart
    }

    fn observes(&self) -> bool {
        self.service.status.is_some()
    }

    fn preflight(&self, _: &Context, release: Option<&dyn Release>) -> Result<(), SupervisorError> {
        let service = &self.service;
        let starts = service.start.is_some() || service.restart.is_some();
        let reloads = service.on_deploy == OnDeploy::Reload || !starts;
        let reload = service.reload.as_ref().filter(|_| reloads);
        let others = [&service.start, &service.stop, &service.restart, &service.status];
        for command in others.into_iter().flatten().chain(reload) {
            let place = match release {
                Some(release) => self.place_of(release),
                // What lies in the release is still to be made.
                None if command.is_relative() => continue,
                None => {
                    Place { dir: self.layout.root().to_owned(), environment: self.environment() }
                }
            };
            let spec = self.spec("preflight", command, place, Output::Lines);
            process::preflight(&spec).map_err(|source| SupervisorError::Process {
                command: command.to_string(),
                source,
            })?;
        }
        Ok(())
    }

    fn restart(
        &self,
        ctx: &Context,
        release: &dyn Release,
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        let service = &self.service;
        let otherwise = service.restart.is_some() || service.start.is_some();
        let reloads =
            service.on_deploy == OnDeploy::Reload && (manner == Manner::Usual || !otherwise);
        if let Some(reload) = service.reload.as_ref().filter(|_| reloads) {
            // What does not run cannot reload: it is started then, if there is a way to.
            let down = self.state(ctx)?.state == ServiceState::Stopped;
            if !down || (service.start.is_none() && service.restart.is_none()) {
                return self.run(ctx, "reload", reload, self.place_of(release));
            }
            ctx.note("the service does not run: it is started instead of reloaded");
        }
        match (&service.restart, &service.start, &service.reload) {
            (Some(restart), ..) => self.run(ctx, "restart", restart, self.place_of(release)),
            (None, Some(start), _) => self.stop_and_start(ctx, start, release),
            (None, None, Some(reload)) => self.run(ctx, "reload", reload, self.place_of(release)),
            (None, None, None) => Err(SupervisorError::Unsupported { what: "restart" }),
        }
    }

    fn leave(&self, ctx: &Context, next: &dyn Supervisor) -> Result<(), SupervisorError> {
        // Another one of this kind starts and stops the same service in its own way; whom `none` leaves it
        // to, nobody knows.
        let stays = next.switching() == Switching::Nothing || (next as &dyn Any).is::<Self>();
        if stays || self.state(ctx)?.state == ServiceState::Stopped {
            return Ok(());
        }
        self.stop(ctx)
    }

    fn stop(&self, ctx: &Context) -> Result<(), SupervisorError> {
        match &self.service.stop {
            Some(stop) => self.run(ctx, "stop", stop, self.active_place()),
            None => Err(SupervisorError::Unsupported { what: "stop: service.stop is missing" }),
        }
    }

    fn status(&self, ctx: &Context) -> Result<ServiceStatus, SupervisorError> {
        self.state(ctx)
    }

    fn last_lines(&self, _: &Context, since: Timestamp) -> Vec<String> {
        service_log::last_lines(&self.layout, since)
    }

    fn logs(
        &self,
        ctx: &Context,
        request: &LogRequest,
        on_line: &mut dyn FnMut(LogLine),
    ) -> Result<(), SupervisorError> {
        service_log::show(ctx, &self.layout, request, on_line)
            .map_err(|source| SupervisorError::Foreign { operation: "read the log of", source })
    }

    fn releases_in_use(&self, _: &Context) -> Result<Vec<ReleaseId>, SupervisorError> {
        releases_in_use(&self.layout)
    }
}

/// Whether `[service]` has a command of its own.
pub(super) fn has_commands(service: &ServiceConfig) -> bool {
    [&service.start, &service.stop, &service.restart, &service.reload, &service.status]
        .into_iter()
        .any(Option::is_some)
}

/// What the exit of a status command means. Whatever is not 0 is "not now": a program that asks
/// cannot tell one that is still starting from one that has ended for good, and nothing is given up
/// before its time because of it.
fn state_of(exit: Exit) -> ServiceState {
    if exit.success() { ServiceState::Running } else { ServiceState::Stopped }
}

/// The exit and the last lines, of a command that ended by itself.
fn exit_of(command: &Argv, finished: Finished) -> Result<(Exit, Vec<String>), SupervisorError> {
    let tail = finished.tail;
    match finished.outcome {
        Outcome::Exited(exit) => Ok((exit, tail)),
        Outcome::TimedOut(limit) => {
            Err(SupervisorError::TimedOut { command: command.to_string(), limit, tail })
        }
        Outcome::Cancelled(cancelled) => Err(cancelled.into()),
    }
}

fn succeeded(command: &Argv, finished: Finished) -> Result<(), SupervisorError> {
    match exit_of(command, finished)? {
        (exit, _) if exit.success() => Ok(()),
        (exit, tail) => Err(SupervisorError::Failed { command: command.to_string(), exit, tail }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> Result<CommandService, BoxError> {
        let config: Config = toml::from_str(&format!("repo.url = \"/srv/git\"\n{text}")).unwrap();
        CommandService::new(&config, &Layout::new("/srv/app".into()))
    }

    #[test]
    fn without_a_way_to_start_it_there_is_no_service() {
        let error = service("service.stop = [\"./stop\"]").unwrap_err();
        assert!(error.to_string().contains("service.start"), "{error}");
    }
}
