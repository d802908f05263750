//! What a manager that was killed has left running.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use deploykit_core::Layout;
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::hold::Holder;
use crate::manager::ledger::Ledger;
use crate::running_dir;
use crate::table::{self, Row};

/// How often what is left is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A process that is killed, and still there after this time, waits for something that nobody can hurry.
const STUCK: Duration = Duration::from_secs(5);

/// A service that a manager has left running, and that is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Left {
    /// The number of its process.
    pub pid: u32,
    /// The instance that it belonged to; nothing where it does not say.
    pub instance: Option<String>,
}

/// Ends what a manager of that name has left running, with all that it has started: a manager that was
/// killed leaves its services to nobody, and the next one would start them a second time. They are asked
/// first, and have so long to end. What was found. Nothing may run of that manager any more.
///
/// What has cleared its environment, has left its session, and whose parent has ended, is not found.
///
/// # Errors
/// When the processes of the host cannot be listed, and when one that was found does not end.
pub fn end_left(scope: &str, grace: Duration) -> std::io::Result<Vec<Left>> {
    end_left_but(scope, grace, &[])
}

/// Ends what the manager of an application has left running that was killed, as [`end_left`] does, and takes
/// it off the record: nobody takes it over any more. Nobody may supervise the application meanwhile.
///
/// # Errors
/// As [`end_left`].
pub fn end_left_of(layout: &Layout, grace: Duration) -> std::io::Result<Vec<Left>> {
    let found = end_left(layout.root().as_str(), grace)?;
    Holder::end_of(&running_dir(layout));
    if let Ok(ledger) = Ledger::open(running_dir(layout)) {
        ledger.clear();
    }
    Ok(found)
}

/// The same; but what belongs to these runs on: main processes, by number and mark.
pub(crate) fn end_left_but(
    scope: &str,
    grace: Duration,
    but: &[(u32, String)],
) -> std::io::Result<Vec<Left>> {
    let begun = Instant::now();
    let (mut found, mut asked, mut is_first) = (Vec::new(), BTreeSet::new(), true);
    loop {
        let rows = table::all()?;
        let belongs = |pid| table::is_of_scope(pid, scope);
        let mut left = table::of_scope(&rows, std::process::id(), &belongs);
        if !but.is_empty() && !left.is_empty() {
            let spared = table::belonging(&rows, but, &table::marker);
            left.retain(|row| !spared.contains(&row.pid));
        }
        if left.is_empty() {
            return Ok(found);
        }
        let spent = begun.elapsed();
        if spent > grace.saturating_add(STUCK) {
            let pids: Vec<String> = left.iter().map(|row| row.pid.to_string()).collect();
            let pids = pids.join(", ");
            let what = format!("an earlier manager has left processes that do not end: {pids}");
            return Err(std::io::Error::other(what));
        }
        for row in &left {
            let is_new = asked.insert((row.pid, row.start));
            // Its main process leads its session; what else there is belongs to one.
            if is_first && row.pid == row.session {
                found.push(Left { pid: row.pid, instance: instance_of(row.pid) });
            }
            match (spent < grace, is_new) {
                (true, true) => {
                    signal_one(row, Signal::TERM.as_raw());
                    // One that is stopped would not hear it.
                    signal_one(row, Signal::CONT.as_raw());
                }
                (true, false) => {}
                (false, _) => drop(signal_one(row, Signal::KILL.as_raw())),
            }
        }
        is_first = false;
        std::thread::sleep(LOOK);
    }
}

fn instance_of(pid: u32) -> Option<String> {
    Some(table::marker(pid)?.rsplit_once('-')?.0.to_owned())
}

/// Sends a signal to one process, and to no other that has its number since. Whether this process may.
pub(crate) fn signal_one(row: &Row, signal: i32) -> bool {
    let pid = i32::try_from(row.pid).ok().and_then(rustix::process::Pid::from_raw);
    let handle = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let (Some(Ok(handle)), Some(signal)) = (handle, Signal::from_named_raw(signal)) else {
        return true;
    };
    let is_same = table::row(row.pid).is_some_and(|now| now.start == row.start);
    !is_same || pidfd_send_signal(&handle, signal) != Err(rustix::io::Errno::PERM)
}
