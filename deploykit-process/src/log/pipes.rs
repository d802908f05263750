//! The thread that reads the pipes: it waits for all of them, and reads each in turn.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use deploykit_core::Timestamp;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use super::collector::{Order, Orders, PipeState, Tell};
use super::{LogEvent, SharedLog, Source, Stream};

/// So much is read of one pipe before the others have their turn.
const CHUNK: usize = 256 << 10;

/// The bell among the pipes, whose numbers begin at 1.
const BELL: u64 = 0;

/// So many pipes are looked at in one turn.
const TURN: usize = 64;

/// A pipe that is read.
#[derive(Debug)]
pub(super) struct Entry {
    id: u64,
    end: OwnedFd,
    source: Source,
    stream: Stream,
    log: SharedLog,
    shared: Arc<PipeState>,
}

impl Entry {
    pub(super) fn new(
        id: u64,
        end: OwnedFd,
        stream: Stream,
        log: SharedLog,
        shared: Arc<PipeState>,
    ) -> Self {
        Self { id, end, source: Source::new(stream), stream, log, shared }
    }
}

/// All pipes, and the thread's way of hearing of them.
pub(super) struct Pipes {
    epoll: OwnedFd,
    orders: Arc<Orders>,
    tell: Tell,
    entries: BTreeMap<u64, Entry>,
    buffer: Vec<u8>,
}

impl Drop for Pipes {
    fn drop(&mut self) {
        self.orders.close();
    }
}

/// What came of one look at a pipe.
enum Look {
    Read(usize),
    Empty,
    Ended,
}

impl Pipes {
    pub(super) fn new(orders: Arc<Orders>, tell: Tell) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &orders.bell, EventData::new_u64(BELL), EventFlags::IN)?;
        Ok(Self { epoll, orders, tell, entries: BTreeMap::new(), buffer: vec![0; CHUNK] })
    }

    pub(super) fn run(mut self) {
        let mut ready = Vec::with_capacity(TURN);
        loop {
            ready.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), None) {
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
                        self.look(id, CHUNK);
                    }
                }
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
        let waited_for = epoll::add(&self.epoll, &entry.end, data, EventFlags::IN);
        let id = entry.id;
        self.entries.insert(id, entry);
        if let Err(error) = waited_for {
            self.give_up(id, error.into());
        }
    }

    /// Reads a pipe once, and writes what it has read.
    fn look(&mut self, id: u64, most: usize) -> Look {
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

    fn give_up(&mut self, id: u64, error: io::Error) {
        let name = self.entries.get(&id).map(|entry| entry.log.lock().name().to_owned());
        self.finish(id);
        (self.tell)(LogEvent::PipeFailed { name: name.unwrap_or_default(), error });
    }

    fn finish(&mut self, id: u64) {
        let Some(mut entry) = self.entries.remove(&id) else { return };
        // Closing would do, were the descriptor not perhaps shared with a child.
        let _ = epoll::delete(&self.epoll, &entry.end);
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
            in_time &= self.catch_up(id, until);
            self.finish(id);
        }
        in_time
    }
}
