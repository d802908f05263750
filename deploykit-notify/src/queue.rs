//! What one recipient is still to be told, and telling it: in a thread that is there as long as there is
//! something to tell.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use deploykit_core::traits::NotifierError;
use deploykit_core::{Context, Message, Recipient, chain};

/// So long is waited after a failure, after the next, and so on; after the last each time.
const PAUSES: [u64; 6] = [10, 30, 60, 120, 300, 900];

/// What could not be told in this time is given up.
const OLDEST: Duration = Duration::from_secs(24 * 3600);

/// So many messages wait for one recipient at the most; older ones are dropped.
const WAITING: usize = 500;

/// One that has failed so often is set aside: the others go on, and it is tried when nothing else waits.
const ASIDE: u32 = 3;

/// A message on its way.
#[derive(Debug)]
struct Waiting {
    message: Message,
    /// Where it is kept, if it could be.
    path: Option<Utf8PathBuf>,
    /// Its place in the order.
    number: u64,
    failures: u32,
    /// Since when it waits here.
    since: Instant,
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
    /// The number of the last one.
    last: u64,
    /// Some were dropped since somebody was told.
    has_dropped: bool,
    /// There is a thread that tells.
    is_told: bool,
    /// How often in a row it failed.
    failures: usize,
    /// What has failed last was one that is set aside: others may be told.
    is_aside: bool,
    /// Nobody is told any more.
    is_dropped: bool,
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
        let state = Mutex::new(State {
            recipient,
            waiting: VecDeque::new(),
            last: 0,
            has_dropped: false,
            is_told: false,
            failures: 0,
            is_aside: false,
            is_dropped: false,
            is_ending: false,
        });
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
    pub(crate) fn push(&self, message: Message, path: Option<Utf8PathBuf>) {
        let mut state = self.state();
        state.last += 1;
        let (number, failures, since) = (state.last, 0, Instant::now());
        state.waiting.push_back(Waiting { message, path, number, failures, since });
        if state.waiting.len() > WAITING
            && let Some(oldest) = state.waiting.pop_front()
        {
            // Once for as long as it lasts.
            if !std::mem::replace(&mut state.has_dropped, true) {
                let (label, subject) = (state.recipient.label(), oldest.message.subject());
                (self.0.on_trouble)(format!(
                    "{label}: {WAITING} notices wait already; the oldest are dropped: {subject}"
                ));
            }
            oldest.done();
        }
        self.0.changed.notify_all();
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
        let mut state = self.state();
        state.is_dropped = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
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
            let Some(waiting) = state.next() else { break };
            let recipient = state.recipient.clone();
            drop(state);
            let told = recipient.tell(&self.0.ctx, &waiting.message);
            state = self.state();
            match told {
                Ok(()) => {
                    state.failures = 0;
                    if std::mem::take(&mut state.has_dropped) {
                        (self.0.on_trouble)(format!("{} is told again", recipient.label()));
                    }
                    waiting.done();
                }
                Err(NotifierError::Cancelled) => {
                    state.put_back(waiting);
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
        mut waiting: Waiting,
        error: &NotifierError,
    ) -> MutexGuard<'a, State> {
        let label = state.recipient.label();
        let (subject, why) = (waiting.message.subject(), chain(error));
        state.is_aside = waiting.failures >= ASIDE;
        if state.is_dropped {
            waiting.done();
            return state;
        }
        if waiting.since.elapsed() > OLDEST {
            (self.0.on_trouble)(format!(
                "{label} could not be told in a day, and never will be: {subject}: {why}"
            ));
            waiting.done();
        } else {
            // Once for as long as it lasts.
            if state.failures == 0 && waiting.failures == 0 {
                (self.0.on_trouble)(format!("{label} could not be told: {why}: {subject}"));
            }
            waiting.failures += 1;
            state.put_back(waiting);
        }
        state.failures += 1;
        let last = self.0.pauses.len().saturating_sub(1);
        let pause = self.0.pauses.get((state.failures - 1).min(last)).copied().unwrap_or_default();
        let (end, failures) = (Instant::now() + pause, state.failures);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let is_over = left.is_zero() || state.is_ending || state.waiting.is_empty();
            // What is wrong with that one must not stand in the way of a new one.
            let is_free = state.is_aside && state.waiting.iter().any(|one| one.failures == 0);
            if is_over || is_free || state.failures != failures {
                return state;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    /// What is told next: the oldest, but first what is not set aside.
    fn next(&mut self) -> Option<Waiting> {
        let first = self.waiting.iter().position(|one| one.failures < ASIDE).unwrap_or(0);
        self.waiting.remove(first)
    }

    /// Puts one into its place in the order.
    fn put_back(&mut self, waiting: Waiting) {
        let place = self.waiting.partition_point(|one| one.number < waiting.number);
        self.waiting.insert(place, waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use camino::Utf8Path;
    use deploykit_core::{Application, Registry};

    use super::*;
    use crate::outbox::tests::letter;

    /// Told by a command that fails as long as `open` is not there, and always of what is bad.
    const COMMAND: &str = "repo.url = \"/r\"\n[[notify.to]]\ntype = \"command\"\nname = \"gate\"\n\
        command = [\"sh\", \"-c\", \"test -e open && [ $1 != bad ] && echo $1 >> told\", \"x\", \"{what}\"]\n";

    fn told(dir: &Utf8Path) -> String {
        std::fs::read_to_string(dir.join("told")).unwrap_or_default()
    }

    fn until(what: &str, mut so: impl FnMut() -> bool) {
        let give_up = Instant::now() + Duration::from_secs(60);
        while !so() {
            assert!(Instant::now() < give_up, "it never came to this: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn queue(dir: &Utf8Path, pauses: [u64; 3]) -> (Queue, Arc<Mutex<Vec<String>>>) {
        std::fs::write(dir.join("deploykit.toml"), COMMAND).unwrap();
        let application = Application::at(dir).registry(Registry::built_in()).open().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let on = Arc::clone(&said);
        let on_trouble: OnTrouble = Arc::new(move |what| on.lock().unwrap().push(what));
        let pauses = pauses.map(Duration::from_millis).to_vec();
        let recipient = application.recipients().remove(0);
        (Queue::with_pauses(recipient, Context::new().unwrap(), on_trouble, pauses), said)
    }

    fn push(queue: &Queue, what: &str) {
        queue.push(letter("web", what).message, None);
    }

    #[test]
    fn what_comes_while_nobody_can_be_told_is_told_in_its_order() {
        let directory = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(directory.path()).unwrap();
        let (queue, said) = queue(dir, [5, 5, 5]);
        push(&queue, "one");
        push(&queue, "two");
        until("it is told that it failed", || said.lock().unwrap().len() == 1);
        push(&queue, "three");
        std::fs::write(dir.join("open"), "").unwrap();
        until("all are told", || told(dir).lines().count() == 3);
        // The first may have been set aside by then; the others never pass each other.
        let told = told(dir);
        let at = |what: &str| told.find(what).unwrap();
        assert!(at("two") < at("three"), "{told}");
        assert_eq!(said.lock().unwrap().len(), 1, "{:?}", said.lock().unwrap());
    }

    #[test]
    fn one_that_is_always_refused_stands_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(directory.path()).unwrap();
        std::fs::write(dir.join("open"), "").unwrap();
        // Once it is set aside, nobody waits for its pause.
        let (queue, said) = queue(dir, [1, 1, 3_600_000]);
        push(&queue, "bad");
        until("it is told that it failed", || said.lock().unwrap().len() == 1);
        let is_aside = || queue.state().is_aside;
        until("it waits for an hour", || queue.state().failures >= 3);
        queue.renew(queue.recipient());
        until("it is set aside", is_aside);
        push(&queue, "good");
        until("the other is told", || told(dir) == "good\n");
        assert_eq!(said.lock().unwrap().len(), 1, "{:?}", said.lock().unwrap());
        queue.drop_all();
    }

    #[test]
    fn whoever_is_not_named_any_more_is_not_told_again() {
        let directory = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(directory.path()).unwrap();
        let (queue, said) = queue(dir, [1, 1, 1]);
        push(&queue, "one");
        until("it is told that it failed", || said.lock().unwrap().len() == 1);
        queue.drop_all();
        std::fs::write(dir.join("open"), "").unwrap();
        until("its thread has ended", || !queue.state().is_told);
        assert!(queue.state().waiting.is_empty());
    }
}
