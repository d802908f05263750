//! What is active, and how that changes.

use std::any::Any;
use std::fmt::Debug;

use camino::Utf8PathBuf;

use crate::traits::BoxError;

/// Switches what is active, atomically. Built in: the symbolic link.
///
/// What is active is named by a path relative to the application's directory, such as
/// `releases/20261121-091530-92965fdb8a7c`, since it may be something that deploykit does not
/// know: a person may have changed it.
///
/// Nothing is kept in memory: another activator of the same application, in this process or another,
/// sees every switch. Whoever switches holds the application's lock, so two never do at once; anybody
/// may ask what is active at any time, and is answered with one or the other.
pub trait Activator: Any + Send + Sync + Debug {
    /// The name of the backend.
    fn name(&self) -> &str;

    /// What is active now; `None` when nothing is. What lies outside the application's directory
    /// is named by its absolute path.
    ///
    /// # Errors
    /// When it cannot be read, or is not something that could be switched.
    fn active(&self) -> Result<Option<Utf8PathBuf>, ActivatorError>;

    /// Makes `to` active (nothing, if it is `None`; what is active already may be named), provided that `expected` is active now. At
    /// every instant either the one or the other is active. Once it returns `Ok`, the change
    /// survives a loss of power.
    ///
    /// # Errors
    /// [`ActivatorError::Changed`] when something else was active: nothing has changed then. After
    /// another error, ask [`Activator::active`].
    fn switch(
        &self,
        expected: Option<&Utf8PathBuf>,
        to: Option<&Utf8PathBuf>,
    ) -> Result<(), ActivatorError>;
}

/// Why the active release could not be read or switched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivatorError {
    /// Something else is active than was expected.
    #[error(
        "expected {} to be active, but found {}",
        expected.as_ref().map_or("nothing", |p| p.as_str()),
        found.as_ref().map_or("nothing", |p| p.as_str())
    )]
    Changed {
        /// What should have been active.
        expected: Option<Utf8PathBuf>,
        /// What is.
        found: Option<Utf8PathBuf>,
    },
    /// A file or directory stands where the link should be.
    #[error("{path} is not a symbolic link")]
    NotALink {
        /// Where.
        path: Utf8PathBuf,
    },
    /// The system refused it.
    #[error("failed to {operation} {path}")]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// Which file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Something failed in a foreign backend.
    #[error("the switch failed")]
    Foreign(#[source] BoxError),
}

impl ActivatorError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotALink { path } => {
                Some(format!("move it away, for example: mv {path} {path}.old"))
            }
            Self::Changed { .. } => Some(
                "somebody else changes the link too; `deploykit status` shows what is active"
                    .into(),
            ),
            _ => None,
        }
    }
}
