//! Showing what the services write while `up` runs in the foreground.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use deploykit::supervisor::log::{Echo, Stream};
use deploykit::{Masker, Timestamp};
use serde_json::json;

use crate::io::Output;
use crate::render::json;
use crate::render::paint::Paint;
use crate::render::text::clean;

/// So much waits to be shown. A terminal that is stopped, or a reader that is slow, must not stop the
/// services: everything is in their logs.
const MOST: usize = 16 << 20;

/// How lines are shown.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) json: bool,
    pub(super) prefix: bool,
    pub(super) paint: Paint,
    pub(super) masker: Masker,
}

/// Shows lines, in a thread of its own, in the order in which they came.
#[derive(Debug)]
pub(super) struct Follower {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Piece>,
    bytes: usize,
    /// What was not shown since the last that was.
    dropped: u64,
    /// Nothing is shown yet.
    is_held: bool,
    is_over: bool,
}

/// Whole lines of one service.
#[derive(Debug)]
struct Piece {
    name: String,
    stream: Stream,
    at: Timestamp,
    lines: Vec<u8>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, name: &str, stream: Stream, lines: &[u8]) {
        let mut state = self.state();
        if state.bytes + lines.len() > MOST {
            state.dropped += lines.iter().filter(|byte| **byte == b'\n').count() as u64;
            return;
        }
        state.bytes += lines.len();
        let (name, lines, at) = (name.to_owned(), lines.to_vec(), Timestamp::now());
        state.waiting.push_back(Piece { name, stream, at, lines });
        drop(state);
        self.changed.notify_one();
    }

    /// What comes next, and how many lines were dropped before the one after it; nothing at the end.
    fn next(&self) -> Option<(Piece, u64)> {
        let mut state = self.state();
        loop {
            let may_show = !state.is_held || state.is_over;
            let next = if may_show { state.waiting.pop_front() } else { None };
            if let Some(piece) = next {
                state.bytes -= piece.lines.len();
                let dropped =
                    if state.waiting.is_empty() { std::mem::take(&mut state.dropped) } else { 0 };
                return Some((piece, dropped));
            }
            if state.is_over {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Follower {
    /// Begins. Nothing is shown until it is let go.
    pub(super) fn start(output: Output, manner: Manner) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.state().is_held = true;
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("follow".into()).spawn(move || {
            while let Some((piece, dropped)) = own.next() {
                let mut text = show(&piece, &manner);
                if dropped > 0 {
                    text.push_str(&missing(dropped, &manner));
                }
                output.write(&text);
            }
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Where it is told of lines.
    pub(super) fn echo(&self) -> Echo {
        let shared = Arc::clone(&self.shared);
        Echo::new(move |name, stream, lines| shared.push(name, stream, lines))
    }

    /// Nothing else is shown at the moment.
    pub(super) fn let_go(&self) {
        self.shared.state().is_held = false;
        self.shared.changed.notify_one();
    }
}

impl Drop for Follower {
    /// Shows the rest.
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn show(piece: &Piece, manner: &Manner) -> String {
    let text = String::from_utf8_lossy(&piece.lines);
    let one = |line: &str| {
        let line = manner.masker.mask(line);
        if manner.json {
            let value = json!({
                "at": piece.at,
                "by": piece.name,
                "stream": piece.stream.as_str(),
                "line": line,
            });
            return format!("{}\n", json::line(&value, &manner.masker));
        }
        if manner.prefix {
            let name = manner.paint.name(&format!("{}:", clean(&piece.name)));
            format!("{name} {}\n", clean(&line))
        } else {
            format!("{line}\n")
        }
    };
    text.lines().map(one).collect()
}

fn missing(lines: u64, manner: &Manner) -> String {
    if manner.json {
        return format!("{}\n", json!({ "not_shown": lines }));
    }
    format!(
        "{}\n",
        manner.paint.dim(&format!("… {lines} lines are not shown; they are in the logs"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(manner: &Manner, lines: &str) -> String {
        let (name, at) = ("web@1".to_owned(), Timestamp::from_millis(0));
        show(&Piece { name, stream: Stream::Out, at, lines: lines.into() }, manner)
    }

    #[test]
    fn a_line_names_its_service_or_stands_alone_or_is_json() {
        let masker = Masker::default();
        masker.learn(&deploykit::Secret::new("hunter2"));
        let mut manner = Manner { json: false, prefix: true, paint: Paint::new(false), masker };
        assert_eq!(shown(&manner, "one\n\u{1b}[2Jtwo\n"), "web@1: one\nweb@1: two\n");
        manner.prefix = false;
        assert_eq!(shown(&manner, "{\"a\":1}\nhunter2\n"), "{\"a\":1}\n***\n");
        manner.json = true;
        let value: serde_json::Value = serde_json::from_str(&shown(&manner, "x\n")).unwrap();
        assert_eq!((&value["by"], &value["line"]), (&"web@1".into(), &"x".into()));
    }

    #[test]
    fn what_nobody_reads_is_dropped_and_told_and_nobody_waits_for_it() {
        let shared = Shared::default();
        let mebibyte = [vec![b'x'; (1 << 20) - 1], vec![b'\n']].concat();
        for _ in 0..20 {
            shared.push("web", Stream::Out, &mebibyte);
        }
        shared.state().is_over = true;
        let mut all = Vec::new();
        while let Some((_, dropped)) = shared.next() {
            all.push(dropped);
        }
        assert_eq!((all.len(), all.last()), (16, Some(&4)));
    }
}
