//! Taking over what a manager has left that was killed: its processes go on, and are looked after as if
//! nothing had been.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::instance::{Instance, Process};
use super::ledger::{self, Entry, Running, since_boot};
use super::poll::after;
use super::run::{ENDED, Id, KINDS, LOOK, Loop, SAYS, TIME_UP, heard};
use crate::definition::{Definition, Readiness};
use crate::inherited;
use crate::machine::{Happened, Machine, Next, Phase};
use crate::policy::Ending;
use crate::table;

/// What was taken over from a manager that was killed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Adopted {
    /// The instances that run, each with its process.
    pub instances: Vec<(String, u32)>,
    /// Sockets that could not be had back, and why: their services go on, but the next one that starts
    /// cannot listen there beside them.
    pub lost: Vec<(String, String)>,
}

impl Loop {
    /// Takes over what is on record.
    pub(super) fn adopt(&mut self, entries: BTreeMap<String, Entry>) -> Adopted {
        let mut adopted = Adopted::default();
        let known: Vec<(&Definition, Option<&str>)> = entries
            .values()
            .map(|entry| (&entry.definition, entry.process.as_ref().map(|one| &*one.marker)))
            .collect();
        self.surroundings.succeed(&known);
        let mut begun = Vec::new();
        // As they were made.
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by(|(one, _), (other, _)| ledger::age(one).cmp(ledger::age(other)));
        for (file, entry) in entries {
            let process =
                entry.process.as_ref().and_then(|running| self.process_of(&entry, running).ok());
            if let Some(process) = &process {
                adopted.instances.push((entry.definition.name(), process.pid));
            }
            begun.push((self.take_in(file, &entry, process), entry));
        }
        adopted.instances.sort();
        adopted.lost = self.take_sockets_back(&begun);
        for (id, entry) in begun {
            self.go_on_with(id, &entry);
        }
        adopted
    }

