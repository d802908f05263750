//! `up`: running the services, here or in the background.

mod attend;
mod detach;
mod follow;
mod heard;
mod keep;
mod notify;
mod replace;
mod tell;
mod voice;
pub(super) mod wait;

use std::cell::Cell;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use camino::Utf8PathBuf;
use deploykit::supervisor::control::ServerError;
use deploykit::supervisor::{
    Happening, InstanceStatus, Supervision, SupervisionError, as_instance, socket,
};
use deploykit::traits::ServiceState;
use deploykit::{Application, ErrorKind, Timestamp};

use crate::args::UpArgs;
use crate::exit::Exit;
use crate::render::error::CliError;
use crate::render::text::count;
use crate::shell::Shell;
use follow::{Follower, Manner};
use heard::{Ends, Heard};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tell::Telling;
use voice::Voice;

/// How often it is looked whether a deployment has ended that is waited for.
const GLANCE: Duration = Duration::from_millis(10);

/// `deploykit up`
pub(super) fn up(shell: &mut Shell, args: &UpArgs) -> Result<Exit, CliError> {
    if args.hold {
        let held = deploykit::supervisor::hold();
        return held.map(|()| Exit::DONE).map_err(|error| CliError::io("cannot hold", &error));
    }
    if args.replace {
        return replace::replace(shell);
    }
    let (application, is_procfile) = shell.application_or_procfile()?;
    refuse(&application)?;
    if args.detach {
        return detach::detached(shell, &application, args, is_procfile);
    }
    if args.apart {
        // Whoever has started it may go, and its terminal with it. It fails for the leader of a group,
        // which has no terminal to lose then.
        let _ = nix::unistd::setsid();
    }
    let up = Up::begin(shell, &application, args)?;
    let first = if is_procfile { up.here() } else { up.first(args) };
    let after = match first {
        Ok(Exit::DONE) => up.attend(!is_procfile),
        ended => ended.map(After::End),
    };
    match after {
        Ok(After::Another(program)) => Err(up.become_another(&program)),
        Ok(After::End(exit)) => {
            up.end();
            Ok(exit)
        }
        Err(error) => {
            up.end();
            Err(error)
        }
    }
}

/// What comes when there is nothing more to attend to.
enum After {
    /// The end, with this exit code.
    End(Exit),
    /// Another program in the place of this one.
    Another(Utf8PathBuf),
}

/// Refuses an application whose services something else runs.
fn refuse(application: &Application) -> Result<(), CliError> {
    let backend = deploykit::service_backend_name(application.config());
    if backend == "process" {
        return Ok(());
    }
    let (message, hint) = match backend {
        "systemd" => (
            "systemd runs the services of this application, and not `deploykit up`".to_owned(),
            "`deploykit deploy` starts them; without [systemd], `up` would run what [[service]] describes",
        ),
        _ => (
            format!("there is nothing that `up` could run: the service backend is {backend}"),
            "[[service]] with a name and a command describes what is to run",
        ),
    };
    Err(CliError::usage(message, hint))
}

/// What the services run under, as long as it is there.
struct Up<'a> {
    shell: &'a Shell,
    application: &'a Application,
    supervision: Supervision,
    follower: Follower,
    voice: Voice,
    telling: Telling,
    /// Something has happened since memory was given back.
    is_warm: Cell<bool>,
    heard: Receiver<Heard>,
    ends: Ends,
}

impl<'a> Up<'a> {
    fn begin(
        shell: &'a Shell,
        application: &'a Application,
        args: &UpArgs,
    ) -> Result<Self, CliError> {
        let failed = |error: std::io::Error| CliError::io("cannot begin", &error);
        let (tell, heard) = channel();
        let manager = Arc::new(OnceLock::new());
        let ends = heard::signals(tell.clone(), Arc::clone(&manager));
        let ends = ends.map_err(failed)?;
        deploykit::supervisor::cgroup::make_room();
        // What a service leaves becomes a child of this process, and ends with it.
        let own = rustix::process::getpid();
        let _ = rustix::process::set_child_subreaper(Some(own));
        let shows = !shell.global.quiet && !args.apart;
        let manner = Manner {
            json: shell.global.json,
            prefix: !args.no_prefix,
            paint: shell.paint(),
            masker: shell.masker.clone(),
        };
        let follower = Follower::start(shell.io.stdout.clone(), shell.io.stderr.clone(), manner);
        let follower = follower.map_err(failed)?;
        let echo = shows.then(|| follower.echo());
        let telling = Telling::default();
        let told = telling.clone();
        let on_happening = move |what: Happening| {
            told.happened(&what);
            let _ = tell.send(Heard::Happening(what));
        };
        let supervision = wait::for_turn(&socket(application.layout()), &ends, || {
            let holder = keep::holder(application);
            Supervision::begin_held(application, echo.clone(), holder, on_happening.clone())
        });
        let supervision = supervision.map_err(|error| unsupervised(&error))?;
        let _ = manager.set(Arc::downgrade(supervision.manager()));
        let voice = Voice::new(shell, follower.clone(), args.apart);
        telling.begin(shell, application, voice.clone())?;
        let up = Self {
            shell,
            application,
            supervision,
            follower,
            voice,
            telling,
            is_warm: Cell::new(true),
            heard,
            ends,
        };
        up.tell_what_was_left();
        Ok(up)
    }

    /// Tells something that is worth knowing.
    fn note(&self, text: &str) {
        self.voice.note(text);
    }

