//! Small operations on files, each durable when it returns.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};

use camino::{Utf8Path, Utf8PathBuf};

/// An operation on a file failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} {path}")]
#[non_exhaustive]
pub struct FileError {
    /// The operation, as a verb.
    pub operation: &'static str,
    /// Which file.
    pub path: Utf8PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Adds the operation and the path to an error of the system.
pub(crate) trait At<T> {
    fn at(self, operation: &'static str, path: &Utf8Path) -> Result<T, FileError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, operation: &'static str, path: &Utf8Path) -> Result<T, FileError> {
        self.map_err(|e| FileError { operation, path: path.to_owned(), source: e.into() })
    }
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(path: &Utf8Path) -> Result<(), FileError> {
    File::open(path).and_then(|dir| dir.sync_all()).at("sync the directory", path)
}

/// Makes a directory with all that it lies in, and makes the names of what is new durable.
pub(crate) fn make_dirs(path: &Utf8Path) -> Result<(), FileError> {
    if is_directory(path)? {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(path);
    make_dirs(parent)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made.at("make the directory", path)?,
    }
    sync_dir(parent)
}

/// Makes a directory that nobody else can look into, or makes one so that is there already.
pub(crate) fn private_dir(path: &Utf8Path) -> Result<(), FileError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_dir(path.parent().unwrap_or(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = std::fs::metadata(path).at("look at", path)?.permissions().mode();
            if mode & 0o077 != 0 {
                std::fs::set_permissions(path, Permissions::from_mode(0o700))
                    .at("set the mode of", path)?;
            }
            Ok(())
        }
        Err(error) => Err(error).at("make the directory", path),
    }
}

/// Puts a file in the place of another at once: afterwards the one or the other is there, whole.
pub(crate) fn replace_file(path: &Utf8Path, content: &[u8]) -> Result<(), FileError> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .at("make", &new)?;
    let written = file.write_all(content).and_then(|()| file.sync_all()).at("write", &new);
    let put = written.and_then(|()| std::fs::rename(&new, path).at("replace", path));
    if put.is_err() {
        // Half a file on a full disk would take what others need.
        let _ = std::fs::remove_file(&new);
    }
    put?;
    sync_dir(path.parent().unwrap_or(path))
}

/// What lies at a path, links not followed; nothing when nothing does. That it cannot be told is an
/// error: nothing may be taken for gone because a disk has a bad moment.
pub(crate) fn look_at(path: &Utf8Path) -> Result<Option<Metadata>, FileError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error).at("look at", path),
    }
}

/// Whether there is a directory at a path, links followed.
pub(crate) fn is_directory(path: &Utf8Path) -> Result<bool, FileError> {
    match std::fs::metadata(path) {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error).at("look at", path),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Removes a file or a tree if it is there. Links are removed, never followed.
pub(crate) fn remove_tree(path: &Utf8Path) -> Result<(), FileError> {
    let Some(found) = look_at(path)? else { return Ok(()) };
    if !found.is_dir() {
        return std::fs::remove_file(path).at("remove", path);
    }
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            // A build may leave directories without write permission (a Go module cache does).
            open_up(path.as_std_path());
            std::fs::remove_dir_all(path).at("remove", path)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.at("remove", path),
    }
}

/// The end of a file, `most` bytes at the most, as text.
pub(crate) fn read_end(mut file: File, most: u64) -> io::Result<String> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The owner of what lies at a path, when that is another user than this process is.
pub(crate) fn owner_if_another(path: &Utf8Path) -> Option<String> {
    let uid = std::fs::symlink_metadata(path).ok()?.uid();
    let name = || nix::unistd::User::from_uid(uid.into()).ok().flatten().map(|user| user.name);
    (uid != nix::unistd::geteuid().as_raw()).then(|| name().unwrap_or_else(|| uid.to_string()))
}

/// Makes every directory of a tree writable, as far as that can be done.
fn open_up(path: &std::path::Path) {
    let _ = std::fs::set_permissions(path, Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temp() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        (dir, path)
    }

    #[test]
    fn a_private_directory_is_closed_again_when_somebody_opened_it() {
        let (_guard, dir) = temp();
        let path = dir.join("private");
        private_dir(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        private_dir(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_tree_goes_and_what_its_links_lead_to_stays() {
        let (_guard, dir) = temp();
        let (tree, outside) = (dir.join("tree"), dir.join("outside"));
        std::fs::create_dir_all(tree.join("locked/inner")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("keep"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("link")).unwrap();
        std::fs::set_permissions(tree.join("locked"), Permissions::from_mode(0o500)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert!(outside.join("keep").exists());
        remove_tree(&tree).unwrap();
    }

    #[test]
    fn a_replaced_file_has_the_new_content_and_nobody_else_reads_it() {
        let (_guard, dir) = temp();
        let path = dir.join("file");
        replace_file(&path, b"one").unwrap();
        replace_file(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(dir.read_dir_utf8().unwrap().count(), 1);
    }
}
