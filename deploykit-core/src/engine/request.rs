//! What can be asked of the engine.

use std::time::Duration;

use crate::config::Period;
use crate::id::Revision;

/// Deploy a revision.
///
/// ```
/// use deploykit_core::DeployRequest;
///
/// let request = DeployRequest::revision("v1.2.0".parse()?).rebuild(true);
/// assert_eq!(request.revision.name(), Some("v1.2.0"));
/// # Ok::<(), deploykit_core::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeployRequest {
    /// Which revision.
    pub revision: Revision,
    /// Build it again, even if a release of it exists.
    pub rebuild: bool,
    /// Deploy it although it is marked bad.
    pub retry: bool,
    /// Nobody asked for this one in particular: a timer, a hook. What would need a person's word
    /// (a bad source, a hold) is then passed over in peace.
    pub if_changed: bool,
    /// Somebody must confirm it over a new connection within this time, whatever the configuration
    /// says; else the previous release returns.
    pub confirm_within: Option<Period>,
    /// How long to wait for another deployment to end.
    pub wait: Duration,
}

impl DeployRequest {
    /// The configured revision, or the remote's HEAD.
    pub fn latest() -> Self {
        Self::default()
    }

    /// This revision.
    pub fn revision(revision: Revision) -> Self {
        Self { revision, ..Self::default() }
    }

    /// Build it again, even if a release of it exists.
    #[must_use]
    pub fn rebuild(mut self, rebuild: bool) -> Self {
        self.rebuild = rebuild;
        self
    }

    /// Deploy it although it is marked bad.
    #[must_use]
    pub fn retry(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// For timers and hooks: pass over in peace what would need a person's word.
    #[must_use]
    pub fn if_changed(mut self, if_changed: bool) -> Self {
        self.if_changed = if_changed;
        self
    }

    /// Somebody must confirm it over a new connection within this time; else the previous release
    /// returns.
    #[must_use]
    pub fn confirm_within(mut self, within: Period) -> Self {
        self.confirm_within = Some(within);
        self
    }

    /// Wait so long for another deployment to end.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// Go back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RollbackRequest {
    /// To which release or revision: the id of a release or the beginning of one, a full or partial
    /// commit hash, or a branch or tag as it was named when it was deployed. Without it, to the
    /// trusted release that was active before.
    pub to: Option<String>,
    /// Go there although it is marked bad, or was never confirmed.
    pub retry: bool,
    /// Somebody must confirm it over a new connection within this time; else what was active before
    /// returns. The configuration does not demand that of a rollback.
    pub confirm_within: Option<Period>,
    /// How long to wait for another deployment to end.
    pub wait: Duration,
}

impl RollbackRequest {
    /// To the trusted release that was active before.
    pub fn previous() -> Self {
        Self::default()
    }

    /// To a certain release or revision.
    pub fn to(target: impl Into<String>) -> Self {
        Self { to: Some(target.into()), ..Self::default() }
    }

    /// Somebody must confirm it over a new connection within this time; else what was active before
    /// returns.
    #[must_use]
    pub fn confirm_within(mut self, within: Period) -> Self {
        self.confirm_within = Some(within);
        self
    }

    /// Go there although it is marked bad, or was never confirmed.
    #[must_use]
    pub fn retry(mut self, retry: bool) -> Self {
        self.retry = retry;
        self
    }

    /// Wait so long for another deployment to end.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// Start the service of the active release again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RestartRequest {
    /// How long to wait for another deployment to end.
    pub wait: Duration,
}

impl RestartRequest {
    /// Wait so long for another deployment to end.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// Bring the service of the active release to the configuration as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReloadRequest {
    /// How long to wait for another deployment to end.
    pub wait: Duration,
}

impl ReloadRequest {
    /// Wait so long for another deployment to end.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}
