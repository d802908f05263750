//! Showing what the services write while `up` runs in the foreground.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// So long a reader may read nothing at the end.
const PATIENCE: Duration = Duration::from_secs(2);

/// How lines are shown.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    pub(super) json: bool,
    pub(super) prefix: bool,
    pub(super) paint: Paint,
    pub(super) masker: Masker,
}

/// Shows lines, in a thread of its own, in the order in which they came. Clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Follower {
    shared: Arc<Shared>,
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
    /// All of it is shown.
    is_done: bool,
}

/// Something to be shown.
#[derive(Debug)]
enum Piece {
    /// Whole lines of one service.
    Lines { name: String, stream: Stream, at: Timestamp, lines: Vec<u8> },
    /// A result of ours.
    Told(String),
    /// What else there is to say.
    Said(String),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Lines { lines, .. } => lines.len(),
            Self::Told(text) | Self::Said(text) => text.len(),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, piece: Piece) {
        let mut state = self.state();
        if state.bytes + piece.len() > MOST {
            state.dropped += match &piece {
                Piece::Lines { lines, .. } => {
                    lines.iter().filter(|byte| **byte == b'\n').count() as u64
                }
                _ => 1,
            };
            return;
        }
        state.bytes += piece.len();
        state.waiting.push_back(piece);
        drop(state);
        self.changed.notify_all();
    }

    fn push_lines(&self, name: &str, stream: Stream, lines: &[u8]) {
        let (name, lines, at) = (name.to_owned(), lines.to_vec(), Timestamp::now());
        self.push(Piece::Lines { name, stream, at, lines });
    }

    /// What comes next, and how many lines were dropped before the one after it; nothing at the end.
    fn next(&self) -> Option<(Piece, u64)> {
        let mut state = self.state();
        loop {
            let may_show = !state.is_held || state.is_over;
            let next = if may_show { state.waiting.pop_front() } else { None };
            if let Some(piece) = next {
                state.bytes -= piece.len();
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
    /// Begins. Nothing of the services is shown until it is let go.
    pub(super) fn start(output: Output, errors: Output, manner: Manner) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.state().is_held = true;
        let own = Arc::clone(&shared);
        std::thread::Builder::new().name("follow".into()).spawn(move || {
            while let Some((piece, dropped)) = own.next() {
                match piece {
                    Piece::Lines { name, stream, at, lines } => {
                        output.write(&show(&name, stream, at, &lines, &manner));
                    }
                    Piece::Told(text) => output.line(&text),
                    Piece::Said(text) => errors.line(&text),
                }
                if dropped > 0 {
                    output.write(&missing(dropped, &manner));
                }
            }
            own.state().is_done = true;
            own.changed.notify_all();
        })?;
        Ok(Self { shared })
    }

    /// Where it is told of lines.
    pub(super) fn echo(&self) -> Echo {
        let shared = Arc::clone(&self.shared);
        Echo::new(move |name, stream, lines| shared.push_lines(name, stream, lines))
    }

    /// Shows a result.
    pub(super) fn tell(&self, line: &str) {
        self.shared.push(Piece::Told(line.to_owned()));
    }

    /// Shows what else there is to say.
    pub(super) fn say(&self, line: &str) {
        self.shared.push(Piece::Said(line.to_owned()));
    }

    /// Nothing else is shown at the moment.
    pub(super) fn let_go(&self) {
        self.shared.state().is_held = false;
        self.shared.changed.notify_all();
    }

    /// Shows the rest, as far as somebody reads it.
    pub(super) fn end(self) {
        let mut state = self.shared.state();
        state.is_over = true;
        self.shared.changed.notify_all();
        let (mut bytes, mut since) = (state.bytes, Instant::now());
        // A reader that is slow is waited for, one that does not read is not.
        while !state.is_done && since.elapsed() < PATIENCE {
            let (now, _) = self
                .shared
                .changed
                .wait_timeout(state, Duration::from_millis(50))
                .unwrap_or_else(PoisonError::into_inner);
            state = now;
            if state.bytes < bytes {
                (bytes, since) = (state.bytes, Instant::now());
            }
        }
    }
}

fn show(name: &str, stream: Stream, at: Timestamp, lines: &[u8], manner: &Manner) -> String {
    let text = String::from_utf8_lossy(lines);
    let one = |line: &str| {
        let line = manner.masker.mask(line);
        if manner.json {
            let value = json!({
                "at": at,
                "by": name,
                "stream": stream.as_str(),
                "line": line,
            });
            return format!("{}\n", json::line(&value, &manner.masker));
        }
        if manner.prefix {
            let name = manner.paint.name(&format!("{}:", clean(name)));
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
        show("web@1", Stream::Out, Timestamp::from_millis(0), lines.as_bytes(), manner)
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
            shared.push_lines("web", Stream::Out, &mebibyte);
        }
        shared.state().is_over = true;
        let mut all = Vec::new();
        while let Some((_, dropped)) = shared.next() {
            all.push(dropped);
        }
        assert_eq!((all.len(), all.last()), (16, Some(&4)));
    }
}
