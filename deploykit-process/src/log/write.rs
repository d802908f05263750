//! Writing lines: whole ones only, and what happens to those that cannot be written.

use std::fs::File;
use std::io::{self, Write as _};

use deploykit_core::Timestamp;
use memchr::{memchr, memchr_iter, memrchr};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::file::{Dropped, LogFile, NOBODY};
use super::source::HELD;
use super::{LogEvent, LogFormat, Source, encode};

/// So much is put into another form at once.
const ENCODED: usize = 32 << 10;

impl LogFile {
    /// Writes the lines that are complete, and holds the beginning of the next.
    pub fn write(&mut self, source: &mut Source, bytes: &[u8], now: Timestamp) -> Vec<LogEvent> {
        self.look_after(now);
        let (mut whole, rest) = bytes.split_at(memrchr(b'\n', bytes).map_or(0, |last| last + 1));
        if let (Some(first), false) = (memchr(b'\n', whole), source.held.is_empty()) {
            source.held.extend_from_slice(&whole[..=first]);
            self.write_held(source, now);
            whole = &whole[first + 1..];
        }
        self.write_lines(source, whole, now);
        source.held.extend_from_slice(rest);
        if source.held.len() > HELD {
            self.write_held(source, now);
        }
        std::mem::take(&mut self.events)
    }

    /// Writes what is left of a line whose pipe has ended.
    pub fn finish(&mut self, source: &mut Source, now: Timestamp) -> Vec<LogEvent> {
        if !source.held.is_empty() || self.open_line == Some(source.id) {
            source.held.push(b'\n');
            self.write_held(source, now);
        }
        std::mem::take(&mut self.events)
    }

    /// Writes a line of ours. In a plain file it begins with `deploykit: `.
    pub fn note(&mut self, text: &str, now: Timestamp) -> Vec<LogEvent> {
        self.look_after(now);
        let line = encode::ours(self.settings.format, now, &text.replace('\n', " "));
        self.put(NOBODY, &line, now);
        std::mem::take(&mut self.events)
    }

    fn write_held(&mut self, source: &mut Source, now: Timestamp) {
        let held = std::mem::take(&mut source.held);
        self.write_lines(source, &held, now);
    }

    fn write_lines(&mut self, source: &Source, lines: &[u8], now: Timestamp) {
        source.awaited.look(lines);
        if let Some(echo) = self.echo.as_ref().filter(|_| !lines.is_empty()) {
            echo.0(&self.settings.name, source.stream, lines);
        }
        if self.settings.format == LogFormat::Plain {
            return self.put(source.id, lines, now);
        }
        let mut rest = lines;
        while !rest.is_empty() {
            let (part, later) = rest.split_at(some_lines(rest, ENCODED));
            self.put(
                source.id,
                &encode::lines(self.settings.format, now, source.stream, part),
                now,
            );
            rest = later;
        }
    }

    /// Writes to as many files as it needs.
    fn put(&mut self, by: u64, lines: &[u8], now: Timestamp) {
        let mut rest = lines;
        while !rest.is_empty() {
            let (part, later) = rest.split_at(self.make_room(by, rest, now));
            self.append(by, part, now);
            rest = later;
        }
    }

    fn append(&mut self, by: u64, part: &[u8], now: Timestamp) {
        let mut head = Vec::new();
        if self.open_line.is_some_and(|open| open != by) {
            head.push(b'\n');
        }
        self.index.note(now, self.size + head.len() as u64);
        if let Some(dropped) = &self.dropped {
            head.extend(encode::ours(self.settings.format, now, &dropped.text()));
        }
        let written = if head.is_empty() {
            write_whole(&self.file, part)
        } else {
            self.write_reserved(&[&head, part].concat())
        };
        match written {
            Ok(()) => self.appended(by, head.len(), part, now),
            Err((written, error)) => self.failed(by, head.len(), part, written, error),
        }
    }

    /// While lines are dropped it is asked first whether there is room, so that nothing is written that
    /// must be taken back: somebody may be reading.
    fn write_reserved(&self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.dropped.is_some() {
            let length = bytes.len() as u64;
            let room = fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.size, length);
            // Not every file system can do it: what else goes wrong is left to the writing.
            if let Err(error @ (Errno::NOSPC | Errno::DQUOT)) = room {
                return Err((0, error.into()));
            }
        }
        write_whole(&self.file, bytes)
    }

    fn appended(&mut self, by: u64, head: usize, part: &[u8], now: Timestamp) {
        self.size += (head + part.len()) as u64;
        self.born.get_or_insert(now);
        self.open_line = (!part.ends_with(b"\n")).then_some(by);
        if let Some(Dropped { lines, bytes, .. }) = self.dropped.take() {
            let name = self.settings.name.clone();
            self.events.push(LogEvent::Recovered { name, lines, bytes });
        }
    }

    /// Keeps the whole lines that were written, and counts the others. While lines are dropped it is
    /// all or nothing: a disk with room for our own line only has not recovered.
    fn failed(&mut self, by: u64, head: usize, part: &[u8], written: usize, error: io::Error) {
        let told = self.dropped.is_some();
        let lines = part.get(..written.saturating_sub(head)).unwrap_or_default();
        let kept = match memrchr(b'\n', lines) {
            Some(last) if !told => last + 1,
            _ => 0,
        };
        self.cut(by, if kept > 0 { head + kept } else { 0 }, written);
        let lost = &part[kept..];
        let dropped = self.dropped.get_or_insert_default();
        dropped.lines +=
            memchr_iter(b'\n', lost).count() as u64 + u64::from(!lost.ends_with(b"\n"));
        dropped.bytes += lost.len() as u64;
        if !told {
            dropped.error = error.to_string();
            self.events.push(LogEvent::Dropping { name: self.settings.name.clone(), error });
        }
    }

    /// Takes back what was written of a line that did not fit.
    fn cut(&mut self, by: u64, kept: usize, written: usize) {
        let begun_before = self.open_line;
        if written > kept && self.file.set_len(self.size + kept as u64).is_err() {
            self.size += written as u64;
            self.open_line = Some(NOBODY);
            return;
        }
        self.size += kept as u64;
        self.open_line = match begun_before {
            // The rest of its line is lost.
            Some(open) if kept == 0 => Some(if open == by { NOBODY } else { open }),
            _ => None,
        };
    }
}

impl Dropped {
    fn text(&self) -> String {
        let (lines, bytes) = (self.lines, self.bytes);
        format!("{lines} lines ({bytes} bytes) were dropped here: {}", self.error)
    }
}

/// The length of as many whole lines as have room, and of the first in any case.
pub(super) fn some_lines(lines: &[u8], room: usize) -> usize {
    if lines.len() <= room {
        return lines.len();
    }
    let end = memrchr(b'\n', &lines[..room]).or_else(|| memchr(b'\n', lines));
    end.map_or(lines.len(), |end| end + 1)
}

/// Writes all, or says how much it has written before the error.
fn write_whole(mut file: &File, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
