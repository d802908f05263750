//! Cancellation that a loop over file descriptors, gix and a plain loop can all see.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use serde::{Deserialize, Serialize};

/// Why something is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cause {
    /// SIGINT: somebody pressed Ctrl-C.
    Interrupt,
    /// SIGTERM: somebody, or a shutting-down host, asked for an orderly end.
    Terminate,
    /// SIGHUP: the terminal or the ssh session is gone.
    HangUp,
    /// The embedding program asked for it.
    Requested,
}

impl Cause {
    /// The number of the signal that this cause stands for; 15 for [`Cause::Requested`].
    pub fn signal(self) -> u8 {
        match self {
            Self::HangUp => 1,
            Self::Interrupt => 2,
            Self::Terminate | Self::Requested => 15,
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "interrupted (SIGINT)",
            Self::Terminate => "terminated (SIGTERM)",
            Self::HangUp => "hung up (SIGHUP)",
            Self::Requested => "cancelled",
        })
    }
}

/// The operation was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Cancelled(pub Cause);

#[derive(Debug, Default)]
struct State {
    cause: Option<Cause>,
    ignored: Vec<Cause>,
}

#[derive(Debug)]
struct Inner {
    flag: Arc<AtomicBool>,
    wake: EventFd,
    state: Mutex<State>,
    changed: Condvar,
}

/// A handle that asks an operation to stop, and by which the operation sees it. Clones are handles
/// to the same thing.
///
/// ```
/// use deploykit_core::{Cancellation, Cause};
///
/// let cancellation = Cancellation::new()?;
/// cancellation.cancel(Cause::Requested);
/// assert_eq!(cancellation.cause(), Some(Cause::Requested));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Cancellation(Arc<Inner>);

impl Cancellation {
    /// A handle that nobody has cancelled.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> std::io::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(Arc::new(Inner {
            flag: Arc::default(),
            wake: EventFd::from_value_and_flags(0, flags)?,
            state: Mutex::default(),
            changed: Condvar::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for an end. The first cause that is not ignored stays.
    pub fn cancel(&self, cause: Cause) {
        let mut state = self.state();
        if state.cause.is_some() || state.ignored.contains(&cause) {
            return;
        }
        state.cause = Some(cause);
        self.0.flag.store(true, Ordering::SeqCst);
        let _ = self.0.wake.write(1);
        self.0.changed.notify_all();
    }

    /// From now on, until it is [heeded](Self::heed) again, `cause` cancels nothing. One that has
    /// cancelled already still does, until it is [taken](Self::take). Returns whether it was heeded
    /// before.
    pub fn ignore(&self, cause: Cause) -> bool {
        let mut state = self.state();
        let heeded = !state.ignored.contains(&cause);
        if heeded {
            state.ignored.push(cause);
        }
        heeded
    }

    /// From now on `cause` cancels again.
    pub fn heed(&self, cause: Cause) {
        self.state().ignored.retain(|ignored| *ignored != cause);
    }

    /// Takes back a cancellation and returns its cause, so that what undoes the operation can run
    /// under the same handle.
    pub fn take(&self) -> Option<Cause> {
        let mut state = self.state();
        let cause = state.cause.take();
        self.0.flag.store(false, Ordering::SeqCst);
        let _ = self.0.wake.read();
        cause
    }

    /// Why it was cancelled, if it was.
    pub fn cause(&self) -> Option<Cause> {
        self.state().cause
    }

    /// An error when it was cancelled.
    ///
    /// # Errors
    /// [`Cancelled`], with the cause.
    pub fn check(&self) -> Result<(), Cancelled> {
        self.cause().map_or(Ok(()), |cause| Err(Cancelled(cause)))
    }

    /// The flag that is true while it is cancelled, for libraries that look at one.
    pub fn flag(&self) -> &Arc<AtomicBool> {
        &self.0.flag
    }

    /// A file descriptor that is readable while it is cancelled, for a poll loop. Do not read it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.wake.as_fd()
    }

    /// Waits for `duration`, or until it is cancelled.
    ///
    /// # Errors
    /// [`Cancelled`], as soon as it is.
    pub fn sleep(&self, duration: Duration) -> Result<(), Cancelled> {
        let end = Instant::now() + duration;
        let mut state = self.state();
        loop {
            if let Some(cause) = state.cause {
                return Err(Cancelled(cause));
            }
            let Some(left) = end.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())
            else {
                return Ok(());
            };
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn readable(cancellation: &Cancellation) -> bool {
        let mut fds = [PollFd::new(cancellation.fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).unwrap() == 1
    }

    #[test]
    fn flag_descriptor_and_cause_agree() {
        let cancellation = Cancellation::new().unwrap();
        assert!(!readable(&cancellation));
        cancellation.cancel(Cause::Interrupt);
        cancellation.cancel(Cause::Terminate);
        assert!(readable(&cancellation));
        assert!(cancellation.flag().load(Ordering::SeqCst));
        assert_eq!(cancellation.check(), Err(Cancelled(Cause::Interrupt)));
        assert_eq!(cancellation.take(), Some(Cause::Interrupt));
        assert!(!readable(&cancellation));
        assert!(!cancellation.flag().load(Ordering::SeqCst));
        assert_eq!(cancellation.check(), Ok(()));
    }

    #[test]
    fn an_ignored_cause_does_not_cancel_and_others_do() {
        let cancellation = Cancellation::new().unwrap();
        assert!(cancellation.ignore(Cause::HangUp));
        assert!(!cancellation.ignore(Cause::HangUp));
        cancellation.cancel(Cause::HangUp);
        assert_eq!(cancellation.cause(), None);
        cancellation.cancel(Cause::Terminate);
        assert_eq!(cancellation.cause(), Some(Cause::Terminate));
        cancellation.take();
        cancellation.heed(Cause::HangUp);
        cancellation.cancel(Cause::HangUp);
        assert_eq!(cancellation.cause(), Some(Cause::HangUp));
    }

    #[test]
    fn a_sleep_ends_when_it_is_cancelled() {
        let cancellation = Cancellation::new().unwrap();
        let other = cancellation.clone();
        let thread = std::thread::spawn(move || other.sleep(Duration::from_secs(600)));
        cancellation.cancel(Cause::Requested);
        assert_eq!(thread.join().unwrap(), Err(Cancelled(Cause::Requested)));
        cancellation.take();
        assert_eq!(cancellation.sleep(Duration::from_millis(1)), Ok(()));
    }
}
