//! What a revision means: one listing of references, and nothing fetched.

use gix::ObjectId;

use super::cache::{self, Cache};
use super::names::{self, Found, Hex, RefEntry};
use super::source::{Connected, GitSource};
use super::{history, local, partial};
use crate::context::Context;
use crate::id::{Revision, SourceId};
use crate::traits::{BoxError, Resolved, SourceError};

/// A repository in which nothing has been committed yet.
#[derive(Debug, thiserror::Error)]
#[error("its default branch {branch:?} has no commit yet")]
struct Unborn {
    branch: String,
}

/// A repository without a HEAD.
#[derive(Debug, thiserror::Error)]
#[error("it has no default branch, or that has no commit yet")]
struct NoHead;

/// As [`Resolved`].
pub(crate) fn resolved(id: ObjectId, name: impl Into<String>) -> Result<Resolved, SourceError> {
    let id = SourceId::new("git", &id.to_string()).map_err(|error| SourceError::Foreign {
        operation: "name a commit".into(),
        source: Box::new(error),
    })?;
    Ok(Resolved::new(id, name))
}

fn head(entries: &[RefEntry], url: &str) -> Result<Resolved, SourceError> {
    let none = |source: BoxError| SourceError::Foreign {
        operation: format!("find the default revision of {url}"),
        source,
    };
    let Some(entry) = entries.iter().find(|entry| entry.name == "HEAD") else {
        return Err(none(Box::new(NoHead)));
    };
    let name = entry.target.clone().unwrap_or_else(|| "HEAD".into());
    match entry.peeled {
        Some(id) => resolved(id, name),
        None => Err(none(Box::new(Unborn { branch: name }))),
    }
}

fn warn_of_other(ctx: &Context, name: &str, found: &Found<'_>) {
    if let Some(other) = found.other {
        ctx.warn(format!(
            "{name:?} is both {} and {}: the first is taken; name the other in full if it is meant",
            found.entry.name, other.name
        ));
    }
}

/// Finds what `revision` means in a repository on this machine.
pub(crate) fn local(
    ctx: &Context,
    repository: &gix::Repository,
    url: &str,
    revision: &Revision,
) -> Result<Resolved, SourceError> {
    let failed = |error: gix::Error| SourceError::Foreign {
        operation: format!("look up {revision} in {url}"),
        source: Box::new(error),
    };
    let Some(name) = revision.name() else {
        let entry = local::reference(repository, "HEAD").map_err(failed)?;
        return head(entry.as_slice(), url);
    };
    let refs = local::references(repository, name).map_err(failed)?;
    let hash = names::as_hash(name);
    if let (None | Some(Hex::Partial(_)), Some(found)) = (hash, names::find(&refs, name)) {
        warn_of_other(ctx, name, &found);
        if let Some(id) = found.entry.peeled {
            return resolved(commit(repository, id)?, &found.entry.name);
        }
    }
    let id = match hash {
        Some(Hex::Full(id)) => repository.has_object(id).then_some(id),
        Some(Hex::Partial(prefix)) => {
            let commits = local::commits(repository, prefix).map_err(failed)?;
            partial::decide(name, commits, Some(repository))?
        }
        None => None,
    };
    match id {
        Some(id) => {
            let id = commit(repository, id)?;
            resolved(id, id.to_string())
        }
        None => {
            let all = local::all_names(repository).map_err(failed)?;
            Err(not_found(name, url, &all))
        }
    }
}

/// The commit that an object is, or that is found behind a tag.
fn commit(repository: &gix::Repository, id: ObjectId) -> Result<ObjectId, SourceError> {
    let failed = |error: gix::Error| SourceError::Foreign {
        operation: format!("read the object {id}"),
        source: Box::new(error),
    };
    let object = repository.find_object(id).map_err(failed)?;
    match object.kind {
        gix::objs::Kind::Commit => Ok(id),
        gix::objs::Kind::Tag => {
            let target = object.peel_tags_to_end().map_err(failed)?.id;
            commit(repository, target)
        }
        kind => Err(SourceError::Refused {
            id: resolved(id, "")?.id,
            why: format!("it is a {kind}, not a commit"),
        }),
    }
}

