//! One instance, as the manager keeps it.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deploykit_core::process::ProcessId;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, RecvMsg, UnixAddr, UnixCredentials, recvmsg,
};

use super::InstanceStatus;
use super::act::Acting;
use super::ledger::{self, Entry, Running, since_boot};
use super::poll::Timer;
use super::watch::Watching;
use crate::cgroup::{Amounts, Group};
use crate::definition::Definition;
use crate::listen::inode;
use crate::machine::{Machine, Next, Phase, Reason};
use crate::policy::Ending;
use crate::table::Row;

/// An instance of a service.
#[derive(Debug)]
pub(super) struct Instance {
    /// How it runs.
    pub(super) definition: Definition,
    /// How it is to run when it is started the next time, if that is otherwise.
    pub(super) next: Option<Definition>,
    /// It is defined otherwise than it last ran.
    pub(super) is_changed: bool,
    pub(super) machine: Machine,
    pub(super) process: Option<Process>,
    /// The name of its entry in the ledger, and what was last written there.
    pub(super) file: String,
    pub(super) written: u64,
    /// What the name of its control group is.
    pub(super) group_name: Option<String>,
    /// The control group of its processes, and what that was made for.
    pub(super) group: Option<(Arc<Group>, Amounts)>,
    /// What is done around its process.
    pub(super) acting: Option<Acting>,
    /// It is ready when that is done what is to be done after its start.
    pub(super) owes: bool,
    /// What is asked of it.
    pub(super) watches: Vec<Watching>,
    /// What its phase waits for.
    pub(super) timer: Option<Timer>,
    /// It is to end as soon as nothing runs that needs it.
    pub(super) ending: bool,
    /// It is to run again when all has ended that is to end.
    pub(super) again: bool,
    /// It is not defined any more, or another one has taken its place.
    pub(super) leaving: bool,
    /// Another one of its name has taken its place: it comes back by no definition.
    pub(super) is_replaced: bool,
    /// It was started beside another one of its name, under this token, and has not taken its place yet.
    pub(super) beside: Option<String>,
    pub(super) last_end: Option<Ending>,
    pub(super) text: Option<String>,
}

/// The process of an instance.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) id: ProcessId,
    pub(super) handle: OwnedFd,
    pub(super) started: Instant,
    /// Since when it is ready.
    pub(super) ready_since: Option<Instant>,
    /// The mark in its environment.
    pub(super) marker: String,
    /// As whom it runs.
    pub(super) user: u32,
    /// Where it says how it is.
    pub(super) notify: Option<OwnedFd>,
    /// When it is ready, where that is a matter of time.
    pub(super) ready: Option<Timer>,
    /// Since when, after the boot, it is asked to end.
    pub(super) asked: Option<Duration>,
    /// The sockets that it was given.
    pub(super) sockets: BTreeMap<String, u64>,
    /// Its time to end is over.
    pub(super) is_killed: bool,
    /// How its main process has ended, while others of it still run.
    pub(super) ended: Option<Ended>,
}

/// What is left of a process whose main process has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) ending: Ending,
    pub(super) at: Instant,
    pub(super) left: Vec<Row>,
    /// The next look at them.
    pub(super) look: Option<Timer>,
}

impl Instance {
    pub(super) fn new(definition: Definition) -> Self {
        let name = definition.name();
        Self {
            definition,
            next: None,
            is_changed: true,
            machine: Machine::default(),
            process: None,
            file: ledger::new_file(&name),
            written: 0,
            group_name: None,
            group: None,
            acting: None,
            owes: false,
            watches: Vec::new(),
            timer: None,
            ending: false,
            again: false,
            leaving: false,
            is_replaced: false,
            beside: None,
            last_end: None,
            text: None,
        }
    }

    /// One that starts beside another one.
    pub(super) fn beside(definition: Definition, token: &str) -> Self {
        Self { beside: Some(token.to_owned()), ..Self::new(definition) }
    }

    /// Whether it is the one that is meant by its name.
    pub(super) fn is_current(&self) -> bool {
        self.beside.is_none() && !self.is_replaced
    }

    /// Whether it has done what it is there for.
    pub(super) fn is_done(&self) -> bool {
        self.machine.phase == Phase::Down(Reason::Done)
    }

    /// Whether it has a process, or something is done to start or to end it.
    pub(super) fn is_alive(&self) -> bool {
        self.process.is_some() || self.acting.is_some()
    }

    /// Whether it has what others wait for.
    pub(super) fn is_up(&self) -> bool {
        let is_up = matches!(self.machine.phase, Phase::Running | Phase::Down(Reason::Done));
        is_up && !self.is_clearing()
    }

