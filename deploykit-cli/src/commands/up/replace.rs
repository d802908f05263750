//! `up --replace`: another program, a newer one as a rule, takes the place of the one that runs.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use deploykit::supervisor::control::Client;
use deploykit::supervisor::socket;
use deploykit::{ErrorKind, Layout};

use super::super::supervise::failed;
use super::{Up, keep};
use crate::exit::Exit;
use crate::render::error::CliError;
use crate::shell::Shell;

/// So long the other one may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked.
const GLANCE: Duration = Duration::from_millis(20);

/// Has this program take the place of the one that runs, and waits until it has.
pub(super) fn replace(shell: &Shell) -> Result<Exit, CliError> {
    let path = socket(&Layout::new(shell.directory()?));
    let mut client = Client::connect(&path).map_err(|error| failed(&error))?;
    let unable = |error: std::io::Error| CliError::io("cannot find this program", &error);
    let program = keep::program().map_err(unable)?;
    let program = Utf8PathBuf::try_from(program).map_err(|error| unable(error.into_io_error()))?;
    let before = client.peer();
    client.replace(&program).map_err(|error| failed(&error))?;
    let begun = Instant::now();
    client.has_gone(PATIENCE);
    while begun.elapsed() < PATIENCE {
        std::thread::sleep(GLANCE);
        let Ok(client) = Client::connect(&path) else { continue };
        if client.peer().is_some_and(|pid| runs(pid, program.as_std_path())) {
            shell.answer(&serde_json::json!({ "program": program, "pid": client.peer() }), || {
                format!("{program} runs the services now.\n")
            });
            return Ok(Exit::DONE);
        }
    }
    let what = before.map_or_else(String::new, |pid| format!(" in the place of process {pid}"));
    let message = std::io::Error::other(format!("{program} does not answer{what}"));
    let hint = "its services run on: `deploykit up` takes them over".to_owned();
    Err(CliError::of(ErrorKind::Failed, &message, Some(hint)))
}

/// Whether a process runs this very file.
fn runs(pid: u32, program: &Path) -> bool {
    let own = std::fs::canonicalize(program).ok();
    std::fs::read_link(format!("/proc/{pid}/exe")).ok().is_some_and(|exe| Some(exe) == own)
}

impl Up<'_> {
    /// Becomes another program, which takes over what this one runs. The error is why not: it all runs on then,
    /// and nobody looks after it.
    pub(super) fn become_another(self, program: &Utf8Path) -> CliError {
        self.note(&format!("{program} takes the place of this program"));
        let Self { supervision, follower, telling, .. } = self;
        telling.end();
        let (name, value) = supervision.let_be();
        follower.end();
        let error = Command::new(program).args(std::env::args_os().skip(1)).env(name, value).exec();
        CliError::io("the services run on, but the other program cannot be run", &error)
    }
}
