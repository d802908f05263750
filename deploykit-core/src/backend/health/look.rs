//! What the checks have in common: a look that can be given up at any moment, and short texts.

use std::os::fd::AsFd as _;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::context::Context;
use crate::traits::Look;

/// How long a look may take when the context has no deadline.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The time that is left for a look.
pub(super) fn time_left(ctx: &Context) -> Duration {
    ctx.remaining().unwrap_or(DEFAULT_TIMEOUT)
}

/// Does `work` on a thread of its own and waits for it, for the deadline, or for a cancellation,
/// whichever comes first.
///
/// Neither a name look-up nor a connection that is being made can be interrupted, so the thread may
/// be left behind. `work` must therefore end by itself soon after the deadline.
pub(super) fn interruptible(ctx: &Context, work: impl FnOnce() -> Look + Send + 'static) -> Look {
    let left = time_left(ctx);
    if let Err(cancelled) = ctx.check() {
        return Look::NotYet(cancelled.to_string());
    }
    if left.is_zero() {
        return Look::NotYet("no time was left to look".into());
    }
    match wait(ctx, left, work) {
        Ok(look) => look,
        Err(errno) => Look::NotYet(format!("cannot look: {errno}")),
    }
}

/// Wakes whoever polls when it is dropped, also when the thread that holds it panics.
struct Wake(Arc<EventFd>);

impl Drop for Wake {
    fn drop(&mut self) {
        let _ = self.0.write(1);
    }
}

fn wait(
    ctx: &Context,
    left: Duration,
    work: impl FnOnce() -> Look + Send + 'static,
) -> Result<Look, Errno> {
    let done = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
    let wake = Wake(Arc::clone(&done));
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::Builder::new().name("health check".into()).spawn(move || {
        let _wake = wake;
        let _ = sender.send(work());
    });
    if let Err(error) = thread {
        return Ok(Look::NotYet(format!("cannot look: {error}")));
    }
    let end = Instant::now() + left;
    loop {
        if let Ok(look) = receiver.try_recv() {
            return Ok(look);
        }
        if let Err(cancelled) = ctx.check() {
            return Ok(Look::NotYet(cancelled.to_string()));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Look::NotYet("no answer in time".into()));
        }
        let mut fds = [
            PollFd::new(done.as_fd(), PollFlags::POLLIN),
            PollFd::new(ctx.cancellation().fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout(left)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        if done.read().is_ok() {
            return Ok(receiver
                .recv()
                .unwrap_or_else(|_| Look::NotYet("the look broke off".into())));
        }
    }
}

/// Whole milliseconds, rounded up: rounded down, the last one would be a busy loop.
fn timeout(left: Duration) -> PollTimeout {
    PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
}

/// A text on one line, and no longer than a person reads in a table.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 160;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let clean = words.chars().filter(|c| !c.is_control());
    let mut short: String = clean.clone().take(LONGEST).collect();
    if clean.count() > LONGEST {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cause;

    #[test]
    fn a_look_is_given_up_when_it_is_cancelled_or_takes_too_long() {
        // The work tells that it has begun, and then waits for a sender that outlives the look.
        let blocked = || {
            let (begins, begun) = mpsc::channel();
            let (keep, never) = mpsc::channel::<()>();
            let work = move || {
                let _ = begins.send(());
                let _ = never.recv();
                Look::Well("never".into())
            };
            (keep, begun, work)
        };
        // Sooner and later, so that it meets the look before it waits and while it does. A look
        // that did not see it would take all its time.
        let all = Duration::from_secs(20);
        for round in 0..100 {
            let ctx = Context::new().unwrap().with_timeout(all);
            let begin = Instant::now();
            let (_keep, begun, work) = blocked();
            let look = std::thread::scope(|scope| {
                let looking = scope.spawn(|| interruptible(&ctx, work));
                begun.recv().unwrap();
                (0..round * 1000).for_each(|_| std::hint::spin_loop());
                ctx.cancellation().cancel(Cause::Interrupt);
                looking.join().unwrap()
            });
            assert_eq!(look, Look::NotYet("interrupted (SIGINT)".into()));
            assert!(begin.elapsed() < all, "it was not seen");
        }

        let (_keep, _begun, work) = blocked();
        let ctx = Context::new().unwrap().with_timeout(Duration::from_millis(20));
        let look = interruptible(&ctx, work);
        assert!(matches!(&look, Look::NotYet(why) if why.contains("time")), "{look:?}");
    }

    #[test]
    fn a_look_that_panics_is_no_answer() {
        let ctx = Context::new().unwrap();
        let look = interruptible(&ctx, || std::panic::resume_unwind(Box::new("on purpose")));
        assert_eq!(look, Look::NotYet("the look broke off".into()));
    }

    #[test]
    fn an_excerpt_is_one_line_and_short() {
        assert_eq!(excerpt(" a\r\n  b\u{1b}[1m \t"), "a b[1m");
        assert_eq!(excerpt(&"ä".repeat(500)).chars().count(), 161);
    }
}
