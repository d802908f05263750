//! Pipes that have names, by which whoever comes after a manager that was killed finds them again.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use camino::{Utf8Path, Utf8PathBuf};

use crate::definition::Definition;
use crate::log::{Stream, open_to_read};
use crate::spawn::Identity;

/// What a process has a pipe for.
pub(super) const PIPES: [Stream; 2] = [Stream::Out, Stream::Err];

/// What the holder calls a pipe.
pub(super) fn held(marker: &str, stream: Stream) -> String {
    format!("pipe {marker}.{}", stream.as_str())
}

/// Where a pipe is.
pub(super) fn pipe_name(dir: &Utf8Path, marker: &str, stream: Stream) -> Utf8PathBuf {
    dir.join(format!("{marker}.{}", stream.as_str()))
}

/// Makes a pipe that has a name.
pub(super) fn fifo(name: &Utf8Path, definition: &Definition) -> io::Result<(OwnedFd, OwnedFd)> {
    nix::unistd::mkfifo(name.as_std_path(), nix::sys::stat::Mode::from_bits_truncate(0o600))?;
    // The process holds both ends, so that there is always somebody who could read.
    let made = File::options().read(true).write(true).open(name).and_then(|to| {
        // It may be opened once more, as `/dev/stdout` for instance, by whom it is for.
        if let Ok(Some(by)) =
            Identity::find(definition.user.as_deref(), definition.group.as_deref())
        {
            std::os::unix::fs::fchown(&to, Some(by.uid().as_raw()), None)?;
        }
        Ok((open_to_read(name)?, to.into()))
    });
    if made.is_err() {
        let _ = std::fs::remove_file(name);
    }
    made
}

/// Whether nothing is in a pipe.
pub(super) fn is_empty(name: &Utf8Path) -> bool {
    let waiting = open_to_read(name).map(|pipe| rustix::io::ioctl_fionread(&pipe));
    !matches!(waiting, Ok(Ok(1..)))
}
