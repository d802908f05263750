//! A process beside the manager that does nothing but hold what would be gone with the last process that has
//! it: the sockets of the services, and the pipes into which they have written.
//!
//! The services hold theirs themselves, so that they outlive the manager. What one of them leaves that ends
//! while there is no manager is here until the next one comes: the last lines, and the connections that wait.
//! And who may not take a descriptor out of another process (pidfd_getfd(2) under Yama) gets them here.

mod serve;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use camino::Utf8Path;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use crate::control::near;
pub use serve::hold;

/// The name of its socket, in the directory of what is on record.
const NAME: &str = "holder";

/// So long it is waited for: it has nothing else to do.
const ANSWER: Duration = Duration::from_secs(2);

/// The way to it. Whatever fails is not held, which matters only when this process is killed: it is asked for
/// nothing more then.
#[derive(Debug)]
pub(crate) struct Holder(Mutex<Option<OwnedFd>>);

impl Holder {
    /// That of a directory; where nobody holds anything yet, this command is run, which is to call [`hold`].
    ///
    /// # Errors
    /// When there is none, and none can be started.
    pub(crate) fn begin(dir: &Utf8Path, command: Option<Command>) -> io::Result<Self> {
        if let Ok(found) = Self::connect(dir)
            && found.answers()
        {
            return Ok(found);
        }
        let mut command = command.ok_or(io::ErrorKind::NotFound)?;
        let path = dir.join(NAME);
        let _ = std::fs::remove_file(&path);
        let listener = socket()?;
        let (_dir, near) = near(&path)?;
        bind(&listener, &SocketAddrUnix::new(near.as_std_path())?)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        listen(&listener, 8)?;
        // Whoever takes note of the ends of all children takes note of this one's.
        command.stdin(Stdio::from(listener)).stdout(Stdio::null()).stderr(Stdio::null());
        command.current_dir("/").spawn()?;
        Self::connect(dir)
    }

    /// That of a directory, if there is one.
    fn connect(dir: &Utf8Path) -> io::Result<Self> {
        let socket = socket()?;
        let (_dir, near) = near(&dir.join(NAME))?;
        connect(&socket, &SocketAddrUnix::new(near.as_std_path())?)?;
        for of in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, of, Some(ANSWER))?;
        }
        Ok(Self(Mutex::new(Some(socket))))
    }

    /// Waits until it has done what it was told. Whether it is there: it may have been about to end.
    pub(crate) fn answers(&self) -> bool {
        // Nothing is held under that name.
        self.held("?");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Has it hold something, in the place of what it holds under that name.
    pub(crate) fn keep(&self, name: &str, what: impl AsFd) {
        self.say("keep", name, Some(what.as_fd()));
    }

    /// Has it let go of that.
    pub(crate) fn let_go_of(&self, name: &str) {
        self.say("drop", name, None);
    }

    /// Has it let go of everything, and end.
    pub(crate) fn end(&self) {
        self.say("end", "", None);
    }

    /// Ends that of a directory, if there is one.
    pub(crate) fn end_of(dir: &Utf8Path) {
        if let Ok(found) = Self::connect(dir) {
            found.end();
        }
    }

    /// What it holds under names that begin like this.
    pub(crate) fn held(&self, prefix: &str) -> BTreeMap<String, OwnedFd> {
        let mut found = BTreeMap::new();
        self.say("list", prefix, None);
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(from) = &*socket {
            match wire::receive(from) {
                Ok(Some((text, Some(what)))) => drop(found.insert(text, what)),
                Ok(Some(_)) => break,
                Ok(None) | Err(_) => *socket = None,
            }
        }
        found
    }

    fn say(&self, word: &str, name: &str, what: Option<BorrowedFd<'_>>) {
        let mut socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let said = |to: &OwnedFd| wire::send(to, &format!("{word} {name}"), what).is_ok();
        if !socket.as_ref().is_some_and(said) {
            *socket = None;
        }
    }
}

fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

#[cfg(test)]
mod tests;
