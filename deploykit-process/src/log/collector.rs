//! The thread that reads the pipes of all services, as its owner sees it.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::event::{EventfdFlags, eventfd};

use crate::awaited::Awaited;

use super::compress::Compressor;
use super::pipes::{Entry, Pipes};
use super::slot::Slot;
use super::tail::Tail;
use super::{Echo, Listing, LogError, LogEvent, LogFile, LogSettings, SharedLog, Stream};

/// So much a service may write ahead, where the system allows it.
pub(super) const PIPE: usize = 1 << 20;

/// Who is told of events.
pub(super) type Tell = Arc<dyn Fn(LogEvent) + Send + Sync>;

/// Reads the pipes of all services and writes their logs, in a thread of its own.
///
/// It sleeps while nobody writes. When it is dropped the thread ends and the pipes are closed, so that
/// what is in them is lost, and who writes to them gets an error: see [`drain`](Self::drain).
pub struct Collector {
    orders: Arc<Orders>,
    compressor: Compressor,
    last: AtomicU64,
    echo: Option<Echo>,
}

/// The end of a pipe that is read.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) pipe: OwnedFd,
    /// Its name, where it has one: what is not written yet stays in it, for whoever comes after a kill.
    pub(crate) name: Option<Utf8PathBuf>,
}

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Order {
    Add(Entry),
    /// Read what is in the pipe, or in all of them.
    CatchUp {
        of: Option<u64>,
        until: Instant,
        done: mpsc::Sender<bool>,
    },
    /// Read what is in the pipe of this name, and then do this.
    Then(Utf8PathBuf, Then),
    /// Note down here what is being written.
    Slot(Slot),
    /// Write a line of ours.
    Note {
        log: SharedLog,
        text: String,
    },
    End,
}

/// What is done when something else is.
pub(super) struct Then(pub(super) Box<dyn FnOnce() + Send>);

impl fmt::Debug for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Then")
    }
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Orders {
    pub(super) bell: OwnedFd,
    /// None when the thread has ended.
    list: Mutex<Option<Vec<Order>>>,
}

