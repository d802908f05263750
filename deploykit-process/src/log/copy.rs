//! Looking at what is in a pipe, without taking it out.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use camino::Utf8Path;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, tee};

use super::collector::PIPE;

/// A pipe of one's own into which what is in others is copied.
#[derive(Debug)]
pub(super) struct Copy {
    from: OwnedFd,
    to: OwnedFd,
}

impl Copy {
    pub(super) fn new() -> Result<Self, Errno> {
        let (from, to) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // With less room less is looked at at once.
        let _ = fcntl_setpipe_size(&to, PIPE);
        Ok(Self { from, to })
    }

    /// Copies what a pipe begins with; how much that is, nothing when nobody writes any more.
    pub(super) fn look(&self, pipe: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
        let length = tee(pipe, &self.to, buffer.len(), SpliceFlags::NONBLOCK)?;
        take(&self.from, &mut buffer[..length])?;
        Ok(length)
    }
}

/// Takes so much out of a pipe that has it. It is one call, and the system does all of it or nothing, whatever
/// signal comes.
pub(super) fn take(pipe: impl AsFd, buffer: &mut [u8]) -> Result<(), Errno> {
    let mut taken = 0;
    while taken < buffer.len() {
        match rustix::io::read(&pipe, &mut buffer[taken..]) {
            Ok(0) => return Err(Errno::PIPE),
            Ok(more) => taken += more,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Opens a pipe that has a name.
pub(crate) fn open_to_read(name: &Utf8Path) -> io::Result<OwnedFd> {
    let mut options = File::options();
    options.read(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW);
    let pipe = options.open(name)?;
    match std::os::unix::fs::FileTypeExt::is_fifo(&pipe.metadata()?.file_type()) {
        true => Ok(pipe.into()),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}
