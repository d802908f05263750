//! Where the suites take place: an application's directory, and releases in it.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::traits::{BuildState, Release, ReleaseState, Verdict};
use deploykit_core::{Layout, ReleaseId, SourceId};

use crate::fake::digest;

/// An application's directory, which goes when this is dropped.
#[derive(Debug)]
pub struct Scene {
    _directory: tempfile::TempDir,
    layout: Layout,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// A new one: what the engine makes before it calls a backend is there, and nothing else.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("its path");
        let layout = Layout::new(Utf8PathBuf::from_path_buf(root).expect("a path of UTF-8"));
        for directory in [layout.private(), layout.releases()] {
            std::fs::create_dir(directory).expect("a directory in it");
        }
        Self { _directory: directory, layout }
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A sealed release with its directory; its digest is made of the number.
    pub fn release(&self, number: u8) -> SealedRelease {
        let id: ReleaseId = format!("20261121-0915{number:02}").parse().expect("an id");
        let root = self.layout.root().join(Layout::release_path(&id));
        std::fs::create_dir_all(&root).expect("its directory");
        SealedRelease {
            id,
            source: SourceId::new("git", &digest(number)).expect("a source id"),
            root,
            state: ReleaseState { build: BuildState::Sealed, verdict: Verdict::None },
        }
    }

    /// Lets the link lead to a release, as the engine does before it calls the supervisor.
    pub fn activate(&self, release: &SealedRelease) {
        let (link, new) = (self.layout.active_link(), self.layout.root().join("active.test"));
        let target = Layout::release_path(&release.id);
        std::os::unix::fs::symlink(target, &new).expect("the link");
        std::fs::rename(new, link).expect("the switch");
    }
}

/// A release that is complete.
#[derive(Debug, Clone)]
pub struct SealedRelease {
    id: ReleaseId,
    source: SourceId,
    root: Utf8PathBuf,
    state: ReleaseState,
}

impl Release for SealedRelease {
    fn id(&self) -> &ReleaseId {
        &self.id
    }

    fn source(&self) -> &SourceId {
        &self.source
    }

    fn root(&self) -> &Utf8Path {
        &self.root
    }

    fn state(&self) -> &ReleaseState {
        &self.state
    }
}

/// One entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    File { content: Vec<u8>, executable: bool },
    Link(Utf8PathBuf),
}

/// Everything below `root` but what is below one of `without`.
pub(super) fn tree(root: &Utf8Path, without: &[&Utf8Path]) -> BTreeMap<Utf8PathBuf, Entry> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in directory.read_dir_utf8().expect("a directory") {
            let path = entry.expect("an entry").into_path();
            if without.contains(&path.as_path()) {
                continue;
            }
            let entry = look(&path);
            if entry == Entry::Directory {
                open.push(path.clone());
            }
            found.insert(path.strip_prefix(root).expect("below it").to_owned(), entry);
        }
    }
    found
}

fn look(path: &Utf8Path) -> Entry {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = path.symlink_metadata().expect("its kind");
    if metadata.is_symlink() {
        return Entry::Link(path.read_link_utf8().expect("its target"));
    }
    if metadata.is_dir() {
        return Entry::Directory;
    }
    let content = std::fs::read(path).expect("its content");
    Entry::File { content, executable: metadata.permissions().mode() & 0o100 != 0 }
}
