//! What is just being written, on disk, so that it is not written twice after a kill.
//!
//! Lines of a pipe that has a name are written to the log while they are still in the pipe, and then taken out
//! of it. A kill in between would have them written a second time. So it is noted down before each write how
//! long the file is: whoever comes next, and finds that, cuts the file to that length, since the lines are in
//! the pipe still. Only between the note that they are written and the moment when they are out of the pipe,
//! two calls of the system, a kill has them written twice; never not at all.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};

use camino::Utf8Path;

/// The name of the file.
const NAME: &str = "writing";

/// So long the note is, in bytes: one write, that nobody sees half of.
const LENGTH: usize = 512;

/// The note.
#[derive(Debug)]
pub(super) struct Slot(File);

/// Where a log ends: the inode of its file, and its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) inode: u64,
    pub(super) length: u64,
}

impl Slot {
    /// Opens that of a directory, and puts right what it tells of the logs.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn open(dir: &Utf8Path, logs: &Utf8Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(dir.join(NAME))?;
        let slot = Self(file);
        if let Some((place, name)) = slot.read() {
            cut(&logs.join(name), place);
        }
        slot.done();
        Ok(slot)
    }

    /// Lines are being written behind this place of a log.
    pub(super) fn begin(&self, name: &str, place: Place) {
        self.note(&format!("{} {} {name}", place.inode, place.length));
    }

    /// They are written.
    pub(super) fn done(&self) {
        self.note("");
    }

    fn note(&self, text: &str) {
        let text = format!("{text}\n");
        if text.len() > LENGTH {
            return self.note("");
        }
        // What cannot be noted down is written twice, at the worst.
        let _ = self.0.write_all_at(text.as_bytes(), 0);
    }

    fn read(&self) -> Option<(Place, String)> {
        let mut buffer = vec![0; LENGTH];
        let length = self.0.read_at(&mut buffer, 0).ok()?;
        let text = std::str::from_utf8(&buffer[..length]).ok()?.lines().next()?;
        let (inode, rest) = text.split_once(' ')?;
        let (length, name) = rest.split_once(' ')?;
        if name.contains('/') {
            return None;
        }
        let place = Place { inode: inode.parse().ok()?, length: length.parse().ok()? };
        Some((place, format!("{name}.log")))
    }
}

/// Cuts what was written of lines that are still where they came from.
fn cut(path: &Utf8Path, place: Place) {
    let Ok(file) = File::options().write(true).open(path) else { return };
    let is_it = |found: std::fs::Metadata| found.ino() == place.inode && found.len() > place.length;
    if file.metadata().is_ok_and(is_it) {
        let _ = file.set_len(place.length);
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;

    #[test]
    fn what_was_being_written_is_cut_and_what_was_written_is_not() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(temporary.path().to_owned()).unwrap();
        let log = dir.join("web@1.log");
        std::fs::write(&log, "one\ntwo\nhal").unwrap();
        let inode = std::fs::metadata(&log).unwrap().ino();
        let slot = Slot::open(&dir, &dir).unwrap();
        slot.begin("web@1", Place { inode, length: 4 });
        drop(Slot::open(&dir, &dir).unwrap());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\n");
        // Once only.
        std::fs::write(&log, "one\ntwo\n").unwrap();
        slot.begin("web@1", Place { inode, length: 4 });
        slot.done();
        drop(Slot::open(&dir, &dir).unwrap());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\ntwo\n");
        // The file has been followed by another one since.
        slot.begin("web@1", Place { inode: inode + 1, length: 4 });
        drop(Slot::open(&dir, &dir).unwrap());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "one\ntwo\n");
    }
}