impl Orders {
    fn give(&self, order: Order) {
        // Without the thread the order is dropped, and who waits for it hears of that at once.
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(list) = list.as_mut() else { return };
        list.push(order);
        // It fails only when the bell rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    pub(super) fn take(&self) -> Vec<Order> {
        let _ = rustix::io::read(&self.bell, &mut [0_u8; 8]);
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn close(&self) {
        *self.list.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn catch_up(&self, of: Option<u64>, timeout: Duration) -> Receiver<bool> {
        let (done, result) = mpsc::channel();
        let until = Instant::now() + timeout;
        self.give(Order::CatchUp { of, until, done });
        result
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").field("orders", &self.orders).finish_non_exhaustive()
    }
}

impl Collector {
    /// Starts the thread. Events are told from it, and from the thread that compresses; what is told
    /// must neither panic nor wait long.
    ///
    /// # Errors
    ///
    /// The system has no descriptors or threads left.
    pub fn start(tell: impl Fn(LogEvent) + Send + Sync + 'static) -> Result<Self, LogError> {
        let wrong = |source| LogError::Collect { source };
        let tell: Tell = Arc::new(tell);
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let bell = bell.map_err(|error| wrong(error.into()))?;
        let orders = Arc::new(Orders { bell, list: Mutex::new(Some(Vec::new())) });
        let pipes = Pipes::new(Arc::clone(&orders), Arc::clone(&tell)).map_err(wrong)?;
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || pipes.run()).map_err(wrong)?;
        let compressor = Compressor::new(move |event| tell(event));
        Ok(Self { orders, compressor, last: AtomicU64::new(0), echo: None })
    }

    /// Shows what is written to logs that are opened from now on to somebody else, too.
    #[must_use]
    pub fn with_echo(mut self, echo: Option<Echo>) -> Self {
        self.echo = echo;
        self
    }

    /// Opens a log, whose rotated files are compressed by this collector.
    ///
    /// # Errors
    ///
    /// See [`LogFile::open`].
    pub fn open(&self, settings: LogSettings) -> Result<SharedLog, LogError> {
        Ok(self.shared(LogFile::open(settings, &self.compressor)?))
    }

    /// The same in a directory that is there and has these files.
    ///
    /// # Errors
    ///
    /// See [`LogFile::open_among`].
    pub fn open_among(
        &self,
        settings: LogSettings,
        listing: &Listing,
    ) -> Result<SharedLog, LogError> {
        Ok(self.shared(LogFile::open_among(settings, &self.compressor, listing)?))
    }

    fn shared(&self, mut file: LogFile) -> SharedLog {
        file.echo.clone_from(&self.echo);
        SharedLog::new(file)
    }

    /// Reads the pipe from now on, until its other end is closed.
    ///
    /// # Errors
    ///
    /// The descriptor cannot be made one that does not block. Of what goes wrong later an event tells.
    pub fn add(&self, end: OwnedFd, stream: Stream, log: &SharedLog) -> Result<Pipe, LogError> {
        self.add_end(End { pipe: end, name: None }, stream, log, Awaited::default())
    }

    /// The same, and tells of a line that is waited for.
    pub(crate) fn add_end(
        &self,
        end: End,
        stream: Stream,
        log: &SharedLog,
        awaited: Awaited,
    ) -> Result<Pipe, LogError> {
        let wrong = |error: rustix::io::Errno| LogError::Collect { source: error.into() };
        rustix::io::ioctl_fionbio(&end.pipe, true).map_err(wrong)?;
        // A smaller pipe works as well; the user may have used up what all pipes may have.
        let _ = rustix::pipe::fcntl_setpipe_size(&end.pipe, PIPE);
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let pipe = Pipe { id, shared: Arc::default(), orders: Arc::clone(&self.orders) };
        let entry = Entry::new(id, end, stream, log.clone(), Arc::clone(&pipe.shared), awaited);
        self.orders.give(Order::Add(entry));
        Ok(pipe)
    }

    /// Puts right what a collector that was killed has left within a line, and notes down in this directory
    /// what is being written from now on. Before any log is opened, and any pipe with a name.
    pub(crate) fn put_right(&self, dir: &Utf8Path, logs: &Utf8Path) {
        // Without it, a line may be there twice after a kill.
        if let Ok(slot) = Slot::open(dir, logs) {
            self.orders.give(Order::Slot(slot));
        }
    }

    /// Calls `then`, from the thread, when what is in the pipe of this name now is written, or nobody reads it.
    pub(crate) fn after(&self, name: Utf8PathBuf, then: impl FnOnce() + Send + 'static) {
        self.orders.give(Order::Then(name, Then(Box::new(then))));
    }

    /// Writes a line of ours to the log, from the thread: the caller does not wait for the disk.
    pub fn note(&self, log: &SharedLog, text: impl Into<String>) {
        self.orders.give(Order::Note { log: log.clone(), text: text.into() });
    }

    /// At shutdown: writes everything that is in the pipes, lines without an end too, and ends the
    /// thread. Says whether that was done in time; a disk that hangs makes it false.
    pub fn drain(&self, timeout: Duration) -> bool {
        self.orders.catch_up(None, timeout).recv_timeout(timeout).unwrap_or(false)
    }

    /// What compresses the rotated files.
    pub fn compressor(&self) -> &Compressor {
        &self.compressor
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It is not waited for: the disk may hang.
        self.orders.give(Order::End);
    }
}

/// A pipe that is read. It is read on when this is dropped.
#[derive(Debug)]
pub struct Pipe {
    id: u64,
    shared: Arc<PipeState>,
    orders: Arc<Orders>,
}

/// What is known of a pipe outside of the thread.
#[derive(Debug, Default)]
pub(super) struct PipeState {
    pub(super) tail: Tail,
    pub(super) ended: AtomicBool,
}

impl Pipe {
    /// The last lines of standard error: at most 20, and 8 KiB. None of another stream.
    pub fn last_lines(&self) -> Vec<String> {
        self.shared.tail.lines()
    }

    /// Whether its other end is closed, and everything is written.
    pub fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// Waits until what is in the pipe now is written, and says whether that was done in time. After
    /// the end of a process: its last lines are known then, even if a child of it has the pipe still.
    pub fn catch_up(&self, timeout: Duration) -> bool {
        if self.has_ended() {
            return true;
        }
        let done = self.orders.catch_up(Some(self.id), timeout).recv_timeout(timeout);
        done.unwrap_or_else(|_| self.has_ended())
    }
}
