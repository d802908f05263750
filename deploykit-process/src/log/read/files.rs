//! The files of a log in their order, as they are while it is written, rotated and compressed.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use camino::Utf8Path;
use flate2::bufread::MultiGzDecoder;

use crate::log::file::same;
use crate::log::index::IndexReader;
use crate::log::{LogSettings, names};

/// So much is read at once.
pub(super) const READ: usize = 128 << 10;

/// How often it is tried to open what is renamed at the same time.
const TRIES: usize = 1000;

/// A file that is read.
pub(super) struct Opened {
    /// Its place in the order; the live one's is that which it will have.
    pub(super) number: u64,
    pub(super) live: bool,
    pub(super) index: IndexReader,
    text: Text,
}

enum Text {
    Plain(File),
    Packed(Box<MultiGzDecoder<BufReader<File>>>),
}

/// Opens the first file with this number or a later one, the live one being the last.
pub(super) fn open_from(settings: &LogSettings, number: u64) -> io::Result<Option<Opened>> {
    for _ in 0..TRIES {
        let rotated = match names::rotated(settings) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let found = match rotated.iter().find(|file| file.number >= number) {
            Some(file) => open_rotated(file),
            None => open_live(settings, number.max(names::next_number(&rotated))),
        };
        match found {
            // It was renamed, compressed or removed between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map(Some),
        }
        if names::rotated(settings)? == rotated && !names::live(settings).exists() {
            return Ok(None);
        }
    }
    Ok(None)
}

fn open_rotated(file: &names::Rotated) -> io::Result<Opened> {
    let text = open(&file.path)?;
    let text = if file.packed { packed(text) } else { Text::Plain(text) };
    let index = IndexReader::open(&names::index_of(&file.path));
    Ok(Opened { number: file.number, live: false, index, text })
}

/// Opens the live file, if nothing was renamed meanwhile: its number and its index are its own then.
fn open_live(settings: &LogSettings, number: u64) -> io::Result<Opened> {
    let path = names::live(settings);
    let file = open(&path)?;
    let index = IndexReader::open(&names::index_of(&path));
    let rotated = names::rotated(settings)?;
    let mut opened = Opened { number, live: true, index, text: Text::Plain(file) };
    let newer = rotated.last().is_some_and(|last| last.number >= number);
    if newer || opened.was_renamed(settings) {
        opened.live = false;
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(opened)
}

fn packed(file: File) -> Text {
    Text::Packed(Box::new(MultiGzDecoder::new(BufReader::with_capacity(READ, file))))
}

fn open(path: &Utf8Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

impl Opened {
    /// Goes to this place of the text.
    pub(super) fn skip(&mut self, offset: u64) -> io::Result<()> {
        match &mut self.text {
            Text::Plain(file) => file.seek(SeekFrom::Start(offset)).map(|_| ()),
            Text::Packed(decoder) => {
                io::copy(&mut decoder.by_ref().take(offset), &mut io::sink()).map(|_| ())
            }
        }
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.text {
            Text::Plain(file) => file.read(buffer),
            Text::Packed(decoder) => decoder.read(buffer),
        }
    }

    /// The file, if it is not compressed.
    pub(super) fn plain(&self) -> Option<&File> {
        match &self.text {
            Text::Plain(file) => Some(file),
            Text::Packed(_) => None,
        }
    }

    /// How long its text is by now, if that can be known.
    pub(super) fn length(&self) -> io::Result<u64> {
        self.plain().map_or(Ok(u64::MAX), |file| file.metadata().map(|metadata| metadata.len()))
    }

    /// The same file once more, at its beginning.
    pub(super) fn rewound(mut self) -> io::Result<Self> {
        self.text = match self.text {
            Text::Plain(mut file) => {
                file.rewind()?;
                Text::Plain(file)
            }
            Text::Packed(decoder) => {
                let mut file = decoder.into_inner().into_inner();
                file.rewind()?;
                packed(file)
            }
        };
        Ok(self)
    }

    fn metadata(&self) -> Option<Metadata> {
        self.plain()?.metadata().ok()
    }

    /// Whether the live file is another one by now. One that is missing is about to come.
    pub(super) fn was_renamed(&self, settings: &LogSettings) -> bool {
        let there = std::fs::symlink_metadata(names::live(settings)).ok();
        there.zip(self.metadata()).is_some_and(|(there, ours)| !same(&there, &ours))
    }

    /// The length of the file, when it is shorter than what was read of it.
    pub(super) fn shortened(&self, read: u64) -> Option<u64> {
        self.metadata().map(|metadata| metadata.len()).filter(|length| *length < read)
    }
}
