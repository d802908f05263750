//! Whether the service is well.

use std::any::Any;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::traits::{BoxError, Release};

/// What one look at a service found, told in a few words on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "look", content = "detail", rename_all = "kebab-case")]
pub enum Look {
    /// It is well; what was seen, in a few words (`200 in 3 ms`).
    Well(String),
    /// Nobody answers yet: refused, no such socket, no answer in time.
    NotYet(String),
    /// It answered, and what it answered is wrong.
    Ill(String),
    /// It could not be looked at all, for a reason that tells nothing of the service: no process could
    /// be started to look, say.
    Blind(String),
}

impl Look {
    /// Whether it is well.
    pub fn is_well(&self) -> bool {
        matches!(self, Self::Well(_))
    }

    /// What was found.
    pub fn detail(&self) -> &str {
        match self {
            Self::Well(detail) | Self::NotYet(detail) | Self::Ill(detail) | Self::Blind(detail) => {
                detail
            }
        }
    }
}

/// Looks at a service. Built in: `http`, `tcp`, `unix`, `exec`.
///
/// One call is one look; how often, how many in a row and until when is the engine's business.
pub trait HealthCheck: Any + Send + Sync + Debug {
    /// The name of the check, unique in the application; for people.
    fn name(&self) -> &str;

    /// Looks whether it could look at all: what it needs is there. The engine asks before anything is
    /// activated. Without a `release`, which is then still to be made, it is about what lies outside
    /// of releases.
    ///
    /// # Errors
    /// What is missing. By default nothing is.
    fn preflight(&self, release: Option<&dyn Release>) -> Result<(), BoxError> {
        let _ = release;
        Ok(())
    }

    /// Looks once, within the context's deadline. `release` is the one that should be serving.
    /// Whatever keeps it from looking is an answer too: [`Look::NotYet`], [`Look::Ill`], or
    /// [`Look::Blind`], for which no release is blamed. When no time is left, and as soon as the context is cancelled, it is [`Look::NotYet`].
    fn look(&self, ctx: &Context, release: &dyn Release) -> Look;
}
