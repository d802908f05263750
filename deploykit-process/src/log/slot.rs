//! What is just being written, on disk, so that it is not written twice after a kill.
//!
//! Lines of a pipe that has a name are written to the log while they are still in the pipe, and then taken out
//! of it. A kill in between would have them written a second time. So it is noted down before each write how
//! long the file is, and what the pipe begins with: whoever comes next, and finds that the pipe begins so still,
//! cuts the file to that length. Lines that are alike may be there once too often; none is lost.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};

use camino::Utf8Path;

use super::copy::{Copy, open_to_read};
use super::pipes::CHUNK;

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
        if let Some((place, lines, name)) = slot.read()
            && lines.are_in(dir)
        {
            cut(&logs.join(name), place);
        }
        slot.done();
        Ok(slot)
    }

    /// These lines are being written behind this place of a log.
    pub(super) fn begin(&self, name: &str, place: Place, lines: &Lines<'_>) {
        let (Place { inode, length: end }, Lines { pipe, length, sum }) = (place, lines);
        self.note(&format!("{inode} {end} {pipe} {length} {sum} {name}"));
    }

    /// They are written, and out of the pipe.
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

    fn read(&self) -> Option<(Place, Lines<'static>, String)> {
        let mut buffer = vec![0; LENGTH];
        let length = self.0.read_at(&mut buffer, 0).ok()?;
        let text = std::str::from_utf8(&buffer[..length]).ok()?.lines().next()?;
        let mut words = text.split(' ');
        let place =
            Place { inode: words.next()?.parse().ok()?, length: words.next()?.parse().ok()? };
        let pipe: Cow<'_, str> = Cow::Owned(words.next()?.to_owned());
        let (length, sum) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let name = words.next()?;
        if name.contains('/') || pipe.contains('/') {
            return None;
        }
        Some((place, Lines { pipe, length, sum }, format!("{name}.log")))
    }
}

/// Lines that a pipe begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lines<'a> {
    /// The name of the pipe, in the directory of the note.
    pipe: Cow<'a, str>,
    length: usize,
    /// By which they are known again.
    pub(super) sum: u32,
}

impl<'a> Lines<'a> {
    pub(super) fn of(pipe: Option<&'a Utf8Path>, bytes: &[u8]) -> Self {
        let mut sum = flate2::Crc::new();
        sum.update(bytes);
        let pipe = pipe.and_then(Utf8Path::file_name).unwrap_or_default();
        Self { pipe: pipe.into(), length: bytes.len(), sum: sum.sum() }
    }

    /// Whether the pipe begins with them still.
    fn are_in(&self, dir: &Utf8Path) -> bool {
        let mut buffer = vec![0; self.length.min(CHUNK)];
        let mut look = || {
            let pipe = open_to_read(&dir.join(&*self.pipe)).ok()?;
            Copy::new().ok()?.look(&pipe, &mut buffer).ok()
        };
        let length = look().unwrap_or(0);
        Self::of(None, &buffer[..length]).sum == self.sum && length == self.length
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
    use std::io::{Read as _, Write as _};

    use camino::Utf8PathBuf;

    use super::*;

    /// A directory with a log in which there are two lines and the beginning of a third one, its inode, and a
    /// pipe with a name in which there are lines.
    fn place() -> (tempfile::TempDir, Utf8PathBuf, Place, File) {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(temporary.path().to_owned()).unwrap();
        let log = dir.join("web@1.log");
        std::fs::write(&log, "one\ntwo\nthr").unwrap();
        let inode = std::fs::metadata(&log).unwrap().ino();
        let pipe = dir.join("web@1-0.out");
        nix::unistd::mkfifo(pipe.as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut to = File::options().read(true).write(true).open(&pipe).unwrap();
        to.write_all(b"two\nthree\nfour\n").unwrap();
        (temporary, dir, Place { inode, length: 4 }, to)
    }

    fn two(dir: &Utf8Path) -> Lines<'_> {
        let mut lines = Lines::of(Some(dir), b"two\nthree\n");
        lines.pipe = "web@1-0.out".into();
        lines
    }

    /// What is in the log when the next one has come.
    fn found(dir: &Utf8Path) -> String {
        drop(Slot::open(dir, dir).unwrap());
        std::fs::read_to_string(dir.join("web@1.log")).unwrap()
    }

    #[test]
    fn what_was_being_written_is_cut_once() {
        let (_temporary, dir, place, _to) = place();
        let slot = Slot::open(&dir, &dir).unwrap();
        slot.begin("web@1", place, &two(&dir));
        assert_eq!(found(&dir), "one\n");
        std::fs::write(dir.join("web@1.log"), "one\ntwo\n").unwrap();
        assert_eq!(found(&dir), "one\ntwo\n");
    }

    #[test]
    fn what_is_not_in_the_pipe_any_more_is_not_cut() {
        let (_temporary, dir, place, mut to) = place();
        let slot = Slot::open(&dir, &dir).unwrap();
        slot.begin("web@1", place, &two(&dir));
        // One call of the system before it is noted down that this is done.
        to.read_exact(&mut [0; 10]).unwrap();
        assert_eq!(found(&dir), "one\ntwo\nthr");
        to.read_exact(&mut [0; 5]).unwrap();
        slot.begin("web@1", place, &two(&dir));
        assert_eq!(found(&dir), "one\ntwo\nthr", "of a pipe that is empty");
        slot.begin("web@1", place, &Lines { pipe: "gone.out".into(), ..two(&dir) });
        assert_eq!(found(&dir), "one\ntwo\nthr", "of a pipe that is gone");
    }

    #[test]
    fn what_was_written_is_not_cut_and_neither_is_another_file() {
        let (_temporary, dir, place, _to) = place();
        let slot = Slot::open(&dir, &dir).unwrap();
        slot.begin("web@1", place, &two(&dir));
        slot.done();
        assert_eq!(found(&dir), "one\ntwo\nthr");
        let inode = place.inode + 1;
        slot.begin("web@1", Place { inode, ..place }, &two(&dir));
        assert_eq!(found(&dir), "one\ntwo\nthr", "it has been followed by another one");
    }
}
