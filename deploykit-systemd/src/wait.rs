//! Waiting for what is asynchronous, from code that is not: with a limit, and until it is cancelled.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use deploykit_core::{Cancelled, Context};

/// How often it is looked whether the context was cancelled.
const GLANCE: Duration = Duration::from_millis(50);

/// Why it was not waited to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Cancelled(Cancelled),
    TimedOut,
}

struct Unparker(Thread);

impl Wake for Unparker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future on this thread until it is ready. What it waits for goes on elsewhere: a connection
/// to a bus that was not made inside of `zbus::block_on` is carried by a thread of zbus' own.
///
/// # Errors
/// When the context is cancelled, or its deadline or `limit` is reached before.
pub(crate) fn wait<F: Future>(
    ctx: &Context,
    limit: Duration,
    future: F,
) -> Result<F::Output, Ended> {
    let waker = Waker::from(Arc::new(Unparker(std::thread::current())));
    let mut task = TaskContext::from_waker(&waker);
    let mut future = pin!(future);
    let limit = ctx.remaining().map_or(limit, |remaining| remaining.min(limit));
    let end = Instant::now().checked_add(limit);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut task) {
            return Ok(output);
        }
        ctx.check().map_err(Ended::Cancelled)?;
        let left = end.map_or(GLANCE, |end| end.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(Ended::TimedOut);
        }
        std::thread::park_timeout(left.min(GLANCE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deploykit_core::Cause;

    #[test]
    fn what_is_ready_is_returned_and_what_never_is_ends_at_the_limit() {
        let ctx = Context::new().unwrap();
        assert_eq!(wait(&ctx, Duration::ZERO, std::future::ready(7)), Ok(7));
        let never = std::future::pending::<()>();
        assert_eq!(wait(&ctx, Duration::from_millis(60), never), Err(Ended::TimedOut));
    }

    #[test]
    fn a_cancelled_wait_ends() {
        let ctx = Context::new().unwrap();
        ctx.cancellation().cancel(Cause::Terminate);
        let ended = wait(&ctx, Duration::from_secs(60), std::future::pending::<()>());
        assert_eq!(ended, Err(Ended::Cancelled(Cancelled(Cause::Terminate))));
    }
}
