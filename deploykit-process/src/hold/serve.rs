//! What the holder does.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_acceptconn};
use rustix::net::{SocketFlags, accept_with};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::{ANSWER, wire};

/// So long it waits for the next manager. Whoever connects to a socket that only the holder has waits for
/// nobody, and would better be refused.
const ALONE: Duration = Duration::from_secs(60);

/// Holds what the manager of this process's parent wants held, until that ends in order, or has been gone for a
/// minute: what [`Supervision::begin_held`](crate::Supervision::begin_held) runs. The manager is
/// expected on standard input, which is a socket that listens.
///
/// It should be all that a process does, since the process ends when the manager says so.
///
/// # Errors
/// When standard input is no such socket.
pub fn hold() -> io::Result<()> {
    // As the leader of a session it has no terminal that could end it; it may be one already.
    let _ = rustix::process::setsid();
    // Two for each service may be many.
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    let _ = setrlimit(Resource::Nofile, files);
    let listener = io::stdin().as_fd().try_clone_to_owned()?;
    if !socket_acceptconn(&listener)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "nobody can connect to it"));
    }
    serve(&listener, ALONE)
}

/// The same, on a socket; and so long it waits for somebody.
pub(super) fn serve(listener: &OwnedFd, alone: Duration) -> io::Result<()> {
    let mut held: BTreeMap<String, OwnedFd> = BTreeMap::new();
    let mut clients: Vec<OwnedFd> = Vec::new();
    let mut left = Instant::now();
    loop {
        let ready = wait(listener, &clients, left + alone)?;
        let Some(ready) = ready else { return Ok(()) };
        if ready.first() == Some(&true) {
            let client = accept_with(listener, SocketFlags::CLOEXEC)?;
            set_socket_timeout(&client, Timeout::Send, Some(ANSWER))?;
            clients.push(client);
        }
        let mut gone = Vec::new();
        for (index, client) in clients.iter().enumerate() {
            if ready.get(index + 1) != Some(&true) {
                continue;
            }
            let Ok(Some((text, what))) = wire::receive(client) else {
                gone.push(index);
                continue;
            };
            match (text.split_once(' ').unwrap_or((&text, "")), what) {
                (("keep", name), Some(what)) => drop(held.insert(name.to_owned(), what)),
                (("drop", name), _) => drop(held.remove(name)),
                (("list", prefix), _) => {
                    for (name, what) in held.range(prefix.to_owned()..) {
                        if !name.starts_with(prefix) {
                            break;
                        }
                        let _ = wire::send(client, name, Some(what.as_fd()));
                    }
                    let _ = wire::send(client, ".", None);
                }
                (("end", _), _) => return Ok(()),
                // A newer manager may say what this one does not understand.
                _ => {}
            }
        }
        for index in gone.into_iter().rev() {
            drop(clients.remove(index));
            left = Instant::now();
        }
    }
}

/// Waits until somebody connects or says something: who does, whoever connects first. Nothing, when nobody is
/// connected, and nobody comes until then.
fn wait(listener: &OwnedFd, clients: &[OwnedFd], until: Instant) -> io::Result<Option<Vec<bool>>> {
    let mut those: Vec<PollFd<'_>> = std::iter::once(listener)
        .chain(clients)
        .map(|socket| PollFd::new(socket, PollFlags::IN))
        .collect();
    loop {
        let longest = clients.is_empty().then(|| until.saturating_duration_since(Instant::now()));
        let longest = longest.and_then(|time| Timespec::try_from(time).ok());
        match poll(&mut those, longest.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(those.iter().map(|one| !one.revents().is_empty()).collect())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
