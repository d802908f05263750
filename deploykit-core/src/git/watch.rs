//! Ends an operation of gix when it is cancelled or its time is up, and tells how far it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::AsFd as _;

use crate::context::Context;

/// How often progress is told.
const SAMPLE: Duration = Duration::from_millis(125);

type Stop = Box<dyn FnOnce() + Send>;
type Sample = Box<dyn FnMut() + Send>;

/// Watches over one operation, in a thread of its own, until it is dropped.
///
/// gix looks at a flag between two reads, but sits in a read for as long as the server is silent.
/// So that Ctrl-C works at once, the watch also runs what breaks the connection.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    flag: AtomicBool,
    stop: Mutex<Option<Stop>>,
    done: EventFd,
}

impl Shared {
    fn end(&self) {
        self.flag.store(true, Ordering::SeqCst);
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(stop) = stop {
            stop();
        }
    }
}

impl Watch {
    /// Watches for the cancellation and the deadline of `ctx`, and calls `sample` some eight times
    /// a second and at the end.
    ///
    /// # Errors
    /// When there is no file descriptor or no thread left.
    pub(crate) fn start(ctx: &Context, sample: Option<Sample>) -> std::io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let shared = Arc::new(Shared {
            flag: AtomicBool::new(false),
            stop: Mutex::new(None),
            done: EventFd::from_value_and_flags(0, flags)?,
        });
        let (ctx, theirs) = (ctx.clone(), Arc::clone(&shared));
        let thread = std::thread::Builder::new()
            .name("git-watch".into())
            .spawn(move || watch(&ctx, &theirs, sample))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The flag for gix: true when it is to stop.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.shared.flag
    }

    /// What breaks the connection. It runs at once when it is already time.
    pub(crate) fn on_stop(&self, stop: impl FnOnce() + Send + 'static) {
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(stop));
        if self.shared.flag.load(Ordering::SeqCst) {
            self.shared.end();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.shared.done.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(ctx: &Context, shared: &Shared, mut sample: Option<Sample>) {
    let mut stopped = false;
    loop {
        let mut fds = vec![PollFd::new(shared.done.as_fd(), PollFlags::POLLIN)];
        if !stopped {
            fds.push(PollFd::new(ctx.cancellation().fd(), PollFlags::POLLIN));
        }
        let deadline = ctx.deadline().filter(|_| !stopped);
        let wait = deadline.map(|end| end.saturating_duration_since(Instant::now()));
        let wait =
            if sample.is_some() { Some(wait.map_or(SAMPLE, |w| w.min(SAMPLE))) } else { wait };
        let polled = poll(&mut fds, timeout(wait));
        let ready =
            |index: usize| fds.get(index).and_then(PollFd::revents).is_some_and(|e| !e.is_empty());
        let (done, cancelled) = (ready(0), ready(1));
        if let Some(sample) = &mut sample {
            sample();
        }
        if done || polled.is_err_and(|e| e != nix::errno::Errno::EINTR) {
            return;
        }
        if cancelled || deadline.is_some_and(|end| end <= Instant::now()) {
            stopped = true;
            shared.end();
        }
    }
}

/// Rounded up, so that a rest of less than a millisecond does not spin.
fn timeout(wait: Option<Duration>) -> PollTimeout {
    wait.map_or(PollTimeout::NONE, |wait| {
        let millis = wait.as_micros().div_ceil(1000).min(i32::MAX as u128);
        i32::try_from(millis)
            .ok()
            .and_then(|m| PollTimeout::try_from(m).ok())
            .unwrap_or(PollTimeout::MAX)
    })
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("flag", &self.shared.flag).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cause;
    use std::sync::mpsc;

    #[test]
    fn a_cancellation_and_a_deadline_set_the_flag_and_break_the_connection() {
        let cancelled = Context::new().unwrap();
        let late = Context::new().unwrap().with_timeout(Duration::from_millis(1));
        for (ctx, cancel) in [(cancelled, true), (late, false)] {
            let watch = Watch::start(&ctx, None).unwrap();
            let (sender, broken) = mpsc::channel();
            watch.on_stop(move || sender.send(()).unwrap());
            if cancel {
                ctx.cancellation().cancel(Cause::Interrupt);
            }
            broken.recv_timeout(Duration::from_secs(60)).unwrap();
            assert!(watch.flag().load(Ordering::SeqCst));
        }
    }

    #[test]
    fn what_comes_to_its_end_is_sampled_once_more_and_not_stopped() {
        let (sender, samples) = mpsc::channel();
        let ctx = Context::new().unwrap();
        let sample: Sample = Box::new(move || sender.send(()).unwrap());
        let watch = Watch::start(&ctx, Some(sample)).unwrap();
        assert!(!watch.flag().load(Ordering::SeqCst));
        drop(watch);
        assert!(samples.try_iter().count() >= 1);
    }
}
