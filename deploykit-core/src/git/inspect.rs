//! What a tree has that cannot be checked out faithfully: found before anything is built.

use gix::ObjectId;
use gix::bstr::{BStr, ByteSlice as _};
use gix::index::entry::Mode;
use gix::objs::Kind;

use super::extent::refuse_excess;
use super::local;
use crate::context::Context;
use crate::id::SourceId;
use crate::traits::{BoxError, SourceError, TreeSize};

/// The longest file that can be an LFS pointer, in bytes.
const LONGEST_POINTER: u64 = 1024;
const POINTER_START: &[u8] = b"version https://git-lfs.github.com/spec/";
/// What Linux takes as the target of a symbolic link, in bytes.
const LINK_LENGTHS: std::ops::Range<u64> = 1..4096;
const ATTRIBUTES: [&str; 3] = ["filter", "working-tree-encoding", "ident"];

/// Why a tree is not to be used.
#[derive(Debug)]
pub(crate) enum Objection {
    /// It is a good tree that cannot be used.
    Source(SourceError),
    /// Objects are missing or broken: another copy may be good.
    Damaged(BoxError),
}

impl From<SourceError> for Objection {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<gix::Error> for Objection {
    fn from(error: gix::Error) -> Self {
        Self::Damaged(Box::new(error))
    }
}

impl Objection {
    /// As an error, where no other copy can be had.
    pub(crate) fn into_error(self, id: &SourceId) -> SourceError {
        match self {
            Self::Source(error) => error,
            Self::Damaged(source) => {
                SourceError::Foreign { operation: format!("read the objects of {id}"), source }
            }
        }
    }
}

/// Refuses what is no commit. That of an annotated tag is named, and not taken: the same commit
/// would be another source under the tag's hash, with marks and releases of its own.
pub(crate) fn refuse_other_than_commit(
    repository: &gix::Repository,
    source: &SourceId,
    id: ObjectId,
) -> Result<(), Objection> {
    let why = match repository.find_header(id)?.kind() {
        Kind::Commit => return Ok(()),
        Kind::Tag => match local::commit_behind(repository, id) {
            Some(commit) => format!("it is an annotated tag: name its commit, {commit}"),
            None => "it is an annotated tag, and not that of a commit".into(),
        },
        kind @ (Kind::Tree | Kind::Blob) => format!("it is a {kind}, not a commit"),
    };
    Err(SourceError::Refused { id: source.clone(), why }.into())
}

/// The tree of a commit, as the list of its files.
pub(crate) fn index_of(
    ctx: &Context,
    repository: &gix::Repository,
    source: &SourceId,
    id: ObjectId,
) -> Result<gix::index::File, Objection> {
    let refused = |why: String| SourceError::Refused { id: source.clone(), why };
    refuse_other_than_commit(repository, source, id)?;
    let tree = repository.find_object(id)?.peel_to_tree()?;
    refuse_excess(ctx, repository, tree.id, refused)?;
    repository.index_from_tree(&tree.id).map_err(|error| {
        // What is not there or broken is damage; what is there and harmful is refused.
        if error.is_validation() && !error.is_not_found() && !error.is_corrupted() {
            refused(error.probable_cause().to_string()).into()
        } else {
            error.into()
        }
    })
}

/// Looks at every entry of a commit's tree: all of it must be there, and nothing that is not
/// supported. Returns how much it takes on disk.
pub(crate) fn inspect(
    ctx: &Context,
    repository: &gix::Repository,
    source: &SourceId,
    id: ObjectId,
) -> Result<TreeSize, Objection> {
    let index = index_of(ctx, repository, source, id)?;
    let mut size = TreeSize::default();
    let mut directories = std::collections::HashSet::new();
    let mut has_attributes = repository.common_dir().join("info/attributes").exists();
    for entry in index.entries() {
        let path = entry.path(&index);
        if entry.mode == Mode::COMMIT {
            return Err(submodule(source, path).into());
        }
        has_attributes |= path == ".gitattributes" || path.ends_with(b"/.gitattributes");
        ctx.check().map_err(SourceError::from)?;
        let length = repository.find_header(entry.id)?.size();
        if entry.mode == Mode::SYMLINK && !LINK_LENGTHS.contains(&length) {
            return Err(link(source, path, length).into());
        }
        size.bytes += length;
        size.entries += 1;
        let mut parent = path.rfind_byte(b'/').map(|end| &path[..end]);
        while let Some(directory) = parent {
            if !directories.insert(directory) {
                break;
            }
            parent = directory.rfind_byte(b'/').map(|end| &directory[..end]);
        }
    }
    size.entries += directories.len() as u64;
    if has_attributes {
        inspect_attributes(ctx, repository, source, &index)?;
    }
    Ok(size)
}

fn inspect_attributes(
    ctx: &Context,
    repository: &gix::Repository,
    source: &SourceId,
    index: &gix::index::File,
) -> Result<(), Objection> {
    use gix::worktree::stack::state::attributes::Source;
    let mut stack = repository.attributes_only(index, Source::IdMapping)?;
    let mut matches = stack.selected_attribute_matches(ATTRIBUTES);
    let mut drivers = std::collections::BTreeMap::<String, u64>::new();
    for entry in index.entries().iter().filter(|entry| entry.mode != Mode::SYMLINK) {
        ctx.check().map_err(SourceError::from)?;
        let path = entry.path(index);
        let platform = stack
            .at_entry(path, Some(entry.mode))
            .map_err(|error| Objection::Damaged(Box::new(error)))?;
        if !platform.matching_attributes(&mut matches) {
            continue;
        }
        let values: Vec<_> =
            matches.iter_selected().map(|m| m.assignment.state.to_owned()).collect();
        let [filter, encoding, ident] = &values[..] else { continue };
        if let Some(encoding) = text(encoding).filter(|name| !is_utf8(name)) {
            return Err(encoded(source, path, &encoding).into());
        }
        if matches!(ident, gix::attrs::State::Set) && has_keyword(repository, entry.id)? {
            return Err(keyword(source, path).into());
        }
        match text(filter) {
            Some(name) if name == "lfs" && is_pointer(repository, entry.id)? => {
                return Err(large_file(source, path).into());
            }
            // A file that is stored as it is, in spite of the attribute.
            Some(name) if name == "lfs" => {}
            Some(name) => *drivers.entry(name).or_default() += 1,
            None => {}
        }
    }
    for (name, count) in drivers {
        ctx.warn(format!(
            "the filter {name:?} of {count} file(s) is not run: they are checked out as they are \
             stored"
        ));
    }
    Ok(())
}

fn text(state: &gix::attrs::State) -> Option<String> {
    match state {
        gix::attrs::State::Value(value) => Some(value.as_ref().as_bstr().to_string()),
        _ => None,
    }
}

fn is_utf8(name: &str) -> bool {
    name.eq_ignore_ascii_case("utf-8") || name.eq_ignore_ascii_case("utf8")
}

fn is_pointer(repository: &gix::Repository, id: ObjectId) -> Result<bool, gix::Error> {
    let small = repository.find_header(id)?.size() <= LONGEST_POINTER;
    Ok(small && repository.find_object(id)?.data.starts_with(POINTER_START))
}

fn has_keyword(repository: &gix::Repository, id: ObjectId) -> Result<bool, gix::Error> {
    let object = repository.find_object(id)?;
    Ok(object.data.find(b"$Id$").is_some() || object.data.find(b"$Id:").is_some())
}

fn unsupported(source: &SourceId, what: String, hint: &str) -> SourceError {
    SourceError::Unsupported { id: source.clone(), what, hint: hint.to_owned() }
}

fn link(source: &SourceId, path: &BStr, length: u64) -> SourceError {
    let path = path.to_str_lossy();
    let why = format!("the target of the symbolic link {path:?} has {length} bytes: not 1 to 4095");
    SourceError::Refused { id: source.clone(), why }
}

fn submodule(source: &SourceId, path: &BStr) -> SourceError {
    let hint = "submodules are not fetched: put the content into the repository itself (git \
                subtree does it), or fetch it in a build step";
    unsupported(source, format!("submodule {:?}", path.to_str_lossy()), hint)
}

fn large_file(source: &SourceId, path: &BStr) -> SourceError {
    let hint = "the contents of Git LFS are not fetched: put the file into the repository itself \
                (git lfs migrate export), or fetch it in a build step";
    unsupported(source, format!("Git LFS file {:?}", path.to_str_lossy()), hint)
}

fn encoded(source: &SourceId, path: &BStr, encoding: &str) -> SourceError {
    let hint = "files are written in UTF-8 only: take the attribute working-tree-encoding away, \
                or convert the file in a build step";
    unsupported(source, format!("encoding {encoding} of {:?}", path.to_str_lossy()), hint)
}

fn keyword(source: &SourceId, path: &BStr) -> SourceError {
    let hint = "the keyword $Id$ is not expanded: take the attribute ident away";
    unsupported(source, format!("keyword $Id$ in {:?}", path.to_str_lossy()), hint)
}
