//! Load on a server, and what of it is lost, by kind.
//!
//! The server answers `GET /` and `GET /slow` (after a moment) with its version in the header `X-Version` and
//! as the first word of the body.

mod client;
mod tally;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::Connection;
pub use tally::{Failure, Tally};

/// How requests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A new connection for each.
    Fresh,
    /// One after another over one connection.
    Kept,
    /// The same, with a pause between two: the connection lies idle. It is looked whether the server has
    /// closed it, as clients do.
    Idle(Duration),
    /// Such as take a while, one after another: there is always one in flight.
    Slow,
}

/// The usual mixture: two of each, which send some thousand requests a second where the machine can.
pub const MIXTURE: [Kind; 8] = [
    Kind::Fresh,
    Kind::Fresh,
    Kind::Kept,
    Kind::Kept,
    Kind::Idle(Duration::from_millis(150)),
    Kind::Idle(Duration::from_millis(700)),
    Kind::Slow,
    Kind::Slow,
];

/// The pause between two requests, so that the server is not short of processor time.
const PAUSE: Duration = Duration::from_millis(1);

/// Load that goes on until it is ended.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Tally>>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    begun: Instant,
    is_over: AtomicBool,
    /// The versions that may answer.
    allowed: Mutex<BTreeSet<String>>,
}

impl Shared {
    fn allows(&self, version: &str) -> bool {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner).contains(version)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

impl Load {
    /// Begins; nobody may answer but these versions.
    ///
    /// # Panics
    /// When there are no threads left.
    #[must_use]
    pub fn begin(target: SocketAddr, kinds: &[Kind], allowed: &[&str]) -> Self {
        let shared = Arc::new(Shared {
            target,
            begun: Instant::now(),
            is_over: AtomicBool::new(false),
            allowed: Mutex::default(),
        });
        let load = Self { shared, threads: Vec::new() };
        load.allow(allowed);
        let threads = kinds.iter().map(|kind| {
            let (shared, kind) = (Arc::clone(&load.shared), *kind);
            std::thread::spawn(move || run(&shared, kind))
        });
        Self { threads: threads.collect(), ..load }
    }

    /// Only these versions may answer from now on what is sent from now on.
    pub fn allow(&self, versions: &[&str]) {
        let mut allowed = self.shared.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        *allowed = versions.iter().map(|version| (*version).to_owned()).collect();
    }

    /// The time since its beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.shared.begun.elapsed()
    }

    /// Ends it; what came of it.
    ///
    /// # Panics
    /// When one of its threads has.
    #[must_use]
    pub fn end(self) -> Tally {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for thread in self.threads {
            all.add(thread.join().expect("a thread of the load"));
        }
        all
    }
}

/// Sends requests until it is over.
fn run(shared: &Shared, kind: Kind) -> Tally {
    let mut tally = Tally::default();
    let mut connection: Option<Connection> = None;
    while !shared.is_over() {
        connection = connection.take().filter(|one| !one.is_closed());
        let sent = Instant::now();
        let before: BTreeSet<String> =
            shared.allowed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let opened = match connection.take() {
            Some(open) => Ok(open),
            None => Connection::open(shared.target),
        };
        let path = if kind == Kind::Slow { "/slow" } else { "/" };
        let answer = opened.and_then(|mut open| {
            let answer = open.get(path)?;
            if !before.contains(&answer.version) && !shared.allows(&answer.version) {
                return Err(Failure::WrongVersion);
            }
            if !answer.closes && kind != Kind::Fresh && kind != Kind::Slow {
                connection = Some(open);
            }
            Ok(answer.version)
        });
        let at = sent.duration_since(shared.begun);
        let is_lost = answer.is_err();
        tally.note(at, sent.elapsed(), kind == Kind::Slow, answer);
        match kind {
            Kind::Idle(pause) => rest(shared, pause),
            Kind::Fresh | Kind::Kept => std::thread::sleep(PAUSE),
            // Nobody is counted a thousand times a millisecond who is refused.
            Kind::Slow if is_lost => std::thread::sleep(PAUSE),
            Kind::Slow => {}
        }
    }
    tally
}

fn rest(shared: &Shared, pause: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < pause && !shared.is_over() {
        std::thread::sleep(Duration::from_millis(10).min(pause));
    }
}
