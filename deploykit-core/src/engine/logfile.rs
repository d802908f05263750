//! The output of a deployment, kept as a file.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Mutex, PoisonError};

use crate::event::{Event, EventKind, EventSink, Stream};
use crate::id::DeploymentId;
use crate::state::Layout;
use crate::state::files::{At as _, FileError, private_dir, read_end};

/// How a step ended that did not get to its end.
const FAILED: &str = " failed after ";
const INTERRUPTED: &str = " interrupted after ";

/// How much of the end of a log is looked through, in bytes.
const LAST: u64 = 64 << 10;

/// Writes every event but progress into the file of its deployment, a line each: the time, and what
/// happened. That it cannot be written (a full disk) stops nothing.
#[derive(Debug)]
pub(super) struct LogFile(Mutex<File>);

impl LogFile {
    /// Opens the file of a deployment, behind what is in it.
    pub(super) fn open(layout: &Layout, deployment: DeploymentId) -> Result<Self, FileError> {
        private_dir(&layout.logs())?;
        let path = layout.log(deployment);
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        Ok(Self(Mutex::new(file.at("open", &path)?)))
    }
}

impl EventSink for LogFile {
    fn event(&self, event: &Event) {
        let Some(text) = describe(&event.kind) else { return };
        let line = format!("{} {text}\n", event.at);
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(line.as_bytes());
    }
}

/// An event in one line; nothing for those that are not kept.
fn describe(kind: &EventKind) -> Option<String> {
    let behind = |text: &str| if text.is_empty() { String::new() } else { format!(": {text}") };
    Some(match kind {
        EventKind::DeploymentStarted { request, .. } => format!("== {request}"),
        EventKind::StepStarted { step, detail } => format!("-- {step}{}", behind(detail)),
        EventKind::StepFinished { step, millis, detail } => {
            format!("-- {step} done in {millis} ms{}", behind(detail))
        }
        EventKind::StepFailed { step, millis, error } => {
            format!("-- {step}{FAILED}{millis} ms: {error}")
        }
        EventKind::StepInterrupted { step, millis, cause } => {
            format!("-- {step}{INTERRUPTED}{millis} ms: {cause}")
        }
        EventKind::Output { name, stream: Stream::Stdout, line } => format!("{name} | {line}"),
        EventKind::Output { name, stream: Stream::Stderr, line } => format!("{name} ! {line}"),
        EventKind::Resolved { revision, source } => format!("{revision} is {source}"),
        EventKind::Activated { from, to } => {
            let name = |id: &Option<crate::id::ReleaseId>| {
                id.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string)
            };
            format!("active: {} (before: {})", name(to), name(from))
        }
        EventKind::ProbationStarted { release, deadline } => {
            format!("{release} is on probation until {deadline}")
        }
        EventKind::ConfirmationAwaited { release, deadline, command } => {
            format!("{release} must be confirmed from a new login until {deadline}: {command}")
        }
        EventKind::HealthChanged { check, well, detail } => {
            format!("{check} is {}{}", if *well { "well" } else { "not well" }, behind(detail))
        }
        EventKind::Confirmed { release, verified } => {
            format!("{release} is confirmed{}", if *verified { "" } else { ", unchecked" })
        }
        EventKind::Warning { message } => format!("warning: {message}"),
        EventKind::Note { message } => format!("note: {message}"),
        EventKind::DeploymentFinished { outcome, millis } => format!("== {outcome} in {millis} ms"),
        EventKind::Progress { .. } | EventKind::Unknown => return None,
    })
}

/// The last lines of the output of a deployment; none when it is not kept.
pub(super) fn last_lines(layout: &Layout, deployment: DeploymentId, number: usize) -> Vec<String> {
    let file = File::open(layout.log(deployment)).ok();
    let text = file.and_then(|file| read_end(file, LAST).ok()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(number)..].iter().map(|line| (*line).to_owned()).collect()
}

/// What failed last in a deployment that ended by itself, by its log: the step and its error. Nothing
/// when it was killed, which the log shows by not coming to an end.
pub(super) fn last_failure(layout: &Layout, deployment: DeploymentId) -> Option<String> {
    let text = read_end(File::open(layout.log(deployment)).ok()?, LAST).ok()?;
    // Behind the time, which is one word.
    let mut lines = text.lines().rev().filter_map(|line| Some(line.split_once(' ')?.1));
    lines.next().filter(|last| last.starts_with("== "))?;
    let step = lines.find_map(|line| {
        let ended = line.contains(FAILED) || line.contains(INTERRUPTED);
        line.strip_prefix("-- ").filter(|_| ended)
    })?;
    // What was interrupted only waits for somebody to go on with it.
    let (step, error) = step.split_once(FAILED)?;
    Some(format!("{step} failed: {}", error.split_once(": ")?.1))
}

/// Removes the outputs of all but the last `keep` deployments.
pub(super) fn forget(layout: &Layout, last: DeploymentId, keep: u32) {
    let oldest = last.0.saturating_sub(u64::from(keep));
    for entry in layout.logs().read_dir_utf8().into_iter().flatten().flatten() {
        let number =
            entry.file_name().strip_suffix(".log").and_then(|name| name.parse::<u64>().ok());
        if number.is_some_and(|number| number <= oldest) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
