//! Sockets that a program passes on to the one that takes its place by execve(2), as the same process.

#![allow(unsafe_code, reason = "std has no way to a descriptor that was open before")]

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// The variable in which their numbers are.
pub(crate) const VARIABLE: &str = "DEPLOYKIT_SOCKETS";

/// Has sockets stay open for the program that takes the place of this one; the variable of its environment
/// that tells it, and its value. They stay open for as long as this process is there.
pub(crate) fn pass_on(sockets: Vec<OwnedFd>) -> (&'static str, String) {
    let mut numbers = Vec::new();
    for socket in sockets {
        if rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).is_ok() {
            numbers.push(socket.as_raw_fd().to_string());
            std::mem::forget(socket);
        }
    }
    (VARIABLE, numbers.join(","))
}

/// The sockets that were passed on to this process, as far as they are among these: by the numbers of their
/// inodes. Once: a second call finds none.
pub(crate) fn take(wanted: &[u64]) -> BTreeMap<u64, OwnedFd> {
    let text = std::env::var(VARIABLE).unwrap_or_default();
    let numbers = text.split(',').filter_map(|number| number.parse::<RawFd>().ok());
    let mut found = BTreeMap::new();
    for number in numbers.filter(|number| *number > 2) {
        let leads = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
        let leads = leads.to_string_lossy();
        let inode = leads.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        let inode = inode.and_then(|inode| inode.parse().ok());
        let Some(inode) = inode.filter(|inode| wanted.contains(inode)) else { continue };
        // SAFETY: it is open, and what it was opened for is on record: whoever was this process before has
        // left it for this purpose, and nobody in this program knows of it.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        if is_marked(&socket) {
            // It was taken before.
            std::mem::forget(socket);
            continue;
        }
        let _ = rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC);
        found.insert(inode, socket);
    }
    found
}

/// Whether it is closed by an execve: then somebody in this program has opened or taken it.
fn is_marked(socket: &OwnedFd) -> bool {
    let flags = rustix::io::fcntl_getfd(socket);
    flags.is_ok_and(|flags| flags.contains(rustix::io::FdFlags::CLOEXEC))
}
