//! The children of this process, and of which somebody takes note when they end. A process that is the
//! first of its host, or a subreaper (prctl(2)), gets others: what services leave when their parents end.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

use deploykit_core::process::with_awaited;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};

use crate::left::signal_one;
use crate::table::{self, Row};

/// The children whose ends somebody waits for. Clones know the same.
#[derive(Debug, Clone, Default)]
pub struct Children(Arc<Mutex<BTreeSet<u32>>>);

impl Children {
    /// Looks at them while none is started or taken note of.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut BTreeSet<u32>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts a child of which whoever gets it takes note, and nobody else.
    ///
    /// # Errors
    /// What keeps it from being started.
    pub fn start(&self, command: &mut Command) -> io::Result<Attended> {
        self.with(|known| {
            let child = command.spawn()?;
            known.insert(child.id());
            Ok(Attended { child, children: self.clone() })
        })
    }

    /// Looks while no child is started that somebody waits for, and says of each whether it is one.
    fn look<T>(&self, look: impl FnOnce(&dyn Fn(u32) -> bool) -> T) -> T {
        self.with(|known| {
            with_awaited(|is_awaited| look(&|pid| known.contains(&pid) || is_awaited(pid)))
        })
    }

    /// Takes note of the ends of all others, `but` these.
    pub(crate) fn reap_others(&self, but: &dyn Fn(u32) -> bool) {
        self.look(|is_known| {
            let is_left_alone = |pid| is_known(pid) || but(pid);
            // What each of the others is, is read of those alone: there may be thousands that are known.
            for row in others(&is_left_alone).filter(|row| row.is_dead) {
                reap(&row);
            }
        });
    }

    /// Kills all others, and takes note of their ends. Whether there were any: there may be more behind
    /// them. No service may run any more.
    pub fn end_others(&self) -> bool {
        self.look(|is_known| {
            let mut is_any = false;
            for row in others(is_known) {
                is_any = true;
                signal_one(&row, Signal::KILL.as_raw());
                reap(&row);
            }
            is_any
        })
    }
}

fn others(is_left_alone: &dyn Fn(u32) -> bool) -> impl Iterator<Item = Row> {
    let mut children = table::children(std::process::id());
    children.retain(|pid| !is_left_alone(*pid));
    children.into_iter().filter_map(table::row)
}

fn reap(row: &Row) {
    if let Some(pid) = i32::try_from(row.pid).ok().and_then(Pid::from_raw) {
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
    }
}

/// A child whose end somebody waits for.
#[derive(Debug)]
pub struct Attended {
    child: Child,
    children: Children,
}

impl Attended {
    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard error, where that was asked for, once.
    pub fn stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.child.stderr.take()
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// When the system does not say it.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the system does not say it.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        // What still runs is somebody's no more: its end is taken note of with all others.
        let id = self.child.id();
        self.children.with(|known| known.remove(&id));
    }
}
