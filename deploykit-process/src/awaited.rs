//! Lines that somebody waits for: a service is ready when it writes one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memmem;

use crate::log::{Echo, Stream};

/// Lines that are waited for, by instance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Awaited(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// How many there are: where nobody waits, nothing is looked at.
    count: AtomicUsize,
    all: Mutex<BTreeMap<String, One>>,
}

/// What a line contains, and who is told.
type One = (String, Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Awaited").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Awaited {
    /// Tells of the next line of an instance that contains this text, once. What was waited for before is
    /// not told any more.
    pub(crate) fn set(&self, instance: &str, text: &str, heard: Box<dyn Fn() + Send + Sync>) {
        self.change(|all| drop(all.insert(instance.to_owned(), (text.to_owned(), heard))));
    }

    /// Tells nothing more of an instance.
    pub(crate) fn forget(&self, instance: &str) {
        self.change(|all| drop(all.remove(instance)));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, One>)) {
        let mut all = self.0.all.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut all);
        self.0.count.store(all.len(), Ordering::Release);
    }

    fn look(&self, instance: &str, lines: &[u8]) {
        if self.0.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut found = None;
        self.change(|all| {
            // Lines are not joined: what is looked for has no line end.
            let is_there = |one: &One| memmem::find(lines, one.0.as_bytes()).is_some();
            if all.get(instance).is_some_and(is_there) {
                found = all.remove(instance);
            }
        });
        if let Some((_, heard)) = found {
            heard();
        }
    }

    /// Sees all lines that are written, beside whoever else does.
    pub(crate) fn beside(&self, other: Option<Echo>) -> Echo {
        let own = self.clone();
        Echo::new(move |name: &str, stream: Stream, lines: &[u8]| {
            own.look(name, lines);
            if let Some(Echo(other)) = &other {
                other(name, stream, lines);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_told_once_and_no_other_and_others_see_all() {
        let (told, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = |of: &Arc<AtomicUsize>| {
            let of = Arc::clone(of);
            move || {
                of.fetch_add(1, Ordering::SeqCst);
            }
        };
        let awaited = Awaited::default();
        let see = count(&seen);
        let echo = awaited.beside(Some(Echo::new(move |_, _, _| see())));
        awaited.set("web", "listening", Box::new(count(&told)));
        for (name, lines) in
            [("web", "start\n"), ("other", "listening\n"), ("web", "a\nlistening on 80\n")]
        {
            echo.0(name, Stream::Out, lines.as_bytes());
        }
        echo.0("web", Stream::Out, b"listening\n");
        assert_eq!((told.load(Ordering::SeqCst), seen.load(Ordering::SeqCst)), (1, 4));
        awaited.set("web", "x", Box::new(count(&told)));
        awaited.forget("web");
        echo.0("web", Stream::Out, b"x\n");
        assert_eq!(told.load(Ordering::SeqCst), 1);
    }
}
