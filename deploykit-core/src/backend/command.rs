//! The supervisor `command`: programs that start, stop and restart the service and tell its state.

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
    BoxError, Release, ServiceState, ServiceStatus, Supervisor, SupervisorError, Switching,
};

/// Runs the argument lists of `[service]`, or `systemctl` for the unit of `[systemd]` when there are
/// none.
///
/// Their output goes to a file, never through a pipe: a daemon that a command leaves behind may
/// keep it for as long as it likes.
#[derive(Debug)]
pub(crate) struct CommandService {
    service: ServiceConfig,
    /// The unit, when `systemctl` stands in for the commands.
    unit: Option<String>,
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
        let mut service = config.service.clone();
        let mut unit = None;
        if !has_commands(&service)
            && let Some(name) = &config.systemd.unit
        {
            systemctl(&mut service, name)?;
            unit = Some(name.clone());
        }
        if service.start.is_none() && service.restart.is_none() && service.reload.is_none() {
            return Err("it needs service.start, service.restart or service.reload, or \
                        systemd.unit"
                .into());
        }
        Ok(Self { service, unit, config: config.clone(), layout: layout.clone() })
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
        if let Some(unit) = &self.unit {
            return state_of_unit(unit, exit, said);
        }
        let detail = said.unwrap_or_else(|| format!("{command} {exit}"));
        Ok(ServiceStatus::new(state_of(exit), detail))
    }

    fn note_systemctl(&self, ctx: &Context) {
        if let Some(unit) = &self.unit {
            ctx.note(format!(
                "the unit {unit} is handled by systemctl, until deploykit speaks to systemd itself"
            ));
        }
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

    fn restart(&self, ctx: &Context, release: &dyn Release) -> Result<(), SupervisorError> {
        self.note_systemctl(ctx);
        let service = &self.service;
        let reload = service.reload.as_ref().filter(|_| service.on_deploy == OnDeploy::Reload);
        if let Some(reload) = reload {
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

    fn stop(&self, ctx: &Context) -> Result<(), SupervisorError> {
        self.note_systemctl(ctx);
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

/// Puts `systemctl` in the place of the commands.
fn systemctl(service: &mut ServiceConfig, unit: &str) -> Result<(), BoxError> {
    if unit.is_empty() || unit.starts_with('-') {
        return Err(format!("{unit:?} is not the name of a unit").into());
    }
    let command = |words: &[&str]| {
        let words = ["systemctl"].iter().chain(words).map(|&word| word.to_owned());
        Argv::try_from(words.chain([unit.to_owned()]).collect::<Vec<String>>())
    };
    service.start = Some(command(&["start"])?);
    service.stop = Some(command(&["stop"])?);
    service.restart = Some(command(&["restart"])?);
    service.reload = Some(command(&["reload"])?);
    service.status = Some(command(&["is-active", "--quiet"])?);
    Ok(())
}

/// What the exit of a status command means. Whatever is not 0 is "not now": a program that asks
/// cannot tell one that is still starting from one that has ended for good, and nothing is given up
/// before its time because of it.
fn state_of(exit: Exit) -> ServiceState {
    if exit.success() { ServiceState::Running } else { ServiceState::Stopped }
}

/// What `systemctl is-active` means. It tells of a unit with 0, 3 and 4; whatever else it says with
/// another code is why it could not ask: systemd is not process 1, or cannot be reached.
fn state_of_unit(
    unit: &str,
    exit: Exit,
    said: Option<String>,
) -> Result<ServiceStatus, SupervisorError> {
    let (state, detail) = match (exit, said) {
        (Exit::Code(0), _) => (ServiceState::Running, format!("the unit {unit} is active")),
        (Exit::Code(3), _) => (ServiceState::Stopped, format!("the unit {unit} is not active")),
        (Exit::Code(4), _) => (ServiceState::Stopped, format!("there is no unit {unit}")),
        (_, Some(said)) => {
            return Err(SupervisorError::Foreign {
                operation: "ask systemd about",
                source: said.into(),
            });
        }
        (exit, None) => (state_of(exit), format!("systemctl is-active {exit}")),
    };
    Ok(ServiceStatus::new(state, detail))
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
    fn a_unit_without_commands_is_handled_by_systemctl() {
        let made = service("systemd.unit = \"app@1.service\"").unwrap();
        let words = |command: &Option<Argv>| command.as_ref().unwrap().as_slice().join(" ");
        assert_eq!(words(&made.service.restart), "systemctl restart app@1.service");
        assert_eq!(words(&made.service.reload), "systemctl reload app@1.service");
        assert_eq!(words(&made.service.stop), "systemctl stop app@1.service");
        assert_eq!(words(&made.service.status), "systemctl is-active --quiet app@1.service");
        assert_eq!(made.unit.as_deref(), Some("app@1.service"));
        assert!(service("systemd.unit = \"--now\"").is_err());
    }

    #[test]
    fn what_systemctl_says_of_a_unit_is_told_from_not_being_able_to_say() {
        let told = |code, said: Option<&str>| {
            state_of_unit("app.service", Exit::Code(code), said.map(str::to_owned))
        };
        let state = |code| told(code, None).map(|status| (status.state, status.detail)).unwrap();
        assert_eq!(state(0).0, ServiceState::Running);
        assert_eq!(state(3).0, ServiceState::Stopped);
        let (stopped, detail) = state(4);
        assert_eq!(
            (stopped, detail.as_str()),
            (ServiceState::Stopped, "there is no unit app.service")
        );
        // Of a unit that does not run, it may say why it asks for a reload of its file.
        assert_eq!(told(3, Some("Warning: …")).unwrap().state, ServiceState::Stopped);
        let error = told(1, Some("Failed to connect to bus: Host is down")).unwrap_err();
        let chain = format!("{error}: {}", std::error::Error::source(&error).unwrap());
        assert_eq!(
            chain,
            "failed to ask systemd about the service: Failed to connect to bus: Host is down"
        );
    }

    #[test]
    fn commands_of_its_own_come_before_the_unit() {
        let made = service("systemd.unit = \"app\"\n[service]\nrestart = [\"./restart\"]").unwrap();
        assert_eq!(made.service.restart.unwrap().as_slice(), ["./restart"]);
        assert_eq!((made.service.stop, made.unit), (None, None));
    }

    #[test]
    fn without_a_way_to_start_it_there_is_no_service() {
        let error = service("service.stop = [\"./stop\"]").unwrap_err();
        assert!(error.to_string().contains("service.start"), "{error}");
    }
}