fn not_found(name: &str, url: &str, refs: &[RefEntry]) -> SourceError {
    SourceError::NotFound {
        revision: name.to_owned(),
        url: url.to_owned(),
        similar: names::similar(refs, name),
    }
}

/// Finds what `revision` means in a repository elsewhere.
pub(crate) fn remote(
    source: &GitSource,
    ctx: &Context,
    cache: &Cache,
    revision: &Revision,
) -> Result<Resolved, SourceError> {
    let Some(name) = revision.name() else {
        let refs = list(source, ctx, &["HEAD".into()])?;
        return head(&refs, source.url());
    };
    match names::as_hash(name) {
        Some(Hex::Full(id)) => full(source, ctx, cache, id),
        Some(Hex::Partial(prefix)) => partial_or_named(source, ctx, cache, name, prefix),
        None => named(source, ctx, name),
    }
}

fn list(
    source: &GitSource,
    ctx: &Context,
    prefixes: &[String],
) -> Result<Vec<RefEntry>, SourceError> {
    let Connected { mut session, watch: _watch } = source.connect(ctx, None)?;
    session.refs(prefixes).map_err(|fault| source.failed(ctx, fault))
}

fn all() -> [String; 2] {
    ["refs/heads/".into(), "refs/tags/".into()]
}

fn named(source: &GitSource, ctx: &Context, name: &str) -> Result<Resolved, SourceError> {
    let Connected { mut session, watch: _watch } = source.connect(ctx, None)?;
    let refs = session.refs(&names::candidates(name)).map_err(|fault| source.failed(ctx, fault))?;
    if let Some(found) = names::find(&refs, name) {
        warn_of_other(ctx, name, &found);
        if let Some(id) = found.entry.peeled {
            return resolved(id, &found.entry.name);
        }
    }
    // It costs a second listing to say what might have been meant.
    let refs = session.refs(&all()).map_err(|fault| source.failed(ctx, fault))?;
    Err(not_found(name, source.url(), &refs))
}

/// A full hash is its own answer. Whether it exists is looked up where that is cheap: in the cache,
/// or at the tips; the fetch tells in the other cases.
fn full(
    source: &GitSource,
    ctx: &Context,
    cache: &Cache,
    id: ObjectId,
) -> Result<Resolved, SourceError> {
    if cache.open().is_some_and(|repository| cache::has(&repository, id)) {
        return resolved(id, id.to_string());
    }
    let refs = list(source, ctx, &all())?;
    let tag = refs.iter().find(|entry| entry.object == Some(id));
    let id = tag.and_then(|entry| entry.peeled).unwrap_or(id);
    resolved(id, id.to_string())
}

fn partial_or_named(
    source: &GitSource,
    ctx: &Context,
    cache: &Cache,
    name: &str,
    prefix: gix::hash::Prefix,
) -> Result<Resolved, SourceError> {
    let mut prefixes = names::candidates(name);
    prefixes.extend(all());
    let refs = list(source, ctx, &prefixes)?;
    if let Some(found) = names::find(&refs, name) {
        warn_of_other(ctx, name, &found);
        if let Some(id) = found.entry.peeled {
            return resolved(id, &found.entry.name);
        }
    }
    let repository = cache.open();
    let mut commits = partial::among_tips(&refs, prefix);
    let cached = repository.as_ref().map(cache::commits).unwrap_or_default();
    commits.extend(cached.into_iter().filter(|id| prefix.cmp_oid(id).is_eq()));
    let id = match partial::decide(name, commits, repository.as_ref())? {
        Some(id) => Some(id),
        None => history::search(source, ctx, name, prefix, &refs)?,
    };
    match id {
        Some(id) => resolved(id, id.to_string()),
        None => Err(not_found(name, source.url(), &refs)),
    }
}
