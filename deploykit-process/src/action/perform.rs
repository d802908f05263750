//! Doing it.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use deploykit_core::process::{self, ProcessSpec};
use deploykit_core::traits::Look;
use deploykit_core::{Cancellation, Context, chain};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::{Action, Does, UnitVerb};
use crate::cgroup::Group;
use crate::children::Children;
use crate::manager::Surroundings;
use crate::spawn::{Identity, Launch, Limits, Spawned, spawn};

/// How often it is looked whether a program has ended that an action waits for.
const GLANCE: Duration = Duration::from_millis(10);

/// Where and as whom the programs of actions run: as the service does.
#[derive(Debug)]
pub(crate) struct Around {
    pub(crate) dir: Utf8PathBuf,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) identity: Option<Identity>,
    pub(crate) umask: u32,
    pub(crate) limits: Limits,
    pub(crate) outputs: [Option<OwnedFd>; 2],
    pub(crate) surroundings: Arc<dyn Surroundings>,
    pub(crate) children: Children,
    pub(crate) cancellation: Cancellation,
    pub(crate) group: Option<Arc<Group>>,
}

/// Why an action has failed.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// In words.
    pub(crate) why: String,
    /// It could not be done at all, which tells nothing of the service.
    pub(crate) is_blind: bool,
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self { why, is_blind: false }
    }
}

/// Does it, within that time.
pub(crate) fn perform(action: &Action, within: Duration, around: &Around) -> Result<(), Trouble> {
    let ctx = || {
        let ctx = Context::new().map_err(|error| error.to_string())?;
        Ok::<_, String>(ctx.with_cancellation(around.cancellation.clone()).with_timeout(within))
    };
    match &action.does {
        Does::Sleep(time) => {
            Ok(around.cancellation.sleep(*time).map_err(|_| "it was broken off".to_owned())?)
        }
        Does::Exec(command) => {
            let spawned = start(command, around)?;
            let children = around.children.clone();
            // Somebody must take note of its end, whenever that is.
            std::thread::spawn(move || {
                use std::os::fd::AsFd as _;
                let _ = waitid(WaitId::PidFd(spawned.handle.as_fd()), WaitIdOptions::EXITED);
                children.with(|known| known.remove(&spawned.pid));
            });
            Ok(())
        }
        Does::Wait { command, code } => {
            let ended = run(command, within, around)?;
            if ended == format!("exited with code {code}") { Ok(()) } else { Err(ended.into()) }
        }
        Does::Http { .. } | Does::Tcp(_) | Does::Unix(_) => {
            match around.surroundings.ask(&ctx()?, &action.does) {
                Look::Well(_) => Ok(()),
                Look::Blind(why) => Err(Trouble { why, is_blind: true }),
                look => Err(look.detail().to_owned().into()),
            }
        }
        Does::Unit { name, verb } => Ok(unit(name, *verb, within, around)?),
    }
}

fn unit(name: &str, verb: UnitVerb, within: Duration, around: &Around) -> Result<(), String> {
    let words = |verb: &str| ["systemctl", verb, "--quiet", "--", name].map(str::to_owned).to_vec();
    let verb_name = match verb {
        UnitVerb::Start => "start",
        UnitVerb::Stop => "stop",
        UnitVerb::Expect { .. } => "is-active",
    };
    let ended = run(&words(verb_name), within, around)?;
    let is_well = ended == "exited with code 0";
    match verb {
        UnitVerb::Expect { running } if running == is_well => Ok(()),
        UnitVerb::Expect { running: true } => Err(format!("the unit {name} does not run")),
        UnitVerb::Expect { running: false } => Err(format!("the unit {name} runs")),
        _ if is_well => Ok(()),
        _ => Err(format!("`systemctl {verb_name} {name}` {ended}")),
    }
}

fn start(command: &[String], around: &Around) -> Result<Spawned, String> {
    let program = command.first().map(String::as_str).unwrap_or_default();
    let path = around.env.iter().rev().find(|(name, _)| name == "PATH");
    let mut spec = ProcessSpec::new(program, [program], &*around.dir);
    spec.env = path
        .and_then(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned())))
        .into_iter()
        .collect();
    let dup = |fd: &Option<OwnedFd>| fd.as_ref().and_then(|fd| fd.try_clone().ok());
    let launch = Launch {
        program: process::find(&spec).map_err(|error| chain(&error))?,
        arguments: command.iter().skip(1).cloned().collect(),
        dir: around.dir.clone(),
        env: around.env.clone(),
        identity: around.identity.clone(),
        umask: around.umask,
        limits: around.limits,
        stdout: dup(&around.outputs[0]),
        stderr: dup(&around.outputs[1]),
        groups: around.group.as_ref().and_then(|group| group.entrances().ok()).unwrap_or_default(),
        sockets: Vec::new(),
        held: Vec::new(),
        is_bound: false,
    };
    around.children.with(|known| {
        let spawned = spawn(&launch).map_err(|error| chain(&error))?;
        known.insert(spawned.pid);
        Ok(spawned)
    })
}

/// Runs a program to its end, and says how it has ended.
fn run(command: &[String], within: Duration, around: &Around) -> Result<String, String> {
    use std::os::fd::AsFd as _;
    let spawned = start(command, around)?;
    let begun = std::time::Instant::now();
    let mut why = None;
    let ended = loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        match waitid(WaitId::PidFd(spawned.handle.as_fd()), options) {
            Ok(Some(status)) => {
                break status.exit_status().map_or_else(
                    || format!("was ended by signal {}", status.terminating_signal().unwrap_or(0)),
                    |code| format!("exited with code {code}"),
                );
            }
            Ok(None) => {}
            Err(error) => break format!("its end was not seen: {error}"),
        }
        if why.is_none() && begun.elapsed() >= within {
            why = Some(format!("it has not ended within {} s", within.as_secs_f32()));
            end(&spawned);
        } else if why.is_none() && around.cancellation.cause().is_some() {
            why = Some("it was broken off".to_owned());
            end(&spawned);
        }
        // Nothing wakes for a process that is not waited for by the manager.
        std::thread::sleep(GLANCE);
    };
    around.children.with(|known| known.remove(&spawned.pid));
    why.map_or(Ok(ended), Err)
}

fn end(spawned: &Spawned) {
    let _ = pidfd_send_signal(&spawned.handle, Signal::KILL);
    if let Ok(group) = i32::try_from(spawned.pid) {
        let _ = nix::sys::signal::killpg(
            nix::unistd::Pid::from_raw(group),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
}
