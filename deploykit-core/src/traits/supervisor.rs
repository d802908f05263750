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
use crate::traits::{BoxError, Finding, InstanceName, LogLine, LogRequest, Release, ServiceStatus};

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

/// How the service is brought to a release where [`Switching::Restart`] is the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Manner {
    /// As it is configured: one that takes a release over by itself, by a reload, is only told to.
    Usual,
    /// With new processes, whatever is configured: on a way back, where what runs is not to be relied
    /// on, and when a person wants just that.
    Anew,
    /// The release is the same, its description is not: with new processes where these are described
    /// otherwise than those that run, and those that do not run. Who cannot tell takes it as
    /// [`Anew`](Self::Anew).
    Changed,
}

/// The name of new instances that run beside the old ones. The engine gives it, and records it before
/// anything is started, so that what was prepared can be aborted after a kill.
///
/// ```
/// use deploykit_core::traits::Prepared;
///
/// assert_eq!(Prepared::new("7").token, "7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Names what is prepared; no other preparation of the application is called so.
    pub token: String,
}

impl Prepared {
    /// What is prepared under this name.
    pub fn new(token: impl Into<String>) -> Self {
        Self { token: token.into() }
    }
}

/// Runs the service from the active release. Built in: `none`, `command`; the crate
/// `deploykit-systemd` adds `systemd`.
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
    /// shown as unchecked. Where it cannot, the status is
    /// [`ServiceState::Unknown`](crate::traits::ServiceState::Unknown).
    fn observes(&self) -> bool {
        true
    }

    /// Whether [`status`](Self::status) takes so little that it can be asked several times a second:
    /// what ends is noticed at once then.
    fn is_cheap_to_ask(&self) -> bool {
        false
    }

    /// The instances that it runs, in the order in which they are brought over, as far as they have
    /// names: a health check can be asked of each. Where a service has several, the engine brings
    /// all over one by one with [`restart_instance`](Self::restart_instance), and waits for each to be
    /// well.
    fn instances(&self) -> Vec<InstanceName> {
        Vec::new()
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

    /// Where it overlaps: whether this one of its [`instances`](Self::instances) is brought over by
    /// [`prepare`](Self::prepare) and [`commit`](Self::commit). The engine brings the others over after the
    /// commit, one by one, with [`restart_instance`](Self::restart_instance).
    fn hands_over(&self, instance: &InstanceName) -> bool {
        let _ = instance;
        true
    }

    /// Starts instances of `release` beside those that run, under the name `prepared`, and waits until they
    /// are ready. The release is not active yet on the way forward; on the way back it is already. What
    /// runs from it already needs no other one beside it, unless that is to run anew. To prepare a second
    /// time under one name, after a kill, goes on with what is there.
    ///
    /// # Errors
    /// What kept them from getting ready. The engine aborts what was prepared then. By default
    /// [`SupervisorError::Unsupported`].
    fn prepare(
        &self,
        ctx: &Context,
        release: &dyn Release,
        prepared: &Prepared,
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        let _ = (ctx, release, prepared, manner);
        Err(SupervisorError::Unsupported { what: "prepare" })
    }

    /// Lets what was prepared take over, and has all other instances drain and end: the old ones, and
    /// those of an earlier [`prepare`](Self::prepare) that was neither committed nor aborted because
    /// somebody was killed in between. Those that drain may still run when it returns. To commit a second
    /// time, after a kill, is no error, and what is gone meanwhile is started.
    ///
    /// # Errors
    /// What went wrong. Old and new instances may both run then; the next commit of either puts that
    /// right. By default [`SupervisorError::Unsupported`].
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
    fn restart(
        &self,
        ctx: &Context,
        release: &dyn Release,
        manner: Manner,
    ) -> Result<(), SupervisorError>;

    /// Brings what belongs to the service and is none of its [`instances`](Self::instances) to
    /// `release`, which is active: unit files, sockets. The engine asks for it before it brings
    /// instances over one by one; [`restart`](Self::restart) does it itself.
    ///
    /// # Errors
    /// What keeps the instances from being brought over.
    fn settle(&self, ctx: &Context, release: &dyn Release) -> Result<(), SupervisorError> {
        let _ = (ctx, release);
        Ok(())
    }

    /// Ends what it runs and `next` does not, which runs the service from now on. By default there is
    /// nothing of that kind.
    ///
    /// # Errors
    /// What kept it from ending. The service is brought over all the same.
    fn leave(&self, ctx: &Context, next: &dyn Supervisor) -> Result<(), SupervisorError> {
        let _ = (ctx, next);
        Ok(())
    }

    /// Brings one of its [`instances`](Self::instances) to `release`, which is active, and leaves the
    /// others alone.
    ///
    /// # Errors
    /// What kept it from starting. By default [`SupervisorError::Unsupported`].
    fn restart_instance(
        &self,
        ctx: &Context,
        release: &dyn Release,
        instance: &InstanceName,
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        let _ = (ctx, release, instance, manner);
        Err(SupervisorError::Unsupported { what: "restart one of its instances" })
    }

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

    /// Hands over what the services have written, line by line, the oldest first.
    ///
    /// # Errors
    /// What kept it from reading. By default [`SupervisorError::Unsupported`].
    fn logs(
        &self,
        ctx: &Context,
        request: &LogRequest,
        on_line: &mut dyn FnMut(LogLine),
    ) -> Result<(), SupervisorError> {
        let _ = (ctx, request, on_line);
        Err(SupervisorError::Unsupported { what: "show what the service has written" })
    }

    /// Looks whether all is in order that lies outside of deploykit's own directory, for `check`.
    /// Changes nothing. By default there is nothing to look at.
    fn inspect(&self, ctx: &Context) -> Vec<Finding> {
        let _ = ctx;
        Vec::new()
    }

    /// Releases from which something runs, each once, what is prepared or drains too: they are not pruned.
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
    /// What a backend has to tell, in its own words.
    #[error(transparent)]
    Backend(#[from] BackendError),
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
            Self::Backend(error) => error.hint.clone(),
            _ => None,
        }
    }

    /// Whether it tells nothing of the release: the host could not do what was asked.
    pub fn is_of_the_host(&self) -> bool {
        match self {
            Self::Process { source, .. } => source.is_of_the_host(),
            Self::Backend(error) => error.of_the_host,
            _ => false,
        }
    }

    /// The last lines of the output of what failed.
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Failed { tail, .. } | Self::TimedOut { tail, .. } => tail,
            Self::Backend(error) => &error.tail,
            _ => &[],
        }
    }
}

