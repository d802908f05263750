//! Where reading begins, so that the last lines of a long log do not cost the reading of all of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, UNIX_EPOCH};

use memchr::{memchr_iter, memrchr_iter};

use super::ReadRequest;
use super::files::{self, Opened, READ};
use crate::log::names::Rotated;
use crate::log::{LogSettings, names};

/// Where reading begins, and where the log ended when it was asked.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) number: u64,
    pub(super) offset: u64,
    /// The number of the last file, and its length.
    pub(super) end: (u64, u64),
}

/// Where reading begins; nowhere when there is no file.
pub(super) fn find(settings: &LogSettings, request: &ReadRequest) -> io::Result<Option<Start>> {
    let rotated = match names::rotated(settings) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let number = names::next_number(&rotated);
    let end = match (files::open_from(settings, number)?, rotated.last()) {
        (Some(file), _) => (file.number, file.length()?),
        (None, Some(last)) => (last.number, u64::MAX),
        (None, None) => return Ok(None),
    };
    let mut begin = since(settings, request, &rotated, end.0)?;
    if let (Some(lines), None) = (request.lines, request.until) {
        begin = last_lines(settings, lines, begin, end)?;
    }
    Ok(Some(Start { number: begin.0, offset: begin.1, end }))
}

/// The first place where lines may be that are not too old.
fn since(
    settings: &LogSettings,
    request: &ReadRequest,
    rotated: &[Rotated],
    live: u64,
) -> io::Result<(u64, u64)> {
    let first = rotated.first().map_or(live, |file| file.number);
    let Some(since) = request.since else { return Ok((first, 0)) };
    let since_epoch = Duration::from_millis(u64::try_from(since.as_millis()).unwrap_or(0));
    // The last change of a file is the time of its last line, and a packed one keeps it. A second is
    // allowed for clocks of file systems that are behind.
    let recent = |file: &&Rotated| {
        let changed = std::fs::metadata(&file.path).and_then(|metadata| metadata.modified());
        changed.is_ok_and(|at| at + Duration::from_secs(1) >= UNIX_EPOCH + since_epoch)
    };
    let number = rotated.iter().find(recent).map_or(live, |file| file.number);
    let Some(file) = files::open_from(settings, number)? else { return Ok((number, 0)) };
    let offset = file.index.start(since);
    match file.plain() {
        // Nothing in it is recent enough: its end may still be written.
        Some(plain) => Ok((file.number, offset.min(plain.metadata()?.len()))),
        None => Ok((file.number, 0)),
    }
}

/// Where the last lines begin, but not before `least`.
fn last_lines(
    settings: &LogSettings,
    lines: usize,
    least: (u64, u64),
    end: (u64, u64),
) -> io::Result<(u64, u64)> {
    let mut missing = lines;
    let mut number = end.0;
    loop {
        if let Some(file) = files::open_from(settings, number)?
            && file.number == number
        {
            let length = if number == end.0 { end.1 } else { u64::MAX };
            match last_of(file, missing, length)? {
                Ok(offset) => return Ok(least.max((number, offset))),
                Err(found) => missing -= found,
            }
        }
        if number <= least.0 {
            return Ok(least);
        }
        number -= 1;
    }
}

/// Where the last lines of a file begin, or how many it has when they are too few.
fn last_of(file: Opened, lines: usize, most: u64) -> io::Result<Result<u64, usize>> {
    match file.plain() {
        Some(plain) => last_of_plain(plain, lines, most.min(plain.metadata()?.len())),
        None => last_of_packed(file, lines),
    }
}

fn last_of_plain(file: &File, lines: usize, length: u64) -> io::Result<Result<u64, usize>> {
    if lines == 0 {
        return Ok(Ok(length));
    }
    let mut buffer = vec![0; READ];
    let (mut found, mut end) = (0, length);
    while end > 0 {
        let begin = end.saturating_sub(READ as u64);
        let part = &mut buffer[..usize::try_from(end - begin).unwrap_or(READ)];
        file.read_exact_at(part, begin)?;
        for at in memrchr_iter(b'\n', part) {
            let next = begin + at as u64 + 1;
            // The end of the last line begins none.
            if next == length {
                continue;
            }
            found += 1;
            if found == lines {
                return Ok(Ok(next));
            }
        }
        end = begin;
    }
    found += usize::from(length > 0);
    Ok(if found == lines { Ok(0) } else { Err(found) })
}

/// A packed file can be read forwards only: the first time its lines are counted.
fn last_of_packed(mut file: Opened, lines: usize) -> io::Result<Result<u64, usize>> {
    let mut buffer = vec![0; READ];
    let (mut found, mut last) = (0, b'\n');
    loop {
        let length = file.read(&mut buffer)?;
        let Some(end) = length.checked_sub(1) else { break };
        found += memchr_iter(b'\n', &buffer[..length]).count();
        last = buffer[end];
    }
    found += usize::from(last != b'\n');
    if found < lines {
        return Ok(Err(found));
    }
    Ok(Ok(after(file.rewound()?, found - lines)?))
}

/// The place behind so many lines.
fn after(mut file: Opened, lines: usize) -> io::Result<u64> {
    let mut buffer = vec![0; READ];
    let (mut offset, mut left) = (0, lines);
    while left > 0 {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        let mut ends = memchr_iter(b'\n', &buffer[..length]);
        if let Some(end) = ends.nth(left - 1) {
            return Ok(offset + end as u64 + 1);
        }
        left -= memchr_iter(b'\n', &buffer[..length]).count();
        offset += length as u64;
    }
    Ok(offset)
}