    /// Tells of something that is not as it should be.
    fn warn(&self, message: &str) {
        self.voice.warn(message);
    }

    fn tell_what_was_left(&self) {
        let adopted = self.supervision.adopted();
        if !adopted.instances.is_empty() {
            let names =
                adopted.instances.iter().map(|(name, pid)| format!("{name} (process {pid})"));
            let names: Vec<String> = names.collect();
            let names = names.join(", ");
            self.note(&format!("took over what an earlier `up` had left running: {names}"));
        }
        for (address, why) in &adopted.lost {
            self.warn(&format!(
                "the socket {address} cannot be had back ({why}): what serves there goes on, and is \
                 restarted by the next deployment instead of handed over"
            ));
        }
        for left in self.supervision.left() {
            let what = left.instance.as_deref().unwrap_or("a process");
            self.note(&format!(
                "ended {what} (process {}), which an earlier `up` had left",
                left.pid
            ));
        }
    }

    /// Starts what a Procfile names.
    fn here(&self) -> Result<Exit, CliError> {
        self.supervision.start_here(self.application).map_err(|error| unsupervised(&error))?;
        self.settle();
        notify::ready();
        Ok(Exit::DONE)
    }

    /// Starts what is active, or deploys first.
    fn first(&self, args: &UpArgs) -> Result<Exit, CliError> {
        let active = match self.supervision.start_active(self.application) {
            Ok(active) => active,
            // A deployment brings them here.
            Err(error @ SupervisionError::Elsewhere { .. }) => {
                self.note(&format!("{error}: `deploykit deploy` brings them to this one"));
                notify::ready();
                return Ok(Exit::DONE);
            }
            Err(error) => return Err(unsupervised(&error)),
        };
        if active.is_some() {
            note_changed(self.shell, self.application);
            self.settle();
            self.recover();
        } else if args.no_deploy {
            self.note("Nothing is active: `deploykit deploy` starts the services.");
        } else {
            let exit = self.deploy(args.retry)?;
            if exit != Exit::DONE {
                return Ok(exit);
            }
        }
        notify::ready();
        Ok(Exit::DONE)
    }

    /// Deploys first. That is a process of its own, so that what its build leaves is nobody's here.
    fn deploy(&self, retry: bool) -> Result<Exit, CliError> {
        let failed = |error: std::io::Error| CliError::io("cannot deploy", &error);
        let mut command = keep::own(self.shell).map_err(failed)?;
        command.args(keep::manner(self.shell)).arg("deploy").args(retry.then_some("--retry"));
        let mut child =
            self.supervision.manager().children().start(&mut command).map_err(failed)?;
        let mut is_told = false;
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                let by_signal = std::os::unix::process::ExitStatusExt::signal(&status);
                let code = status.code().or(by_signal.map(|signal| 128 + signal));
                let code = code.and_then(|code| u8::try_from(code).ok());
                return Ok(code.map_or(Exit::FAILED, Exit::of_service));
            }
            // One that was typed at a terminal it has heard itself; a second one changes nothing.
            if self.ends.is_asked() && !std::mem::replace(&mut is_told, true) {
                let pid = i32::try_from(child.id()).unwrap_or(0);
                let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// Puts right what was broken off while nobody ran the services.
    fn recover(&self) {
        let is_open = self.application.state().is_ok_and(|state| !state.open.is_empty());
        if is_open && !self.ends.is_asked() {
            keep::recover(self.shell, self.supervision.manager().children());
        }
    }

    /// Waits until what is active has started, and tells of it.
    fn settle(&self) {
        let is_over = || self.ends.is_asked();
        let Ok(all) = attend::settled(self.supervision.manager(), &is_over) else { return };
        let is_down = |one: &&InstanceStatus| {
            as_instance(one, Timestamp::now()).state != ServiceState::Running
        };
        let down: Vec<&str> = all.iter().filter(is_down).map(|one| one.name.as_str()).collect();
        if down.is_empty() {
            self.note(&format!("All runs: {}.", count(all.len() as u64, "instance")));
        } else {
            self.warn(&format!("not up yet: {}", down.join(", ")));
        }
    }

    fn end(self) {
        notify::stopping();
        let runs = |one: &InstanceStatus| one.pid.is_some();
        if self.supervision.manager().status().is_ok_and(|all| all.iter().any(runs)) {
            self.note("Ending the services.");
        }
        let Self { supervision, follower, telling, ends, .. } = self;
        let children = supervision.manager().children().clone();
        supervision.end(&|| ends.is_impatient());
        // Its commands may leave something, too.
        telling.end();
        attend::end_what_is_left(&children);
        follower.end();
    }
}

/// Tells when the configuration says otherwise how the services are to run than what they run by.
pub(super) fn note_changed(shell: &Shell, application: &Application) {
    let active = application.runtimes().ok().and_then(|runtimes| runtimes.active);
    let now = application.config().runtime();
    if active.is_some_and(|active| !active.runtime.runs_like(&now)) {
        shell.note(
            "The configuration of the services has changed: `deploykit reload` brings it to them.",
        );
    }
}

fn unsupervised(error: &SupervisionError) -> CliError {
    let (kind, hint) = match error {
        SupervisionError::Server(ServerError::Taken { .. }) => (
            ErrorKind::Busy,
            Some("`deploykit ps` shows what it runs, `deploykit down` ends it".to_owned()),
        ),
        SupervisionError::Undescribed(_) => (ErrorKind::Config, None),
        _ => (ErrorKind::Failed, None),
    };
    CliError::of(kind, error, hint)
}
