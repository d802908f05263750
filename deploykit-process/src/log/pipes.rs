//! The thread that reads the pipes: it waits for all of them, and reads each in turn.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use deploykit_core::Timestamp;
use memchr::memrchr;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use crate::awaited::Awaited;

use super::collector::{End, Order, Orders, PipeState, Tell, Then};
use super::copy::{Copy, take};
use super::slot::{Lines, Slot};
use super::{LogEvent, SharedLog, Source, Stream};

/// So much is read of one pipe before the others have their turn.
pub(super) const CHUNK: usize = 256 << 10;

/// The bell among the pipes, whose numbers begin at 1.
const BELL: u64 = 0;

/// Longer than it takes to read a pipe that is full, where the disk does not hang.
const LONG: Duration = Duration::from_secs(60);

/// So many pipes are looked at in one turn.
const TURN: usize = 64;

/// A pipe that is read.
#[derive(Debug)]
pub(super) struct Entry {
    id: u64,
    end: OwnedFd,
    /// The name of the pipe, where it has one.
    name: Option<Utf8PathBuf>,
    /// Nobody writes to it any more.
    is_over: bool,
    /// What was taken out of a pipe with a name last.
    last: Option<u32>,
    source: Source,
    stream: Stream,
    log: SharedLog,
    shared: Arc<PipeState>,
}

impl Entry {
    pub(super) fn new(
        id: u64,
        end: End,
        stream: Stream,
        log: SharedLog,
        shared: Arc<PipeState>,
        awaited: Awaited,
    ) -> Self {
        let End { pipe: end, name } = end;
        let (source, is_over) = (Source::new(stream).awaited(awaited), false);
        Self { id, end, name, is_over, last: None, source, stream, log, shared }
    }
}

/// All pipes, and the thread's way of hearing of them.
pub(super) struct Pipes {
    epoll: OwnedFd,
    orders: Arc<Orders>,
    tell: Tell,
    entries: BTreeMap<u64, Entry>,
    buffer: Vec<u8>,
    /// Pipes with names in which there is more to read: they are told of once.
    unread: VecDeque<u64>,
    /// Where it is looked at what stays in a pipe.
    copy: Option<Copy>,
    slot: Option<Slot>,
}

impl Drop for Pipes {
    fn drop(&mut self) {
        self.orders.close();
    }
}

/// What came of one look at a pipe.
enum Look {
    Read(usize),
    /// There is nothing in it, or nothing that is complete.
    Empty,
    Ended,
}

/// So much without the end of a line is not waited for any longer. A pipe may be full of no more than this:
/// what does not fit into one of its pages begins the next.
const INCOMPLETE: usize = 32 << 10;

/// How much of what a pipe begins with is complete lines.
fn complete(bytes: &[u8], is_over: bool) -> usize {
    match memrchr(b'\n', bytes) {
        _ if is_over => bytes.len(),
        Some(last) => last + 1,
        None if bytes.len() >= INCOMPLETE => bytes.len(),
        None => 0,
    }
}

