//! What went wrong in a step, on its way to the transition function and into the report.

use super::error::Error;
use super::report::Failure;
use super::transition::Happened;
use crate::cancel::{Cancelled, Cause};
use crate::event::EventKind;
use crate::secret::Masker;
use crate::state::FileError;
use crate::step::Step;
use crate::traits::{ActivatorError, BuildError, SourceError, SupervisorError};
use crate::{causes, chain};

/// What went wrong in a step.
#[derive(Debug)]
pub(super) struct Trouble(Box<Inner>);

#[derive(Debug)]
struct Inner {
    error: String,
    causes: Vec<String>,
    line: String,
    tail: Vec<String>,
    hint: Option<String>,
    cancelled: Option<Cause>,
    /// It tells nothing of the release: deploykit itself could not go on.
    own: bool,
}

impl Trouble {
    /// The release is ill.
    pub(super) fn ill(why: String) -> Self {
        let mut trouble = Self::new(&Error::Unsettled { what: why }, None, &[]);
        trouble.0.own = false;
        trouble
    }

    fn new(error: &dyn std::error::Error, hint: Option<String>, tail: &[String]) -> Self {
        Self(Box::new(Inner {
            error: error.to_string(),
            causes: causes(error),
            line: chain(error),
            tail: tail.to_vec(),
            hint,
            cancelled: None,
            own: true,
        }))
    }

    /// The same, but the release is not to blame.
    pub(super) fn own(mut self) -> Self {
        self.0.own = true;
        self
    }

    /// The same, with what the service has said.
    pub(super) fn with_tail(mut self, lines: Vec<String>) -> Self {
        self.0.tail = lines;
        self
    }

    fn cancelled(mut self, cause: Option<Cause>) -> Self {
        self.0.cancelled = cause;
        self
    }

    /// The same without secrets: what comes of it is recorded.
    pub(super) fn masked(mut self, masker: &Masker) -> Self {
        let Inner { error, causes, line, tail, hint, cancelled: _, own: _ } = &mut *self.0;
        for text in causes.iter_mut().chain(tail).chain(hint).chain([error, line]) {
            *text = masker.mask(text).into_owned();
        }
        self
    }

    /// For whoever listens.
    pub(super) fn event(&self, step: Step, millis: u64) -> EventKind {
        match self.0.cancelled {
            Some(cause) => EventKind::StepInterrupted { step, millis, cause },
            None => EventKind::StepFailed { step, millis, error: self.0.line.clone() },
        }
    }

    /// For the transition function.
    pub(super) fn happened(&self) -> Happened {
        match self.0.cancelled {
            Some(cause) => Happened::Cancelled(cause),
            None => Happened::Failed { reason: self.0.line.clone(), own: self.0.own },
        }
    }

    /// For the report.
    pub(super) fn failure(self, step: Step) -> Failure {
        let Inner { error, causes, tail, hint, cancelled, .. } = *self.0;
        Failure { step, error, causes, tail, hint, cancelled }
    }
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        let cause = match &error {
            SourceError::Cancelled(Cancelled(cause)) => Some(*cause),
            _ => None,
        };
        Self::new(&error, error.hint(), &[]).cancelled(cause)
    }
}

impl From<BuildError> for Trouble {
    fn from(error: BuildError) -> Self {
        let cause = match &error {
            BuildError::Cancelled(Cancelled(cause)) => Some(*cause),
            _ => None,
        };
        Self::new(&error, error.hint(), error.tail()).cancelled(cause)
    }
}

impl From<SupervisorError> for Trouble {
    fn from(error: SupervisorError) -> Self {
        let cause = match &error {
            SupervisorError::Cancelled(Cancelled(cause)) => Some(*cause),
            _ => None,
        };
        let mut trouble = Self::new(&error, error.hint(), error.tail()).cancelled(cause);
        // A service that does not start is what a release is looked at for.
        trouble.0.own = error.is_of_the_host();
        trouble
    }
}

impl From<Cancelled> for Trouble {
    fn from(error: Cancelled) -> Self {
        Self::new(&error, None, &[]).cancelled(Some(error.0))
    }
}

impl From<ActivatorError> for Trouble {
    fn from(error: ActivatorError) -> Self {
        Self::new(&error, error.hint(), &[])
    }
}

impl From<FileError> for Trouble {
    fn from(error: FileError) -> Self {
        Self::new(&error, None, &[])
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Source(error) => error.into(),
            Error::Supervisor(error) => error.into(),
            Error::Cancelled(error) => error.into(),
            error => Self::new(&error, error.hint(), &[]),
        }
    }
}
