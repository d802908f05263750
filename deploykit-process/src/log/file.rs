//! The live file of a log: how it is opened, and what belongs to it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::Timestamp;

use super::index::IndexWriter;
use super::slot::Place;
use super::{Compressor, Listing, LogError, LogEvent, LogFormat, LogSettings, Stream, names};

/// How often it is looked whether somebody has moved, removed or emptied the file.
const LOOK: i64 = 1000;

/// Who has written half a line when nobody will go on with it. No source has this number.
pub(super) const NOBODY: u64 = 0;

/// Who else is shown what is written: the name of the log, where it comes from, and whole lines. It must
/// not wait.
#[derive(Clone)]
pub struct Echo(pub(crate) Arc<Show>);

/// What is called with it.
type Show = dyn Fn(&str, Stream, &[u8]) + Send + Sync;

impl Echo {
    /// Shows it to a function.
    pub fn new(show: impl Fn(&str, Stream, &[u8]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(show))
    }
}

impl std::fmt::Debug for Echo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Echo")
    }
}

/// The live file of a log, `DIR/NAME.log`, and its rotation. There is one of it for a log at a time.
#[derive(Debug)]
pub struct LogFile {
    pub(super) settings: LogSettings,
    pub(super) file: File,
    pub(super) size: u64,
    pub(super) inode: u64,
    /// When its first line was written.
    pub(super) born: Option<Timestamp>,
    pub(super) index: IndexWriter,
    /// The source whose line the file ends within, or [`NOBODY`].
    pub(super) open_line: Option<u64>,
    pub(super) dropped: Option<Dropped>,
    /// When it was last tried in vain to rotate.
    pub(super) rotation_failed: Option<Timestamp>,
    looked: Option<Timestamp>,
    pub(super) compressor: Compressor,
    pub(super) events: Vec<LogEvent>,
    pub(super) echo: Option<Echo>,
}

/// What could not be written since the disk was full.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    pub(super) lines: u64,
    pub(super) bytes: u64,
    pub(super) error: String,
}

impl LogFile {
    /// Opens the log for writing: makes its directory (mode 0700) and its file (0600) if they are
    /// missing, puts right what a crash has left, and has what is not compressed yet compressed.
    ///
    /// # Errors
    ///
    /// The name is refused, or the directory or the file cannot be opened.
    pub fn open(settings: LogSettings, compressor: &Compressor) -> Result<Self, LogError> {
        let dir = &settings.dir;
        let wrong = |source| LogError::Open { path: dir.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(wrong)?;
        let listing = Listing::read(dir).map_err(wrong)?;
        Self::open_among(settings, compressor, &listing)
    }

    /// The same in a directory that is there and has these files, as far as they are of this log.
    ///
    /// # Errors
    ///
    /// The name is refused, or the file cannot be opened.
    pub fn open_among(
        settings: LogSettings,
        compressor: &Compressor,
        listing: &Listing,
    ) -> Result<Self, LogError> {
        names::check(&settings)?;
        let wrong = |path: &Utf8Path| {
            let path = path.to_owned();
            move |source| LogError::Open { path, source }
        };
        // What cannot be removed does no harm.
        let has_rotated = names::sweep(&settings, listing).unwrap_or(true);
        let path = names::live(&settings);
        let file = open_to_append(&path).map_err(wrong(&path))?;
        let mut log = Self {
            size: 0,
            inode: 0,
            born: None,
            index: IndexWriter::default(),
            open_line: None,
            dropped: None,
            rotation_failed: None,
            looked: None,
            compressor: compressor.clone(),
            events: Vec::new(),
            echo: None,
            file,
            settings,
        };
        log.adopt().map_err(wrong(&path))?;
        if has_rotated {
            log.compressor.wake(&log.settings);
        }
        Ok(log)
    }

    /// The log's name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Where it ends.
    pub(super) fn place(&self) -> Place {
        Place { inode: self.inode, length: self.size }
    }

    /// Finds out about a file that was just opened and may have lines in it.
    fn adopt(&mut self) -> io::Result<()> {
        let metadata = self.file.metadata()?;
        (self.size, self.inode) = (metadata.len(), metadata.ino());
        self.born = (self.size > 0).then(|| {
            let created = metadata.created().or_else(|_| metadata.modified());
            let millis = created.ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            millis.map_or_else(Timestamp::now, |at| {
                Timestamp::from_millis(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
            })
        });
        let mut last = [b'\n'];
        if let Some(at) = self.size.checked_sub(1) {
            File::open(names::live(&self.settings))?.read_exact_at(&mut last, at)?;
        }
        // Somebody was killed, or the power went, within a line.
        self.open_line = (last != *b"\n").then_some(NOBODY);
        self.open_index();
        Ok(())
    }

    pub(super) fn open_index(&mut self) {
        self.index = match self.settings.format {
            LogFormat::Plain => {
                IndexWriter::open(&names::index_of(&names::live(&self.settings)), self.size)
            }
            LogFormat::Timestamps | LogFormat::Json => IndexWriter::default(),
        };
    }

    /// Goes on in the right file when somebody has moved, removed or emptied it.
    pub(super) fn look_after(&mut self, now: Timestamp) {
        let passed = self.looked.map(|at| now.as_millis().abs_diff(at.as_millis()));
        if passed.is_some_and(|millis| millis < LOOK.unsigned_abs()) {
            return;
        }
        self.looked = Some(now);
        let path = names::live(&self.settings);
        let there = std::fs::symlink_metadata(&path).ok();
        let ours = self.file.metadata().ok();
        match (there, ours) {
            (Some(there), Some(ours)) if same(&there, &ours) => {
                if there.len() < self.size {
                    self.index.reset();
                    (self.open_line, self.born) = (None, None);
                }
                self.size = there.len();
            }
            // What cannot be opened is written on where it is, and looked at again later.
            _ => self.reopen(&path),
        }
    }

    fn reopen(&mut self, path: &Utf8Path) {
        let Ok(file) = open_to_append(path) else { return };
        let old = std::mem::replace(&mut self.file, file);
        if self.adopt().is_err() {
            self.file = old;
        }
    }
}

pub(super) fn same(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

pub(super) fn open_to_append(path: &Utf8Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
        .and_then(|file| match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
        })
}

/// A log that several pipes write to.
#[derive(Debug, Clone)]
pub struct SharedLog(Arc<Mutex<LogFile>>);

impl SharedLog {
    /// Shares the log.
    pub fn new(file: LogFile) -> Self {
        Self(Arc::new(Mutex::new(file)))
    }

    /// The log, for this caller alone. A slow disk may make it wait.
    pub fn lock(&self) -> MutexGuard<'_, LogFile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the lines are.
    pub fn path(&self) -> Utf8PathBuf {
        names::live(&self.lock().settings)
    }
}
