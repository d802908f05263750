//! Where releases come from.

use std::any::Any;
use std::fmt::Debug;

use camino::{Utf8Path, Utf8PathBuf};

use crate::cancel::Cancelled;
use crate::context::Context;
use crate::id::{Revision, SourceId};
use crate::secret_source::SecretError;
use crate::traits::BoxError;

/// What a revision resolved to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// The exact content.
    pub id: SourceId,
    /// The full name by which the source knows it: `refs/heads/main`, `refs/tags/v1`, or the hash.
    /// As a revision it means the same.
    pub name: String,
}

impl Resolved {
    /// A result of resolving.
    pub fn new(id: SourceId, name: impl Into<String>) -> Self {
        Self { id, name: name.into() }
    }
}

/// How much a tree will take on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TreeSize {
    /// The lengths of its files added up, in bytes.
    pub bytes: u64,
    /// How many files, links and directories.
    pub entries: u64,
}

impl TreeSize {
    /// A size.
    pub fn new(bytes: u64, entries: u64) -> Self {
        Self { bytes, entries }
    }
}

/// What was written by [`Source::materialise`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Materialised {
    /// Bytes of file content.
    pub bytes: u64,
    /// Files and links.
    pub files: u64,
}

impl Materialised {
    /// What was written.
    pub fn new(bytes: u64, files: u64) -> Self {
        Self { bytes, files }
    }
}

/// Where releases come from: it knows what a revision means, and can write the tree of what it
/// means into a directory. Built in: git.
///
/// The engine calls `resolve`, then `fetch`, then `size`, then `materialise`, the last three with
/// the same source id and under the application's lock; `resolve` may run at any time. Each of them
/// ends with [`SourceError::Cancelled`] when the context is cancelled, at the start or on the way.
pub trait Source: Any + Send + Sync + Debug {
    /// The name of the backend, as in the configuration.
    fn name(&self) -> &str;

    /// Finds the exact content that `revision` means now. Changes nothing in the
    /// application; a backend that can answer in no other way may fill its cache.
    ///
    /// # Errors
    /// [`SourceError::NotFound`], [`SourceError::Ambiguous`], or what kept it from looking.
    fn resolve(&self, ctx: &Context, revision: &Revision) -> Result<Resolved, SourceError>;

    /// Makes sure that `source` can be materialised without the network: a cache is filled. It may be
    /// called again for what is fetched already. Does nothing by default.
    ///
    /// # Errors
    /// What kept it from fetching. [`SourceError::Unsupported`] when the source needs something
    /// that the backend cannot do.
    fn fetch(&self, ctx: &Context, source: &Resolved) -> Result<(), SourceError> {
        let _ = (ctx, source);
        Ok(())
    }

    /// How much disk the tree of a fetched source takes, the directory that it is written into not
    /// included; `None` when that is not known.
    ///
    /// # Errors
    /// What kept it from looking.
    fn size(&self, ctx: &Context, source: &SourceId) -> Result<Option<TreeSize>, SourceError> {
        let _ = (ctx, source);
        Ok(None)
    }

    /// Whether the tree of `source` has a file at this path, and no link or directory; `None` when
    /// that cannot be told without fetching. Changes nothing, and may be called at any time.
    fn has_file(&self, ctx: &Context, source: &SourceId, path: &Utf8Path) -> Option<bool> {
        let _ = (ctx, source, path);
        None
    }

    /// Writes the tree of `source`, the same each time, into the empty directory `into`, and nothing outside it. The
    /// tree is complete when it returns `Ok`, but need not be on disk durably.
    ///
    /// # Errors
    /// What kept it from writing, also when there is no such source. `into` may then hold a part of the tree.
    fn materialise(
        &self,
        ctx: &Context,
        source: &SourceId,
        into: &Utf8Path,
    ) -> Result<Materialised, SourceError>;
}

/// Why a source could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There is no such revision.
    #[error("there is no branch, tag or commit {revision:?} in {url}")]
    NotFound {
        /// What was asked for.
        revision: String,
        /// Where it was looked for, without any secret.
        url: String,
        /// Names that look alike.
        similar: Vec<String>,
    },
    /// A partial hash that several commits begin with.
    #[error("{revision:?} is the beginning of {} commits", candidates.len())]
    Ambiguous {
        /// What was asked for.
        revision: String,
        /// The full hashes, with the first line of their messages where known.
        candidates: Vec<String>,
    },
    /// The server refused the credentials, or wanted some and had none.
    #[error("{url} refused access")]
    Access {
        /// Where.
        url: String,
        /// Whether credentials were sent.
        had_credentials: bool,
        /// What the server said.
        #[source]
        source: Option<BoxError>,
    },
    /// It could not be reached, or the transfer broke.
    #[error("cannot reach {url}")]
    Transport {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The content needs something that the backend does not do.
    #[error("{what} in {id}: not supported")]
    Unsupported {
        /// In which source.
        id: SourceId,
        /// What: `submodule "vendor/x"`, …
        what: String,
        /// What a person can do.
        hint: String,
    },
    /// The content is not what its name says, or is harmful.
    #[error("{id} cannot be checked out: {why}")]
    Refused {
        /// Which source.
        id: SourceId,
        /// Why.
        why: String,
    },
    /// A secret could not be read.
    #[error("cannot read the credentials")]
    Credentials(#[source] BoxError),
    /// A file could not be read or written.
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
    /// It was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// Something else failed in the backend.
    #[error("failed to {operation}")]
    Foreign {
        /// What it was doing, as a verb with its object.
        operation: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl SourceError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { similar, .. } if !similar.is_empty() => {
                Some(format!("did you mean {}?", similar.join(" or ")))
            }
            Self::NotFound { .. } => {
                Some("has it been pushed? `deploykit resolve` shows what the default is".into())
            }
            Self::Ambiguous { candidates, .. } => {
                Some(format!("name more digits:\n{}", candidates.join("\n")))
            }
            Self::Access { had_credentials: true, .. } => Some(
                "look whether the token or password is still valid and may read the repository"
                    .into(),
            ),
            Self::Access { had_credentials: false, .. } => Some(
                "set repo.token, or repo.username and repo.password, in the configuration".into(),
            ),
            Self::Unsupported { hint, .. } => Some(hint.clone()),
            Self::Credentials(source) => source.downcast_ref::<SecretError>()?.hint(),
            #[cfg(feature = "git")]
            Self::Transport { source, .. } | Self::Foreign { source, .. } => {
                crate::git::hint(source)
            }
            _ => None,
        }
    }
}
