//! Bringing one commit into the cache.

use gix::ObjectId;

use super::cache;
use super::fault::{Fault, is_refused_want};
use super::fetch::{Wanted, receive};
use super::inspect::{Objection, refuse_other_than_commit};
use super::progress::FetchProgress;
use super::source::{Connected, GitSource};
use crate::context::Context;
use crate::traits::{BoxError, Resolved, SourceError};

/// Why a commit did not arrive.
enum Trouble {
    /// The server does not hand it out under its hash.
    RefusedWant(SourceError),
    /// What is here already does not fit what the server sent, it may be damaged.
    Store(BoxError),
    /// Anything else.
    Source(SourceError),
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl Trouble {
    fn into_error(self) -> SourceError {
        match self {
            Self::RefusedWant(error) | Self::Source(error) => error,
            Self::Store(source) => {
                SourceError::Foreign { operation: "write what was fetched".into(), source }
            }
        }
    }
}

/// Makes sure that all of the commit `id` is in the cache, and that it can be checked out.
pub(crate) fn bring(
    source: &GitSource,
    ctx: &Context,
    resolved: &Resolved,
    id: ObjectId,
) -> Result<(), SourceError> {
    let cache = source.cache();
    cache.sweep()?;
    let Some(repository) = cache.open() else { return anew(source, ctx, resolved, id, false) };
    if cache::has(&repository, id) {
        return match source.inspect(ctx, &repository, &resolved.id, id) {
            Ok(_) => Ok(()),
            Err(Objection::Source(error)) => Err(error),
            Err(Objection::Damaged(_)) => anew(source, ctx, resolved, id, true),
        };
    }
    if cache.is_bloated() {
        return anew(source, ctx, resolved, id, false);
    }
    let haves = cache::commits(&repository);
    let wanted = Wanted { wants: vec![id], haves, shallow: true, commits_only: false };
    match pull(source, ctx, &repository, &wanted) {
        Ok(()) => match accept(source, ctx, &repository, resolved, id) {
            Err(Objection::Damaged(_)) => anew(source, ctx, resolved, id, true),
            Err(Objection::Source(error)) => Err(error),
            Ok(()) => Ok(()),
        },
        Err(Trouble::Source(error)) => Err(error),
        Err(Trouble::RefusedWant(_)) => anew(source, ctx, resolved, id, false),
        Err(Trouble::Store(_)) => anew(source, ctx, resolved, id, true),
    }
}

/// Fetches the commit into a new cache, and puts that in the place of the present one.
pub(crate) fn anew(
    source: &GitSource,
    ctx: &Context,
    resolved: &Resolved,
    id: ObjectId,
    damaged: bool,
) -> Result<(), SourceError> {
    let cache = source.cache();
    let repository = cache.begin()?;
    arrive(source, ctx, &repository, resolved, id)?;
    if let Err(Objection::Source(error)) = refuse_other_than_commit(&repository, &resolved.id, id) {
        // The present cache is worth more than one without a commit.
        cache.sweep()?;
        return Err(error);
    }
    let accepted = accept(source, ctx, &repository, resolved, id);
    if !matches!(accepted, Err(Objection::Damaged(_))) {
        drop(repository);
        cache.replace()?;
        if damaged {
            ctx.warn("the cache was damaged; it has been thrown away and fetched again");
        }
    }
    accepted.map_err(|objection| objection.into_error(&resolved.id))
}

/// Gets the commit into an empty repository: by its hash; where the server hands out only what its
/// references name, by the reference; and as a last resort with the whole history.
fn arrive(
    source: &GitSource,
    ctx: &Context,
    repository: &gix::Repository,
    resolved: &Resolved,
    id: ObjectId,
) -> Result<(), SourceError> {
    let mut wanted =
        Wanted { wants: vec![id], haves: Vec::new(), shallow: true, commits_only: false };
    let refused = match pull(source, ctx, repository, &wanted) {
        Ok(()) => return Ok(()),
        Err(Trouble::RefusedWant(refused)) => refused,
        Err(trouble) => return Err(trouble.into_error()),
    };
    let refs = {
        let Connected { mut session, watch: _watch } = source.connect(ctx, None)?;
        let all = ["refs/heads/".into(), "refs/tags/".into()];
        session.refs(&all).map_err(|fault| source.failed(ctx, fault))?
    };
    let tag = refs.iter().find(|r| r.name == resolved.name && r.peeled == Some(id));
    if let Some(tag) = tag.and_then(|entry| entry.object) {
        wanted.wants = vec![tag];
        match pull(source, ctx, repository, &wanted) {
            Ok(()) => return Ok(()),
            Err(Trouble::RefusedWant(_)) => {}
            Err(trouble) => return Err(trouble.into_error()),
        }
    }
    wanted.wants = refs.iter().filter_map(|entry| entry.object).collect();
    wanted.wants.sort();
    wanted.wants.dedup();
    wanted.shallow = false;
    ctx.note("the server does not hand out single commits: the whole history is fetched");
    pull(source, ctx, repository, &wanted).map_err(Trouble::into_error)?;
    if repository.has_object(id) {
        return Ok(());
    }
    Err(match refused {
        SourceError::Transport { url, .. } => {
            SourceError::NotFound { revision: id.to_string(), url, similar: Vec::new() }
        }
        other => other,
    })
}

fn pull(
    source: &GitSource,
    ctx: &Context,
    repository: &gix::Repository,
    wanted: &Wanted,
) -> Result<(), Trouble> {
    let progress = FetchProgress::default();
    let Connected { mut session, watch } = source.connect(ctx, Some(&progress))?;
    let Err(error) = receive(&mut session, repository, wanted, &progress, watch.flag()) else {
        return Ok(());
    };
    if is_refused_want(&error) {
        return Err(Trouble::RefusedWant(source.failed(ctx, Fault::Protocol(error))));
    }
    let known = session.faults.is_set();
    let late = ctx.remaining().is_some_and(|left| left.is_zero());
    if known || late || ctx.check().is_err() || wanted.haves.is_empty() {
        let fault = session.faults.explain(error);
        return Err(Trouble::Source(source.failed(ctx, fault)));
    }
    Err(Trouble::Store(Box::new(error)))
}

/// Inspects a commit that has arrived, and keeps it. One that is refused is kept as well: it is
/// whole, and need not be fetched again to be refused again. What is no commit is not kept: as a
/// revision it would be taken for one.
fn accept(
    source: &GitSource,
    ctx: &Context,
    repository: &gix::Repository,
    resolved: &Resolved,
    id: ObjectId,
) -> Result<(), Objection> {
    refuse_other_than_commit(repository, &resolved.id, id)?;
    let inspected = source.inspect(ctx, repository, &resolved.id, id);
    if let Err(Objection::Damaged(error)) = inspected {
        return Err(Objection::Damaged(error));
    }
    cache::keep(repository, id)?;
    inspected.map(drop)
}
