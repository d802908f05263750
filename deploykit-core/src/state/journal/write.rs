//! Writing the journal.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;

use camino::Utf8PathBuf;

use super::format::{self, Header};
use super::read::{JournalError, Loaded, load};
use super::snapshot::Snapshot;
use crate::state::files::{At as _, replace_file, sync_dir};
use crate::state::{Entry, Layout, Lock, Record, State};
use crate::time::Timestamp;

/// A journal is rotated when it is opened with more records than this. Every command reads all of
/// them, while a rotation costs one writer a few milliseconds once in some forty deployments.
const ROTATE_AFTER: usize = 250;

/// How much room is taken behind the end of the journal, in bytes.
const RESERVE: u64 = 64 << 10;

/// The journal, open for writing. Who has one holds the application's lock.
#[derive(Debug)]
pub struct Journal {
    path: Utf8PathBuf,
    file: File,
    /// The length of what is known to be whole and on disk.
    end: u64,
    /// What was written behind that in part could not be cut off again.
    torn: bool,
    /// Why it could not be rotated, though it should.
    late: Option<JournalError>,
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
        let mut late = None;
        if loaded.records > ROTATE_AFTER {
            loaded.state.forget_deployments(keep);
            match rotate(layout, &loaded.state) {
                Ok(end) => loaded.tail = Some(end),
                // Whichever journal is there now goes on: on a full disk there is room for a line,
                // not for a snapshot.
                Err(error) => {
                    loaded = load(layout)?;
                    late = Some(error);
                    if loaded.records == 0 {
                        // It was put in place, but may not stay there. What is written into it must.
                        sync_dir(&layout.private())?;
                    }
                }
            }
        }
        if loaded.tail.is_none() {
            loaded.tail = Some(begin(layout, loaded.state.seq)?);
        }
        Self::open_at(layout, loaded, late)
    }

    /// Why the journal could not be rotated when it was opened. It can be used all the same.
    pub fn late(&self) -> Option<&JournalError> {
        self.late.as_ref()
    }

    fn open_at(
        layout: &Layout,
        loaded: Loaded,
        late: Option<JournalError>,
    ) -> Result<Self, JournalError> {
        let path = layout.journal();
        let end = loaded.tail.unwrap_or_default();
        let mut file = OpenOptions::new().write(true).open(&path).at("open", &path)?;
        if file.metadata().at("look at", &path)?.len() > end {
            file.set_len(end).and_then(|()| file.sync_all()).at("cut the torn tail off", &path)?;
        }
        file.seek(SeekFrom::Start(end)).at("seek in", &path)?;
        reserve(&file, end);
        Ok(Self { path, file, end, torn: false, late, state: loaded.state })
    }

    fn cut(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.torn = false;
        Ok(())
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
        if self.torn {
            self.cut().at("cut the torn tail off", &self.path)?;
        }
        if let Err(error) = self.file.write_all(&line).and_then(|()| self.file.sync_data()) {
            // What was written in part must not stand before a later record.
            self.torn = self.cut().is_err();
            return Err(error).at("append to", &self.path).map_err(JournalError::from);
        }
        self.end += line.len() as u64;
        self.state.apply(&entry);
        Ok(())
    }
}

/// Takes room behind the end of the journal for some ten deployments, without making it longer: when
/// others fill the disk, a rollback can still be recorded, and a removal that makes room again.
/// Some file systems cannot promise that; then it is as it would be without.
fn reserve(file: &File, end: u64) {
    let taken = file.metadata().map_or(0, |found| found.blocks() * 512);
    if taken >= end + RESERVE / 2 {
        return;
    }
    let _ = rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, end, RESERVE);
}

/// Puts a snapshot and an empty journal in the place of the present ones. Returns the length of the
/// new journal.
fn rotate(layout: &Layout, state: &State) -> Result<u64, JournalError> {
    write_snapshot(layout, state)?;
    begin(layout, state.seq)
}

/// Makes a journal that begins after the record `base`. Returns its length.
fn begin(layout: &Layout, base: u64) -> Result<u64, JournalError> {
    let line = format::encode(&Header::journal(base)).map_err(JournalError::Encode)?;
    replace_file(&layout.journal(), &line)?;
    Ok(line.len() as u64)
}

fn write_snapshot(layout: &Layout, state: &State) -> Result<(), JournalError> {
    let header = format::encode(&Header::snapshot(state.seq)).map_err(JournalError::Encode)?;
    let content = format::encode(&Snapshot::of(state.clone())).map_err(JournalError::Encode)?;
    Ok(replace_file(&layout.snapshot(), &[header, content].concat())?)
}
