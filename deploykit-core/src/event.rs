//! Typed events: what the engine and the backends tell of their work while they do it.
//!
//! The screen, the JSON stream, the log file and whatever an embedding program adds are sinks of
//! the same events. Every text in an event has had its secrets masked before a sink sees it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cancel::Cause;
use crate::id::{DeploymentId, ReleaseId, Revision, SourceId};
use crate::step::Step;
use crate::time::Timestamp;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The deployment that it belongs to, once it has a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl Event {
    /// An event.
    pub fn new(at: Timestamp, deployment: Option<DeploymentId>, kind: EventKind) -> Self {
        Self { at, deployment, kind }
    }
}

/// Which of its two outputs a process wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a progress counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Files.
    Files,
    /// Objects of a repository.
    Objects,
}

/// What happened. A sink must expect kinds that it does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// A deployment begins.
    DeploymentStarted {
        /// What was asked for, in words: `deploy main`, `rollback`.
        request: String,
        /// The steps that will be done, in order.
        steps: Vec<Step>,
    },
    /// A step begins.
    StepStarted {
        /// Which.
        step: Step,
        /// What it works on, in a few words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// A step is done.
    StepFinished {
        /// Which.
        step: Step,
        /// How long it took, in milliseconds.
        millis: u64,
        /// What came out, in a few words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// A step failed.
    StepFailed {
        /// Which.
        step: Step,
        /// How long it took, in milliseconds.
        millis: u64,
        /// Why: the error and its causes.
        error: String,
    },
    /// A step did not get to its end, because somebody asked for an end. That is no failure of it.
    StepInterrupted {
        /// Which.
        step: Step,
        /// How long it took, in milliseconds.
        millis: u64,
        /// Who asked.
        cause: Cause,
    },
    /// How far a step is. Sent a few times a second at the most; may be dropped by a sink.
    Progress {
        /// Which step.
        step: Step,
        /// Done so far.
        done: u64,
        /// Of how many, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        /// What is counted.
        unit: Unit,
    },
    /// A line that a process of the deployment wrote.
    Output {
        /// The name of the command: of a build step, a health check, the service's restart.
        name: String,
        /// Where it wrote it.
        stream: Stream,
        /// The line, without its end. What is not UTF-8 is replaced.
        line: String,
    },
    /// A revision was resolved.
    Resolved {
        /// What was asked for.
        revision: Revision,
        /// What it is.
        source: SourceId,
    },
    /// The active link was switched.
    Activated {
        /// From which release; nothing at the first activation.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ReleaseId>,
        /// To which release; nothing when a failed first deployment was withdrawn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<ReleaseId>,
    },
    /// Health is watched from now on.
    ProbationStarted {
        /// Of which release.
        release: ReleaseId,
        /// It is decided by then.
        deadline: Timestamp,
    },
    /// Somebody must confirm the release over a new connection, or it is taken back.
    ConfirmationAwaited {
        /// Which release.
        release: ReleaseId,
        /// By then.
        deadline: Timestamp,
        /// What to type in a new login.
        command: String,
    },
    /// A health check or the service's backend gave another answer than before.
    HealthChanged {
        /// The name of the check.
        check: String,
        /// Whether it is well now.
        well: bool,
        /// What it found.
        detail: String,
    },
    /// A release is good.
    Confirmed {
        /// Which.
        release: ReleaseId,
        /// False when there was nothing to look at: no check and no service.
        verified: bool,
    },
    /// Something that a person should know, but that stops nothing.
    Warning {
        /// What.
        message: String,
    },
    /// Something worth a line.
    Note {
        /// What.
        message: String,
    },
    /// A deployment ended.
    DeploymentFinished {
        /// How, in words: `deployed`, `failed`, `rolled back`, …
        outcome: String,
        /// How long it took in all, in milliseconds.
        millis: u64,
    },
    /// An event of a newer version.
    #[serde(other)]
    Unknown,
}

impl EventKind {
    /// A [`EventKind::StepFinished`] that took `elapsed`.
    pub fn step_finished(step: Step, elapsed: Duration, detail: impl Into<String>) -> Self {
        Self::StepFinished { step, millis: millis(elapsed), detail: detail.into() }
    }

    /// The same event with every text passed through `mask`.
    #[must_use]
    pub fn map_texts(mut self, mask: impl Fn(&mut String)) -> Self {
        match &mut self {
            Self::DeploymentStarted { request: text, .. }
            | Self::StepStarted { detail: text, .. }
            | Self::StepFinished { detail: text, .. }
            | Self::StepFailed { error: text, .. }
            | Self::Output { line: text, .. }
            | Self::HealthChanged { detail: text, .. }
            | Self::ConfirmationAwaited { command: text, .. }
            | Self::Warning { message: text }
            | Self::Note { message: text }
            | Self::DeploymentFinished { outcome: text, .. } => mask(text),
            Self::Progress { .. }
            | Self::StepInterrupted { .. }
            | Self::Resolved { .. }
            | Self::Activated { .. }
            | Self::ProbationStarted { .. }
            | Self::Confirmed { .. }
            | Self::Unknown => {}
        }
        self
    }
}

/// Whole milliseconds of a duration.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Takes events. It cannot fail and should not wait: the deployment goes on when it returns.
pub trait EventSink: Send + Sync + Debug {
    /// Takes one event.
    fn event(&self, event: &Event);
}

/// Drops every event.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEvents;

impl EventSink for NoEvents {
    fn event(&self, _: &Event) {}
}

/// Hands every event to each of several sinks, in order.
#[derive(Debug, Clone, Default)]
pub struct Sinks(pub Vec<Arc<dyn EventSink>>);

impl EventSink for Sinks {
    fn event(&self, event: &Event) {
        for sink in &self.0 {
            sink.event(event);
        }
    }
}

/// Hands every event to a closure.
///
/// ```
/// use deploykit_core::{Event, EventSink, FnSink};
///
/// let sink = FnSink::new(|event: &Event| drop(event.clone()));
/// # let _: &dyn EventSink = &sink;
/// ```
pub struct FnSink<F>(F);

impl<F: Fn(&Event) + Send + Sync> FnSink<F> {
    /// A sink that calls `function` with each event.
    pub fn new(function: F) -> Self {
        Self(function)
    }
}

impl<F> Debug for FnSink<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FnSink")
    }
}

impl<F: Fn(&Event) + Send + Sync> EventSink for FnSink<F> {
    fn event(&self, event: &Event) {
        (self.0)(event);
    }
}
