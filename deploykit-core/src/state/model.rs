//! What the records of the journal add up to. Pure: nothing here touches a disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::connection::Demand;
use super::notice::Notices;
use super::record::{Actor, Outcome, Request};
use crate::config::RuntimeConfig;
use crate::id::{BuildDigest, DeploymentId, Identity, ReleaseId, SourceId};
use crate::time::Timestamp;
use crate::traits::{BuildState, Prepared, ReleaseState, Verdict};

/// All that is known of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReleaseRecord {
    /// Its name.
    pub id: ReleaseId,
    /// What it is made of.
    pub source: SourceId,
    /// The name by which the source was found; nothing for adopted ones.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The digest of the configuration of its build; none for adopted ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildDigest>,
    /// Where it lies, relative to the application's directory.
    pub path: Utf8PathBuf,
    /// When it was begun.
    pub created: Timestamp,
    /// The deployment that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// Its state.
    pub state: ReleaseState,
    /// How its service is run and watched. Releases that are run in the same way share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Arc<RuntimeConfig>>,
    /// How much disk it takes, in bytes; 0 when that is not known.
    #[serde(default)]
    pub bytes: u64,
    /// How many inodes it takes; 0 when that is not known.
    #[serde(default)]
    pub entries: u64,
    /// The variable that the processes of its build carry.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub marker: String,
    /// It has been good: confirmed once, or adopted, whatever became of it later.
    #[serde(default)]
    pub proved: bool,
    /// It is being removed.
    #[serde(default)]
    pub removing: bool,
}

impl ReleaseRecord {
    /// What makes it interchangeable with another; adopted releases are not.
    pub fn identity(&self) -> Option<Identity> {
        let build = self.build.clone()?;
        Some(Identity { source: self.source.clone(), build })
    }

    /// Whether a rollback may choose it by itself.
    pub fn is_trusted(&self) -> bool {
        self.is_usable() && self.state.is_trusted()
    }

    /// Whether it is or has been good: an operator may have left it, or it has become ill later.
    pub fn is_proved(&self) -> bool {
        self.is_usable() && self.proved
    }

    /// Whether it is complete, and was neither confirmed nor found bad, nor is being watched: whoever
    /// was to decide was killed, or a rollback from its probation came back to it.
    pub fn is_undecided(&self) -> bool {
        self.state.build == BuildState::Sealed && self.state.verdict == Verdict::None
    }

    /// Whether it may be activated.
    pub fn is_usable(&self) -> bool {
        self.state.build.is_complete() && !self.removing
    }
}

/// All that is known of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeploymentRecord {
    /// Its number.
    pub id: DeploymentId,
    /// What was asked for.
    pub request: Request,
    /// By whom.
    pub by: Actor,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What was active before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ReleaseId>,
    /// The release that it made or chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ReleaseId>,
    /// What its revision was resolved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceId>,
    /// How it ended; nothing while it goes on, or when it was killed and not yet put right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

impl DeploymentRecord {
    /// Whether an operator asked to go back.
    pub fn is_rollback(&self) -> bool {
        matches!(self.request, Request::Rollback { .. })
    }
}

/// One switch of the active link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// When.
    pub at: Timestamp,
    /// To which release; none when the link was removed or leads to something unknown.
    pub release: Option<ReleaseId>,
}

/// A release that is being watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProbationRecord {
    /// By which deployment.
    pub deployment: DeploymentId,
    /// Which release.
    pub release: ReleaseId,
    /// To which release it goes back.
    pub predecessor: Option<ReleaseId>,
    /// The verdict on the release until then; it returns when the probation ends without one.
    pub before: Verdict,
    /// Since when.
    pub started: Timestamp,
    /// It is decided by then.
    pub deadline: Timestamp,
    /// Somebody must confirm it by then, over a new connection, or it is taken back, however well it
    /// is.
    #[serde(default)]
    pub confirmation: bool,
    /// Tells this probation from every other: who ends it must have seen this number.
    pub generation: u64,
}

/// A deployment that is being taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevertRecord {
    /// To which release.
    pub to: Option<ReleaseId>,
    /// Why.
    pub reason: String,
    /// Whether the release that is left is bad.
    pub bad: bool,
}

/// How far a deployment that goes on (or was killed) has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InProgress {
    /// Which.
    pub deployment: DeploymentId,
    /// The intended switch of the link, from and to, until it is known to have happened.
    pub intended: Option<(Option<ReleaseId>, Option<ReleaseId>)>,
    /// The release was activated.
    pub activated: bool,
    /// It was confirmed after that. Its verdict does not tell: it may be an earlier one.
    #[serde(default)]
    pub confirmed: bool,
    /// It is being taken back.
    pub revert: Option<RevertRecord>,
    /// Instances that were started beside the old ones.
    pub prepared: Option<Prepared>,
    /// How the service of its release is run and watched, where that is not what is recorded with it.
    #[serde(default)]
    pub runtime: Option<Arc<RuntimeConfig>>,
    /// What it leaves is not bad for it.
    #[serde(default)]
    pub spares: bool,
    /// Somebody must confirm it over a new connection.
    #[serde(default)]
    pub demand: Option<Demand>,
}

impl InProgress {
    /// Whether the link was about to be led to `to`, and that was not seen to happen.
    pub(crate) fn intends(&self, to: Option<&ReleaseId>) -> bool {
        self.intended.as_ref().is_some_and(|(_, intended)| intended.as_ref() == to)
    }

    fn of(deployment: DeploymentId) -> Self {
        Self {
            deployment,
            intended: None,
            activated: false,
            confirmed: false,
            revert: None,
            prepared: None,
            runtime: None,
            spares: false,
            demand: None,
        }
    }
}

/// The present release is pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// By whom.
    pub by: Actor,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: Option<String>,
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the present release is held by {} since {}", self.by.user, self.since)?;
        self.reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// A source that is not deployed again unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadSource {
    /// When it was found bad.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// How many bad sources and activations are remembered. Older ones belong to releases that are
/// long gone.
const REMEMBERED: usize = 1000;

/// The state of an application.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct State {
    /// The number of the last record.
    pub seq: u64,
    /// The number of the last deployment.
    pub last_deployment: DeploymentId,
    /// The releases.
    pub releases: BTreeMap<ReleaseId, ReleaseRecord>,
    /// The switches of the link, the oldest first.
    pub activations: VecDeque<Activation>,
    /// Where the link led when it was last found changed by somebody else to something unknown.
    pub foreign_link: Option<Utf8PathBuf>,
    /// The deployments that are remembered, the oldest first.
    pub deployments: VecDeque<DeploymentRecord>,
    /// The deployments that have begun and not ended, the oldest first. There are several when an
    /// operator acts while a release is on probation, or when one was killed.
    pub open: Vec<InProgress>,
    /// The probation that goes on.
    pub probation: Option<ProbationRecord>,
    /// The pin.
    pub hold: Option<Hold>,
    /// What is not deployed again unasked.
    pub bad: BTreeMap<SourceId, BadSource>,
    /// The release whose service could not be brought over to another configuration, or was not well
    /// when it was started again, and that configuration: a timer does not try it again.
    #[serde(default)]
    pub refused: Option<(ReleaseId, Arc<RuntimeConfig>)>,
    /// The release that was found good after its service was last brought over: that service runs as
    /// is recorded, as far as is known.
    #[serde(default)]
    pub serves: Option<ReleaseId>,
    /// What was told outside of the terminal, and what is to be.
    #[serde(default)]
    pub notices: Notices,
    /// Whether an existing installation was looked for.
    pub adopted: bool,
}

mod apply;
mod query;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
