//! Reading a log: rotated, compressed and live files in their order, and what is written from now on.

mod files;
mod lines;
mod start;
mod watch;

use std::collections::VecDeque;
use std::io;

use deploykit_core::Timestamp;

use super::{LogError, LogSettings, Stream, names};
use files::{Opened, READ};
use lines::Lines;
use start::Start;
use watch::Watch;

/// Which lines of a log are asked for.
#[derive(Debug, Default, Clone)]
#[non_exhaustive]
pub struct ReadRequest {
    /// At most so many of those that are there, the last ones; all of them when it is not said.
    pub lines: Option<usize>,
    /// Only those written since then. Of a plain file that is known to the second.
    pub since: Option<Timestamp>,
    /// Only those written until then, likewise.
    pub until: Option<Timestamp>,
    /// Go on with what is written from now on, until it is cancelled.
    pub follow: bool,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// When it was written, as far as that is known: to the second, of a plain file.
    pub at: Option<Timestamp>,
    /// Where it comes from, as far as that is known.
    pub stream: Option<Stream>,
    /// The line without its end.
    pub text: String,
}

/// Hands over the lines that are asked for.
///
/// A line whose time is not known is not left out because of it. Ends early, without an error, when
/// `cancelled` says so, which is asked at least four times a second. Whoever follows more slowly than
/// files are removed misses what was in them.
///
/// # Errors
///
/// A file or the directory cannot be read. A log that is not there yet has no lines.
pub fn read(
    settings: &LogSettings,
    request: &ReadRequest,
    cancelled: &dyn Fn() -> bool,
    on_line: &mut dyn FnMut(Line),
) -> Result<(), LogError> {
    names::check(settings)?;
    let wrong = |source| LogError::Read { path: names::live(settings), source };
    Reading { settings, request, cancelled, held: VecDeque::new(), buffer: vec![0; READ], on_line }
        .run()
        .map_err(wrong)
}

struct Reading<'a> {
    settings: &'a LogSettings,
    request: &'a ReadRequest,
    cancelled: &'a dyn Fn() -> bool,
    /// The last lines until a time, of which later ones push out the first.
    held: VecDeque<Line>,
    buffer: Vec<u8>,
    on_line: &'a mut dyn FnMut(Line),
}

impl Reading<'_> {
    fn run(&mut self) -> io::Result<()> {
        // Whoever follows listens before the end is looked for, or what is written between is late.
        let mut watch = self.request.follow.then(|| Watch::new(&self.settings.dir));
        let Some(start) = start::find(self.settings, self.request)? else {
            return match &mut watch {
                Some(watch) => self.follow(None, watch),
                None => Ok(()),
            };
        };
        let Some(last) = self.history(&start)? else { return Ok(()) };
        self.release();
        match &mut watch {
            Some(watch) => self.follow(Some(last), watch),
            None => Ok(()),
        }
    }

    /// Reads what there was when it was asked. What comes back is the live file, at that place.
    fn history(&mut self, start: &Start) -> io::Result<Option<(Opened, Lines)>> {
        let mut at = start.number;
        let mut offset = start.offset;
        while let Some(mut file) = files::open_from(self.settings, at)? {
            // The first one may have been removed meanwhile: then all of the next is read.
            let from = if file.number == start.number { offset } else { 0 };
            file.skip(from)?;
            offset = 0;
            let mut lines = Lines::new(self.settings.format, from);
            let ends_here = file.number >= start.end.0;
            let end = if ends_here && !self.request.follow { start.end.1 } else { u64::MAX };
            if !self.pour(&mut file, &mut lines, end)? {
                return Ok(None);
            }
            if file.live && self.request.follow {
                return Ok(Some((file, lines)));
            }
            lines.finish(&file.index, &mut |line| self.give(line));
            if ends_here && !self.request.follow {
                break;
            }
            at = file.number + 1;
        }
        self.release();
        if !self.request.follow {
            return Ok(None);
        }
        self.wait_for_file(at)
    }

    /// The file that is written next, when there is none for a moment.
    fn wait_for_file(&mut self, at: u64) -> io::Result<Option<(Opened, Lines)>> {
        let mut watch = Watch::new(&self.settings.dir);
        while !(self.cancelled)() {
            if let Some(file) = files::open_from(self.settings, at)? {
                return Ok(Some((file, Lines::new(self.settings.format, 0))));
            }
            watch.wait();
        }
        Ok(None)
    }

    /// Goes on with what is written, in this file and in those that follow it.
    fn follow(&mut self, last: Option<(Opened, Lines)>, watch: &mut Watch) -> io::Result<()> {
        let first = match last {
            Some(last) => Some(last),
            None => self.wait_for_file(0)?,
        };
        let Some((mut file, mut lines)) = first else { return Ok(()) };
        loop {
            // In this order: what was written before the renaming is there when it is read after it.
            let over = !file.live || file.was_renamed(self.settings);
            file.index.refresh();
            if let Some(length) = file.shortened(lines.offset()) {
                file.skip(lines.cut(length))?;
            }
            if !self.pour(&mut file, &mut lines, u64::MAX)? {
                return Ok(());
            }
            if over {
                lines.finish(&file.index, &mut |line| self.give(line));
                let Some(next) = self.wait_for_file(file.number + 1)? else { return Ok(()) };
                (file, lines) = next;
                continue;
            }
            self.release();
            watch.wait();
            if (self.cancelled)() {
                return Ok(());
            }
        }
    }

    /// Hands over the lines up to this place, or to the end of the file. Whether to go on.
    fn pour(&mut self, file: &mut Opened, lines: &mut Lines, end: u64) -> io::Result<bool> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.pour_through(file, lines, end, &mut buffer);
        self.buffer = buffer;
        result
    }

    fn pour_through(
        &mut self,
        file: &mut Opened,
        lines: &mut Lines,
        end: u64,
        buffer: &mut [u8],
    ) -> io::Result<bool> {
        loop {
            if (self.cancelled)() {
                return Ok(false);
            }
            let left = usize::try_from(end.saturating_sub(lines.offset())).unwrap_or(usize::MAX);
            let length = file.read(&mut buffer[..left.min(READ)])?;
            if length == 0 {
                return Ok(true);
            }
            file.index.refresh();
            lines.push(&buffer[..length], &file.index, &mut |line| self.give(line));
        }
    }

    fn give(&mut self, line: Line) {
        if let Some(at) = line.at {
            let known_to = match self.settings.format {
                super::LogFormat::Plain => super::index::COVERED - 1,
                _ => 0,
            };
            let old = self
                .request
                .since
                .is_some_and(|since| at.as_millis() + known_to < since.as_millis());
            if old || self.request.until.is_some_and(|until| at > until) {
                return;
            }
        }
        match (self.request.lines, self.request.until) {
            (Some(most), Some(_)) => {
                self.held.push_back(line);
                if self.held.len() > most {
                    self.held.pop_front();
                }
            }
            _ => (self.on_line)(line),
        }
    }

    fn release(&mut self) {
        self.held.drain(..).for_each(&mut *self.on_line);
    }
}

#[cfg(test)]
mod tests;
