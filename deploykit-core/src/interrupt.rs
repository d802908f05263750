//! Work that cannot be interrupted, done so that nobody has to wait for it.

use std::os::fd::AsFd as _;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::cancel::Cancelled;
use crate::context::Context;

/// Why the result of some work was not waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Interrupted {
    /// Somebody wants an end.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// Its time is over.
    #[error("no answer in time")]
    Late,
    /// It ended without a result: it panicked.
    #[error("it broke off")]
    BrokeOff,
    /// It could not begin.
    #[error("no thread or descriptor is left")]
    NotBegun(#[source] std::io::Error),
}

/// Does `work` on a thread of its own and waits for it, for so long at the most or until the context is
/// cancelled, whichever comes first.
///
/// Neither a name look-up nor a connection that is being made can be interrupted, so the thread may
/// be left behind. `work` must therefore end by itself soon after that time.
///
/// ```
/// use std::time::Duration;
///
/// use deploykit_core::{Context, Interrupted, interruptible};
///
/// let context = Context::new()?;
/// let sum = interruptible(&context, Duration::from_secs(60), || 2 + 2);
/// assert_eq!(sum.ok(), Some(4));
/// let never = interruptible(&context, Duration::from_millis(1), || std::thread::sleep(Duration::from_secs(1)));
/// assert!(matches!(never, Err(Interrupted::Late)));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// [`Interrupted`], when there is no result.
pub fn interruptible<T: Send + 'static>(
    ctx: &Context,
    longest: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Interrupted> {
    ctx.check()?;
    let not_begun = |errno: Errno| Interrupted::NotBegun(errno.into());
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let done = Arc::new(EventFd::from_flags(flags).map_err(not_begun)?);
    let wake = Wake(Arc::clone(&done));
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new().name("interruptible".into()).spawn(move || {
        let _wake = wake;
        let _ = sender.send(work());
    });
    thread.map_err(Interrupted::NotBegun)?;
    let end = Instant::now() + longest;
    loop {
        if let Ok(result) = receiver.try_recv() {
            return Ok(result);
        }
        ctx.check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Interrupted::Late);
        }
        let mut fds = [
            PollFd::new(done.as_fd(), PollFlags::POLLIN),
            PollFd::new(ctx.cancellation().fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout(left)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(not_begun(errno)),
        }
        if done.read().is_ok() {
            return receiver.recv().map_err(|_| Interrupted::BrokeOff);
        }
    }
}

/// Wakes whoever polls when it is dropped, also when the thread that holds it panics.
struct Wake(Arc<EventFd>);

impl Drop for Wake {
    fn drop(&mut self) {
        let _ = self.0.write(1);
    }
}

/// Whole milliseconds, rounded up: rounded down, the last one would be a busy loop.
fn timeout(left: Duration) -> PollTimeout {
    PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cause;

    #[test]
    fn what_takes_too_long_or_is_cancelled_is_not_waited_for() {
        // The work tells that it has begun, and then waits for a sender that outlives the wait.
        let blocked = || {
            let (begins, begun) = mpsc::channel();
            let (keep, never) = mpsc::channel::<()>();
            let work = move || {
                let _ = begins.send(());
                let _ = never.recv();
            };
            (keep, begun, work)
        };
        // Sooner and later, so that it meets the wait before it begins and while it lasts. One that
        // did not see it would take all its time.
        let all = Duration::from_secs(20);
        for round in 0..100 {
            let ctx = Context::new().unwrap();
            let begin = Instant::now();
            let (_keep, begun, work) = blocked();
            let waited = std::thread::scope(|scope| {
                let waiting = scope.spawn(|| interruptible(&ctx, all, work));
                begun.recv().unwrap();
                (0..round * 1000).for_each(|_| std::hint::spin_loop());
                ctx.cancellation().cancel(Cause::Interrupt);
                waiting.join().unwrap()
            });
            let told = waited.unwrap_err().to_string();
            assert_eq!(told, "interrupted (SIGINT)");
            assert!(begin.elapsed() < all, "it was not seen");
        }
        let (_keep, _begun, work) = blocked();
        let ctx = Context::new().unwrap();
        let waited = interruptible(&ctx, Duration::from_millis(20), work);
        assert!(matches!(waited, Err(Interrupted::Late)), "{waited:?}");
    }

    #[test]
    fn what_panics_has_no_result() {
        let ctx = Context::new().unwrap();
        let work = || std::panic::resume_unwind(Box::new("on purpose"));
        let waited: Result<(), _> = interruptible(&ctx, Duration::from_secs(20), work);
        assert!(matches!(waited, Err(Interrupted::BrokeOff)), "{waited:?}");
    }
}