    /// The process of an entry, if it still runs.
    fn process_of(&self, entry: &Entry, running: &Running) -> io::Result<Process> {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let number = i32::try_from(running.id.pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let handle = pidfd_open(number, PidfdFlags::empty())?;
        // Looked at when it can be no other one any more.
        let row = table::row(running.id.pid).filter(|row| row.start == running.id.start_time);
        row.filter(|row| !row.is_dead).ok_or_else(gone)?;
        let ago = |since: Duration| {
            Instant::now()
                .checked_sub(since_boot().saturating_sub(since))
                .unwrap_or_else(Instant::now)
        };
        let ticks = rustix::param::clock_ticks_per_second().max(1);
        let notify =
            running.notify.and_then(|inode| take_back(&handle, running.id.pid, inode).ok());
        let notify = match (&entry.definition.readiness, notify) {
            (Readiness::Notify, None) => {
                super::start::listen(&running.marker).ok().map(|(socket, _)| socket)
            }
            (_, notify) => notify,
        };
        Ok(Process {
            pid: running.id.pid,
            id: running.id.clone(),
            handle,
            started: ago(Duration::from_millis(running.id.start_time.saturating_mul(1000) / ticks)),
            marker: running.marker.clone(),
            user: running.user,
            notify,
            ready_since: running.ready.map(ago),
            ready: None,
            asked: running.asked,
            sockets: running.sockets.clone(),
            is_killed: false,
            ended: None,
        })
    }

    /// Takes in an instance as it was.
    fn take_in(&mut self, file: String, entry: &Entry, process: Option<Process>) -> Id {
        let mut instance = Instance::new(entry.definition.clone());
        (instance.file, instance.is_changed) = (file, entry.is_changed);
        instance.next.clone_from(&entry.next);
        instance.beside.clone_from(&entry.beside);
        (instance.leaving, instance.is_replaced) = (entry.leaving, entry.is_replaced);
        (instance.ending, instance.again) = (entry.ending || entry.leaving, entry.again);
        instance.machine = Machine::at(entry.phase.clone(), entry.restarts);
        instance.group_name = entry.process.as_ref().and_then(|running| running.group.clone());
        instance.process = process;
        let (name, is_current) = (entry.definition.name(), instance.is_current());
        let id = self.add(instance);
        if is_current && let Some(other) = self.names.insert(name, id) {
            // There cannot be two; were there, the one that is found first would be nobody's.
            if let Some(other) = self.instances.get_mut(&other) {
                (other.leaving, other.is_replaced) = (true, true);
            }
        }
        id
    }

    /// Gets the sockets back from the processes that have them; which could not be had, and why.
    fn take_sockets_back(&mut self, of: &[(Id, Entry)]) -> Vec<(String, String)> {
        let mut lost: BTreeMap<String, String> = BTreeMap::new();
        self.sockets.take_held();
        let sockets = of.iter().filter_map(|(_, entry)| entry.process.as_ref());
        let inodes = sockets.flat_map(|running| running.sockets.values().copied());
        let mut inherited = inherited::take(&inodes.collect::<Vec<_>>());
        for (id, entry) in of {
            let Some(running) = &entry.process else { continue };
            for (address, inode) in &running.sockets {
                if let Some(socket) = inherited.remove(inode) {
                    self.sockets.adopt(address, socket);
                }
                let process = self.instances.get(id).and_then(|one| one.process.as_ref());
                let Some(process) = process.filter(|_| !self.sockets.is_open(address)) else {
                    continue;
                };
                match take_back(&process.handle, process.pid, *inode) {
                    Ok(socket) => {
                        self.sockets.adopt(address, socket);
                        lost.remove(address);
                    }
                    Err(error) => drop(lost.insert(address.clone(), error.to_string())),
                }
            }
        }
        lost.into_iter().collect()
    }

    /// Looks after an instance from now on.
    fn go_on_with(&mut self, id: Id, entry: &Entry) {
        let Some(running) = &entry.process else { return self.go_on_without(id, entry) };
        let _ = self.group_of(id);
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let Some(process) = &mut instance.process else {
            // It has ended while nobody looked. What it has written last is in its pipes, if they are held.
            self.surroundings.adopt(&entry.definition, &running.marker, None);
            self.surroundings.ended(&running.marker);
            // It was stable, if it was ready for so long.
            let ran = running.ready.map(|ready| since_boot().saturating_sub(ready));
            return self.ended(id, Ending::Unseen, ran.unwrap_or_default());
        };
        let watched = self.poll.watch(&process.handle, id * KINDS + ENDED).and_then(|()| {
            let notify = process.notify.as_ref();
            notify.map_or(Ok(()), |notify| self.poll.watch(notify, id * KINDS + SAYS))
        });
        if watched.is_err() {
            // Nobody would see its end. There is no descriptor left, which starting it anew does not mend.
            return;
        }
        let (spent, marker) = (process.started.elapsed(), process.marker.clone());
        let has_said = self.ledger.as_ref().is_some_and(|ledger| ledger.forget_said(&marker));
        let is_awaited = instance.machine.phase == Phase::Starting && !has_said;
        let heard = is_awaited.then(|| heard(&self.teller, self.ledger.as_ref(), id, &marker));
        self.surroundings.adopt(&instance.definition, &marker, heard);
        match instance.machine.phase {
            Phase::Starting => self.go_on_starting(id, spent, has_said),
            Phase::Running => {
                self.begin_watches(id);
                self.begin_memory(id);
            }
            Phase::Stopping(_) => self.go_on_stopping(id, running.asked),
            // Its end was on record before it was here.
            _ => self.kill_now(id),
        }
    }

    /// There was no process.
    fn go_on_without(&mut self, id: Id, entry: &Entry) {
        match entry.phase {
            // What was done before its start has come to nothing.
            Phase::Starting | Phase::Pausing => {
                let Some(instance) = self.instances.get_mut(&id) else { return };
                instance.machine.phase = Phase::Waiting;
                instance.machine.is_gated = entry.phase == Phase::Starting;
            }
            Phase::Stopping(_) => self.ended(id, Ending::Unseen, Duration::ZERO),
            Phase::Down(_) | Phase::Waiting | Phase::Running => {}
        }
    }

    fn go_on_starting(&mut self, id: Id, spent: Duration, has_said: bool) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let left = instance.definition.course.start_timeout.saturating_sub(spent);
        instance.timer = Some(self.poll.at(after(left), id * KINDS + TIME_UP));
        instance.owes = !instance.definition.actions.after_start.is_empty();
        let readiness = instance.definition.readiness.clone();
        let look = match &readiness {
            Readiness::Delay(delay) => Some(delay.saturating_sub(spent)),
            Readiness::Check(_) => Some(Duration::ZERO),
            _ => None,
        };
        if let Some(process) = &mut instance.process {
            process.ready = look.map(|time| self.poll.at(after(time), id * KINDS + LOOK));
        }
        if has_said || readiness == Readiness::Started {
            self.take(id, Happened::Ready);
        }
    }

    /// It is asked once, and has the time that is left.
    fn go_on_stopping(&mut self, id: Id, asked: Option<Duration>) {
        let Some(asked) = asked else { return self.begin_stop(id) };
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let spent = since_boot().saturating_sub(asked);
        let left = instance.definition.course.stop_timeout.saturating_sub(spent);
        instance.timer = Some(self.poll.at(after(left), id * KINDS + TIME_UP));
        if instance.machine.phase == Phase::Stopping(Next::Start) {
            instance.machine.is_gated = true;
        }
    }
}

/// A socket of another process, by the number of its inode: pidfd_getfd(2), which needs the right to trace it.
fn take_back(handle: &OwnedFd, pid: u32, inode: u64) -> io::Result<OwnedFd> {
    let target = format!("socket:[{inode}]");
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let leads = std::fs::read_link(entry.path()).unwrap_or_default();
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(number) = number.filter(|_| leads.as_os_str() == target.as_str()) {
            return Ok(pidfd_getfd(handle.as_fd(), number, PidfdGetfdFlags::empty())?);
        }
    }
    Err(io::Error::other("the process has closed it"))
}
