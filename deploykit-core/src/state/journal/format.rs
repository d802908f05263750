//! Lines with a checksum, and the header of a file.

use serde::{Deserialize, Serialize};

/// The version that this program writes.
pub(super) const VERSION: u32 = 1;

/// The formats, by name.
pub(super) const JOURNAL: &str = "deploykit-journal";
pub(super) const SNAPSHOT: &str = "deploykit-snapshot";

/// The first line of a journal or a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) format: String,
    pub(super) version: u32,
    /// The number of the last record before this journal; of the last one in this snapshot.
    pub(super) base: u64,
}

impl Header {
    pub(super) fn journal(base: u64) -> Self {
        Self { format: JOURNAL.to_owned(), version: VERSION, base }
    }

    pub(super) fn snapshot(base: u64) -> Self {
        Self { format: SNAPSHOT.to_owned(), version: VERSION, base }
    }
}

/// A line with its checksum and its end.
pub(super) fn encode(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(value)?;
    let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    line.extend(json);
    line.push(b'\n');
    Ok(line)
}

/// The JSON of a whole line (without its end), or nothing when the checksum is wrong.
pub(super) fn decode(line: &[u8]) -> Option<&[u8]> {
    let (sum, json) = (line.get(..8)?, line.get(9..)?);
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    (line[8] == b' ' && sum == crc32fast::hash(json)).then_some(json)
}

/// The whole lines of a file, and where the torn tail begins: at the end of the file if there is
/// none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lines<'a> {
    pub(super) whole: Vec<&'a [u8]>,
    pub(super) tail: usize,
    /// The number (from 1) of a broken line that has whole ones behind it.
    pub(super) damaged: Option<usize>,
}

/// Splits a file into its lines.
pub(super) fn split(bytes: &[u8]) -> Lines<'_> {
    let mut lines = Lines { whole: Vec::new(), tail: 0, damaged: None };
    let (mut begin, mut broken) = (0, None);
    for (index, end) in memchr::memchr_iter(b'\n', bytes).enumerate() {
        let line = &bytes[std::mem::replace(&mut begin, end + 1)..end];
        match decode(line) {
            Some(json) if broken.is_none() => {
                lines.whole.push(json);
                lines.tail = end + 1;
            }
            Some(_) => {
                lines.damaged = broken;
                break;
            }
            None => broken = broken.or(Some(index + 1)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_survives_and_a_changed_one_does_not() {
        let line = encode(&Header::journal(7)).unwrap();
        let json = decode(&line[..line.len() - 1]).unwrap();
        assert_eq!(serde_json::from_slice::<Header>(json).unwrap(), Header::journal(7));
        let mut changed = line.clone();
        changed[15] ^= 1;
        assert_eq!(decode(&changed[..changed.len() - 1]), None);
        assert_eq!(decode(b""), None);
        assert_eq!(decode(b"zzzzzzzz {}"), None);
    }

    #[test]
    fn a_torn_tail_is_told_from_damage() {
        let line = encode(&1).unwrap();
        let torn = [&line[..], &line[..5]].concat();
        let lines = split(&torn);
        assert_eq!((lines.whole.len(), lines.tail, lines.damaged), (1, line.len(), None));
        let garbled = [&line[..], b"\0\0\0\0\n\0\0"].concat();
        assert_eq!((split(&garbled).tail, split(&garbled).damaged), (line.len(), None));
        let damaged = [&line[..], b"garbage\n", &line[..]].concat();
        assert_eq!(split(&damaged).damaged, Some(2));
    }

    proptest! {
        #[test]
        fn whatever_is_cut_off_the_whole_lines_stay(
            numbers in prop::collection::vec(any::<u64>(), 0..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let lines: Vec<Vec<u8>> = numbers.iter().map(|n| encode(n).unwrap()).collect();
            let file = lines.concat();
            let kept = &file[..cut.index(file.len() + 1)];
            let mut end = 0;
            let whole = lines.iter().take_while(|l| { end += l.len(); end <= kept.len() }).count();
            let split = split(kept);
            prop_assert_eq!(split.whole.len(), whole);
            prop_assert_eq!(split.damaged, None);
            prop_assert_eq!(split.tail, lines[..whole].iter().map(Vec::len).sum::<usize>());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let lines = split(&bytes);
            prop_assert!(lines.tail <= bytes.len());
        }
    }
}
