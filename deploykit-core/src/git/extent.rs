//! How much a tree is, found without unfolding it.
//!
//! A repository of a few kilobytes can describe a tree that no memory holds: directories within
//! directories a hundred thousand deep, or the same directory in itself ten times over, ten times.
//! So each distinct directory is looked at once, and what it means is added up.

use std::collections::HashMap;

use gix::ObjectId;
use gix::objs::FindExt as _;

use super::inspect::Objection;
use crate::context::Context;
use crate::traits::SourceError;

/// As many directories within one another as git itself checks out.
const DEEPEST: usize = 2048;
/// What Linux takes as the name of a file, in bytes.
const LONGEST_NAME: usize = 255;
/// What Linux takes as a path, in bytes, with the byte that ends it.
const LONGEST_PATH: u64 = 4096;
/// The memory that the list of the files may take, in bytes: that of some five million files.
const LARGEST_LIST: u64 = 512 << 20;
/// What an entry of the list takes beside its path.
const ENTRY: u64 = size_of::<gix::index::Entry>() as u64;

/// What a directory contains, at every depth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Extent {
    /// Files and links.
    files: u64,
    /// The longest path in it, in bytes, from it.
    longest: u64,
    /// The bytes of all paths in it, from it.
    paths: u64,
    /// How many directories are in one another.
    depth: usize,
}

impl Extent {
    fn add_file(&mut self, name: &[u8]) {
        let name = name.len() as u64;
        self.files = self.files.saturating_add(1);
        self.longest = self.longest.max(name);
        self.paths = self.paths.saturating_add(name);
    }

    fn add_directory(&mut self, name_length: u64, inner: Self) {
        let prefix = name_length + 1;
        self.files = self.files.saturating_add(inner.files);
        self.longest = self.longest.max(prefix.saturating_add(inner.longest));
        let prefixes = prefix.saturating_mul(inner.files);
        self.paths = self.paths.saturating_add(inner.paths).saturating_add(prefixes);
        self.depth = self.depth.max(inner.depth + 1);
    }

    /// Why this is too much.
    fn objection(&self) -> Option<String> {
        let list = self.files.saturating_mul(ENTRY).saturating_add(self.paths);
        if self.depth > DEEPEST {
            Some(format!("more than {DEEPEST} directories lie in one another"))
        } else if self.longest >= LONGEST_PATH {
            let longest = LONGEST_PATH - 1;
            Some(format!("a path in it has {} bytes, more than {longest}", self.longest))
        } else if list > LARGEST_LIST {
            Some(format!("the list of its files would take {} MiB of memory", list >> 20))
        } else {
            None
        }
    }
}

/// A directory that is being added up.
struct Open {
    id: ObjectId,
    extent: Extent,
    /// Directories in it that are still to be added: the length of the name, and what it names.
    below: Vec<(u64, ObjectId)>,
}

/// Refuses a tree that is too much for a host.
pub(super) fn refuse_excess(
    ctx: &Context,
    repository: &gix::Repository,
    root: ObjectId,
    refused: impl Fn(String) -> SourceError,
) -> Result<(), Objection> {
    let mut known = HashMap::new();
    let mut buffer = Vec::new();
    let mut open = vec![read(repository, root, &mut buffer, &refused)?];
    while let Some(last) = open.last_mut() {
        ctx.check().map_err(SourceError::from)?;
        let Some(&(name, id)) = last.below.last() else {
            known.insert(last.id, last.extent);
            open.pop();
            continue;
        };
        if let Some(&extent) = known.get(&id) {
            last.below.pop();
            last.extent.add_directory(name, extent);
            if let Some(why) = last.extent.objection() {
                return Err(refused(why).into());
            }
            continue;
        }
        // No deeper than what is refused: the memory for the way down is bounded, too.
        if open.len() > DEEPEST {
            let deep = Extent { depth: open.len(), ..Extent::default() };
            return Err(refused(deep.objection().unwrap_or_default()).into());
        }
        open.push(read(repository, id, &mut buffer, &refused)?);
    }
    Ok(())
}

/// Reads one directory. What cannot be decoded is left to whoever reads the tree as a whole.
fn read(
    repository: &gix::Repository,
    id: ObjectId,
    buffer: &mut Vec<u8>,
    refused: impl Fn(String) -> SourceError,
) -> Result<Open, Objection> {
    let mut open = Open { id, extent: Extent::default(), below: Vec::new() };
    for entry in repository.objects.find_tree_iter(&id, buffer)?.map_while(Result::ok) {
        let name = entry.filename;
        if name.len() > LONGEST_NAME {
            let start: String = name.to_string().chars().take(40).collect();
            let why = format!("the name {start:?}… has {} bytes, more than 255", name.len());
            return Err(refused(why).into());
        }
        if entry.mode.is_tree() {
            open.below.push((name.len() as u64, entry.oid.to_owned()));
        } else {
            open.extent.add_file(name);
        }
    }
    match open.extent.objection() {
        Some(why) => Err(refused(why).into()),
        None => Ok(open),
    }
}
