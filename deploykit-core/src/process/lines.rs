//! Bytes as they come out of a pipe, made into lines as a person wants to read them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Longer lines are cut into pieces, so that a flood without a newline needs no memory.
pub(super) const LONGEST: usize = 16 * 1024;

/// A cut is made behind a blank if there is one so close to the end of the piece: words, and with
/// them the secrets that are to be masked, stay whole.
const LOOK_BACK: usize = 1024;

/// How often a line that its program overwrites again and again (a progress bar) is passed on.
const OVERWRITTEN_EVERY: Duration = Duration::from_secs(1);

/// Splits bytes into lines.
///
/// A line ends at `\n` or `\r\n`. A text that ends in a lone `\r` is about to be overwritten by the
/// next one, as on a terminal: only the last one counts, but one a second is passed on, so that a
/// long download is seen to be alive. What is not UTF-8 is replaced.
#[derive(Debug)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    returned: bool,
    passed: Instant,
}

impl Lines {
    pub(super) fn new(now: Instant) -> Self {
        Self { buffer: Vec::new(), returned: false, passed: now }
    }

    /// Takes bytes and hands every line that they complete to `sink`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], now: Instant, sink: &mut dyn FnMut(&str)) {
        while let Some(&first) = bytes.first() {
            if self.returned && first == b'\r' {
                bytes = &bytes[1..];
                continue;
            }
            if std::mem::take(&mut self.returned) && first != b'\n' {
                self.overwrite(now, sink);
            }
            let length = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'));
            self.append(&bytes[..length.unwrap_or(bytes.len())], now, sink);
            match length.map(|at| bytes[at]) {
                Some(b'\n') => self.pass(now, sink),
                Some(_) => self.returned = true,
                None => {}
            }
            bytes = length.map_or(&[], |at| &bytes[at + 1..]);
        }
    }

    /// There will be no more bytes: what is left is a line too.
    pub(super) fn finish(&mut self, now: Instant, sink: &mut dyn FnMut(&str)) {
        if !self.buffer.is_empty() {
            self.pass(now, sink);
        }
    }

    fn overwrite(&mut self, now: Instant, sink: &mut dyn FnMut(&str)) {
        if !self.buffer.is_empty() && now.duration_since(self.passed) >= OVERWRITTEN_EVERY {
            self.pass(now, sink);
        }
        self.buffer.clear();
    }

    fn append(&mut self, mut text: &[u8], now: Instant, sink: &mut dyn FnMut(&str)) {
        while self.buffer.len() + text.len() > LONGEST {
            let (fits, rest) = text.split_at(LONGEST - self.buffer.len());
            self.buffer.extend_from_slice(fits);
            let kept = self.buffer.split_off(cut(&self.buffer));
            self.pass(now, sink);
            self.buffer = kept;
            text = rest;
        }
        self.buffer.extend_from_slice(text);
    }

    fn pass(&mut self, now: Instant, sink: &mut dyn FnMut(&str)) {
        sink(&String::from_utf8_lossy(&self.buffer));
        self.buffer.clear();
        self.passed = now;
    }
}

/// Where a piece that is full is cut: behind its last blank, or else before a character that is
/// not complete yet.
fn cut(full: &[u8]) -> usize {
    let near = full.len().saturating_sub(LOOK_BACK);
    if let Some(blank) = full[near..].iter().rposition(u8::is_ascii_whitespace) {
        return near + blank + 1;
    }
    for back in 1..=3.min(full.len() - 1) {
        let length = match full[full.len() - back] {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            0x80..=0xBF => continue,
            _ => 1,
        };
        return if length > back { full.len() - back } else { full.len() };
    }
    full.len()
}

/// The last lines of an output.
#[derive(Debug, Default)]
pub(crate) struct Tail(VecDeque<String>);

impl Tail {
    const LINES: usize = 20;

    pub(crate) fn push(&mut self, line: &str) {
        // The oldest line's memory is used again: a flood allocates nothing.
        let mut slot =
            if self.0.len() < Self::LINES { None } else { self.0.pop_front() }.unwrap_or_default();
        slot.clear();
        slot.push_str(line);
        self.0.push_back(slot);
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let now = Instant::now();
        let mut lines = Lines::new(now);
        let mut found = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, now, &mut |line| found.push(line.to_owned()));
        }
        lines.finish(now, &mut |line| found.push(line.to_owned()));
        found
    }

    #[test]
    fn lines_end_at_either_newline_wherever_the_chunks_are_cut() {
        let text = b"one\ntwo\r\n\nthree\r\r\nlast";
        for at in 0..text.len() {
            let (left, right) = text.split_at(at);
            assert_eq!(split(&[left, right]), ["one", "two", "", "three", "last"], "cut at {at}");
        }
        assert_eq!(split(&[b""]), Vec::<String>::new());
    }

    #[test]
    fn only_the_last_of_the_overwritten_texts_counts() {
        assert_eq!(split(&[b"1%\r2%\r", b"100%\ndone\r"]), ["100%", "done"]);
        assert_eq!(split(&[b"1%\r2%"]), ["2%"]);
    }

    #[test]
    fn a_progress_bar_is_passed_on_once_a_second() {
        let start = Instant::now();
        let mut lines = Lines::new(start);
        let mut found = Vec::new();
        for tenth in 0..30_u32 {
            let now = start + Duration::from_millis(100) * tenth;
            lines.feed(format!("{tenth}\r").as_bytes(), now, &mut |l| found.push(l.to_owned()));
        }
        assert_eq!(found, ["9", "19"]);
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(split(&[b"a\xFFb\xC3\n"]), ["a\u{FFFD}b\u{FFFD}"]);
        assert_eq!(split(&[b"\xC3", b"\xA9\n"]), ["\u{e9}"]);
    }

    #[test]
    fn a_long_line_comes_in_pieces_that_split_no_character() {
        for shift in 0..4 {
            let text = "x".repeat(shift) + &"\u{1F600}".repeat(10_000);
            let pieces = split(&[text.as_bytes()]);
            assert!(pieces.iter().all(|piece| piece.len() <= LONGEST));
            assert_eq!(pieces.len(), 3);
            assert_eq!(pieces.concat(), text);
        }
        let exact = "y".repeat(LONGEST);
        assert_eq!(split(&[exact.as_bytes(), b"\n"]), [exact.as_str()]);
    }

    #[test]
    fn a_long_line_is_cut_between_words() {
        let text = "a-secret-word ".repeat(3000);
        for piece in split(&[text.as_bytes()]) {
            assert!(piece.trim_end().ends_with("a-secret-word"));
            assert!(piece.starts_with("a-secret-word"));
        }
    }

    #[test]
    fn the_tail_keeps_the_last_lines() {
        let mut tail = Tail::default();
        (0..100).for_each(|n| tail.push(&n.to_string()));
        let lines = tail.into_lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "80", "99"));
    }
}
