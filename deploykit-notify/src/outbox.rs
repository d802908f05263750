//! Telling all whom `[notify]` names, without anybody waiting for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deploykit_core::{Application, Cause, Context, Message, Recipient};

use crate::hold::Hold;
use crate::queue::{OnTrouble, Queue};
use crate::spool::{Found, Kept, Spool};

/// So much waits to be looked at. Where more comes at once, something else is wrong.
const MOST: u64 = 10_000;

/// A message, and the service that it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// What is told.
    pub message: Message,
    /// The service that it is about: recipients may want to know of some only.
    pub service: Option<String>,
}

/// Nobody can be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// There is no thread or no descriptor left.
    #[error("cannot begin to send notices")]
    System(#[from] std::io::Error),
}

/// Makes a letter.
type Make = Box<dyn FnOnce() -> Letter + Send>;

enum Order {
    Tell(Make),
    Renew(Vec<Recipient>, Duration),
    End(Instant),
}

/// Tells all whom `[notify]` names of what happens to services: what is like something told before is held
/// back for `notify.hold`, what cannot be told is kept in `.deploykit/notices` and tried again for a day.
/// Whoever has something to tell never waits.
///
/// ```no_run
/// use std::time::Duration;
///
/// use deploykit_core::{Application, Context, Registry};
/// use deploykit_notify::{Letter, Outbox};
///
/// let mut registry = Registry::built_in();
/// deploykit_notify::register(&mut registry);
/// let application = Application::at("/srv/app").registry(registry).open()?;
/// let outbox = Outbox::open(&application, |trouble| eprintln!("{trouble}"))?;
/// let message = application.test_message(&Context::new()?);
/// outbox.tell(move || Letter { message, service: None });
/// outbox.end(Duration::from_secs(5));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Outbox {
    sender: Sender<Order>,
    waiting: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
    ctx: Context,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Outbox {
    /// Begins, with what an earlier one has not told. `on_trouble` is told of what goes wrong with the
    /// telling itself, in words and from a thread of its own.
    ///
    /// # Errors
    /// [`OutboxError`].
    pub fn open(
        application: &Application,
        on_trouble: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<Self, OutboxError> {
        let on_trouble: OnTrouble = Arc::new(on_trouble);
        let dir = application.layout().notices();
        let (spool, Found { kept, broken }) = Spool::open(&dir);
        broken.into_iter().for_each(|what| on_trouble(what));
        // A context of its own: whoever ends everything else has it end by itself, after what is told last.
        let ctx = Context::new()?.with_masker(application.masker().clone());
        let (sender, orders) = channel();
        let (waiting, dropped) = (Arc::default(), Arc::default());
        let mut office = Office {
            queues: Vec::new(),
            spool,
            hold: Hold::default(),
            time: Duration::ZERO,
            waiting: Arc::clone(&waiting),
            dropped: Arc::clone(&dropped),
            on_trouble,
            ctx: ctx.clone(),
        };
        office.renew(application.recipients(), application.config().notify.hold.get());
        office.take_up(kept);
        let thread = std::thread::Builder::new().name("notices".into());
        let thread = Mutex::new(Some(thread.spawn(move || office.run(&orders))?));
        Ok(Self { sender, waiting, dropped, thread, ctx })
    }

    /// Has something told. `make` is called in another thread, and may take its time.
    pub fn tell(&self, make: impl FnOnce() -> Letter + Send + 'static) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= MOST {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let _ = self.sender.send(Order::Tell(Box::new(make)));
    }

    /// Tells those from now on whom this configuration of the application names.
    pub fn renew(&self, application: &Application) {
        let hold = application.config().notify.hold.get();
        let _ = self.sender.send(Order::Renew(application.recipients(), hold));
    }

    /// Tells what is held back, tries once more what could not be told, and waits for that, for so long at
    /// the most. What is not told then is kept for the next one.
    pub fn end(&self, longest: Duration) {
        let _ = self.sender.send(Order::End(Instant::now() + longest));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        self.ctx.cancellation().cancel(Cause::Requested);
    }
}

/// The thread to which all is brought.
struct Office {
    queues: Vec<Queue>,
    spool: Spool,
    hold: Hold,
    time: Duration,
    waiting: Arc<AtomicU64>,
    dropped: Arc<AtomicU64>,
    on_trouble: OnTrouble,
    ctx: Context,
}

impl Office {
    fn run(mut self, orders: &Receiver<Order>) {
        loop {
            let order = match self.hold.next() {
                None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(next) => orders.recv_timeout(next.saturating_duration_since(Instant::now())),
            };
            match order {
                Ok(Order::Tell(make)) => {
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                    let now = self.hold.take(make(), Instant::now(), self.time);
                    now.iter().for_each(|letter| self.send(letter));
                    self.tell_dropped();
                }
                Ok(Order::Renew(recipients, time)) => self.renew(recipients, time),
                Ok(Order::End(end)) => return self.end(end),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.end(Instant::now()),
            }
            let due = self.hold.due(Instant::now(), self.time);
            due.iter().for_each(|letter| self.send(letter));
        }
    }

    fn end(&mut self, end: Instant) {
        let held = self.hold.end();
        held.iter().for_each(|letter| self.send(letter));
        self.queues.iter().for_each(Queue::begin_end);
        self.queues.iter().for_each(|queue| queue.wait(end));
        for (label, count) in self.queues.iter().filter_map(Queue::left) {
            let kept = counted(count, "kept");
            (self.on_trouble)(format!("{label}: {kept}, and told by the next `up`"));
        }
    }

    fn tell_dropped(&self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            (self.on_trouble)(format!(
                "{dropped} notices were dropped: more than {MOST} came at once"
            ));
        }
    }

    /// Has it told to all who want to know.
    fn send(&self, letter: &Letter) {
        let topic = letter.message.topic;
        for queue in &self.queues {
            let recipient = queue.recipient();
            if !recipient.wants(topic, letter.service.as_deref()) {
                continue;
            }
            let kept = Kept { to: recipient.label(), message: letter.message.clone() };
            let path = self.spool.keep(&kept).map_err(|error| {
                let (label, subject) = (recipient.label(), letter.message.subject());
                (self.on_trouble)(format!(
                    "a notice to {label} cannot be kept ({error}), and is lost if it cannot be told: {subject}"
                ));
            });
            queue.push(kept.message, path.ok());
        }
    }

    /// What an earlier one has not told.
    fn take_up(&self, kept: Vec<(camino::Utf8PathBuf, Kept)>) {
        let mut strangers = 0;
        for (path, Kept { to, message }) in kept {
            let queue = self.queues.iter().find(|queue| queue.recipient().label() == to);
            match queue {
                Some(queue) => queue.push(message, Some(path)),
                None => {
                    strangers += 1;
                    let _ = std::fs::remove_file(path);
                }
            }
        }
        self.tell_strangers(strangers);
    }

    /// What was held back is told by whoever tells now: who is new has heard of nothing before.
    fn renew(&mut self, recipients: Vec<Recipient>, time: Duration) {
        let held = self.hold.end();
        self.time = time;
        let mut old = std::mem::take(&mut self.queues);
        for recipient in recipients {
            let label = recipient.label();
            let known = old.iter().position(|queue| queue.recipient().label() == label);
            let queue = match known {
                Some(at) => {
                    let queue = old.swap_remove(at);
                    queue.renew(recipient);
                    queue
                }
                None => Queue::new(recipient, self.ctx.clone(), Arc::clone(&self.on_trouble)),
            };
            self.queues.push(queue);
        }
        self.tell_strangers(old.iter().map(Queue::drop_all).sum());
        held.iter().for_each(|letter| self.send(letter));
    }

    fn tell_strangers(&self, count: usize) {
        if count > 0 {
            let dropped = counted(count, "dropped");
            (self.on_trouble)(format!(
                "{dropped}: [notify] does not name any more whom they were for"
            ));
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 notice is {what}") } else { format!("{count} notices are {what}") }
}

#[cfg(test)]
pub(crate) mod tests {
    use deploykit_core::{Timestamp, Topic};

    use super::*;

    pub(crate) fn letter(name: &str, what: &str) -> Letter {
        let message = Message {
            id: "1".into(),
            topic: Topic::ExitedRetry,
            at: Timestamp::from_millis(0),
            host: "web1".into(),
            application: "/srv/shop".into(),
            name: name.into(),
            what: what.into(),
            text: String::new(),
            story: serde_json::json!({ "times": 1 }),
            variables: Vec::new(),
        };
        Letter { message, service: Some("web".into()) }
    }
}
