//! Waiting for whatever comes first: an end, a message, a time. Nothing is done while nothing happens.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

/// What has happened is told by the number under which it was watched.
pub(super) type Token = u64;

/// So many things that have happened are taken at once.
const BATCH: usize = 256;

/// Descriptors and times that are waited for.
#[derive(Debug)]
pub(super) struct Poll {
    epoll: OwnedFd,
    timers: BTreeMap<(Instant, u64), Token>,
    next_timer: u64,
}

/// A time that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timer(Instant, u64);

impl Timer {
    /// Whether that time is over. What is told of one that was set anew meanwhile is not meant.
    pub(super) fn is_due(&self) -> bool {
        self.0 <= Instant::now()
    }
}

/// Nobody waits for longer.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// The time that is so far away.
pub(super) fn after(duration: Duration) -> Instant {
    Instant::now() + duration.min(FOR_EVER)
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, timers: BTreeMap::new(), next_timer: 0 })
    }

    /// Tells `token` whenever there is something to read, until the descriptor is closed.
    pub(super) fn watch(&self, descriptor: impl AsFd, token: Token) -> io::Result<()> {
        let data = EventData::new_u64(token);
        Ok(epoll::add(&self.epoll, descriptor, data, EventFlags::IN)?)
    }

    /// Tells `token` no more.
    pub(super) fn forget(&self, descriptor: impl AsFd) {
        // It fails when it was never watched, which is what is wanted.
        let _ = epoll::delete(&self.epoll, descriptor);
    }

    /// Tells `token` at that time, once.
    pub(super) fn at(&mut self, time: Instant, token: Token) -> Timer {
        self.next_timer += 1;
        self.timers.insert((time, self.next_timer), token);
        Timer(time, self.next_timer)
    }

    /// Does not tell it.
    pub(super) fn cancel(&mut self, timer: Timer) {
        self.timers.remove(&(timer.0, timer.1));
    }

    /// Waits until something happens, and adds to `happened` what did.
    pub(super) fn wait(&mut self, happened: &mut Vec<Token>) -> io::Result<()> {
        let timeout = self.timers.keys().next().map(|(time, _)| {
            let left = time.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let mut events = Vec::with_capacity(BATCH);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        happened.extend(events.iter().map(|event| event.data.u64()));
        let now = Instant::now();
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            happened.push(entry.remove());
        }
        Ok(())
    }
}

/// Wakes whoever waits, from another thread.
#[derive(Debug)]
pub(super) struct Waker(OwnedFd);

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(super) fn wake(&self) {
        // It fails when it is woken already.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Lets it be woken again.
    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_in_their_order_and_those_that_are_cancelled_do_not() {
        let mut poll = Poll::new().unwrap();
        let now = Instant::now();
        poll.at(now + Duration::from_millis(20), 2);
        let cancelled = poll.at(now + Duration::from_millis(1), 9);
        poll.at(now + Duration::from_millis(5), 1);
        poll.cancel(cancelled);
        let mut happened = Vec::new();
        while happened.len() < 2 {
            poll.wait(&mut happened).unwrap();
        }
        assert_eq!(happened, [1, 2]);
        assert!(now.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn whoever_waits_is_woken_and_not_twice_by_one_call() {
        let mut poll = Poll::new().unwrap();
        let waker = std::sync::Arc::new(Waker::new().unwrap());
        poll.watch(&*waker, 7).unwrap();
        let other = std::sync::Arc::clone(&waker);
        let thread = std::thread::spawn(move || other.wake());
        let mut happened = Vec::new();
        poll.wait(&mut happened).unwrap();
        thread.join().unwrap();
        waker.clear();
        poll.at(Instant::now(), 8);
        poll.wait(&mut happened).unwrap();
        assert_eq!(happened, [7, 8]);
    }
}