    /// Whether its main process has ended, and something that it had started has not.
    fn is_clearing(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.ended.is_some())
    }

    /// Whether those that come after it need not wait for it any more.
    pub(super) fn is_past(&self) -> bool {
        self.is_up() || matches!(self.machine.phase, Phase::Down(_)) || !self.machine.is_gated
    }

    /// Whether somebody wants it to run, whatever became of that.
    pub(super) fn is_wanted(&self) -> bool {
        !self.ending && !matches!(self.machine.phase, Phase::Down(Reason::Unwanted))
    }

    /// Whether nothing will happen to it by itself.
    pub(super) fn is_settled(&self) -> bool {
        let is_settled = matches!(self.machine.phase, Phase::Running | Phase::Down(_));
        is_settled && !self.ending && !self.again && !self.is_clearing() && self.acting.is_none()
    }

    /// What another manager has to know of it.
    pub(super) fn entry(&self) -> Entry {
        let mut entry = Entry::new(self.definition.clone(), self.machine.phase.clone());
        entry.beside.clone_from(&self.beside);
        (entry.leaving, entry.is_replaced) = (self.leaving, self.is_replaced);
        (entry.ending, entry.again, entry.is_changed) = (self.ending, self.again, self.is_changed);
        entry.next.clone_from(&self.next);
        entry.restarts = self.machine.restarts;
        entry.process = self.process.as_ref().map(|process| process.running());
        if let Some(running) = &mut entry.process {
            running.group.clone_from(&self.group_name);
        }
        entry
    }

    pub(super) fn status(&self) -> InstanceStatus {
        let process = self.process.as_ref().filter(|process| process.ended.is_none());
        InstanceStatus {
            name: self.definition.name(),
            service: self.definition.service.clone(),
            phase: match &self.machine.phase {
                Phase::Starting | Phase::Running if self.is_clearing() => {
                    Phase::Stopping(Next::Recover)
                }
                // It is about to begin again.
                Phase::Down(_) if self.again => Phase::Waiting,
                phase => phase.clone(),
            },
            pid: process.map(|process| process.pid),
            up: process.map(|process| process.started.elapsed()),
            restarts: self.machine.restarts,
            last_end: self.last_end.as_ref().map(ToString::to_string),
            last_ending: self.last_end.clone(),
            essential: self.definition.essential,
            leaving: self.leaving,
            beside: self.beside.clone(),
            hands_over: self.definition.hands_over && self.machine.phase == Phase::Running,
            text: self.text.clone(),
            release: self.definition.release.clone(),
        }
    }
}

impl Process {
    pub(super) fn running(&self) -> Running {
        let ready = self.ready_since.map(|at| since_boot().saturating_sub(at.elapsed()));
        Running {
            id: self.id.clone(),
            marker: self.marker.clone(),
            user: self.user,
            // To the second: what is written does not change with every look at the clock.
            ready: ready.map(|ready| Duration::from_secs(ready.as_secs())),
            asked: self.asked,
            sockets: self.sockets.clone(),
            notify: self.notify.as_ref().and_then(|socket| inode(socket).ok()),
            group: None,
        }
    }

    /// What it says of itself next: sd_notify(3). What another user says is not meant. It is said until
    /// [`has_heard`](Self::has_heard).
    pub(super) fn hears(&self) -> String {
        let Some(socket) = &self.notify else { return String::new() };
        let mut buffer = vec![0_u8; 4096];
        match hear(socket, &mut buffer, MsgFlags::MSG_PEEK) {
            Some((length, Some(by))) if by == self.user || by == 0 => {
                String::from_utf8_lossy(&buffer[..length]).into_owned()
            }
            _ => String::new(),
        }
    }

    /// What it has said is known; what comes after it is told anew.
    pub(super) fn has_heard(&self) {
        if let Some(socket) = &self.notify {
            hear(socket, &mut [], MsgFlags::empty());
        }
    }
}

/// A message, and the user who has sent it; nothing when there is none.
fn hear(socket: &OwnedFd, buffer: &mut [u8], how: MsgFlags) -> Option<(usize, Option<u32>)> {
    // Descriptors that somebody passes on (FDSTORE=1) have no room here: the kernel closes them.
    let mut space = nix::cmsg_space!(UnixCredentials);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = how | MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message: RecvMsg<'_, '_, UnixAddr> =
        recvmsg(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
    let by = message.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::ScmCredentials(by) => Some(by.uid()),
        _ => None,
    });
    Some((message.bytes, by))
}