impl Pipes {
    pub(super) fn new(orders: Arc<Orders>, tell: Tell) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &orders.bell, EventData::new_u64(BELL), EventFlags::IN)?;
        Ok(Self {
            epoll,
            orders,
            tell,
            entries: BTreeMap::new(),
            buffer: vec![0; CHUNK],
            unread: VecDeque::new(),
            copy: None,
            slot: None,
        })
    }

    pub(super) fn run(mut self) {
        let mut ready = Vec::with_capacity(TURN);
        loop {
            ready.clear();
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let timeout = (!self.unread.is_empty()).then_some(&at_once);
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), timeout) {
                Ok(_) | Err(Errno::INTR) => {}
                // The descriptor is its own: it cannot become one that is not waited for.
                Err(_) => return,
            }
            for event in &ready {
                match event.data.u64() {
                    BELL => {
                        if !self.obey() {
                            return;
                        }
                    }
                    id => {
                        let flags = event.flags;
                        let is_over = flags.intersects(EventFlags::HUP | EventFlags::ERR);
                        self.look_in_turn(id, is_over);
                    }
                }
            }
            // What was told of now has had its turn.
            if let Some(id) = self.unread.pop_front() {
                self.look_in_turn(id, false);
            }
        }
    }

    /// Whether to go on.
    fn obey(&mut self) -> bool {
        for order in self.orders.take() {
            match order {
                Order::Add(entry) => self.add(entry),
                Order::CatchUp { of: Some(id), until, done } => {
                    let in_time = self.catch_up(id, until);
                    let _ = done.send(in_time);
                }
                Order::CatchUp { of: None, until, done } => {
                    let in_time = self.drain(until);
                    let _ = done.send(in_time);
                    return false;
                }
                Order::Then(name, Then(then)) => {
                    let of_name = |entry: &&Entry| entry.name.as_ref() == Some(&name);
                    if let Some(id) = self.entries.values().find(of_name).map(|entry| entry.id) {
                        self.catch_up(id, Instant::now() + LONG);
                    }
                    then();
                }
                Order::Slot(slot) => self.slot = Some(slot),
                Order::Note { log, text } => {
                    let events = log.lock().note(&text, Timestamp::now());
                    events.into_iter().for_each(|event| (self.tell)(event));
                }
                Order::End => return false,
            }
        }
        true
    }

    fn add(&mut self, entry: Entry) {
        let data = EventData::new_u64(entry.id);
        // What is not complete stays in a pipe with a name, and is told of when there is more.
        let once = if entry.name.is_some() { EventFlags::ET } else { EventFlags::empty() };
        let waited_for = epoll::add(&self.epoll, &entry.end, data, EventFlags::IN | once);
        let id = entry.id;
        self.entries.insert(id, entry);
        if let Err(error) = waited_for {
            self.give_up(id, error.into());
        }
    }

    /// Looks at a pipe that was told of, and remembers when there may be more in it.
    fn look_in_turn(&mut self, id: u64, is_over: bool) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.is_over |= is_over;
        let is_told_once = entry.name.is_some();
        if let (Look::Read(_), true) = (self.look(id, CHUNK), is_told_once)
            && !self.unread.contains(&id)
        {
            self.unread.push_back(id);
        }
    }

    /// Reads a pipe once, and writes what it has read.
    fn look(&mut self, id: u64, most: usize) -> Look {
        let Some(entry) = self.entries.get(&id) else { return Look::Ended };
        if entry.name.is_some() {
            return match self.look_first(id, most) {
                Ok(look) => look,
                Err(Errno::AGAIN | Errno::INTR) => Look::Empty,
                Err(error) => {
                    self.give_up(id, error.into());
                    Look::Ended
                }
            };
        }
        let Some(entry) = self.entries.get_mut(&id) else { return Look::Ended };
        let buffer = &mut self.buffer[..most.min(CHUNK)];
        match rustix::io::read(&entry.end, &mut *buffer) {
            Ok(0) => {
                self.finish(id);
                Look::Ended
            }
            Ok(length) => {
                let bytes = &buffer[..length];
                if entry.stream == Stream::Err {
                    entry.shared.tail.push(bytes);
                }
                let events = entry.log.lock().write(&mut entry.source, bytes, Timestamp::now());
                events.into_iter().for_each(|event| (self.tell)(event));
                Look::Read(length)
            }
            Err(Errno::AGAIN | Errno::INTR) => Look::Empty,
            Err(error) => {
                self.give_up(id, error.into());
                Look::Ended
            }
        }
    }

    /// Looks at what is in a pipe with a name, writes what is complete, and only then takes that out of it.
    fn look_first(&mut self, id: u64, most: usize) -> Result<Look, Errno> {
        if self.copy.is_none() {
            self.copy = Some(Copy::new()?);
        }
        let (Some(copy), Some(entry)) = (&self.copy, self.entries.get_mut(&id)) else {
            return Ok(Look::Ended);
        };
        let buffer = &mut self.buffer[..most.min(CHUNK)];
        let length = copy.look(&entry.end, buffer)?;
        if length == 0 {
            self.finish(id);
            return Ok(Look::Ended);
        }
        let taken = complete(&buffer[..length], entry.is_over);
        if taken == 0 {
            return Ok(Look::Empty);
        }
        let bytes = &buffer[..taken];
        let lines = Lines::of(entry.name.as_deref(), bytes);
        let mut log = entry.log.lock();
        if let Some(slot) = &self.slot {
            slot.begin(log.name(), log.place(), &lines);
        }
        let events = log.write(&mut entry.source, bytes, Timestamp::now());
        drop(log);
        if entry.stream == Stream::Err {
            entry.shared.tail.push(bytes);
        }
        // Who says the same again and again may have said it once more: better twice than not at all.
        let is_again = entry.last.replace(lines.sum) == Some(lines.sum);
        if let Some(slot) = self.slot.as_ref().filter(|_| is_again) {
            slot.done();
        }
        take(&entry.end, &mut buffer[..taken])?;
        if let Some(slot) = self.slot.as_ref().filter(|_| !is_again) {
            slot.done();
        }
        events.into_iter().for_each(|event| (self.tell)(event));
        Ok(Look::Read(taken))
    }

    fn give_up(&mut self, id: u64, error: io::Error) {
        let name = self.entries.get(&id).map(|entry| entry.log.lock().name().to_owned());
        self.finish(id);
        (self.tell)(LogEvent::PipeFailed { name: name.unwrap_or_default(), error });
    }

    fn finish(&mut self, id: u64) {
        let Some(mut entry) = self.entries.remove(&id) else { return };
        // Closing would do, were the descriptor not perhaps shared with a child.
        let _ = epoll::delete(&self.epoll, &entry.end);
        if let Some(name) = &entry.name {
            let _ = std::fs::remove_file(name);
        }
        let events = entry.log.lock().finish(&mut entry.source, Timestamp::now());
        events.into_iter().for_each(|event| (self.tell)(event));
        entry.shared.ended.store(true, Ordering::Release);
    }

    /// Reads what is in the pipe now, and not what is written meanwhile.
    fn catch_up(&mut self, id: u64, until: Instant) -> bool {
        let Some(entry) = self.entries.get(&id) else { return true };
        let waiting = rustix::io::ioctl_fionread(&entry.end).unwrap_or(CHUNK as u64);
        let mut left = usize::try_from(waiting).unwrap_or(usize::MAX);
        if left == 0 {
            // It may have ended.
            self.look(id, CHUNK);
        }
        while left > 0 {
            if Instant::now() >= until {
                return false;
            }
            match self.look(id, left) {
                Look::Read(length) => left -= length,
                Look::Empty | Look::Ended => return true,
            }
        }
        true
    }

    fn drain(&mut self, until: Instant) -> bool {
        let ids: Vec<u64> = self.entries.keys().copied().collect();
        let mut in_time = true;
        for id in ids {
            // What is not complete by now never will be.
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.is_over = true;
            }
            in_time &= self.catch_up(id, until);
            self.finish(id);
        }
        in_time
    }
}
