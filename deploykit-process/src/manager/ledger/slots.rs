//! How an entry is kept in its file: twice, so that one of them is whole whenever the writing is broken off.
//!
//! Writing a new file and renaming it over the old one would do, too. But some file systems then write the new
//! one to the disk first (ext4 does, for those who forget to), and nothing here outlives the next boot anyway.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};

use camino::Utf8Path;

/// Where the second one begins, in bytes.
const SECOND: u64 = 32 << 10;

/// So long what is before the text is.
const HEAD: usize = 48;

/// What is before the text: which one is newer, how long it is, and its CRC-32.
fn head(number: u64, text: &[u8]) -> String {
    let (length, sum) = (text.len(), sum(text));
    let head = format!("{number:020} {length:010} {sum:08x}");
    format!("{head:<width$}\n", width = HEAD - 1)
}

fn sum(text: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(text);
    sum.sum()
}

/// Where the newer one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    First,
    Second,
    /// It takes the room of both.
    Long,
}

/// Writes a text, in the place of the older one of the two that are there. Each number is greater than the last.
pub(super) fn write(
    path: &Utf8Path,
    number: u64,
    last: Option<Last>,
    text: &[u8],
) -> io::Result<Last> {
    let mut whole = head(number, text).into_bytes();
    whole.extend_from_slice(text);
    let is_long = whole.len() as u64 > SECOND;
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    if is_long || last == Some(Last::Long) {
        let new = path.with_extension("new");
        options.truncate(true).open(&new)?.write_all_at(&whole, 0)?;
        std::fs::rename(new, path)?;
        return Ok(if is_long { Last::Long } else { Last::First });
    }
    let (place, next) =
        if last == Some(Last::First) { (SECOND, Last::Second) } else { (0, Last::First) };
    options.open(path)?.write_all_at(&whole, place)?;
    Ok(next)
}

/// The newer one that is whole, and where it is.
pub(super) fn read(path: &Utf8Path) -> Option<(Vec<u8>, Last)> {
    let file = std::fs::read(path).ok()?;
    let (first, second) = (at(&file, 0), at(&file, usize::try_from(SECOND).ok()?));
    match (first, second) {
        (Some((_, text)), _) if (text.len() + HEAD) as u64 > SECOND => {
            Some((text.into(), Last::Long))
        }
        (Some((one, text)), second) if second.is_none_or(|(other, _)| one > other) => {
            Some((text.into(), Last::First))
        }
        (_, Some((_, text))) => Some((text.into(), Last::Second)),
        _ => None,
    }
}

fn at(file: &[u8], place: usize) -> Option<(u64, &[u8])> {
    let head = std::str::from_utf8(file.get(place..place + HEAD)?).ok()?;
    let mut words = head.split_whitespace();
    let (number, length) = (words.next()?.parse().ok()?, words.next()?.parse::<usize>().ok()?);
    let text = file.get(place + HEAD..(place + HEAD).checked_add(length)?)?;
    let is_whole = u32::from_str_radix(words.next()?, 16).ok()? == sum(text);
    is_whole.then_some((number, text))
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;

    use super::*;

    fn file() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("web.1.json")).unwrap();
        (dir, path)
    }

    fn found(path: &Utf8Path) -> (String, Last) {
        let (text, last) = read(path).unwrap();
        (String::from_utf8(text).unwrap(), last)
    }

    #[test]
    fn the_newer_one_is_read_and_the_older_one_when_that_was_broken_off() {
        let (_dir, path) = file();
        assert!(read(&path).is_none());
        let mut last = None;
        let mut write = |number, text: &str| {
            last = Some(write(&path, number, last, text.as_bytes()).unwrap());
            assert_eq!(found(&path), (text.to_owned(), last.unwrap()));
            last.unwrap()
        };
        assert_eq!(write(1, "one"), Last::First);
        assert_eq!(write(2, "two, which is longer"), Last::Second);
        assert_eq!(write(3, "3"), Last::First);
        // As far as it came.
        let whole = std::fs::read(&path).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        for length in 0..=HEAD {
            file.write_all_at(&[b'x'; HEAD + 1], 0).unwrap();
            file.write_all_at(&whole[..length], 0).unwrap();
            assert_eq!(found(&path).0, "two, which is longer", "{length} bytes");
        }
        file.set_len(HEAD as u64 - 1).unwrap();
        assert!(read(&path).is_none());
    }

    #[test]
    fn a_long_one_takes_the_room_of_both_and_is_not_written_over() {
        let (_dir, path) = file();
        let long = "long ".repeat(10_000);
        let mut last = None;
        for (number, text, place) in [
            (1, "one", Last::First),
            (2, &*long, Last::Long),
            (3, &*long, Last::Long),
            (4, "four", Last::First),
            (5, "five", Last::Second),
            (6, &*long, Last::Long),
        ] {
            let inode = std::os::unix::fs::MetadataExt::ino;
            let before = std::fs::metadata(&path).map(|it| inode(&it)).ok();
            let is_long = last == Some(Last::Long) || place == Last::Long;
            last = Some(write(&path, number, last, text.as_bytes()).unwrap());
            assert_eq!((last, found(&path)), (Some(place), (text.to_owned(), place)));
            let after = std::fs::metadata(&path).map(|it| inode(&it)).ok();
            assert_eq!(before.is_some() && before != after, is_long, "{number}");
        }
    }
}
