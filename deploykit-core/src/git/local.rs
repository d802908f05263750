//! Repositories on this machine, opened directly.

use camino::{Utf8Path, Utf8PathBuf};
use gix::ObjectId;
use gix::bstr::ByteSlice as _;

use super::names::{self, RefEntry};
use crate::traits::SourceError;

/// Options that open a repository whoever owns it, and believe nothing that its configuration says
/// beyond its format: no filter, hook or helper of it is ever run.
pub(crate) fn options() -> gix::open::Options {
    gix::open::Options::isolated()
        .with(gix::sec::Trust::Reduced)
        .filter_config_section(|_| false)
        .strict_config(false)
}

/// Opens the repository at `path`: a work tree, a bare repository, or `path.git`, as git does.
pub(crate) fn open(path: &Utf8Path) -> Result<gix::Repository, SourceError> {
    let with_suffix = Utf8PathBuf::from(format!("{path}.git"));
    let path = if !path.exists() && with_suffix.exists() { &with_suffix } else { path };
    if let Err(source) = std::fs::metadata(path) {
        let operation = "open the repository";
        return Err(SourceError::Io { operation, path: path.to_owned(), source });
    }
    match gix::open_opts(path.as_std_path(), options()) {
        Ok(repository) => Ok(repository),
        Err(_) if uses_sha256(path) => Err(SourceError::Transport {
            url: path.to_string(),
            source: Box::new(super::fault::Fault::Sha256),
        }),
        Err(error) => Err(SourceError::Foreign {
            operation: format!("open the git repository {path}"),
            source: Box::new(error),
        }),
    }
}

fn uses_sha256(path: &Utf8Path) -> bool {
    [path.join("config"), path.join(".git/config")].iter().any(|config| {
        let text = std::fs::read_to_string(config).unwrap_or_default().to_lowercase();
        text.lines().any(|line| {
            let mut words = line.split('=').map(str::trim);
            words.next() == Some("objectformat") && words.next() == Some("sha256")
        })
    })
}

/// The reference with exactly this name. What it names is followed through annotated tags.
pub(crate) fn reference(
    repository: &gix::Repository,
    name: &str,
) -> Result<Option<RefEntry>, gix::Error> {
    let Ok(full) = gix::refs::FullName::try_from(name) else { return Ok(None) };
    let Some(mut found) = repository.try_find_reference(full.as_ref())? else { return Ok(None) };
    if found.name().as_bstr() != name.as_bytes().as_bstr() {
        return Ok(None);
    }
    let target = match found.target() {
        gix::refs::TargetRef::Symbolic(target) => Some(target.as_bstr().to_string()),
        gix::refs::TargetRef::Object(_) => None,
    };
    let object = match found.try_id() {
        Some(id) => Some(id.detach()),
        None => found
            .clone()
            .follow()
            .and_then(Result::ok)
            .and_then(|r| r.try_id().map(|id| id.detach())),
    };
    let peeled = if object.is_some() { Some(found.peel_to_id()?.detach()) } else { None };
    Ok(Some(RefEntry::new(name.to_owned(), object, peeled, target)))
}

/// The references that `name` can stand for.
pub(crate) fn references(
    repository: &gix::Repository,
    name: &str,
) -> Result<Vec<RefEntry>, gix::Error> {
    let mut found = Vec::new();
    for full in names::candidates(name) {
        found.extend(reference(repository, &full)?);
    }
    Ok(found)
}

/// The names of all branches and tags; what they name is not looked up.
pub(crate) fn all_names(repository: &gix::Repository) -> Result<Vec<RefEntry>, gix::Error> {
    let platform = repository.references()?;
    let named = platform.all()?.filter_map(Result::ok);
    Ok(named
        .map(|found| RefEntry::new(found.name().as_bstr().to_string(), None, None, None))
        .collect())
}

/// The commits of the repository whose hashes begin with `prefix`.
pub(crate) fn commits(
    repository: &gix::Repository,
    prefix: gix::hash::Prefix,
) -> Result<Vec<ObjectId>, gix::Error> {
    let mut found = std::collections::HashSet::new();
    repository.objects.lookup_prefix(prefix, Some(&mut found))?;
    let is_commit = |id: &ObjectId| {
        repository.find_header(*id).is_ok_and(|header| header.kind() == gix::objs::Kind::Commit)
    };
    let mut commits: Vec<_> = found.into_iter().filter(is_commit).collect();
    commits.sort();
    Ok(commits)
}

/// A commit for people: its hash, and the first line of its message where that is known.
pub(crate) fn describe(repository: Option<&gix::Repository>, id: ObjectId) -> String {
    let commit = repository.and_then(|repository| repository.find_commit(id).ok());
    let subject = commit.as_ref().and_then(|commit| commit.message_raw_sloppy().lines().next());
    match subject {
        Some(subject) => format!("{id} {}", subject.to_str_lossy()),
        None => id.to_string(),
    }
}
