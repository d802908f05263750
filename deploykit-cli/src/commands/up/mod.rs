//! `up`: running the services, here or in the background.

mod attend;
mod detach;
mod follow;
mod heard;
mod keep;
mod notify;

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};

use deploykit::supervisor::control::ServerError;
use deploykit::supervisor::{Supervision, SupervisionError};
use deploykit::{Application, Cancellation, DeployRequest, ErrorKind, Step};

use super::deploy::conclude;
use crate::args::UpArgs;
use crate::exit::Exit;
use crate::render::error::{CliError, warning};
use crate::render::text::count;
use crate::shell::Shell;
use follow::{Follower, Manner};
use heard::{Ends, Heard};

/// `deploykit up`
pub(super) fn up(shell: &mut Shell, args: &UpArgs) -> Result<Exit, CliError> {
    let application = shell.application()?;
    refuse(&application)?;
    if args.detach {
        return detach::detached(shell, &application, args);
    }
    if args.apart {
        // Whoever has started it may go, and its terminal with it. It fails for the leader of a group,
        // which has no terminal to lose then.
        let _ = nix::unistd::setsid();
    }
    let up = Up::begin(shell, &application, args)?;
    let first = up.first(args);
    let exit = match first {
        Ok(Exit::DONE) => up.attend(),
        ended => ended,
    };
    up.end();
    exit
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
    follower: Option<Follower>,
    heard: Receiver<Heard>,
    ends: Ends,
    cancellation: Cancellation,
}

impl<'a> Up<'a> {
    fn begin(
        shell: &'a Shell,
        application: &'a Application,
        args: &UpArgs,
    ) -> Result<Self, CliError> {
        let failed = |error: std::io::Error| CliError::io("cannot begin", &error);
        let (tell, heard) = channel();
        let cancellation = Cancellation::new().map_err(failed)?;
        let manager = Arc::new(OnceLock::new());
        let ends = heard::signals(tell.clone(), cancellation.clone(), Arc::clone(&manager));
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
        let follower = shows.then(|| Follower::start(shell.io.stdout.clone(), manner));
        let follower = follower.transpose().map_err(failed)?;
        let echo = follower.as_ref().map(Follower::echo);
        let on_happening = move |what| drop(tell.send(Heard::Happening(what)));
        let supervision = Supervision::begin(application, echo, on_happening);
        let supervision = supervision.map_err(|error| unsupervised(&error))?;
        let _ = manager.set(Arc::downgrade(supervision.manager()));
        let up = Self { shell, application, supervision, follower, heard, ends, cancellation };
        up.tell_what_was_left();
        Ok(up)
    }

    fn tell_what_was_left(&self) {
        for left in self.supervision.left() {
            let what = left.instance.as_deref().unwrap_or("a process");
            self.shell.note(&format!(
                "ended {what} (process {}), which an earlier `up` had left",
                left.pid
            ));
        }
    }

    /// Starts what is active, or deploys first.
    fn first(&self, args: &UpArgs) -> Result<Exit, CliError> {
        let active = match self.supervision.start_active(self.application) {
            Ok(active) => active,
            // A deployment brings them here.
            Err(error @ SupervisionError::Elsewhere { .. }) => {
                self.shell.note(&format!("{error}: `deploykit deploy` brings them to this one"));
                notify::ready();
                return Ok(Exit::DONE);
            }
            Err(error) => return Err(unsupervised(&error)),
        };
        if active.is_some() {
            self.settle();
            self.recover();
        } else if args.no_deploy {
            self.shell.note("Nothing is active: `deploykit deploy` starts the services.");
        } else {
            let exit = self.deploy()?;
            if exit != Exit::DONE {
                return Ok(exit);
            }
        }
        notify::ready();
        Ok(Exit::DONE)
    }

    fn deploy(&self) -> Result<Exit, CliError> {
        let live = self.shell.live_under(self.cancellation.clone())?;
        live.expect(Step::Resolve);
        let result = self.application.deploy(&live.ctx, &DeployRequest::default());
        Ok(conclude(self.shell, &live.end(result)?))
    }

    /// Puts right what was broken off while nobody ran the services.
    fn recover(&self) {
        let is_open = self.application.state().is_ok_and(|state| !state.open.is_empty());
        if is_open && !self.ends.is_asked() {
            keep::recover(self.shell);
        }
    }

    /// Waits until what is active has started, and tells of it.
    fn settle(&self) {
        let is_over = || self.ends.is_asked();
        let Ok(all) = attend::settled(self.supervision.manager(), &is_over) else { return };
        let running = all.iter().filter(|one| one.pid.is_some()).count();
        self.shell.note(&format!("{} of {} run.", running, count(all.len() as u64, "instance")));
    }

    fn end(self) {
        let Self { shell, supervision, follower, ends, .. } = self;
        notify::stopping();
        if supervision.manager().status().is_ok_and(|all| all.iter().any(|one| one.pid.is_some())) {
            shell.note("Ending the services.");
        }
        supervision.end(&|| ends.is_impatient());
        attend::end_what_is_left();
        drop(follower);
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

/// Tells of something that is not as it should be.
fn warn(shell: &Shell, message: &str) {
    if !shell.global.json {
        shell.tell(&warning(message, shell.error_paint(), &shell.masker));
    }
}
