//! How a process has ended that is no child of this one.

#![allow(unsafe_code, reason = "no library knows this request of the kernel yet")]

use std::os::fd::{AsRawFd as _, OwnedFd};

use deploykit_core::process::Exit;
use nix::libc;

use crate::table;

/// `struct pidfd_info` of the kernel (linux/pidfd.h), in its first form of 64 bytes.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    /// Numbers of the process, of users and of groups.
    numbers: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`.
const GET_INFO: libc::c_ulong = 0xC040_FF0B;

/// `PIDFD_INFO_EXIT`, since Linux 6.15.
const EXIT: u64 = 1 << 3;

/// How a process has ended, if the kernel tells. Before its parent has taken note of that it does so by the
/// table of processes (proc(5)); afterwards by the handle, since Linux 6.15.
pub(crate) fn of(handle: &OwnedFd, pid: u32, start: u64) -> Option<Exit> {
    told(handle).or_else(|| listed(pid, start)).or_else(|| told(handle))
}

/// What stands in the table of a process that has ended, and of which nobody has taken note yet. That is told
/// to whom the process may be traced by; to others it says 0.
fn listed(pid: u32, start: u64) -> Option<Exit> {
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd"));
    if !cwd.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return None;
    }
    let row = table::row(pid).filter(|row| row.start == start && row.is_dead)?;
    row.status.map(exit_of)
}

fn exit_of(status: i32) -> Exit {
    match libc::WIFSIGNALED(status) {
        true => Exit::Signal(libc::WTERMSIG(status)),
        false => Exit::Code(libc::WEXITSTATUS(status)),
    }
}

/// What the handle tells.
fn told(handle: &OwnedFd) -> Option<Exit> {
    let mut info = Info { mask: EXIT, ..Info::default() };
    // SAFETY: the kernel writes at most as much as the request says, which is the size of the structure.
    let done = unsafe { libc::ioctl(handle.as_raw_fd(), GET_INFO, &raw mut info) };
    if done < 0 || info.mask & EXIT == 0 {
        return None;
    }
    Some(exit_of(info.exit_code))
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    #[test]
    fn what_the_kernel_tells_of_an_end_is_how_it_came() {
        for (script, expected) in [("exit 7", Exit::Code(7)), ("kill -9 $$", Exit::Signal(9))] {
            let mut child = std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
            let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
            let handle = pidfd_open(pid, PidfdFlags::empty()).unwrap();
            let start = table::row(child.id()).unwrap().start;
            let begun = std::time::Instant::now();
            while !table::row(child.id()).unwrap().is_dead {
                assert!(begun.elapsed().as_secs() < 10, "it does not end");
            }
            // Nobody has taken note of it.
            assert_eq!(of(&handle, child.id(), start), Some(expected), "{script:?}");
            assert_eq!(of(&handle, child.id(), start + 1), None);
            child.wait().unwrap();
            // An older kernel tells nothing of it now.
            let found = of(&handle, child.id(), start);
            assert!(found.is_none_or(|found| found == expected), "{found:?} of {script:?}");
        }
        assert_eq!(size_of::<Info>(), 64);
    }
}
