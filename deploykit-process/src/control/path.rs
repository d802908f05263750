//! Sockets whose path is longer than the 107 bytes that the address of one has (unix(7)).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use camino::{Utf8Path, Utf8PathBuf};

/// The longest path of a socket, in bytes.
const LONGEST: usize = 107;

/// A path that fits, and what must stay open as long as it is used: a long one is reached through the
/// descriptor of its directory.
pub(crate) fn near(path: &Utf8Path) -> io::Result<(Option<OwnedFd>, Utf8PathBuf)> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok((None, path.to_owned()));
    };
    if path.as_str().len() <= LONGEST {
        return Ok((None, path.to_owned()));
    }
    let dir: OwnedFd = File::open(dir)?.into();
    let near = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    Ok((Some(dir), near.into()))
}
