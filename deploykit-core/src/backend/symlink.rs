//! The active link: a symbolic link that is replaced by rename.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::state::Layout;
use crate::state::files::{FileError, private_dir, sync_dir};
use crate::traits::{Activator, ActivatorError};

/// Switches `APP/active`.
///
/// The new link is made under another name in deploykit's own directory and renamed over the old
/// one, so that at every instant there is exactly one. `expected` is compared just before that;
/// two deploykits never switch at once, because both hold the application's lock.
///
/// ```
/// use deploykit_core::traits::Activator as _;
/// use deploykit_core::{Layout, Symlink};
///
/// # let dir = tempfile::tempdir()?;
/// # let root = camino::Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
/// std::fs::create_dir_all(root.join("releases/a"))?;
/// let link = Symlink::new(Layout::new(root));
/// link.switch(None, Some(&"releases/a".into()))?;
/// assert_eq!(link.active()?, Some("releases/a".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Symlink {
    layout: Layout,
}

impl Symlink {
    /// The link of this application.
    pub fn new(layout: Layout) -> Self {
        Self { layout }
    }

    fn temporary(&self) -> Utf8PathBuf {
        self.layout.private().join("active.new")
    }

    fn put(&self, to: &Utf8Path) -> Result<(), FileError> {
        let (link, new) = (self.layout.active_link(), self.temporary());
        let io = |operation, path: &Utf8Path| {
            let path = path.to_owned();
            move |source| FileError { operation, path, source }
        };
        private_dir(&self.layout.private())?;
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io("remove", &new)(error));
            }
            _ => {}
        }
        self.make(to, &new).map_err(io("make the link", &new))?;
        let switched = std::fs::rename(&new, &link).map_err(io("switch", &link));
        if switched.is_err() {
            let _ = std::fs::remove_file(&new);
        }
        // The link that was replaced has given its inode back by now.
        let mut put_by = OpenOptions::new();
        let _ = put_by.write(true).create(true).truncate(false).mode(0o600).open(self.reserve());
        switched
    }

    fn reserve(&self) -> Utf8PathBuf {
        self.layout.private().join("reserve")
    }

    /// Makes a link. On a file system that is out of inodes it takes the one that was put by: going
    /// back must not fail for want of one.
    fn make(&self, to: &Utf8Path, new: &Utf8Path) -> std::io::Result<()> {
        let full = [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded];
        match std::os::unix::fs::symlink(to, new) {
            Err(error) if full.contains(&error.kind()) => {
                std::fs::remove_file(self.reserve()).map_err(|_| error)?;
                std::os::unix::fs::symlink(to, new)
            }
            made => made,
        }
    }
}

impl From<FileError> for ActivatorError {
    fn from(error: FileError) -> Self {
        Self::Io { operation: error.operation, path: error.path, source: error.source }
    }
}

impl Activator for Symlink {
    fn name(&self) -> &'static str {
        "symlink"
    }

    fn active(&self) -> Result<Option<Utf8PathBuf>, ActivatorError> {
        let path = self.layout.active_link();
        let target = match path.read_link_utf8() {
            Ok(target) => target,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                return Err(ActivatorError::NotALink { path });
            }
            Err(source) => return Err(ActivatorError::Io { operation: "read", path, source }),
        };
        Ok(Some(normalise(self.layout.root(), &target)))
    }

    fn switch(
        &self,
        expected: Option<&Utf8PathBuf>,
        to: Option<&Utf8PathBuf>,
    ) -> Result<(), ActivatorError> {
        let found = self.active()?;
        if found.as_ref() != expected {
            return Err(ActivatorError::Changed { expected: expected.cloned(), found });
        }
        match to {
            Some(to) => self.put(to)?,
            None if found.is_some() => {
                let path = self.layout.active_link();
                std::fs::remove_file(&path).map_err(|source| ActivatorError::Io {
                    operation: "remove",
                    path,
                    source,
                })?;
            }
            None => {}
        }
        Ok(sync_dir(self.layout.root())?)
    }
}

/// A link's target relative to the application's directory where it lies below it, absolute
/// otherwise; without `.`, and without `..` where that can be told by the text alone.
fn normalise(root: &Utf8Path, target: &Utf8Path) -> Utf8PathBuf {
    let mut path = Utf8PathBuf::new();
    for component in root.join(target).components() {
        match component {
            camino::Utf8Component::ParentDir => {
                path.pop();
            }
            camino::Utf8Component::CurDir => {}
            other => path.push(other.as_str()),
        }
    }
    path.strip_prefix(root).map(Utf8Path::to_owned).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> (tempfile::TempDir, Symlink) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        std::fs::create_dir(root.join(".deploykit")).unwrap();
        (dir, Symlink::new(Layout::new(root)))
    }

    #[test]
    fn who_expects_the_wrong_one_changes_nothing() {
        let (_guard, link) = app();
        link.switch(None, Some(&"releases/a".into())).unwrap();
        let error = link.switch(None, Some(&"releases/b".into())).unwrap_err();
        assert!(matches!(error, ActivatorError::Changed { .. }), "{error}");
        let error = link.switch(Some(&"releases/b".into()), None).unwrap_err();
        assert!(error.to_string().contains("expected releases/b"), "{error}");
        assert_eq!(link.active().unwrap(), Some("releases/a".into()));
    }

    #[test]
    fn a_file_in_the_place_of_the_link_is_left_alone() {
        let (_guard, link) = app();
        std::fs::create_dir(link.layout.active_link()).unwrap();
        let error = link.switch(None, Some(&"releases/a".into())).unwrap_err();
        assert!(error.hint().unwrap().contains("mv "), "{error}");
        assert!(link.layout.active_link().is_dir());
    }

    #[test]
    fn a_leftover_of_a_kill_is_in_nobodys_way() {
        let (_guard, link) = app();
        std::os::unix::fs::symlink("nowhere", link.temporary()).unwrap();
        link.switch(None, Some(&"releases/a".into())).unwrap();
        assert!(!link.temporary().exists());
        link.switch(Some(&"releases/a".into()), None).unwrap();
        assert_eq!(link.active().unwrap(), None);
    }

    #[test]
    fn targets_are_compared_by_where_they_lead() {
        let root = Utf8Path::new("/srv/app");
        for (target, expected) in [
            ("releases/a", "releases/a"),
            ("./releases/a/", "releases/a"),
            ("/srv/app/releases/a", "releases/a"),
            ("../app/mfd_1_x", "mfd_1_x"),
            ("/opt/other", "/opt/other"),
        ] {
            assert_eq!(normalise(root, Utf8Path::new(target)), expected);
        }
    }
}
