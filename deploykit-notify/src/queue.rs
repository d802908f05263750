//! What one recipient is still to be told, and telling it: in a thread that is there as long as there is
//! something to tell.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use deploykit_core::traits::NotifierError;
use deploykit_core::{Context, Message, Recipient, Timestamp, chain};

/// So long is waited after a failure, after the next, and so on; after the last each time.
const PAUSES: [u64; 6] = [10, 30, 60, 120, 300, 900];

/// What could not be told in this time is given up.
const OLDEST: Duration = Duration::from_secs(24 * 3600);

/// So many messages wait for one recipient at the most; older ones are dropped.
const WAITING: usize = 500;

/// A message on its way, and where it is kept, if it could be.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) message: Message,
    pub(crate) path: Option<Utf8PathBuf>,
}

impl Waiting {
    /// It is told, or never will be.
    fn done(self) {
        if let Some(path) = self.path {
            // One that cannot be removed is told once more.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Who is told of what goes wrong with the telling itself.
pub(crate) type OnTrouble = Arc<dyn Fn(String) + Send + Sync>;

/// What one recipient is still to be told.
#[derive(Clone)]
pub(crate) struct Queue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    on_trouble: OnTrouble,
    ctx: Context,
    pauses: Vec<Duration>,
}

struct State {
    recipient: Recipient,
    waiting: VecDeque<Waiting>,
    /// There is a thread that tells.
    is_told: bool,
    /// How often in a row it failed.
    failures: usize,
    /// Each is tried once more, at once.
    is_ending: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        let (label, waiting) = (state.recipient.label(), state.waiting.len());
        f.debug_struct("Queue").field("to", &label).field("waiting", &waiting).finish()
    }
}

impl Queue {
    pub(crate) fn new(recipient: Recipient, ctx: Context, on_trouble: OnTrouble) -> Self {
        let pauses = PAUSES.map(Duration::from_secs).to_vec();
        Self::with_pauses(recipient, ctx, on_trouble, pauses)
    }

    fn with_pauses(
        recipient: Recipient,
        ctx: Context,
        on_trouble: OnTrouble,
        pauses: Vec<Duration>,
    ) -> Self {
        let (waiting, is_told, failures, is_ending) = (VecDeque::new(), false, 0, false);
        let state = Mutex::new(State { recipient, waiting, is_told, failures, is_ending });
        Self(Arc::new(Shared { state, changed: Condvar::new(), on_trouble, ctx, pauses }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn recipient(&self) -> Recipient {
        self.state().recipient.clone()
    }

    /// It is told by other means from now on.
    pub(crate) fn renew(&self, recipient: Recipient) {
        let mut state = self.state();
        // What was wrong may be mended.
        (state.recipient, state.failures) = (recipient, 0);
        self.0.changed.notify_all();
    }

    /// Has it told.
    pub(crate) fn push(&self, waiting: Waiting) {
        let mut state = self.state();
        state.waiting.push_back(waiting);
        if state.waiting.len() > WAITING
            && let Some(oldest) = state.waiting.pop_front()
        {
            let label = state.recipient.label();
            (self.0.on_trouble)(format!(
                "{label}: {WAITING} notices wait already; the oldest is dropped: {}",
                oldest.message.subject()
            ));
            oldest.done();
        }
        if !state.is_told {
            state.is_told = true;
            let own = self.clone();
            let thread = std::thread::Builder::new().name("notify".into()).spawn(move || own.run());
            // The next one tries again.
            state.is_told = thread.is_ok();
        }
    }

    /// Nobody is told any more: what waits is dropped.
    pub(crate) fn drop_all(&self) -> usize {
        let waiting = std::mem::take(&mut self.state().waiting);
        let dropped = waiting.len();
        waiting.into_iter().for_each(Waiting::done);
        self.0.changed.notify_all();
        dropped
    }

    /// Has each tried once more, at once.
    pub(crate) fn begin_end(&self) {
        self.state().is_ending = true;
        self.0.changed.notify_all();
    }

    /// Waits until all were tried, until `end` at the most. What is not told then stays on disk.
    pub(crate) fn wait(&self, end: Instant) {
        let mut state = self.state();
        while state.is_told {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// What is kept for the next time: for whom, and how much.
    pub(crate) fn left(&self) -> Option<(String, usize)> {
        let state = self.state();
        let count = state.waiting.len() + usize::from(state.is_told);
        (count > 0).then(|| (state.recipient.label(), count))
    }

    fn run(&self) {
        let mut state = self.state();
        // At the end each is tried once.
        let mut tries = None;
        loop {
            if state.is_ending {
                let left = *tries.get_or_insert(state.waiting.len());
                if left == 0 {
                    break;
                }
                tries = Some(left - 1);
            }
            let Some(waiting) = state.waiting.pop_front() else { break };
            let recipient = state.recipient.clone();
            drop(state);
            let told = recipient.tell(&self.0.ctx, &waiting.message);
            state = self.state();
            match told {
                Ok(()) => {
                    // Failures have mixed up what is left.
                    if std::mem::take(&mut state.failures) > 0 {
                        let waiting = state.waiting.make_contiguous();
                        waiting.sort_by_key(|one| one.message.at);
                    }
                    waiting.done();
                }
                Err(NotifierError::Cancelled) => {
                    state.waiting.push_front(waiting);
                    break;
                }
                Err(error) => state = self.failed(state, waiting, &error),
            }
        }
        state.is_told = false;
        self.0.changed.notify_all();
    }

    /// Waits until it is tried again.
    fn failed<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        waiting: Waiting,
        error: &NotifierError,
    ) -> MutexGuard<'a, State> {
        let label = state.recipient.label();
        let (subject, why) = (waiting.message.subject(), chain(error));
        let age = Timestamp::now().since(waiting.message.at);
        if age > OLDEST {
            (self.0.on_trouble)(format!(
                "{label} could not be told in a day, and never will be: {subject}: {why}"
            ));
            waiting.done();
        } else {
            // Once for as long as it lasts.
            if state.failures == 0 {
                (self.0.on_trouble)(format!("{label} could not be told: {why}: {subject}"));
            }
            // Whatever is wrong with this one must not stand in the way of the others.
            state.waiting.push_back(waiting);
        }
        state.failures += 1;
        let last = self.0.pauses.len().saturating_sub(1);
        let pause = self.0.pauses.get((state.failures - 1).min(last)).copied().unwrap_or_default();
        let (end, failures) = (Instant::now() + pause, state.failures);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let is_over = left.is_zero() || state.is_ending || state.waiting.is_empty();
            if is_over || state.failures != failures {
                return state;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
