//! Looking for a commit in the history of a repository that is elsewhere.

use camino::Utf8PathBuf;
use gix::ObjectId;

use super::fetch::{Wanted, receive};
use super::local;
use super::names::RefEntry;
use super::partial::decide;
use super::progress::FetchProgress;
use super::scratch::Scratch;
use super::source::{Connected, GitSource};
use crate::context::Context;
use crate::traits::SourceError;

/// Looks for a partial hash among all commits behind `refs`.
///
/// They are fetched into a directory that is gone afterwards: resolving changes nothing in the
/// application, and somebody else may resolve at the same time. Servers that can leave out trees
/// and files do, which makes it some hundred bytes a commit.
pub(crate) fn search(
    source: &GitSource,
    ctx: &Context,
    text: &str,
    prefix: gix::hash::Prefix,
    refs: &[RefEntry],
) -> Result<Option<ObjectId>, SourceError> {
    let mut wants: Vec<ObjectId> = refs.iter().filter_map(|entry| entry.object).collect();
    wants.sort();
    wants.dedup();
    if wants.is_empty() {
        return Ok(None);
    }
    ctx.note(format!("looking for {text} in the history of {}", source.url()));
    let root = std::env::temp_dir();
    let io = |source| SourceError::Io {
        operation: "make a directory in",
        path: Utf8PathBuf::from(root.to_string_lossy().into_owned()),
        source,
    };
    let directory = Scratch::new(&root).map_err(io)?;
    let path = Utf8PathBuf::from_path_buf(directory.path().to_owned())
        .map_err(|_| io(std::io::Error::other("its path is not UTF-8")))?;
    let repository = super::cache::init(&path)?;
    let progress = FetchProgress::default();
    let Connected { mut session, watch } = source.connect(ctx, Some(&progress))?;
    let wanted = Wanted { wants, haves: Vec::new(), shallow: false, commits_only: true };
    receive(&mut session, &repository, &wanted, &progress, watch.flag()).map_err(|error| {
        let fault = session.faults.explain(error);
        source.failed(ctx, fault)
    })?;
    let commits = local::commits(&repository, prefix).map_err(|error| SourceError::Foreign {
        operation: "look through the history".into(),
        source: Box::new(error),
    })?;
    decide(text, commits, Some(&repository))
}
