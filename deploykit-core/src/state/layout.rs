//! Where everything of an application lies.

use camino::{Utf8Path, Utf8PathBuf};

use crate::id::{DeploymentId, ReleaseId};

/// Paths of one application. All of them are absolute.
///
/// ```
/// use deploykit_core::Layout;
///
/// let layout = Layout::new("/srv/app".into());
/// assert_eq!(layout.active_link(), "/srv/app/active");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: Utf8PathBuf,
}

impl Layout {
    /// The layout below `root`, which must be absolute and free of symbolic links: builds record
    /// the paths that they see.
    pub fn new(root: Utf8PathBuf) -> Self {
        Self { root }
    }

    /// The application's directory.
    pub fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// The link to the active release.
    pub fn active_link(&self) -> Utf8PathBuf {
        self.root.join("active")
    }

    /// The directory of the releases.
    pub fn releases(&self) -> Utf8PathBuf {
        self.root.join("releases")
    }

    /// Where a release of deploykit's own lies, relative to the application's directory.
    pub fn release_path(id: &ReleaseId) -> Utf8PathBuf {
        Utf8Path::new("releases").join(id.as_str())
    }

    /// Where `.deploykit` goes while it is removed.
    pub fn removed(&self) -> Utf8PathBuf {
        self.root.join(".deploykit.removed")
    }

    /// What all releases share.
    pub fn shared(&self) -> Utf8PathBuf {
        self.root.join("shared")
    }

    /// deploykit's own directory, mode 0700.
    pub fn private(&self) -> Utf8PathBuf {
        self.root.join(".deploykit")
    }

    /// The lock's file. It is never deleted.
    pub fn lock(&self) -> Utf8PathBuf {
        self.private().join("lock")
    }

    /// The lock that whoever watches a probation holds.
    pub fn watch_lock(&self) -> Utf8PathBuf {
        self.private().join("watch.lock")
    }

    /// The lock of who begins to watch while another one still has [`watch_lock`](Self::watch_lock).
    pub fn watch_beside_lock(&self) -> Utf8PathBuf {
        self.private().join("watch-beside.lock")
    }

    /// The lock of who sends the notices.
    pub fn notify_lock(&self) -> Utf8PathBuf {
        self.private().join("notify.lock")
    }

    /// Notices of services that are still to be sent, a file each.
    pub fn notices(&self) -> Utf8PathBuf {
        self.private().join("notices")
    }

    /// Until when timers do not look at a repository that could not be reached.
    pub fn backoff(&self) -> Utf8PathBuf {
        self.private().join("backoff")
    }

    /// The journal.
    pub fn journal(&self) -> Utf8PathBuf {
        self.private().join("journal")
    }

    /// The journal's snapshot.
    pub fn snapshot(&self) -> Utf8PathBuf {
        self.private().join("snapshot")
    }

    /// Caches of sources.
    pub fn cache(&self) -> Utf8PathBuf {
        self.private().join("cache")
    }

    /// Outputs of deployments.
    pub fn logs(&self) -> Utf8PathBuf {
        self.private().join("logs")
    }

    /// The output of one deployment.
    pub fn log(&self, deployment: DeploymentId) -> Utf8PathBuf {
        self.logs().join(format!("{deployment}.log"))
    }

    /// What is being deleted.
    pub fn trash(&self) -> Utf8PathBuf {
        self.private().join("trash")
    }

    /// Files that are being written, to be renamed when they are whole.
    pub fn temporary(&self) -> Utf8PathBuf {
        self.private().join("tmp")
    }
}
