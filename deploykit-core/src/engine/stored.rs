//! A release of the store, as backends see it.

use camino::{Utf8Path, Utf8PathBuf};

use crate::id::{ReleaseId, SourceId};
use crate::state::{Layout, ReleaseRecord};
use crate::traits::{Release, ReleaseState};

/// A record with the directory it is about.
#[derive(Debug, Clone)]
pub(super) struct StoredRelease {
    record: ReleaseRecord,
    root: Utf8PathBuf,
}

impl StoredRelease {
    pub(super) fn new(layout: &Layout, record: ReleaseRecord) -> Self {
        let root = layout.root().join(&record.path);
        Self { record, root }
    }
}

impl Release for StoredRelease {
    fn id(&self) -> &ReleaseId {
        &self.record.id
    }

    fn source(&self) -> &SourceId {
        &self.record.source
    }

    fn root(&self) -> &Utf8Path {
        &self.root
    }

    fn state(&self) -> &ReleaseState {
        &self.record.state
    }
}
