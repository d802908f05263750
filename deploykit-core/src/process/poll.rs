//! Waiting for file descriptors.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Interest {
    Readable,
    Writable,
}

/// Waits until one of the descriptors is ready (or at its end), or until the instant. Says of each
/// whether it is.
pub(crate) fn wait(
    fds: &[(BorrowedFd<'_>, Interest)],
    until: Option<Instant>,
) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|&(fd, interest)| match interest {
            Interest::Readable => PollFd::new(fd, PollFlags::POLLIN),
            Interest::Writable => PollFd::new(fd, PollFlags::POLLOUT),
        })
        .collect();
    loop {
        match poll(&mut polled, timeout(until)) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(polled.iter().map(|fd| fd.any().unwrap_or(true)).collect())
}

fn timeout(until: Option<Instant>) -> PollTimeout {
    let Some(until) = until else { return PollTimeout::NONE };
    let left = until.saturating_duration_since(Instant::now());
    // Rounded up: with 0 for the last part of a millisecond the caller's loop would spin.
    let millis = left.as_nanos().div_ceil(1_000_000);
    i32::try_from(millis)
        .ok()
        .and_then(|m| PollTimeout::try_from(m).ok())
        .unwrap_or(PollTimeout::MAX)
}
