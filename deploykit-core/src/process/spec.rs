//! What is run, and what came of it.

use std::time::Duration;

use camino::Utf8PathBuf;

use super::Exit;
use crate::cancel::Cancelled;

/// How long processes have between SIGTERM and SIGKILL when nothing else is said.
pub const GRACE: Duration = Duration::from_secs(5);

/// What a process reads from its standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Nothing: it is at its end from the start.
    Null,
    /// These bytes. What the process does not read is dropped.
    Bytes(Vec<u8>),
}

/// Where the output of a process goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Through pipes, line by line. A process that outlives [`run`](super::run) has no reader any
    /// more then.
    Lines,
    /// Appended to this file, which is made with mode 0600 when it is missing. What is added to it
    /// during the run is passed on line by line too, all of it as standard output. A process that
    /// outlives the run goes on writing to the file.
    File(Utf8PathBuf),
}

/// What is done with processes that the program leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftovers {
    /// They are ended: its process group, whatever has this environment variable with this value,
    /// and the descendants of both. The variable is added to the environment; its value must be
    /// one that no other process has.
    End {
        /// The name of the variable.
        name: String,
        /// Its value.
        value: String,
    },
    /// They may stay. Only a timeout or a cancellation ends those that are in the program's own
    /// process group.
    Leave,
}

/// A program to run, and how.
///
/// ```
/// use deploykit_core::process::{self, Outcome, ProcessSpec};
/// use deploykit_core::Context;
///
/// let mut spec = ProcessSpec::new("greeting", ["sh", "-c", "echo $WORD"], "/tmp");
/// spec.env = vec![("PATH".into(), "/usr/bin:/bin".into()), ("WORD".into(), "hello".into())];
/// let mut lines = Vec::new();
/// let finished =
///     process::run(&Context::new()?, &spec, &mut |_, line| lines.push(line.to_owned()))?;
/// assert!(finished.success());
/// assert_eq!(lines, ["hello"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessSpec {
    /// What it is called in warnings.
    pub name: String,
    /// The program and its arguments. A program without a slash is searched in the `PATH` of
    /// `env`; a relative one with a slash is relative to `dir`.
    pub argv: Vec<String>,
    /// The directory that it runs in.
    pub dir: Utf8PathBuf,
    /// Its whole environment: it gets exactly this (and the marker of `leftovers`).
    pub env: Vec<(String, String)>,
    /// Its standard input.
    pub stdin: Input,
    /// How long it may run. The deadline of the context holds as well.
    pub timeout: Option<Duration>,
    /// How long its processes have between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// What is done with processes that it leaves behind.
    pub leftovers: Leftovers,
    /// Where its output goes.
    pub output: Output,
}

impl ProcessSpec {
    /// A program with an empty environment, no input, no time limit, output by lines, and leftovers
    /// that may stay.
    pub fn new(
        name: impl Into<String>,
        argv: impl IntoIterator<Item = impl Into<String>>,
        dir: impl Into<Utf8PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            argv: argv.into_iter().map(Into::into).collect(),
            dir: dir.into(),
            env: Vec::new(),
            stdin: Input::Null,
            timeout: None,
            grace: GRACE,
            leftovers: Leftovers::Leave,
            output: Output::Lines,
        }
    }

    /// The program as it was named.
    pub(super) fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    /// The value of a variable in the environment.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// By itself.
    Exited(Exit),
    /// It took longer than this and was ended.
    TimedOut(Duration),
    /// The context was cancelled and it was ended, or not even started.
    Cancelled(Cancelled),
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finished {
    /// How it ended.
    pub outcome: Outcome,
    /// The last lines of both outputs (20 at the most), secrets masked.
    pub tail: Vec<String>,
    /// How long it took, the end of what it left behind included.
    pub elapsed: Duration,
}

impl Finished {
    /// Whether it ended by itself, with code 0.
    pub fn success(&self) -> bool {
        matches!(self.outcome, Outcome::Exited(exit) if exit.success())
    }
}
