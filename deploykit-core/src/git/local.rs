//! Repositories on this machine, opened directly.

use camino::{Utf8Path, Utf8PathBuf};
use gix::ObjectId;
use gix::bstr::ByteSlice as _;
use gix::objs::Kind;

use super::names::{self, RefEntry};
use crate::traits::SourceError;

/// A repository that is there and cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it is a file, and leads to no git repository")]
    File,
    #[error("it uses SHA-256 object names, which are not supported yet")]
    Sha256,
    #[error("it keeps its references in the form \"reftable\", which is not supported yet")]
    Reftable,
}

/// Options that open a repository whoever owns it, and believe nothing that its configuration says
/// beyond its format: no filter, hook or helper of it is ever run. Objects are not replaced by
/// others either (`git replace`): a hash is to mean the same here as for whoever fetches it.
pub(crate) fn options() -> gix::open::Options {
    gix::open::Options::isolated()
        .with(gix::sec::Trust::Reduced)
        .config_overrides(["core.useReplaceRefs=false"])
        .filter_config_section(|section| section.source == gix::config::Source::Api)
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
    let unusable = |why: Unusable| SourceError::Foreign {
        operation: format!("open the git repository {path}"),
        source: Box::new(why),
    };
    match gix::open_opts(path.as_std_path(), options()) {
        Ok(repository) if uses_reftable(&repository) => Err(unusable(Unusable::Reftable)),
        Ok(repository) => Ok(repository),
        Err(_) if uses_sha256(path) => Err(unusable(Unusable::Sha256)),
        // The error would quote what the file says.
        Err(_) if path.is_file() || path.join(".git").is_file() => Err(unusable(Unusable::File)),
        Err(error) => Err(SourceError::Foreign {
            operation: format!("open the git repository {path}"),
            source: Box::new(error),
        }),
    }
}

/// gix opens such a repository, and finds no reference in it.
fn uses_reftable(repository: &gix::Repository) -> bool {
    let format = repository.config_snapshot().string("extensions.refStorage");
    format.is_some_and(|format| format.eq_ignore_ascii_case(b"reftable"))
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

/// The commits of the repository whose hashes begin with `prefix`, and those behind annotated tags
/// whose hashes do: whoever types the hash of a tag means its commit.
pub(crate) fn commits(
    repository: &gix::Repository,
    prefix: gix::hash::Prefix,
) -> Result<Vec<ObjectId>, gix::Error> {
    let mut found = std::collections::HashSet::new();
    repository.objects.lookup_prefix(prefix, Some(&mut found))?;
    let commit = |id: ObjectId| match repository.find_header(id).ok()?.kind() {
        Kind::Commit => Some(id),
        Kind::Tag => commit_behind(repository, id),
        Kind::Tree | Kind::Blob => None,
    };
    let mut commits: Vec<_> = found.into_iter().filter_map(commit).collect();
    commits.sort();
    Ok(commits)
}

/// The commit that an annotated tag marks, if it is one that it marks.
pub(crate) fn commit_behind(repository: &gix::Repository, tag: ObjectId) -> Option<ObjectId> {
    let end = repository.find_object(tag).ok()?.peel_tags_to_end().ok()?;
    (end.kind == Kind::Commit).then_some(end.id)
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
