//! Ending processes, with everything that they have started.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustix::process::{WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::instance::{Ended, Process};
use super::run::{Id, Loop};
use crate::cgroup::Group;
use crate::left::signal_one;
use crate::outcome;
use crate::policy::Ending;
use crate::table::{self, Row};
use deploykit_core::process::Exit;

/// How often what is left of a process is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Sends a signal to the main process alone.
pub(super) fn signal_main(process: &Process, signal: i32) {
    if let Some(signal) = rustix::process::Signal::from_named_raw(signal) {
        // It may have ended meanwhile.
        let _ = pidfd_send_signal(&process.handle, signal);
    }
}

/// Asks it, and what it has started and that has stayed in its group, to end.
pub(super) fn ask(process: &Process, signal: i32) {
    if let Some(ended) = &process.ended {
        // Its number, and that of its group, may be another's by now.
        for row in &ended.left {
            let _ = signal_one(row, signal);
        }
        return;
    }
    let group = i32::try_from(process.pid).ok().map(Pid::from_raw);
    match (group, Signal::try_from(signal)) {
        (Some(group), Ok(signal)) => drop(killpg(group, signal)),
        // A signal of real time has no name.
        _ => signal_main(process, signal),
    }
    // One that is stopped would not hear it.
    if let Some(group) = group {
        let _ = killpg(group, Signal::SIGCONT);
    }
}

