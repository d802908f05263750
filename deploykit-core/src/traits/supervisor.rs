//! What runs the service.

use std::any::Any;
use std::fmt::Debug;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cancel::Cancelled;
use crate::context::Context;
use crate::id::ReleaseId;
use crate::process::{Exit, ProcessError};
use crate::time::Timestamp;
use crate::traits::{BoxError, Release};

/// How a supervisor brings a service from one release to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Switching {
    /// Nothing runs: activation is all.
    Nothing,
    /// Activation first, then [`Supervisor::restart`].
    Restart,
    /// [`Supervisor::prepare`] before the activation, [`Supervisor::commit`] after it.
    Overlap,
}

/// New instances that run beside the old ones. The token is the supervisor's own; it is recorded,
/// so that what was prepared can be aborted after a kill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Names what was prepared, to the supervisor that did it.
    pub token: String,
}

/// What a service is doing, as its supervisor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ServiceState {
    /// The supervisor cannot tell.
    Unknown,
    /// On its way up.
    Starting,
    /// Up.
    Running,
    /// Ended in order.
    Stopped,
    /// Ended otherwise, or restarting again and again.
    Failed,
}

/// One process of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Instance {
    /// Its name, unique in the service: `web@1`.
    pub name: String,
    /// Its state.
    pub state: ServiceState,
    /// The process, while there is one.
    pub pid: Option<u32>,
    /// Since when it is in that state.
    pub since: Option<Timestamp>,
    /// How often it was restarted without being asked to.
    pub restarts: u64,
    /// The release that it runs from.
    pub release: Option<ReleaseId>,
}

/// The state of a service in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceStatus {
    /// The worst state of its instances.
    pub state: ServiceState,
    /// What there is to say, in a few words.
    pub detail: String,
    /// Its instances, where the supervisor knows them.
    pub instances: Vec<Instance>,
}

impl ServiceStatus {
    /// A status without instances.
    pub fn new(state: ServiceState, detail: impl Into<String>) -> Self {
        Self { state, detail: detail.into(), instances: Vec::new() }
    }
}

/// Runs the service from the active release. Built in: `none`, `command`.
///
/// The engine asks [`switching`](Self::switching) once and then calls either `prepare`, `commit` and
/// `abort`, or `restart`. A service may run while deploykit does not: nothing is kept in memory
/// between two calls. A call that starts something ends with [`SupervisorError::Cancelled`] when the
/// context is cancelled.
pub trait Supervisor: Any + Send + Sync + Debug {
    /// The name of the backend, as in the configuration.
    fn name(&self) -> &str;

    /// How it brings a service from one release to another. It is the same every time.
    fn switching(&self) -> Switching;

    /// Whether [`status`](Self::status) can tell a service that runs from one that does not. A
    /// release of which neither that nor a health check tells anything is confirmed at once, and
    /// shown as unchecked. Where it cannot, the status is [`ServiceState::Unknown`].
    fn observes(&self) -> bool {
        true
    }

    /// Looks whether it could bring the service over at all: what it runs is there and can be run.
    /// The engine asks before anything is activated. Without a `release`, which is then still to be
    /// made, it is about what lies outside of releases. Changes nothing.
    ///
    /// # Errors
    /// What is missing. By default nothing is.
    fn preflight(
        &self,
        ctx: &Context,
        release: Option<&dyn Release>,
    ) -> Result<(), SupervisorError> {
        let _ = (ctx, release);
        Ok(())
    }

    /// Starts instances of `release` beside those that run, and waits until they are ready. The
    /// release is not active yet on the way forward; on the way back it is already.
    ///
    /// # Errors
    /// What kept them from getting ready; none of them runs any more then. By default
    /// [`SupervisorError::Unsupported`].
    fn prepare(&self, ctx: &Context, release: &dyn Release) -> Result<Prepared, SupervisorError> {
        let _ = (ctx, release);
        Err(SupervisorError::Unsupported { what: "prepare" })
    }

    /// Lets what was prepared take over, and drains and ends all other instances: the old ones, and
    /// those of an earlier [`prepare`](Self::prepare) that was neither committed nor aborted because
    /// somebody was killed in between. To commit a second time, after a kill, is no error.
    ///
    /// # Errors
    /// What went wrong, and that what was prepared is gone. Old and new instances may both run
    /// then; the next commit of either puts that right. By default [`SupervisorError::Unsupported`].
    fn commit(
        &self,
        ctx: &Context,
        release: &dyn Release,
        prepared: &Prepared,
    ) -> Result<(), SupervisorError> {
        let _ = (ctx, release, prepared);
        Err(SupervisorError::Unsupported { what: "commit" })
    }

    /// Ends what was prepared; the old instances stay. What is gone already is no error: after a
    /// kill it may be aborted twice.
    ///
    /// # Errors
    /// What went wrong. By default [`SupervisorError::Unsupported`].
    fn abort(&self, ctx: &Context, prepared: &Prepared) -> Result<(), SupervisorError> {
        let _ = (ctx, prepared);
        Err(SupervisorError::Unsupported { what: "abort" })
    }

    /// Brings the service to `release`, which is active: starts it, or stops and starts it again.
    ///
    /// # Errors
    /// What kept it from starting.
    fn restart(&self, ctx: &Context, release: &dyn Release) -> Result<(), SupervisorError>;

    /// Ends the service, with what was prepared.
    ///
    /// # Errors
    /// What kept it from ending.
    fn stop(&self, ctx: &Context) -> Result<(), SupervisorError>;

    /// What the service is doing.
    ///
    /// # Errors
    /// What kept it from looking.
    fn status(&self, ctx: &Context) -> Result<ServiceStatus, SupervisorError>;

    /// The last lines that the service has written since then, as far as they can be had: for the
    /// report of what went wrong. By default none.
    fn last_lines(&self, ctx: &Context, since: Timestamp) -> Vec<String> {
        let _ = (ctx, since);
        Vec::new()
    }

    /// Releases from which something runs, each once, prepared ones too: they are not pruned.
    ///
    /// # Errors
    /// What kept it from looking; nothing is pruned then.
    fn releases_in_use(&self, ctx: &Context) -> Result<Vec<ReleaseId>, SupervisorError> {
        let _ = ctx;
        Ok(Vec::new())
    }
}

/// Why a supervisor could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// It cannot do that at all.
    #[error("this service backend cannot {what}")]
    Unsupported {
        /// What.
        what: &'static str,
    },
    /// A command ended otherwise than with exit code 0.
    #[error("{command:?} {exit}")]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        exit: Exit,
        /// The last lines of its output.
        tail: Vec<String>,
    },
    /// It took longer than it may.
    #[error("{command:?} took longer than {} s", limit.as_secs())]
    TimedOut {
        /// The command.
        command: String,
        /// How long it may take.
        limit: Duration,
        /// The last lines of its output.
        tail: Vec<String>,
    },
    /// A command could not be run.
    #[error("cannot run {command:?}")]
    Process {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: ProcessError,
    },
    /// It was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// Something failed in a foreign backend.
    #[error("failed to {operation} the service")]
    Foreign {
        /// What it was doing, as a verb.
        operation: &'static str,
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl SupervisorError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Process { source, .. } => source.hint(),
            _ => None,
        }
    }

    /// The last lines of the output of the command that failed.
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Failed { tail, .. } | Self::TimedOut { tail, .. } => tail,
            _ => &[],
        }
    }
}
