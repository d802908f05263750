//! The cache: a bare repository that all releases of an application share.
//!
//! It holds single commits without their history, each kept by a reference of its own:
//! `refs/deploykit/commits/<hash>`. The reference is written when all of the commit is there, so
//! what has one can be used. It is used under the application's lock; whatever is half there when
//! that is taken was left by somebody who was killed.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};
use gix::ObjectId;
use gix::refs::transaction::PreviousValue;

use super::local;
use crate::traits::{BoxError, SourceError};

const KEPT: &str = "refs/deploykit/commits/";
/// The file in the repository that tells whose copy it is.
const URL_FILE: &str = "deploykit-url";
/// Every fetch adds a pack, and every look-up goes through all of them.
const MOST_PACKS: usize = 30;
/// Growth that is not worth a new start, in bytes.
const SLACK: u64 = 16 << 20;

/// Where the cache is, and of what.
#[derive(Debug)]
pub(crate) struct Cache {
    root: Utf8PathBuf,
    url: String,
}

/// What stands where the cache's directory should be.
#[derive(Debug, thiserror::Error)]
#[error("something else stands there: a file, or a link that leads nowhere")]
struct InTheWay;

/// The hint of a fault of the cache that is the cause of a [`SourceError`].
pub(crate) fn hint(cause: &BoxError) -> Option<String> {
    let hint = "remove it: the cache is fetched again; or mount what the link leads to";
    cause.downcast_ref::<InTheWay>().map(|_| hint.to_owned())
}

fn failed<'a>(
    operation: &'static str,
    path: &'a Utf8Path,
) -> impl FnOnce(io::Error) -> SourceError + use<'a> {
    move |source| SourceError::Io { operation, path: path.to_owned(), source }
}

impl Cache {
    /// The cache of the repository at `url`, below the directory `root`.
    pub(crate) fn new(root: &Utf8Path, url: String) -> Self {
        Self { root: root.to_owned(), url }
    }

    /// The cache's directory cannot be made.
    fn unmakeable(&self, error: io::Error) -> SourceError {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return failed("create", &self.root)(error);
        }
        // Not removed: a link that leads nowhere may lead to a disk that is not mounted.
        let operation = format!("create {}", self.root);
        SourceError::Foreign { operation, source: Box::new(InTheWay) }
    }

    fn current(&self) -> Utf8PathBuf {
        self.root.join("git")
    }

    fn fresh(&self) -> Utf8PathBuf {
        self.root.join("git.new")
    }

    fn outdated(&self) -> Utf8PathBuf {
        self.root.join("git.old")
    }

    /// The repository; none if there is none yet, if it is of another address, or cannot be opened.
    pub(crate) fn open(&self) -> Option<gix::Repository> {
        let url = std::fs::read_to_string(self.current().join(URL_FILE)).ok()?;
        if url != self.url {
            return None;
        }
        gix::open_opts(self.current().as_std_path(), local::options().open_path_as_is(true)).ok()
    }

    /// Removes what a killed fetch left. Only for whoever holds the application's lock.
    pub(crate) fn sweep(&self) -> Result<(), SourceError> {
        for leftover in [self.fresh(), self.outdated()] {
            remove(&leftover)?;
        }
        let current = self.current();
        // Anything else that stands there is replaced by the next fetch.
        if current.is_dir() {
            sweep_directory(current.as_std_path()).map_err(failed("tidy up", &current))?;
        }
        Ok(())
    }

    /// Whether so many fetches have gone into it that a new one is the better one.
    pub(crate) fn is_bloated(&self) -> bool {
        let Ok(packs) = std::fs::read_dir(self.current().join("objects/pack")) else {
            return false;
        };
        let sizes: Vec<u64> = packs
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "pack"))
            .filter_map(|entry| Some(entry.metadata().ok()?.len()))
            .collect();
        let (largest, sum) = (sizes.iter().max().copied().unwrap_or(0), sizes.iter().sum::<u64>());
        sizes.len() > MOST_PACKS || sum - largest > largest + SLACK
    }

    /// A new, empty repository beside the present one.
    pub(crate) fn begin(&self) -> Result<gix::Repository, SourceError> {
        let fresh = self.fresh();
        remove(&fresh)?;
        create_private(&self.root).map_err(|error| self.unmakeable(error))?;
        create_private(&fresh).map_err(failed("create", &fresh))?;
        let repository = init(&fresh)?;
        let file = fresh.join(URL_FILE);
        std::fs::write(&file, &self.url).map_err(failed("write", &file))?;
        Ok(repository)
    }

    /// Puts the new repository in the place of the present one.
    pub(crate) fn replace(&self) -> Result<(), SourceError> {
        let (current, fresh, outdated) = (self.current(), self.fresh(), self.outdated());
        if current.as_std_path().symlink_metadata().is_ok() {
            std::fs::rename(&current, &outdated).map_err(failed("rename", &current))?;
        }
        std::fs::rename(&fresh, &current).map_err(failed("rename", &fresh))?;
        remove(&outdated)
    }
}

/// Makes an empty bare repository in the empty directory `path`.
pub(crate) fn init(path: &Utf8Path) -> Result<gix::Repository, SourceError> {
    let made = gix::ThreadSafeRepository::init_opts(
        path.as_std_path(),
        gix::create::Kind::Bare,
        gix::create::Options::default(),
        local::options().open_path_as_is(true),
    );
    made.map(|repository| repository.to_thread_local()).map_err(|error| SourceError::Foreign {
        operation: format!("make the git repository {path}"),
        source: Box::new(error),
    })
}

