//! What the journal records. Every record is a fact or an intent; the state is what they add up to.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::connection::Demand;
use super::notice::Notice;
use crate::config::RuntimeConfig;
use crate::id::{BuildDigest, DeploymentId, ReleaseId, Revision, SourceId};
use crate::time::Timestamp;
use crate::traits::Prepared;

/// Who asked for something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The name of the user; of the one behind `sudo`, where there is one.
    pub user: String,
    /// The program through which they did it.
    pub via: String,
}

impl Actor {
    /// The user of this process, through the program `via`.
    pub fn current(via: impl Into<String>) -> Self {
        let uid = nix::unistd::getuid();
        let name = nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
        let own = name.unwrap_or_else(|| uid.to_string());
        let behind_sudo =
            std::env::var("SUDO_USER").ok().filter(|user| uid.is_root() && !user.is_empty());
        Self { user: behind_sudo.unwrap_or(own), via: via.into() }
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} via {}", self.user, self.via)
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Request {
    /// Deploy a revision.
    Deploy {
        /// Which.
        revision: Revision,
        /// Build it again, even if a release of it exists.
        #[serde(default)]
        rebuild: bool,
        /// Deploy it although it is bad.
        #[serde(default)]
        retry: bool,
    },
    /// Go back.
    Rollback {
        /// To which release or revision, as it was typed; to the previous one by default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
    },
    /// Start the service of the active release again.
    Restart,
    /// Bring the service of the active release to the configuration as it is now.
    Reload,
    /// Something that a newer version can do.
    #[serde(other)]
    Unknown,
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deploy { revision, rebuild, retry } => {
                f.write_str("deploy")?;
                if let Some(name) = revision.name() {
                    write!(f, " {name}")?;
                }
                f.write_str(if *rebuild { " --rebuild" } else { "" })?;
                f.write_str(if *retry { " --retry" } else { "" })
            }
            Self::Rollback { to: None } => f.write_str("rollback"),
            Self::Rollback { to: Some(to) } => write!(f, "rollback {to}"),
            Self::Restart => f.write_str("restart"),
            Self::Reload => f.write_str("reload"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// The release is active and confirmed.
    Deployed {
        /// False when there was nothing to look at.
        verified: bool,
    },
    /// It failed, and what was active still is.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was stopped before anything was activated.
    Interrupted {
        /// The number of the signal.
        signal: u8,
    },
    /// It was activated and then taken back; the previous release serves.
    RolledBack {
        /// Why.
        reason: String,
    },
    /// It is not in a good state: a person must look.
    Broken {
        /// What is wrong.
        reason: String,
    },
}

impl Outcome {
    /// Whether the asked-for release serves.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Deployed { .. })
    }

    /// Why it did not succeed.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Failed { reason } | Self::RolledBack { reason } | Self::Broken { reason } => {
                Some(reason)
            }
            Self::Deployed { .. } | Self::Interrupted { .. } => None,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Deployed { verified: true } => "deployed",
            Self::Deployed { verified: false } => "deployed, unchecked",
            Self::Failed { .. } => "failed",
            Self::Interrupted { .. } => "interrupted",
            Self::RolledBack { .. } => "rolled back",
            Self::Broken { .. } => "broken",
        })
    }
}

/// What made a release good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ConfirmedBy {
    /// Its health held.
    Health,
    /// There was nothing to look at.
    Nothing,
    /// A person said so.
    Operator,
}

