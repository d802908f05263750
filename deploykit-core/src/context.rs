//! What every call of a backend is given: cancellation, deadline, events, clock, and the masks.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::cancel::{Cancellation, Cancelled};
use crate::event::{Event, EventKind, EventSink, NoEvents, Stream, Unit};
use crate::id::DeploymentId;
use crate::secret::Masker;
use crate::step::Step;
use crate::time::Timestamp;

/// Where the time comes from. Tests put in one that they turn by hand.
pub trait Clock: Send + Sync + Debug {
    /// The time of day: what is recorded, and compared across processes and reboots.
    fn now(&self) -> Timestamp;

    /// Time that only goes forward, from some point on: what durations are measured by.
    fn monotonic(&self) -> Duration;

    /// Waits for `duration`, or until it is cancelled.
    ///
    /// # Errors
    /// [`Cancelled`], as soon as it is.
    fn sleep(&self, duration: Duration, cancellation: &Cancellation) -> Result<(), Cancelled>;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    fn sleep(&self, duration: Duration, cancellation: &Cancellation) -> Result<(), Cancelled> {
        cancellation.sleep(duration)
    }
}

/// What every call of a backend is given. Cheap to clone; the derived contexts of one deployment
/// share cancellation, sink, clock and masks.
///
/// ```
/// use deploykit_core::Context;
/// use std::time::Duration;
///
/// let context = Context::new()?.with_timeout(Duration::from_secs(30));
/// assert!(context.check().is_ok());
/// assert!(context.remaining().unwrap() <= Duration::from_secs(30));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Context {
    cancellation: Cancellation,
    deadline: Option<Instant>,
    sink: Arc<dyn EventSink>,
    clock: Arc<dyn Clock>,
    masker: Masker,
    deployment: Option<DeploymentId>,
}

impl Context {
    /// A context without deadline that drops its events.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            cancellation: Cancellation::new()?,
            deadline: None,
            sink: Arc::new(NoEvents),
            clock: Arc::new(SystemClock),
            masker: Masker::default(),
            deployment: None,
        })
    }

    /// The same with another cancellation handle.
    #[must_use]
    pub fn with_cancellation(mut self, cancellation: Cancellation) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// The same, but nobody can cancel it: for what must be done in any case.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn uncancelled(&self) -> std::io::Result<Self> {
        Ok(self.clone().with_cancellation(Cancellation::new()?))
    }

    /// The same with another sink of events.
    #[must_use]
    pub fn with_sink(mut self, sink: Arc<dyn EventSink>) -> Self {
        self.sink = sink;
        self
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The same with other masks.
    #[must_use]
    pub fn with_masker(mut self, masker: Masker) -> Self {
        self.masker = masker;
        self
    }

    /// The same for the deployment with this number.
    #[must_use]
    pub fn with_deployment(mut self, deployment: DeploymentId) -> Self {
        self.deployment = Some(deployment);
        self
    }

    /// The same with a deadline `timeout` from now, or the present one if that is earlier.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        let deadline = Instant::now().checked_add(timeout);
        self.deadline = match (self.deadline, deadline) {
            (Some(old), Some(new)) => Some(old.min(new)),
            (old, new) => old.or(new),
        };
        self
    }

    /// The handle by which it is cancelled.
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    /// The instant by which the call has to end, if there is one.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The time that is left: zero when the deadline has passed, `None` without one.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// Where the events go.
    pub fn sink(&self) -> &Arc<dyn EventSink> {
        &self.sink
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The masks: let it learn a secret before you use it.
    pub fn masker(&self) -> &Masker {
        &self.masker
    }

    /// The deployment that the call belongs to.
    pub fn deployment(&self) -> Option<DeploymentId> {
        self.deployment
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// An error when it was cancelled. The deadline is not looked at.
    ///
    /// # Errors
    /// [`Cancelled`], with the cause.
    pub fn check(&self) -> Result<(), Cancelled> {
        self.cancellation.check()
    }

    /// Waits for `duration`, or until it is cancelled.
    ///
    /// # Errors
    /// [`Cancelled`], as soon as it is.
    pub fn sleep(&self, duration: Duration) -> Result<(), Cancelled> {
        self.clock.sleep(duration, &self.cancellation)
    }

    /// Sends an event, its texts masked.
    pub fn emit(&self, kind: EventKind) {
        let kind = kind.map_texts(|text| {
            if let std::borrow::Cow::Owned(masked) = self.masker.mask(text) {
                *text = masked;
            }
        });
        self.sink.event(&Event::new(self.now(), self.deployment, kind));
    }

    /// Tells of something that a person should know, but that stops nothing.
    pub fn warn(&self, message: impl Into<String>) {
        self.emit(EventKind::Warning { message: message.into() });
    }

    /// Tells of something worth a line.
    pub fn note(&self, message: impl Into<String>) {
        self.emit(EventKind::Note { message: message.into() });
    }

    /// Passes on a line that a process wrote.
    pub fn output(&self, name: &str, stream: Stream, line: impl Into<String>) {
        self.emit(EventKind::Output { name: name.to_owned(), stream, line: line.into() });
    }

    /// Tells how far a step is. Do not call it more than a few times a second.
    pub fn progress(&self, step: Step, done: u64, total: Option<u64>, unit: Unit) {
        self.emit(EventKind::Progress { step, done, total, unit });
    }
}
