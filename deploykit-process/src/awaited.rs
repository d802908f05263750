//! Lines that somebody waits for: a service is ready when it writes one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memmem;

use crate::manager::Heard;

/// A line of one process that is waited for. Clones wait for the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Awaited(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Somebody waits: otherwise nothing is looked at.
    is_awaited: AtomicBool,
    what: Mutex<Option<What>>,
}

/// What the line contains, and who is told.
type What = (String, Heard);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Awaited").field("is_awaited", &self.is_awaited).finish_non_exhaustive()
    }
}

impl Awaited {
    /// Tells of the next line that contains this text, once.
    pub(crate) fn set(&self, text: &str, heard: Heard) {
        let mut what = self.0.what.lock().unwrap_or_else(PoisonError::into_inner);
        *what = Some((text.to_owned(), heard));
        self.0.is_awaited.store(true, Ordering::Release);
    }

    /// Looks at whole lines.
    pub(crate) fn look(&self, lines: &[u8]) {
        if !self.0.is_awaited.load(Ordering::Acquire) {
            return;
        }
        let mut what = self.0.what.lock().unwrap_or_else(PoisonError::into_inner);
        // Lines are not joined: what is looked for has no line end.
        let found = what.take_if(|(text, _)| memmem::find(lines, text.as_bytes()).is_some());
        drop(what);
        if let Some((_, heard)) = found {
            self.0.is_awaited.store(false, Ordering::Release);
            heard();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn a_line_is_told_once_and_no_other() {
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let awaited = Awaited::default();
        awaited.look(b"listening\n");
        let heard = move || {
            count.fetch_add(1, Ordering::SeqCst);
        };
        awaited.set("listening", Box::new(heard));
        awaited.look(b"start\n");
        assert_eq!(told.load(Ordering::SeqCst), 0);
        awaited.look(b"a\nlistening on 80\n");
        awaited.look(b"listening\n");
        assert_eq!(told.load(Ordering::SeqCst), 1);
    }
}
