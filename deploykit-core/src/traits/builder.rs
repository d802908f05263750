//! Making a tree runnable.

use std::any::Any;
use std::fmt::Debug;
use std::time::Duration;

use camino::Utf8PathBuf;

use crate::cancel::Cancelled;
use crate::context::Context;
use crate::id::{ReleaseId, SourceId};
use crate::process::{Exit, ProcessError};
use crate::traits::BoxError;

/// What is to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BuildRequest {
    /// The release that is being made.
    pub release: ReleaseId,
    /// What was checked out.
    pub source: SourceId,
    /// The release's final directory (absolute): the build runs where the service will.
    pub root: Utf8PathBuf,
    /// A variable that every process of the build has in its environment, with a value that no
    /// other process has: by it they are found again, also when this process was killed.
    pub marker: (String, String),
}

impl BuildRequest {
    /// A request.
    pub fn new(
        release: ReleaseId,
        source: SourceId,
        root: Utf8PathBuf,
        marker: (String, String),
    ) -> Self {
        Self { release, source, root, marker }
    }
}

/// Makes a tree runnable. Built in: `commands`.
pub trait Builder: Any + Send + Sync + Debug {
    /// The name of the backend, as in the configuration.
    fn name(&self) -> &str;

    /// What it will do, one line a step, for `plan`. It is the same every time.
    fn steps(&self) -> Vec<String>;

    /// Builds in `request.root`. Output goes to the context, line by line. When it returns, in
    /// whichever way, no process of the build runs any more, not even one that has left its session.
    ///
    /// # Errors
    /// [`BuildError::Failed`] when a step did not succeed, or what kept it from running.
    /// [`BuildError::Cancelled`] when the context is cancelled: before the first step, nothing is
    /// done; while it builds, what runs is ended. Another error when the context's deadline passes.
    fn build(&self, ctx: &Context, request: &BuildRequest) -> Result<(), BuildError>;
}

/// Why a build did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A step ended otherwise than with exit code 0.
    #[error("build step {step:?} {exit}")]
    Failed {
        /// The name of the step.
        step: String,
        /// How it ended.
        exit: Exit,
        /// The last lines of its output.
        tail: Vec<String>,
    },
    /// A step took longer than it may.
    #[error("build step {step:?} took longer than {} s", limit.as_secs())]
    TimedOut {
        /// The name of the step.
        step: String,
        /// How long it may take.
        limit: Duration,
        /// The last lines of its output.
        tail: Vec<String>,
    },
    /// A step could not be run.
    #[error("cannot run build step {step:?}")]
    Process {
        /// The name of the step.
        step: String,
        /// Why.
        #[source]
        source: ProcessError,
    },
    /// Something that the step needs is missing: its directory, a value of its environment.
    #[error("build step {step:?} cannot start: {why}")]
    Precondition {
        /// The name of the step.
        step: String,
        /// What is missing.
        why: String,
        /// What a person can do about it.
        hint: Option<String>,
    },
    /// It was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// Something failed in a foreign backend.
    #[error("the build failed")]
    Foreign(#[source] BoxError),
}

impl BuildError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Process { source, .. } => source.hint(),
            Self::Precondition { hint, .. } => hint.clone(),
            _ => None,
        }
    }

    /// The last lines of the output of the step that failed.
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Failed { tail, .. } | Self::TimedOut { tail, .. } => tail,
            _ => &[],
        }
    }
}
