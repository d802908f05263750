//! Telling somebody something.

use std::any::Any;
use std::fmt::Debug;

use crate::context::Context;
use crate::message::Message;
use crate::process::ProcessError;
use crate::traits::BoxError;

/// Why somebody could not be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifierError {
    /// It was tried, and refused or lost; why, in words that name no secret.
    #[error("{why}")]
    Refused {
        /// Why.
        why: String,
    },
    /// It took longer than it may.
    #[error("it took longer than it may: {what}")]
    Late {
        /// What.
        what: String,
    },
    /// Somebody wants an end.
    #[error("it was interrupted")]
    Cancelled,
    /// Its program could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Of a notifier that deploykit does not know.
    #[error("it could not be told")]
    Other(#[source] BoxError),
}

/// Tells somebody. Built into core: `command`; the crate `deploykit-notify` has `mail`, `http` and `file`.
///
/// One call is one attempt: who is told what, how often and when it is tried again is decided elsewhere.
pub trait Notifier: Any + Send + Sync + Debug {
    /// Where it goes, for people: `mail to ops@example.org`. No secret is in it.
    fn name(&self) -> &str;

    /// Sends a message, within the context's deadline, and ends soon when the context is cancelled. When
    /// it returns, it has been taken on by whoever carries it.
    ///
    /// # Errors
    /// Why it was not.
    fn send(&self, ctx: &Context, message: &Message) -> Result<(), NotifierError>;
}
