//! What the engine answers: plans, reports, and views of the state.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::cancel::Cause;
use crate::config::Period;
use crate::id::{DeploymentId, ReleaseId, Revision, SourceId};
use crate::state::{
    Activation, DeploymentRecord, Hold, Holder, Outcome, ProbationRecord, ReleaseRecord, Request,
};
use crate::step::Step;
use crate::time::Timestamp;
use crate::traits::{Look, ServiceStatus, Switching};

/// What a deployment would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Action {
    /// Nothing: what is asked for is active, or must not be deployed unasked.
    Nothing {
        /// Why.
        why: String,
    },
    /// Build a new release and activate it.
    Build,
    /// Activate a release that exists.
    Activate,
    /// The release is active; its service is brought to a changed configuration.
    Reconfigure,
    /// The release is active; its service is started again.
    Restart,
}

/// What a deployment would do, and what `deploy` then does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// What was asked for.
    pub request: Request,
    /// What is to be done.
    #[serde(flatten)]
    pub action: Action,
    /// The revision.
    pub revision: Revision,
    /// What it resolved to.
    pub source: SourceId,
    /// The full name under which it was found; empty for a release that exists.
    pub name: String,
    /// What is active.
    pub from: Option<ReleaseId>,
    /// The release that will be active; nothing when it is yet to be made.
    pub to: Option<ReleaseId>,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What the builder will do, a line a step.
    pub build: Vec<String>,
    /// The service backend.
    pub service: String,
    /// How the service is brought over.
    pub switching: Switching,
    /// The health checks.
    pub checks: Vec<String>,
    /// Somebody must confirm it over a new connection within this time; else it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<Period>,
    /// The releases that will be removed when it succeeds.
    pub prune: Vec<ReleaseId>,
    /// What a person should know before.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Makes it one that does nothing.
    pub(super) fn idle(&mut self, why: String) {
        self.action = Action::Nothing { why };
        self.steps.clear();
        self.prune.clear();
    }

    /// Whether there is something to do.
    pub fn has_work(&self) -> bool {
        !matches!(self.action, Action::Nothing { .. })
    }
}

/// An error, flattened for people and JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The step that failed.
    pub step: Step,
    /// The error.
    pub error: String,
    /// Its causes, the nearest first.
    pub causes: Vec<String>,
    /// The last lines of the output of the process that failed.
    pub tail: Vec<String>,
    /// What a person can do.
    pub hint: Option<String>,
    /// Who asked for an end, where that is why the step did not get to its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<Cause>,
}

/// What came of a deployment or a rollback.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[must_use = "a deployment that failed is told by its report, not by an error"]
pub struct Report {
    /// Its number; none when nothing had to be done.
    pub deployment: Option<DeploymentId>,
    /// What was asked for.
    pub request: Request,
    /// How it ended; none when nothing had to be done.
    pub outcome: Option<Outcome>,
    /// Why nothing had to be done.
    pub nothing: Option<String>,
    /// What was active before.
    pub from: Option<ReleaseId>,
    /// The release that was to be activated.
    pub to: Option<ReleaseId>,
    /// What that is made of.
    pub source: Option<SourceId>,
    /// What is active now.
    pub active: Option<ReleaseId>,
    /// The release that was left and is marked bad now: an operator has rolled it back.
    #[serde(default)]
    pub marked: Option<ReleaseId>,
    /// How long it took, in milliseconds.
    pub millis: u64,
    /// What failed.
    pub failure: Option<Failure>,
    /// It could be brought neither to its end nor back, or what has ended it could not: recovery goes
    /// on with that.
    #[serde(default)]
    pub unsettled: bool,
    /// Where its whole output is.
    pub log: Option<Utf8PathBuf>,
}

impl Report {
    /// Whether what was asked for is active.
    pub fn is_success(&self) -> bool {
        self.outcome.as_ref().is_none_or(Outcome::is_success)
    }
}

/// A release in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReleaseView {
    /// What is recorded of it.
    #[serde(flatten)]
    pub record: ReleaseRecord,
    /// Whether it is active.
    pub active: bool,
    /// When it was last activated.
    pub activated: Option<Timestamp>,
    /// Whether a rollback would choose it next.
    pub rollback: bool,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckView {
    /// The check.
    pub check: String,
    /// What it found.
    #[serde(flatten)]
    pub look: Look,
}

/// How far a deployment had come that nobody carries on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Stage {
    /// Nothing was activated.
    Preparing,
    /// Its release was activated. Whether the service runs it is not certain.
    Activated,
    /// Its release was confirmed; only its end is not recorded.
    Confirmed,
    /// It was on its way back.
    GoingBack,
}

/// A deployment that nobody carries on: it was killed, or could be brought neither to its end nor
/// back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BrokenOff {
    /// Its number.
    pub deployment: DeploymentId,
    /// What was asked for.
    pub request: Request,
    /// How far it had come.
    pub stage: Stage,
    /// The release that it was to activate, once it had a name.
    pub to: Option<ReleaseId>,
    /// The release that it was on its way back to, if it was.
    pub back_to: Option<ReleaseId>,
    /// Why it was taken back, if it was.
    pub reason: Option<String>,
    /// What kept it from getting to an end, by its log. Nothing when it was killed, and when the log
    /// does not tell.
    pub failure: Option<String>,
    /// The next rollback that names no release finishes it, and goes no further.
    pub finished_by_rollback: bool,
}

/// What goes on in an application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Status {
    /// The application's directory.
    pub root: Utf8PathBuf,
    /// Where the active link leads, relative to that; none when nothing is active.
    pub link: Option<Utf8PathBuf>,
    /// The release that is active.
    pub active: Option<ReleaseView>,
    /// What the link leads to is there.
    pub intact: bool,
    /// The service.
    pub service: Option<ServiceStatus>,
    /// The configuration says otherwise how the service is to run than what it runs by: `reload`, or the
    /// next deployment, brings it there.
    #[serde(default)]
    pub changed: bool,
    /// What the checks find now.
    pub checks: Vec<CheckView>,
    /// A probation that goes on.
    pub probation: Option<ProbationRecord>,
    /// What to type, over a new connection, to confirm that; nothing where nobody has to.
    #[serde(default)]
    pub confirm_with: Option<String>,
    /// Who is deploying now.
    pub busy: Option<Holder>,
    /// Who is watching a probation now.
    pub watching: Option<Holder>,
    /// A deployment that was killed and is not yet put right: `recover` does.
    pub unfinished: Option<DeploymentId>,
    /// Every such deployment, the one begun last first, and what is known of it.
    #[serde(default)]
    pub broken_off: Vec<BrokenOff>,
    /// Whether the present release is pinned.
    pub hold: Option<Hold>,
    /// Where a rollback would go.
    pub rollback: Option<ReleaseView>,
    /// The last deployment, however it ended.
    pub last: Option<DeploymentRecord>,
    /// The last switches, the newest first.
    pub activations: Vec<Activation>,
}

/// What `recover` did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Recovery {
    /// What was put right, a line each. Empty when there was nothing.
    pub actions: Vec<String>,
    /// The deployments that were finished or undone, the one begun last first, and how they ended.
    pub deployments: Vec<(DeploymentId, Outcome)>,
}