/// One fact or intent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Record {
    /// A deployment begins.
    DeploymentStarted {
        /// Its number.
        deployment: DeploymentId,
        /// What was asked for.
        request: Request,
        /// By whom.
        by: Actor,
        /// What is active.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ReleaseId>,
    },
    /// It is known what the deployment deploys.
    DeploymentResolved {
        /// Which deployment.
        deployment: DeploymentId,
        /// The source.
        source: SourceId,
        /// The release, where there is one already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<ReleaseId>,
        /// How its service is run and watched, where that is not what is recorded with it. It is
        /// recorded once the release is confirmed with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        runtime: Option<RuntimeConfig>,
        /// What a rollback leaves is not marked: the operator wanted to leave another release, which
        /// putting things right has left already.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        spares: bool,
        /// Somebody must confirm it over a new connection.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        demand: Option<Demand>,
    },
    /// The directory of a release is about to be made.
    ReleaseCreated {
        /// Which deployment makes it.
        deployment: DeploymentId,
        /// Its name.
        release: ReleaseId,
        /// What it is made of.
        source: SourceId,
        /// The name by which the source was found: `refs/heads/main`.
        name: String,
        /// The digest of the configuration of its build.
        build: BuildDigest,
        /// Where it lies, relative to the application's directory.
        path: Utf8PathBuf,
        /// The variable that every process of its build carries.
        marker: String,
    },
    /// A release is complete and on disk.
    ReleaseSealed {
        /// Which.
        release: ReleaseId,
        /// How its service is run and watched.
        runtime: RuntimeConfig,
        /// How much disk it takes, in bytes.
        bytes: u64,
        /// How many inodes it takes.
        entries: u64,
    },
    /// A release could not be made.
    ReleaseFailed {
        /// Which.
        release: ReleaseId,
        /// Why.
        reason: String,
    },
    /// A release was found that deploykit has not made.
    ReleaseAdopted {
        /// Its name: that of its directory.
        release: ReleaseId,
        /// What it was made of.
        source: SourceId,
        /// Where it lies, relative to the application's directory.
        path: Utf8PathBuf,
        /// When it was made.
        created: Timestamp,
        /// How its service is run and watched.
        runtime: RuntimeConfig,
    },
    /// The configuration of a release's service has changed.
    RuntimeChanged {
        /// Which release.
        release: ReleaseId,
        /// How its service is run and watched from now on.
        runtime: RuntimeConfig,
    },
    /// Instances were started beside the old ones.
    ServicePrepared {
        /// By which deployment.
        deployment: DeploymentId,
        /// What the supervisor calls them.
        prepared: Prepared,
    },
    /// The active link is about to be switched.
    ActivationIntended {
        /// By which deployment.
        deployment: DeploymentId,
        /// From what.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<ReleaseId>,
        /// To what; to nothing when a first deployment is withdrawn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<ReleaseId>,
    },
    /// The active link was switched.
    Activated {
        /// By which deployment.
        deployment: DeploymentId,
        /// To what.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<ReleaseId>,
    },
    /// The active link was found changed by somebody else. That is a fact like any other.
    LinkFound {
        /// To which release; none when it is gone, or leads to something that is no release.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<ReleaseId>,
        /// Where it leads.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<Utf8PathBuf>,
    },
    /// The active release is being watched.
    ProbationStarted {
        /// By which deployment.
        deployment: DeploymentId,
        /// Which release.
        release: ReleaseId,
        /// To which release it goes back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        predecessor: Option<ReleaseId>,
        /// It is decided by then.
        deadline: Timestamp,
        /// Somebody must confirm it by then, or it is taken back, however well it is.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        confirmation: bool,
    },
    /// A release is good.
    Confirmed {
        /// Which.
        release: ReleaseId,
        /// Why.
        by: ConfirmedBy,
    },
    /// A deployment is being taken back.
    RevertStarted {
        /// Which.
        deployment: DeploymentId,
        /// To which release; to nothing, when it was the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<ReleaseId>,
        /// Why.
        reason: String,
        /// Whether what is left is bad: the release, or, when that stays, the configuration that was
        /// tried on it.
        bad: bool,
    },
    /// A release is bad.
    MarkedBad {
        /// Which.
        release: ReleaseId,
        /// Why.
        reason: String,
    },
    /// A deployment ended.
    DeploymentFinished {
        /// Which.
        deployment: DeploymentId,
        /// How.
        #[serde(flatten)]
        outcome: Outcome,
    },
    /// A release is about to be removed.
    RemovalIntended {
        /// Which.
        release: ReleaseId,
    },
    /// A release was removed.
    Removed {
        /// Which.
        release: ReleaseId,
    },
    /// The present release is pinned.
    Held {
        /// By whom.
        by: Actor,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It is not pinned any more.
    Unheld {
        /// By whom.
        by: Actor,
    },
    /// A notice is to be sent.
    NoticeOwed {
        /// What it tells.
        notice: Box<Notice>,
    },
    /// A notice was sent.
    NoticeSent {
        /// Its number.
        notice: u64,
    },
    /// Somebody could not be told. After the fifth time it is given up.
    NoticeFailed {
        /// Its number.
        notice: u64,
        /// Why.
        reason: String,
        /// Who was told, by label, and is not told again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        told: Vec<String>,
    },
    /// A record of a newer version.
    #[serde(other)]
    Unknown,
}

/// One line of the journal: records that hold all together or not at all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number: 1, 2, 3 … over the whole life of the application.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What it says.
    pub records: Vec<Record>,
}
