//! The check `exec`: a command that exits with 0.

use std::sync::Arc;

use super::look::{excerpt, time_left};
use crate::backend::environment::Environment;
use crate::chain;
use crate::config::{Argv, CheckConfig, Config};
use crate::context::Context;
use crate::id::ReleaseId;
use crate::process::{self, Exit, Finished, Leftovers, Outcome, ProcessSpec};
use crate::registry::BackendRequest;
use crate::state::Layout;
use crate::traits::{BoxError, HealthCheck, Look, Release};

/// Runs a command in the release's directory, with the environment that the commands of the service
/// have.
#[derive(Debug)]
pub(super) struct ExecCheck {
    name: String,
    command: Argv,
    config: Config,
    layout: Layout,
}

impl ExecCheck {
    pub(super) fn construct(
        request: &BackendRequest<'_>,
        config: &CheckConfig,
    ) -> Result<Arc<dyn HealthCheck>, BoxError> {
        Ok(Arc::new(Self {
            name: config.label(),
            command: config.command.clone().ok_or("it needs a command")?,
            config: request.config.clone(),
            layout: request.layout.clone(),
        }))
    }

    fn spec(&self, release: &dyn Release) -> ProcessSpec {
        let mut environment = Environment::inherited(&self.config);
        environment
            .set("DEPLOYKIT_APP", self.layout.root().as_str())
            .set("DEPLOYKIT_RELEASE", release.id().as_str())
            .set("DEPLOYKIT_REVISION", release.source().digest())
            .set("DEPLOYKIT_ROOT", release.root().as_str());
        let mut spec = ProcessSpec::new(&self.name, self.command.as_slice(), release.root());
        spec.env = environment.into_vec();
        // A look leaves nothing behind: there will be another one in a second.
        spec.leftovers = Leftovers::End { name: MARKER.into(), value: marker(release.id()) };
        spec
    }
}

/// By it the processes of one look are found again.
const MARKER: &str = "DEPLOYKIT_CHECK";

/// A value that no other look has.
fn marker(release: &ReleaseId) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    let number = LOOKS.fetch_add(1, Ordering::Relaxed);
    let now = crate::time::Timestamp::now().as_millis();
    format!("{release}-{}-{now}-{number}", std::process::id())
}

impl HealthCheck for ExecCheck {
    fn name(&self) -> &str {
        &self.name
    }

    fn preflight(&self, release: Option<&dyn Release>) -> Result<(), BoxError> {
        let spec = match release {
            Some(release) => self.spec(release),
            // What lies in the release is still to be made.
            None if self.command.is_relative() => return Ok(()),
            None => {
                let root = self.layout.root();
                let mut spec = ProcessSpec::new(&self.name, self.command.as_slice(), root);
                spec.env = Environment::inherited(&self.config).into_vec();
                spec
            }
        };
        Ok(process::preflight(&spec)?)
    }

    fn look(&self, ctx: &Context, release: &dyn Release) -> Look {
        let mut spec = self.spec(release);
        spec.timeout = Some(time_left(ctx));
        match process::run(ctx, &spec, &mut |_, _| {}) {
            Ok(finished) => judged(&finished),
            Err(error) => {
                let detail = chain(&error);
                if error.is_of_the_host() { Look::Blind(detail) } else { Look::Ill(detail) }
            }
        }
    }
}

/// A command that is still at it when its time is up waits for something that does not come, just
/// as a connection that is not accepted: not yet.
fn judged(finished: &Finished) -> Look {
    let last = finished.tail.iter().rev().find(|line| !line.trim().is_empty());
    let with_last = |what: String| match last {
        Some(line) => format!("{what}: {}", excerpt(line)),
        None => what,
    };
    match finished.outcome {
        Outcome::Exited(Exit::Code(0)) => {
            Look::Well(last.map_or_else(|| "exited with code 0".into(), |line| excerpt(line)))
        }
        Outcome::Exited(exit) => Look::Ill(with_last(exit.to_string())),
        Outcome::TimedOut(_) => Look::NotYet(with_last("it did not end in time".into())),
        Outcome::Cancelled(cancelled) => Look::NotYet(cancelled.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::health::testing::{TestRelease, construct};

    fn look(ctx: &Context, script: &str) -> Look {
        let dir = tempfile::tempdir().unwrap();
        let keys = format!("type = \"exec\"\ncommand = [\"sh\", \"-c\", '''{script}''']");
        construct(ExecCheck::construct, &keys).look(ctx, &TestRelease::at(dir.path()))
    }

    #[test]
    fn the_exit_code_decides_and_the_last_line_tells() {
        let ctx = Context::new().unwrap();
        assert_eq!(look(&ctx, "true"), Look::Well("exited with code 0".into()));
        assert_eq!(look(&ctx, "echo one; echo two"), Look::Well("two".into()));
        assert_eq!(
            look(&ctx, "echo no database >&2; exit 3"),
            Look::Ill("exited with code 3: no database".into())
        );
    }

    #[test]
    fn it_runs_in_the_release_and_knows_it() {
        let ctx = Context::new().unwrap();
        let script = "test \"$PWD\" = \"$DEPLOYKIT_ROOT\" && echo $DEPLOYKIT_REVISION";
        let digest = TestRelease::default().source().digest().to_owned();
        assert_eq!(look(&ctx, script), Look::Well(digest));
    }

    #[test]
    fn one_that_does_not_end_is_not_yet_and_leaves_nothing_behind() {
        let ctx = Context::new().unwrap().with_timeout(Duration::from_millis(300));
        let found = look(&ctx, "echo waiting; sleep 600");
        assert_eq!(found, Look::NotYet("it did not end in time: waiting".into()));
    }

    #[test]
    fn a_missing_program_is_ill() {
        let check =
            construct(ExecCheck::construct, "type = \"exec\"\ncommand = [\"no-such-program\"]");
        let dir = tempfile::tempdir().unwrap();
        let found = check.look(&Context::new().unwrap(), &TestRelease::at(dir.path()));
        assert!(matches!(&found, Look::Ill(why) if why.contains("no-such-program")), "{found:?}");
    }
}
