//! Reading the journal and its snapshot.

use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use super::format::{self, Header, JOURNAL, SNAPSHOT, VERSION};
use super::snapshot::Snapshot;
use crate::state::files::{At as _, FileError};
use crate::state::{Entry, Layout, State};

/// The journal could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The system refused it.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line is broken, and whole ones follow it.
    #[error("{path} is damaged in line {line}")]
    Damaged {
        /// Which file.
        path: Utf8PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// The snapshot that the journal builds on is missing.
    #[error("{path} begins after record {base}, but the state up to there is missing")]
    Gap {
        /// Which journal.
        path: Utf8PathBuf,
        /// The record that it begins after.
        base: u64,
    },
    /// The journal is missing, though there is a snapshot: they are never removed one by one.
    #[error("{path} is missing, and with it what was recorded since the snapshot beside it")]
    Missing {
        /// Which journal.
        path: Utf8PathBuf,
    },
    /// A record has a form that is not understood.
    #[error("{path} has a record that cannot be read in line {line}")]
    Record {
        /// Which file.
        path: Utf8PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The file was written by a newer version of deploykit.
    #[error("{path} has format version {found}; this deploykit writes version {VERSION}")]
    Newer {
        /// Which file.
        path: Utf8PathBuf,
        /// Its version.
        found: u32,
    },
    /// A record could not be put into words.
    #[error("cannot write a record")]
    Encode(#[source] serde_json::Error),
}

impl JournalError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Damaged { path, .. }
            | Self::Gap { path, .. }
            | Self::Missing { path }
            | Self::Record { path, .. } => Some(format!(
                "the active release goes on serving; keep a copy of {}, then restore it from a \
                     backup, or remove it: the active release is then taken over as found",
                path.parent().unwrap_or(path)
            )),
            Self::Newer { .. } => Some("use that version, or a newer one".into()),
            Self::File(error) if error.source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some(
                    "run deploykit as the user who deploys: what it keeps is closed to others"
                        .into(),
                )
            }
            Self::File(_) | Self::Encode(_) => None,
        }
    }
}

/// Of a file that carries a version, whatever else is in it.
#[derive(Deserialize)]
struct Versioned {
    format: String,
    version: u32,
}

/// What was read, and what a writer must know of the files.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) state: State,
    /// Where the torn tail of the journal begins; nothing when there is no journal yet.
    pub(super) tail: Option<u64>,
    /// How many records the journal has.
    pub(super) records: usize,
    /// The newer version that one of the files has.
    pub(super) newer: Option<(Utf8PathBuf, u32)>,
}

/// Tells one content of the journal from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fingerprint(Option<(u64, u64)>);

/// The present fingerprint of the journal.
pub fn fingerprint(layout: &Layout) -> Fingerprint {
    Fingerprint(std::fs::metadata(layout.journal()).ok().map(|file| (file.ino(), file.len())))
}

/// The state of the application as it is recorded. Takes no lock and changes nothing. Where nothing
/// is recorded yet, it is the empty state.
///
/// # Errors
/// [`JournalError`]: what cannot be read.
pub fn read_state(layout: &Layout) -> Result<State, JournalError> {
    Ok(load(layout)?.state)
}

/// How often a reader tries again when it met a rotation.
const TRIES: usize = 20;

pub(super) fn load(layout: &Layout) -> Result<Loaded, JournalError> {
    for _ in 1..TRIES {
        match load_once(layout) {
            Err(JournalError::Gap { .. }) => {}
            result => return result,
        }
    }
    load_once(layout)
}

fn load_once(layout: &Layout) -> Result<Loaded, JournalError> {
    let mut loaded = Loaded::default();
    let read = read_snapshot(&layout.snapshot(), &mut loaded)
        .and_then(|()| read_journal(&layout.journal(), &mut loaded));
    match (read, loaded.newer.take()) {
        (Ok(()), newer) => Ok(Loaded { newer, ..loaded }),
        // What cannot be understood of a newer version is no fault of the file.
        (Err(JournalError::Record { .. }), Some((path, found))) => {
            Err(JournalError::Newer { path, found })
        }
        (Err(error), _) => Err(error),
    }
}

fn read(path: &Utf8Path) -> Result<Option<Vec<u8>>, FileError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("read", path),
    }
}

fn parse<'a, T: Deserialize<'a>>(
    path: &Utf8Path,
    line: usize,
    json: &'a [u8],
) -> Result<T, JournalError> {
    serde_json::from_slice(json).map_err(|source| JournalError::Record {
        path: path.to_owned(),
        line,
        source,
    })
}

/// Looks at the format and version of a first line, and notes a newer one.
fn look_at_version(
    path: &Utf8Path,
    json: &[u8],
    format: &str,
    loaded: &mut Loaded,
) -> Result<(), JournalError> {
    let found: Versioned = parse(path, 1, json)?;
    if found.format != format {
        return Err(JournalError::Damaged { path: path.to_owned(), line: 1 });
    }
    if found.version > VERSION {
        loaded.newer = Some((path.to_owned(), found.version));
    }
    Ok(())
}

fn read_snapshot(path: &Utf8Path, loaded: &mut Loaded) -> Result<(), JournalError> {
    let Some(bytes) = read(path)? else { return Ok(()) };
    let damaged = |line| JournalError::Damaged { path: path.to_owned(), line };
    let lines = format::split(&bytes);
    let [header, content, ..] = lines.whole[..] else { return Err(damaged(lines.whole.len() + 1)) };
    look_at_version(path, header, SNAPSHOT, loaded)?;
    loaded.state = parse::<Snapshot>(path, 2, content)?.into_state();
    Ok(())
}

fn read_journal(path: &Utf8Path, loaded: &mut Loaded) -> Result<(), JournalError> {
    let Some(bytes) = read(path)? else {
        // A new journal takes the place of the old one at once, and the first one comes before any
        // snapshot.
        return match loaded.state.seq {
            0 => Ok(()),
            _ => Err(JournalError::Missing { path: path.to_owned() }),
        };
    };
    let lines = format::split(&bytes);
    if let Some(line) = lines.damaged {
        return Err(JournalError::Damaged { path: path.to_owned(), line });
    }
    let Some((header, records)) = lines.whole.split_first() else {
        // Not even the header: the file is put in place whole, so this is damage, not a torn tail.
        return Err(JournalError::Damaged { path: path.to_owned(), line: 1 });
    };
    look_at_version(path, header, JOURNAL, loaded)?;
    let header: Header = parse(path, 1, header)?;
    if header.base > loaded.state.seq {
        return Err(JournalError::Gap { path: path.to_owned(), base: header.base });
    }
    for (index, json) in records.iter().enumerate() {
        let (line, next) = (index + 2, header.base + 1 + index as u64);
        let entry: Entry = parse(path, line, json)?;
        if entry.seq != next {
            // Whole lines have gone: what is left would be read as something that never was.
            return Err(JournalError::Damaged { path: path.to_owned(), line });
        }
        if entry.seq > loaded.state.seq {
            loaded.state.apply(&entry);
        }
    }
    loaded.tail = Some(lines.tail as u64);
    loaded.records = records.len();
    Ok(())
}
