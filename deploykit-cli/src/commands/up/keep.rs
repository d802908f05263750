//! What is done from time to time while `up` runs: putting right what was broken off, looking for something
//! new to deploy, and reading the configuration again. Each is a process of its own, as a timer of systemd
//! would start it.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use camino::Utf8Path;
use deploykit::supervisor::{Attended, Children};
use deploykit::{Application, Layout, config};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::args::ColorWhen;
use crate::exit::Exit;
use crate::shell::Shell;

/// The file of this program. When another one has taken its place, that one: the file that was begun with is
/// gone.
pub(super) fn program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let replaced = path.to_str().and_then(|text| text.strip_suffix(" (deleted)"));
    let replaced = replaced.map(PathBuf::from).filter(|replaced| replaced.exists());
    Ok(replaced.unwrap_or(path))
}

/// This program, about the same application.
pub(super) fn own(shell: &Shell) -> std::io::Result<Command> {
    let mut command = Command::new(program()?);
    command.arg("-C").arg(&shell.global.directory).stdin(Stdio::null());
    if let Some(config) = &shell.global.config {
        command.arg("-c").arg(config);
    }
    // It would speak in the name of this one.
    command.env_remove("NOTIFY_SOCKET");
    Ok(command)
}

/// What holds sockets and pipes for the next one, should this one be killed; not where all is to end with it,
/// and not where it does, with the first process of a container.
pub(super) fn holder(application: &Application) -> Option<Command> {
    let is_first = rustix::process::getpid().is_init();
    if is_first || application.config().up.when_killed == config::WhenKilled::End {
        return None;
    }
    let mut command = Command::new(program().ok()?);
    command.args(["up", "--hold"]).env_clear();
    Some(command)
}

/// How it is to tell what it does: as this one was told.
pub(super) fn manner(shell: &Shell) -> Vec<&'static str> {
    let global = &shell.global;
    let flags = [(global.json, "--json"), (global.quiet, "-q"), (global.verbose, "-v")];
    let color = match global.color {
        ColorWhen::Auto => None,
        ColorWhen::Always => Some("--color=always"),
        ColorWhen::Never => Some("--color=never"),
    };
    let given = flags.into_iter().filter(|(is_given, _)| *is_given).map(|(_, flag)| flag);
    given.chain(color).collect()
}

/// Puts right what was broken off.
pub(super) fn recover(shell: &Shell, children: &Children) {
    // It tells itself what goes wrong.
    if let Ok(mut command) = own(shell) {
        let _ = children.start(command.args(["-q", "recover"])).map(Attended::wait);
    }
}

/// Brings the services to the changed configuration.
pub(super) fn reload(shell: &Shell, children: &Children) {
    let child =
        own(shell).and_then(|mut command| children.start(command.args(["reload", "--wait=5m"])));
    if let Ok(child) = child {
        std::thread::spawn(move || child.wait());
    }
}

/// Begins to look after deployments that are broken off, and for something new where that is wanted. It
/// ends with the program.
pub(super) fn begin(shell: &Shell, application: &Application, children: &Children) {
    let timers = &application.config().timers;
    let (every, layout) = (timers.recover.get(), application.layout().clone());
    let (again, path) = (application.clone(), shell.config_path().ok());
    let run = |arguments: &'static [&'static str]| {
        let (command, children) = (own(shell), children.clone());
        command.map(|mut command| {
            command.args(arguments);
            move || drop(children.start(&mut command).map(Attended::wait))
        })
    };
    let Ok(mut put_right) = own(shell) else { return };
    put_right.args(["-q", "recover"]);
    let those = children.clone();
    std::thread::spawn(move || {
        // A deployment that was broken off, or somebody who could not be told of one.
        let is_open = || {
            let is_told = || tells_of_deployments(path.as_deref());
            let state = again.state();
            state.is_ok_and(|state| {
                !state.open.is_empty() || (!state.notices.owed.is_empty() && is_told())
            })
        };
        loop {
            while is_open() {
                std::thread::sleep(every);
                // Whoever is at it still is not disturbed: it has the lock.
                if is_open() {
                    recover_quietly(&mut put_right, &those);
                }
            }
            wait_for_change(&layout, every);
        }
    });
    let (Some(poll), Ok(mut look)) = (timers.poll, run(&["-q", "deploy", "--if-changed"])) else {
        return;
    };
    let jitter = timers.jitter.get();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(poll.get() + jitter.mul_f64(share()));
            look();
        }
    });
}

/// Whether the configuration as it is now names somebody. Otherwise nobody can be told what is owed.
fn tells_of_deployments(path: Option<&Utf8Path>) -> bool {
    let read = path.map(|path| config::read_file_for(path, &deploykit::registry()));
    read.is_some_and(|read| read.is_ok_and(|read| read.config.notify.tells_of_deployments()))
}

/// Puts right what was broken off, and says nothing when somebody is at it.
fn recover_quietly(command: &mut Command, children: &Children) {
    command.stderr(Stdio::piped());
    let Ok(mut child) = children.start(command) else { return };
    let mut said = Vec::new();
    if let Some(mut stderr) = child.stderr() {
        let _ = stderr.read_to_end(&mut said);
    }
    let is_busy = child.wait().is_ok_and(|status| status.code() == Some(Exit::BUSY.code().into()));
    if !is_busy {
        let _ = std::io::stderr().write_all(&said);
    }
}

/// A number between 0 and 1 that nobody foresees.
fn share() -> f64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

/// Waits until something is written to the journal. Where that cannot be watched, for some time.
fn wait_for_change(layout: &Layout, otherwise: Duration) {
    if watch(layout.private().as_path()).is_err() {
        std::thread::sleep(otherwise);
    }
}

fn watch(dir: &Utf8Path) -> std::io::Result<()> {
    let watch = inotify::init(CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, dir.as_std_path(), WatchFlags::MODIFY | WatchFlags::CREATE)?;
    rustix::io::read(&watch, &mut [0_u8; 4096])?;
    Ok(())
}
