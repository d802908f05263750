//! What the tests of the git source share.
#![allow(
    dead_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "every test program uses a part of it"
)]

use std::error::Error;
use std::sync::{Arc, Mutex};

use camino::Utf8PathBuf;
use deploykit_core::git::{GitOptions, GitSource};
use deploykit_core::traits::{Materialised, Resolved, Source as _, SourceError};
use deploykit_core::{Context, Event, EventKind, FnSink, Revision};
use deploykit_testkit::git_repo::GitRepo;
use tempfile::TempDir;

/// A revision.
pub fn revision(text: &str) -> Revision {
    text.parse().unwrap()
}

/// An error with all its causes.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A source in a directory of its own, with a directory for the release, and a list of the events.
pub struct Scene {
    directory: TempDir,
    source: GitSource,
    events: Arc<Mutex<Vec<EventKind>>>,
    context: Context,
}

impl Scene {
    pub fn new(url: &str) -> Self {
        Self::with(url, |_| ())
    }

    pub fn with(url: &str, change: impl FnOnce(&mut GitOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let base = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
        let mut options = GitOptions::new(url, base.join("cache"), base);
        change(&mut options);
        let events = Arc::<Mutex<Vec<EventKind>>>::default();
        let seen = Arc::clone(&events);
        let sink = FnSink::new(move |event: &Event| seen.lock().unwrap().push(event.kind.clone()));
        let context = Context::new().unwrap().with_sink(Arc::new(sink));
        Self { directory, source: GitSource::new(options).unwrap(), events, context }
    }

    pub fn source(&self) -> &GitSource {
        &self.source
    }

    pub fn context(&self) -> Context {
        self.context.clone()
    }

    fn base(&self) -> Utf8PathBuf {
        Utf8PathBuf::from_path_buf(self.directory.path().to_owned()).unwrap()
    }

    pub fn cache(&self) -> Utf8PathBuf {
        self.base().join("cache")
    }

    pub fn release(&self) -> Utf8PathBuf {
        self.base().join("release")
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.release().join(name)).unwrap()
    }

    pub fn resolve(&self, text: &str) -> Result<Resolved, SourceError> {
        self.source.resolve(&self.context, &revision(text))
    }

    /// Resolves, fetches, and checks out into an empty directory.
    pub fn deploy(&self, text: &str) -> Result<Materialised, SourceError> {
        let resolved = self.resolve(text)?;
        self.source.fetch(&self.context, &resolved)?;
        self.check_out(&resolved)
    }

    pub fn check_out(&self, resolved: &Resolved) -> Result<Materialised, SourceError> {
        let _ = std::fs::remove_dir_all(self.release());
        std::fs::create_dir(self.release()).unwrap();
        self.source.materialise(&self.context, &resolved.id, &self.release())
    }

    pub fn events(&self) -> Vec<EventKind> {
        self.events.lock().unwrap().clone()
    }

    pub fn warnings(&self) -> Vec<String> {
        let warning = |event| match event {
            EventKind::Warning { message } => Some(message),
            _ => None,
        };
        self.events().into_iter().filter_map(warning).collect()
    }
}

/// Makes commits until two of them begin with the same four digits: about three hundred.
pub fn two_commits_that_begin_alike(repo: &GitRepo) -> (String, String, String) {
    repo.commit_file("a", "1");
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    let mut seen = std::collections::HashMap::<String, String>::new();
    for number in 0.. {
        let message = format!("commit number {number}");
        let hash = repo.git(&["commit-tree", &tree, "-p", "HEAD", "-m", &message]);
        if let Some(other) = seen.insert(hash[..4].to_owned(), hash.clone()) {
            // Both become part of the history, but neither is at the tip of a branch.
            let merge = ["commit-tree", &tree, "-p", &hash, "-p", &other, "-m", "merge"];
            let merged = repo.git(&merge);
            repo.git(&["update-ref", "refs/heads/main", &merged]);
            return (hash[..4].to_owned(), other, hash);
        }
    }
    unreachable!()
}

/// Why a revision is refused once it has been fetched.
pub fn refused(scene: &Scene, text: &str) -> String {
    let resolved = scene.resolve(text).unwrap();
    match scene.source().fetch(&scene.context(), &resolved) {
        Err(SourceError::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

/// Commits one entry that git itself would not make: its mode, its path, and what it contains.
pub fn commit_entry(repo: &GitRepo, mode: &str, path: &str, content: &str) {
    let commands = format!(
        "commit refs/heads/main\ncommitter A <a@example.org> 1700000000 +0000\ndata 0\n\
         M {mode} inline {path}\ndata {}\n{content}\n",
        content.len()
    );
    repo.git_with(&["fast-import", "--quiet", "--force"], commands.as_bytes());
}

/// The packs of a cache.
pub fn packs(cache: &camino::Utf8Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(cache.join("git/objects/pack")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "pack")).collect()
}

/// Changes the bytes of a file, whatever its mode.
pub fn overwrite(path: &std::path::Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Fails when a file below `directory` contains `needle`.
pub fn assert_nothing_contains(directory: &camino::Utf8Path, needle: &[u8]) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = Utf8PathBuf::from_path_buf(entry.unwrap().path()).unwrap();
        if path.is_dir() {
            assert_nothing_contains(&path, needle);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(needle.len()).any(|w| w == needle), "{path} contains it");
        }
    }
}
