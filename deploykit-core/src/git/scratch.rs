//! Directories for what is needed for a moment.
//!
//! A killed process leaves its directory behind, and nobody would ever ask for it again. So each is
//! locked as long as somebody uses it, which the kernel ends with the process, and whoever needs a
//! new one removes those that nobody holds.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;
use tempfile::TempDir;

/// What all their names begin with.
const PREFIX: &str = "deploykit-history-";
/// A directory can be removed, as nobody's, before its lock is taken.
const ATTEMPTS: usize = 10;

/// A directory that is gone when this is dropped, or when somebody needs another one after this
/// process was killed.
#[derive(Debug)]
pub(super) struct Scratch {
    // In this order: it goes before anybody can take it for nobody's.
    directory: TempDir,
    _lock: File,
}

impl Scratch {
    /// A new directory in `root`; those that killed processes of this user left there are removed.
    pub(super) fn new(root: &Path) -> io::Result<Self> {
        sweep(root);
        for _ in 0..ATTEMPTS {
            let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(root)?;
            if let Some(lock) = lock(directory.path())? {
                return Ok(Self { directory, _lock: lock });
            }
        }
        Err(io::Error::other("somebody else removes it each time"))
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Takes the lock of a directory, if that is still there and nobody holds it.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let flags = (OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // Between the two somebody may have removed it, or put another in its place.
    let locked = file.metadata()?;
    let same = |there: Metadata| (locked.dev(), locked.ino()) == (there.dev(), there.ino());
    Ok(directory.symlink_metadata().is_ok_and(same).then_some(file))
}

/// Removes the directories of this user that nobody holds. One that cannot be removed is no reason
/// not to make another.
fn sweep(root: &Path) {
    let me = nix::unistd::geteuid().as_raw();
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for entry in entries.filter_map(Result::ok) {
        let ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())
            && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == me);
        if ours && let Ok(Some(_lock)) = lock(&entry.path()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_removed_and_everything_else_stays() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let stale = root.join(format!("{PREFIX}stale"));
        std::fs::create_dir_all(stale.join("objects")).unwrap();
        let elsewhere = root.join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        let link = root.join(format!("{PREFIX}link"));
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        let file = root.join(format!("{PREFIX}file"));
        std::fs::write(&file, "").unwrap();

        let first = Scratch::new(root).unwrap();
        assert!(!stale.exists());
        let second = Scratch::new(root).unwrap();
        for path in [first.path(), second.path(), &elsewhere, &link, &file] {
            assert!(path.exists(), "{path:?} is gone");
        }
        let gone = first.path().to_owned();
        drop(first);
        assert!(!gone.exists() && second.path().exists());
    }
}