/// Ends it, and what has stayed in its group. What has not is ended when the main process is gone.
pub(super) fn kill(process: &Process) {
    if process.ended.is_some() {
        return ask(process, nix::libc::SIGKILL);
    }
    signal_main(process, nix::libc::SIGKILL);
    if let Ok(group) = i32::try_from(process.pid) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

/// Ends a process that nobody could follow, and takes note of its end.
pub(super) fn kill_and_wait(process: &Process) {
    use std::os::fd::AsFd as _;
    kill(process);
    let _ = waitid(WaitId::PidFd(process.handle.as_fd()), WaitIdOptions::EXITED);
}

/// Kills everything that carries this mark, and what is in the group: what was done before a start that
/// does not come. What these start meanwhile is killed, too.
pub(super) fn kill_marked(marker: &str, group: Option<&Group>) {
    for _ in 0..TRIES {
        let inside = group.map(Group::processes).unwrap_or_default();
        let is_meant = |row: &&Row| {
            let is_marked = || table::marker(row.pid).as_deref() == Some(marker);
            !row.is_dead && (inside.contains(&row.pid) || is_marked())
        };
        let rows = table::all().unwrap_or_default();
        let left: Vec<&Row> = rows.iter().filter(is_meant).collect();
        if left.is_empty() {
            return;
        }
        for row in left {
            signal_one(row, nix::libc::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// So often it is looked whether what was killed has started something before.
const TRIES: u32 = 20;

/// How a process has ended, if it has; takes note of it, so that nothing is left of it.
fn ending_of(process: &Process) -> Option<Ending> {
    use std::os::fd::AsFd as _;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::PidFd(process.handle.as_fd()), options) {
        Ok(Some(status)) => {
            let code = status.exit_status().map(Exit::Code);
            let signal = status.terminating_signal().map(Exit::Signal);
            Some(code.or(signal).map_or(Ending::Unseen, Ending::Ended))
        }
        Ok(None) => None,
        // It is no child of this process: whoever is its parent takes note of its end in a moment.
        Err(_) => {
            for _ in 0..TRIES {
                let (pid, start) = (process.pid, process.id.start_time);
                if let Some(exit) = outcome::of(&process.handle, pid, start) {
                    return Some(Ending::Ended(exit));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Some(Ending::Unseen)
        }
    }
}

impl Loop {
    /// Takes note of the ends of processes that others have left to this one. Those of the manager are waited
    /// for by their descriptors.
    pub(super) fn reap_others(&self) {
        let of_instances: BTreeSet<u32> = self
            .instances
            .values()
            .filter_map(|one| one.process.as_ref())
            .map(|process| process.pid)
            .collect();
        self.children.reap_others(&|pid| of_instances.contains(&pid));
    }

    /// Kills everything that runs, and waits for nothing that it was asked for.
    pub(super) fn kill_all(&mut self) {
        let ids: Vec<Id> = self.instances.keys().copied().collect();
        for id in ids {
            self.kill_now(id);
            let Some(instance) = self.instances.get_mut(&id) else { continue };
            let ended = instance.process.as_mut().and_then(|process| process.ended.as_mut());
            if let Some(ended) = ended {
                ended.look = Some(self.poll.at(Instant::now(), Self::look_again(id)));
            }
        }
    }

    /// Kills what there is of an instance.
    pub(super) fn kill_now(&mut self, id: Id) {
        self.break_off(id);
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if let Some(process) = &mut instance.process {
            process.is_killed = true;
            kill(process);
        }
        if let Some((group, _)) = &instance.group {
            group.kill();
        }
    }

    /// Takes note that the main process of an instance has ended.
    pub(super) fn reap(&mut self, id: Id) -> Option<Id> {
        let process = self.instances.get_mut(&id)?.process.as_mut()?;
        let ending = ending_of(process)?;
        self.poll.forget(&process.handle);
        if let Some(timer) = process.ready.take() {
            self.poll.cancel(timer);
        }
        self.end_watches(id);
        let process = self.instances.get_mut(&id)?.process.as_mut()?;
        process.ended = Some(Ended { ending, at: Instant::now(), left: Vec::new(), look: None });
        Some(id)
    }

    /// Looks what is left of the processes that have ended, all at once: that takes as long as for one.
    /// Where nothing is left, the instance is told.
    pub(super) fn clear_up(&mut self, ids: &[Id]) {
        if ids.is_empty() {
            return;
        }
        let of = |id: &Id| {
            let process = self.instances.get(id)?.process.as_ref()?;
            Some(table::Ended { pid: process.pid, marker: process.marker.clone() })
        };
        let (known, ended): (Vec<Id>, Vec<table::Ended>) =
            ids.iter().filter_map(|id| Some((*id, of(id)?))).unzip();
        // What cannot be looked for is not known to be there.
        let rows = table::all().unwrap_or_default();
        let left = table::left(&rows, &ended, std::process::id(), &table::marker);
        for (index, id) in known.iter().enumerate() {
            let mut of_it: Vec<Row> =
                left.iter().filter(|(of, _)| *of == index).map(|(_, row)| *row).collect();
            of_it.extend(self.in_group(*id, &of_it));
            if of_it.is_empty() { self.is_clear(*id) } else { self.is_left(*id, of_it) }
        }
    }

    /// What else is in the control group of an instance: what has left its session, and tells nobody to
    /// whom it belongs, too.
    fn in_group(&self, id: Id, known: &[Row]) -> Vec<Row> {
        let group = self.instances.get(&id).and_then(|one| one.group.as_ref());
        let inside = group.map(|(group, _)| group.processes()).unwrap_or_default();
        let is_new = |row: &Row| !row.is_dead && !known.iter().any(|one| one.pid == row.pid);
        inside.into_iter().filter_map(table::row).filter(is_new).collect()
    }

    fn is_clear(&mut self, id: Id) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let Some(process) = instance.process.take() else { return };
        self.surroundings.ended(&process.marker);
        let Some(ended) = process.ended else { return };
        // What was never ready has not been stable.
        let ready = process.ready_since;
        let ran = ready.map_or(Duration::ZERO, |since| ended.at.saturating_duration_since(since));
        self.act_after_stop(id, ended.ending, ran);
    }

    /// Something is left of a process. It is asked once to end, and ended when the time is over that the
    /// instance has for that.
    fn is_left(&mut self, id: Id, left: Vec<Row>) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let (signal, grace) =
            (instance.definition.stop_signal, instance.definition.course.stop_timeout);
        let Some(process) = &mut instance.process else { return };
        let is_killed = process.is_killed;
        let Some(ended) = &mut process.ended else { return };
        if is_killed || ended.at.elapsed() >= grace {
            // What has become somebody else's nobody here can end.
            let ended: Vec<bool> =
                left.iter().map(|row| signal_one(row, nix::libc::SIGKILL)).collect();
            if !ended.contains(&true) {
                return self.is_clear(id);
            }
        } else if ended.left.is_empty() {
            for row in &left {
                let _ = signal_one(row, signal);
            }
        }
        ended.left = left;
        ended.look = Some(self.poll.at(Instant::now() + LOOK, Self::look_again(id)));
    }
}