/// An error of a backend's own, with all that there is to tell about it.
///
/// ```
/// use deploykit_core::traits::{BackendError, SupervisorError};
///
/// let error = BackendError::new("the bus cannot be reached").hint("is dbus installed?".to_owned());
/// let error = error.of_the_host();
/// let error = SupervisorError::from(error);
/// assert_eq!(error.to_string(), "the bus cannot be reached");
/// assert!(error.is_of_the_host());
/// ```
#[derive(Debug)]
pub struct BackendError {
    error: BoxError,
    hint: Option<String>,
    tail: Vec<String>,
    of_the_host: bool,
}

impl BackendError {
    /// An error, be it a text or a type of the backend.
    pub fn new(error: impl Into<BoxError>) -> Self {
        Self { error: error.into(), hint: None, tail: Vec::new(), of_the_host: false }
    }

    /// The same, with what a person can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same, with the last lines that the service has written.
    #[must_use]
    pub fn tail(mut self, tail: Vec<String>) -> Self {
        self.tail = tail;
        self
    }

    /// The same, but it tells nothing of the release, which is not blamed for it.
    #[must_use]
    pub fn of_the_host(mut self) -> Self {
        self.of_the_host = true;
        self
    }

    /// What the backend says.
    pub fn error(&self) -> &BoxError {
        &self.error
    }
}

impl std::fmt::Display for BackendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.error, f)
    }
}

impl std::error::Error for BackendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}
