//! The lines of a file, with what is known of each.

use deploykit_core::Timestamp;
use memchr::{memchr, memchr_iter};
use serde::Deserialize;

use super::Line;
use crate::log::index::IndexReader;
use crate::log::{LogFormat, Stream};

/// A longer line is handed over in parts, so that a file without lines does not fill the memory.
const LONGEST: usize = 1 << 20;

/// Makes lines of what is read of one file.
pub(super) struct Lines {
    format: LogFormat,
    /// The beginning of a line without its end.
    begun: Vec<u8>,
    /// Where the next byte comes from.
    offset: u64,
    /// When the last line was written: one that does not tell is not older.
    last: Option<Timestamp>,
}

impl Lines {
    pub(super) fn new(format: LogFormat, offset: u64) -> Self {
        Self { format, begun: Vec::new(), offset, last: None }
    }

    /// How much of the file was read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Forgets what was cut off. When that is only of a line that was not whole yet, the disk was full
    /// as it was written; otherwise the file was emptied, and begins anew. Says where to go on.
    pub(super) fn cut(&mut self, length: u64) -> u64 {
        let whole = self.offset - self.begun.len() as u64;
        let left = length.checked_sub(whole).and_then(|left| usize::try_from(left).ok());
        self.begun.truncate(left.unwrap_or(0));
        self.offset = if left.is_some() { length } else { 0 };
        self.offset
    }

    pub(super) fn push(&mut self, bytes: &[u8], index: &IndexReader, give: &mut dyn FnMut(Line)) {
        let mut from = 0;
        for end in memchr_iter(b'\n', bytes) {
            let at = self.offset + from as u64 - self.begun.len() as u64;
            let line = if self.begun.is_empty() {
                self.parse(&bytes[from..end], at, index)
            } else {
                self.begun.extend_from_slice(&bytes[from..end]);
                let begun = std::mem::take(&mut self.begun);
                self.parse(&begun, at, index)
            };
            give(line);
            from = end + 1;
        }
        self.begun.extend_from_slice(&bytes[from..]);
        self.offset += bytes.len() as u64;
        if self.begun.len() >= LONGEST {
            self.finish(index, give);
        }
    }

    /// Hands over a line without its end, which will not come any more.
    pub(super) fn finish(&mut self, index: &IndexReader, give: &mut dyn FnMut(Line)) {
        let begun = std::mem::take(&mut self.begun);
        if !begun.is_empty() {
            let at = self.offset - begun.len() as u64;
            give(self.parse(&begun, at, index));
        }
    }

    fn parse(&mut self, line: &[u8], offset: u64, index: &IndexReader) -> Line {
        let parsed = match self.format {
            LogFormat::Plain => {
                let ours = line.starts_with(b"deploykit: ").then_some(Stream::Ours);
                let at = index.time_at(offset);
                return Line { at, stream: ours, text: text(line) };
            }
            LogFormat::Timestamps => parse_timestamps(line),
            LogFormat::Json => parse_json(line),
        };
        // The file may have lines from before its format was changed.
        let line = parsed.unwrap_or_else(|| Line { at: self.last, stream: None, text: text(line) });
        self.last = line.at;
        line
    }
}

fn parse_timestamps(line: &[u8]) -> Option<Line> {
    let (time, rest) = line.split_at_checked(memchr(b' ', line)?)?;
    let rest = &rest[1..];
    let (stream, rest) = rest.split_at_checked(memchr(b':', rest)?)?;
    let at = Timestamp::try_from(std::str::from_utf8(time).ok()?.to_owned()).ok()?;
    let stream = Some(Stream::from_text(std::str::from_utf8(stream).ok()?)?);
    Some(Line { at: Some(at), stream, text: text(rest.strip_prefix(b": ")?) })
}

fn parse_json(line: &[u8]) -> Option<Line> {
    #[derive(Deserialize)]
    struct Record {
        time: Timestamp,
        stream: String,
        line: String,
    }
    let Record { time, stream, line } = serde_json::from_slice(line).ok()?;
    let stream = Some(Stream::from_text(&stream)?);
    Some(Line { at: Some(time), stream, text: text(line.as_bytes()) })
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_a_line_is_not_told_and_an_emptied_file_begins_anew() {
        let mut lines = Lines::new(LogFormat::Plain, 0);
        let (index, mut seen) = (IndexReader::default(), Vec::new());
        let mut push = |lines: &mut Lines, text: &str| {
            lines.push(text.as_bytes(), &index, &mut |line| seen.push(line.text));
        };
        push(&mut lines, "one\ntwo half");
        assert_eq!(lines.cut(7), 7);
        push(&mut lines, "\nthree\nfour");
        assert_eq!(lines.cut(13), 0, "a line that was told is gone");
        push(&mut lines, "new\n");
        assert_eq!(seen, ["one", "two", "three", "new"]);
    }
}
