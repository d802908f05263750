//! The children that somebody in this process waits for. A program that is the first of its host, or a
//! subreaper (prctl(2)), takes note of the ends of all others, and must leave these alone.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

static AWAITED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn awaited() -> MutexGuard<'static, BTreeSet<u32>> {
    AWAITED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at children while none is started that [`run`](super::run) waits for, and says of each whether it
/// is one of those.
pub fn with_awaited<T>(look: impl FnOnce(&dyn Fn(u32) -> bool) -> T) -> T {
    let awaited = awaited();
    look(&|pid| awaited.contains(&pid))
}

/// As long as this is there, a child is waited for.
#[derive(Debug)]
pub(super) struct Awaited(u32);

impl Drop for Awaited {
    fn drop(&mut self) {
        awaited().remove(&self.0);
    }
}

/// Starts a child that is waited for from its first moment on.
pub(super) fn spawn(command: &mut Command) -> io::Result<(Child, Awaited)> {
    let mut awaited = awaited();
    let child = command.spawn()?;
    awaited.insert(child.id());
    let id = child.id();
    Ok((child, Awaited(id)))
}
