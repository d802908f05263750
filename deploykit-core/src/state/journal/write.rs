//! Writing the journal.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};

use camino::Utf8PathBuf;

use super::format::{self, Header};
use super::read::{JournalError, Loaded, load};
use super::snapshot::Snapshot;
use crate::state::files::{At as _, replace_file};
use crate::state::{Entry, Layout, Lock, Record, State};
use crate::time::Timestamp;

/// A journal is rotated when it is opened with more records than this. Every command reads all of
/// them, while a rotation costs one writer a few milliseconds once in some forty deployments.
const ROTATE_AFTER: usize = 250;

/// The journal, open for writing. Who has one holds the application's lock.
#[derive(Debug)]
pub struct Journal {
    path: Utf8PathBuf,
    file: File,
    /// The length of what is known to be whole and on disk.
    end: u64,
    state: State,
}

impl Journal {
    /// Opens the journal, makes it if there is none, cuts off a torn tail, and rotates it when it
    /// has grown. `keep` is how many deployments are remembered at a rotation.
    ///
    /// # Errors
    /// [`JournalError`]; [`JournalError::Newer`] when a newer version has written it.
    pub fn open(layout: &Layout, _lock: &Lock, keep: usize) -> Result<Self, JournalError> {
        let mut loaded = load(layout)?;
        if let Some((path, found)) = loaded.newer {
            return Err(JournalError::Newer { path, found });
        }
        if loaded.records > ROTATE_AFTER {
            loaded.state.forget_deployments(keep);
            write_snapshot(layout, &loaded.state)?;
            loaded.tail = None;
        }
        if loaded.tail.is_none() {
            let header = Header::journal(loaded.state.seq);
            let line = format::encode(&header).map_err(JournalError::Encode)?;
            replace_file(&layout.journal(), &line)?;
            loaded.tail = Some(line.len() as u64);
        }
        Self::open_at(layout, loaded)
    }

    fn open_at(layout: &Layout, loaded: Loaded) -> Result<Self, JournalError> {
        let path = layout.journal();
        let end = loaded.tail.unwrap_or_default();
        let mut file = OpenOptions::new().write(true).open(&path).at("open", &path)?;
        if file.metadata().at("look at", &path)?.len() > end {
            file.set_len(end).and_then(|()| file.sync_all()).at("cut the torn tail off", &path)?;
        }
        file.seek(SeekFrom::Start(end)).at("seek in", &path)?;
        Ok(Self { path, file, end, state: loaded.state })
    }

    /// The state that the records add up to.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Appends records as one line: either all of them count or none does. They are on disk when
    /// this returns `Ok`.
    ///
    /// # Errors
    /// [`JournalError`], when the disk is full or broken.
    pub fn append(
        &mut self,
        at: Timestamp,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<(), JournalError> {
        let entry = Entry { seq: self.state.seq + 1, at, records: records.into_iter().collect() };
        if entry.records.is_empty() {
            return Ok(());
        }
        let line = format::encode(&entry).map_err(JournalError::Encode)?;
        if let Err(error) = self.file.write_all(&line).and_then(|()| self.file.sync_data()) {
            // What was written in part must not stand before a later record.
            let _ = self.file.set_len(self.end);
            let _ = self.file.seek(SeekFrom::Start(self.end));
            return Err(error).at("append to", &self.path).map_err(JournalError::from);
        }
        self.end += line.len() as u64;
        self.state.apply(&entry);
        Ok(())
    }
}

fn write_snapshot(layout: &Layout, state: &State) -> Result<(), JournalError> {
    let header = format::encode(&Header::snapshot(state.seq)).map_err(JournalError::Encode)?;
    let content = format::encode(&Snapshot::of(state.clone())).map_err(JournalError::Encode)?;
    Ok(replace_file(&layout.snapshot(), &[header, content].concat())?)
}
