//! Running a command and seeing what it used.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::{Deserialize, Serialize};

use crate::Result;

/// What a command and everything that it waited for used.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// From its start to its end, in microseconds.
    pub(crate) wall: u64,
    /// On processors, in the program and in the kernel, in microseconds.
    pub(crate) processor: u64,
    /// The most memory that one of its processes had, in KiB. Pages of mapped files count.
    pub(crate) memory: u64,
    code: i32,
}

/// Runs a command to its end, which must be a good one, and returns how long it took.
pub(crate) fn time(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let begun = Instant::now();
    let output = command.output()?;
    let took = begun.elapsed();
    if output.status.success() {
        return Ok(took);
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {told}", output.status).into())
}

/// Runs a command to its end, which must be a good one, and returns what it used.
///
/// It is run by a small process of its own: the kernel tells the most memory only of all children
/// together, and counts what the parent had when it started them.
pub(crate) fn measure(command: &Command) -> Result<Usage> {
    let mut helper = Command::new(std::env::current_exe()?);
    helper.arg("--child").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => helper.env(name, value),
            None => helper.env_remove(name),
        };
    }
    let output = helper.stdin(Stdio::null()).output()?;
    let usage: Usage = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("{command:?}: {error}: {}", text(&output.stderr)))?;
    match usage.code {
        0 => Ok(usage),
        code => Err(format!("{command:?} ended with {code}: {}", text(&output.stderr)).into()),
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The small process: runs the command and prints what it used.
pub(crate) fn be_helper(command: &[String]) -> Result<ExitCode> {
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let begun = Instant::now();
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status()?;
    let wall = begun.elapsed();
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let processor = used.user_time().num_microseconds() + used.system_time().num_microseconds();
    let usage = Usage {
        wall: u64::try_from(wall.as_micros())?,
        processor: u64::try_from(processor)?,
        memory: u64::try_from(used.max_rss())?,
        code: status.code().unwrap_or(-1),
    };
    crate::report::say(&serde_json::to_string(&usage)?);
    Ok(ExitCode::SUCCESS)
}
