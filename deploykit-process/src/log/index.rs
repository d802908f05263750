//! When the lines of a plain file were written: a file beside it, of pairs of a time and an offset.
//!
//! Each pair says that what is at the offset, and behind it until the next, was written at that time,
//! or less than a second later. Without the file no line is lost, only its time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use camino::Utf8Path;
use deploykit_core::Timestamp;

/// Two little-endian numbers of 64 bits: milliseconds since 1970, and the offset.
const PAIR: usize = 16;

/// A pair covers what is written so many milliseconds from its time on.
pub(super) const COVERED: i64 = 1000;

/// The index of the live file, as it is written. What fails is left out.
#[derive(Debug, Default)]
pub(super) struct IndexWriter {
    file: Option<File>,
    length: u64,
    last: Option<i64>,
}

impl IndexWriter {
    /// The index of a file of this size, gone on with if it is there.
    pub(super) fn open(path: &Utf8Path, size: u64) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(path);
        let Ok(file) = file else { return Self::default() };
        let length = file.metadata().map_or(0, |metadata| metadata.len() / PAIR as u64);
        let mut writer = Self { file: Some(file), length: length * PAIR as u64, last: None };
        match writer.last_pair() {
            Some((time, offset)) if offset <= size => writer.last = Some(time),
            _ => writer.reset(),
        }
        writer
    }

    fn last_pair(&self) -> Option<(i64, u64)> {
        let mut pair = [0; PAIR];
        let at = self.length.checked_sub(PAIR as u64)?;
        self.file.as_ref()?.read_exact_at(&mut pair, at).ok()?;
        parse(&pair).next()
    }

    /// Notes that what is written at the offset is of now.
    pub(super) fn note(&mut self, now: Timestamp, offset: u64) {
        let now = now.as_millis();
        let Some(file) = &self.file else { return };
        if self.last.is_some_and(|last| (last..last.saturating_add(COVERED)).contains(&now)) {
            return;
        }
        let mut pair = [0; PAIR];
        pair[..8].copy_from_slice(&now.to_le_bytes());
        pair[8..].copy_from_slice(&offset.to_le_bytes());
        // Written at its place and not appended: half a pair, of a full disk, is overwritten later.
        if file.write_all_at(&pair, self.length).is_ok() {
            self.length += PAIR as u64;
            self.last = Some(now);
        }
    }

    /// Forgets everything, because the file was emptied.
    pub(super) fn reset(&mut self) {
        if self.file.as_ref().is_some_and(|file| file.set_len(0).is_err()) {
            self.file = None;
        }
        (self.length, self.last) = (0, None);
    }
}

/// The index of a file, as it is read.
#[derive(Debug, Default)]
pub(super) struct IndexReader {
    file: Option<File>,
    read: u64,
    pairs: Vec<(i64, u64)>,
}

impl IndexReader {
    pub(super) fn open(path: &Utf8Path) -> Self {
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path).ok();
        let mut reader = Self { file, ..Self::default() };
        reader.refresh();
        reader
    }

    /// Reads what was added to it.
    pub(super) fn refresh(&mut self) {
        let added = self.file.as_ref().map(|file| read_from(file, self.read));
        if let Some(Ok(added)) = added {
            self.read += (added.len() / PAIR * PAIR) as u64;
            self.pairs.extend(parse(&added));
        }
    }

    /// When the line at the offset was written, to the second.
    pub(super) fn time_at(&self, offset: u64) -> Option<Timestamp> {
        let next = self.pairs.partition_point(|(_, from)| *from <= offset);
        Some(Timestamp::from_millis(self.pairs.get(next.checked_sub(1)?)?.0))
    }

    /// Where the first line may be that was written since then.
    pub(super) fn start(&self, since: Timestamp) -> u64 {
        let since = since.as_millis();
        // Those before the first pair are older than it, if at all they are known.
        let Some(&(first, _)) = self.pairs.first() else { return 0 };
        if first >= since {
            return 0;
        }
        let found = self.pairs.iter().find(|(time, _)| time.saturating_add(COVERED) > since);
        found.map_or(u64::MAX, |(_, offset)| *offset)
    }
}

fn read_from(file: &File, from: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len().saturating_sub(from);
    let mut added = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut added, from)?;
    Ok(added)
}

fn parse(pairs: &[u8]) -> impl Iterator<Item = (i64, u64)> {
    let number =
        |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
    pairs.chunks_exact(PAIR).map(move |pair| (number(&pair[..8]).cast_signed(), number(&pair[8..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_gone_on_with_and_knows_each_line_to_the_second() {
        let directory = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(directory.path().join("times")).unwrap();
        let at = Timestamp::from_millis;
        let mut writer = IndexWriter::open(&path, 0);
        writer.note(at(5_000), 0);
        writer.note(at(5_999), 10);
        drop(writer);
        let mut writer = IndexWriter::open(&path, 20);
        writer.note(at(5_999), 20);
        let mut reader = IndexReader::open(&path);
        writer.note(at(6_000), 30);
        // The clock is set back.
        writer.note(at(1_000), 40);
        reader.refresh();
        let times =
            [0, 29, 30, 39, 40, 99].map(|offset| reader.time_at(offset).unwrap().as_millis());
        assert_eq!(times, [5_000, 5_000, 6_000, 6_000, 1_000, 1_000]);
        let starts = [0, 5_000, 5_500, 6_000, 6_999, 7_000].map(|since| reader.start(at(since)));
        assert_eq!(starts, [0, 0, 0, 30, 30, u64::MAX]);
        assert_eq!(IndexReader::open("/missing".into()).start(at(1)), 0);
    }

    #[test]
    fn an_index_of_another_file_is_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(directory.path().join("times")).unwrap();
        IndexWriter::open(&path, 0).note(Timestamp::from_millis(5_000), 100);
        let mut writer = IndexWriter::open(&path, 99);
        writer.note(Timestamp::from_millis(5_001), 99);
        let reader = IndexReader::open(&path);
        assert_eq!(reader.pairs, [(5_001, 99)]);
    }
}
