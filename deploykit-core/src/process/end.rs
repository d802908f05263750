//! Ending processes that are not our children, without ever hitting a stranger: a process is held
//! by a descriptor before its start time is compared, so its number cannot change hands in between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::poll::{self, Interest};
use super::table::{Family, Key, ProcessInfo, Stat};
use crate::context::Context;

/// How long processes may take to vanish after SIGKILL, and how long new ones may be forked,
/// before we give up.
const LAST: Duration = Duration::from_secs(5);

/// How long one round waits for processes that were sent SIGKILL.
const ROUND: Duration = Duration::from_millis(200);

/// What became of processes that were to end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Ended {
    /// These have ended.
    pub ended: Vec<ProcessInfo>,
    /// These have not: they belong to somebody else, hang in the kernel, or fork faster than they
    /// can be ended.
    pub left: Vec<ProcessInfo>,
}

/// A process that cannot be mistaken for another.
#[derive(Debug)]
pub(super) struct Handle(OwnedFd);

impl Handle {
    /// None when it has ended, or when there is no descriptor left for it.
    pub(super) fn open(process: &ProcessInfo) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(process.pid).ok()?)?;
        let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let same = Stat::read(process.pid).is_some_and(|s| s.start_time == process.start_time);
        same.then_some(Self(fd))
    }

    /// Whether it could be sent.
    fn send(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.0, signal).is_ok()
    }
}

/// Waits until all of them have ended, or until the instant.
fn wait_all(mut handles: Vec<Handle>, until: Instant) -> io::Result<()> {
    if handles.is_empty() {
        // They are just ending, or there is no descriptor left to hold them.
        poll::wait(&[], Some(until.min(Instant::now() + Duration::from_millis(5))))?;
    }
    while !handles.is_empty() && Instant::now() < until {
        let fds: Vec<_> = handles.iter().map(|h| (h.0.as_fd(), Interest::Readable)).collect();
        let mut ready = poll::wait(&fds, Some(until))?.into_iter();
        handles.retain(|_| !ready.next().unwrap_or(false));
    }
    Ok(())
}

/// The end of a family of processes: SIGTERM to each of them once, then SIGKILL.
#[derive(Debug, Default)]
pub(super) struct Hunt {
    told: BTreeSet<Key>,
    seen: BTreeMap<Key, ProcessInfo>,
}

impl Hunt {
    /// Gives what is ending by itself the time to do so. Whether nothing is left.
    pub(super) fn settle(family: &mut Family, time: Duration) -> io::Result<bool> {
        let until = Instant::now() + time;
        loop {
            let found = family.find()?;
            if found.is_empty() || Instant::now() >= until {
                return Ok(found.is_empty());
            }
            wait_all(found.iter().filter_map(Handle::open).collect(), until)?;
        }
    }

    /// Asks those to end that were not asked yet; those of the group `told` were. Returns a handle
    /// for each that lives.
    pub(super) fn terminate(&mut self, found: &[ProcessInfo], told: Option<u32>) -> Vec<Handle> {
        let mut handles = Vec::new();
        for process in found {
            let Some(handle) = Handle::open(process) else { continue };
            self.seen.insert(process.key(), process.clone());
            let group = Stat::read(process.pid).map(|stat| stat.group);
            if self.told.insert(process.key()) && (told.is_none() || group != told) {
                handle.send(Signal::TERM);
                // One that is stopped would not see it.
                handle.send(Signal::CONT);
            }
            handles.push(handle);
        }
        handles
    }

    /// Ends the family: those that still live at `until` are killed, as often as there are new ones.
    pub(super) fn finish(mut self, family: &mut Family, until: Instant) -> io::Result<Ended> {
        let give_up = until.max(Instant::now()) + LAST;
        loop {
            let found = family.find()?;
            let now = Instant::now();
            if found.is_empty() || now >= give_up {
                return Ok(self.report(found));
            }
            if now < until {
                let handles = self.terminate(&found, None);
                wait_all(handles, until)?;
                continue;
            }
            let handles = self.kill(&found);
            if handles.is_empty() && found.iter().all(|p| Handle::open(p).is_some()) {
                return Ok(self.report(found));
            }
            wait_all(handles, give_up.min(now + ROUND))?;
        }
    }

    /// Kills them. Returns a handle for each that could be sent the signal.
    fn kill(&mut self, found: &[ProcessInfo]) -> Vec<Handle> {
        let mut handles = Vec::new();
        for process in found {
            self.seen.insert(process.key(), process.clone());
            handles.extend(Handle::open(process).filter(|handle| handle.send(Signal::KILL)));
        }
        handles
    }

    fn report(mut self, left: Vec<ProcessInfo>) -> Ended {
        for process in &left {
            self.seen.remove(&process.key());
        }
        Ended { ended: self.seen.into_values().collect(), left }
    }
}

/// Ends every process that has the variable `name` with exactly this value in its environment, and
/// their descendants: SIGTERM, after `grace` SIGKILL, until there is none. Also those that are
/// forked meanwhile. It is not stopped by a cancellation, since it is what follows one; it ends 5 s
/// after the grace at the latest. What cannot be ended is warned of.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn end_marked(ctx: &Context, name: &str, value: &str, grace: Duration) -> io::Result<Ended> {
    let mut family =
        Family { marker: Some(format!("{name}={value}")), descendants: true, ..Family::default() };
    let report = Hunt::default().finish(&mut family, Instant::now() + grace)?;
    warn_of_left(ctx, &report);
    Ok(report)
}

/// Warns of processes that could not be ended.
pub(super) fn warn_of_left(ctx: &Context, report: &Ended) {
    if !report.left.is_empty() {
        ctx.warn(format!("these processes could not be ended: {}", list(&report.left)));
    }
}

/// Processes in words: the first few of them.
pub(super) fn list(processes: &[ProcessInfo]) -> String {
    const MOST: usize = 5;
    let mut words: Vec<String> = processes.iter().take(MOST).map(ToString::to_string).collect();
    if processes.len() > MOST {
        words.push(format!("{} more", processes.len() - MOST));
    }
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_took_over_the_number_of_another_is_left_alone() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let start_time = Stat::read(child.id()).unwrap().start_time;
        let command = String::new();
        let mut process = ProcessInfo { pid: child.id(), start_time, command };
        assert!(Handle::open(&process).is_some());
        process.start_time -= 1;
        assert!(Handle::open(&process).is_none());
        assert_eq!(Hunt::default().kill(&[process]).len(), 0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