/// The commits that are kept.
pub(crate) fn commits(repository: &gix::Repository) -> Vec<ObjectId> {
    let Ok(platform) = repository.references() else { return Vec::new() };
    let Ok(kept) = platform.prefixed(KEPT) else { return Vec::new() };
    kept.filter_map(Result::ok).filter_map(|kept| Some(kept.try_id()?.detach())).collect()
}

/// Whether all of this commit is there.
pub(crate) fn has(repository: &gix::Repository, id: ObjectId) -> bool {
    matches!(repository.try_find_reference(&format!("{KEPT}{id}")), Ok(Some(_)))
}

/// Keeps a commit, all of which is there.
pub(crate) fn keep(repository: &gix::Repository, id: ObjectId) -> Result<(), gix::Error> {
    repository.reference(format!("{KEPT}{id}"), id, PreviousValue::Any, "fetched").map(drop)
}

fn create_private(path: &Utf8Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes whatever is there.
fn remove(path: &Utf8Path) -> Result<(), SourceError> {
    let removed = match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => std::fs::remove_file(path),
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes lock files and half-written packs. A name need not be UTF-8 for that.
fn sweep_directory(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            sweep_directory(&path)?;
        } else if is_leftover(&path) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn is_leftover(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let lonely = |other: &str| !path.with_extension(other).exists();
    match path.extension().and_then(OsStr::to_str) {
        Some("lock" | "keep") => true,
        // A pack is of use with its index only.
        Some("pack") => lonely("idx"),
        Some("idx") => lonely("pack"),
        _ => name.starts_with(b".tmp") || name.starts_with(b"tmp_"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn in_a_directory(test: impl FnOnce(&Utf8Path)) {
        let directory = tempfile::tempdir().unwrap();
        test(Utf8Path::from_path(directory.path()).unwrap());
    }

    #[test]
    fn another_address_starts_another_cache() {
        in_a_directory(|root| {
            let root = &root.join("cache");
            let cache = Cache::new(root, "https://a.org/x".into());
            assert!(cache.open().is_none());
            cache.begin().unwrap();
            cache.replace().unwrap();
            assert!(cache.open().is_some());
            assert!(Cache::new(root, "https://a.org/y".into()).open().is_none());
            let mode = std::fs::metadata(root.join("git")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        });
    }

    #[test]
    fn what_a_killed_fetch_left_is_removed_and_the_rest_stays() {
        in_a_directory(|root| {
            let cache = Cache::new(root, "url".into());
            cache.begin().unwrap();
            cache.replace().unwrap();
            cache.begin().unwrap();
            let packs = root.join("git/objects/pack");
            let stale = ["git/shallow.lock", "git/objects/pack/.tmpAbc", "git/objects/pack/a.pack"];
            for name in stale {
                std::fs::write(root.join(name), "").unwrap();
            }
            let not_text = root.as_std_path().join(OsStr::from_bytes(b"git/bad\xff.lock"));
            std::fs::write(&not_text, "").unwrap();
            for name in ["b.pack", "b.idx"] {
                std::fs::write(packs.join(name), "").unwrap();
            }
            cache.sweep().unwrap();
            for name in stale.iter().chain(&["git.new"]) {
                assert!(!root.join(name).exists(), "{name} is still there");
            }
            assert!(!not_text.exists());
            assert!(packs.join("b.pack").exists() && packs.join("b.idx").exists());
            assert!(cache.open().is_some());
        });
    }

    #[test]
    fn whatever_stands_in_the_place_of_a_repository_is_replaced() {
        in_a_directory(|root| {
            let cache = Cache::new(root, "url".into());
            for name in ["git", "git.new", "git.old"] {
                std::fs::write(root.join(name), "").unwrap();
            }
            cache.sweep().unwrap();
            cache.begin().unwrap();
            cache.replace().unwrap();
            assert!(cache.open().is_some());
            std::fs::remove_dir_all(root.join("git")).unwrap();
            std::os::unix::fs::symlink("nowhere", root.join("git")).unwrap();
            cache.sweep().unwrap();
            cache.begin().unwrap();
            cache.replace().unwrap();
            assert!(cache.open().is_some());
        });
    }

    #[test]
    fn what_stands_in_the_place_of_the_cache_itself_is_left_with_a_hint() {
        in_a_directory(|root| {
            let place = root.join("cache");
            std::os::unix::fs::symlink("nowhere", &place).unwrap();
            let error = Cache::new(&place, "url".into()).begin().unwrap_err();
            assert!(error.hint().unwrap().contains("remove it"), "{error:?}");
            assert!(place.is_symlink());
        });
    }

    #[test]
    fn many_packs_or_much_growth_ask_for_a_new_start() {
        in_a_directory(|root| {
            let cache = Cache::new(root, "url".into());
            let packs = root.join("git/objects/pack");
            std::fs::create_dir_all(&packs).unwrap();
            for number in 0..MOST_PACKS {
                std::fs::write(packs.join(format!("{number}.pack")), "x").unwrap();
            }
            assert!(!cache.is_bloated());
            std::fs::write(packs.join("one-more.pack"), "x").unwrap();
            assert!(cache.is_bloated());
        });
    }
}
