//! The process manager: keeps instances of services running, in one thread that sleeps while nothing
//! happens.

mod act;
mod adopt;
mod beside;
mod group;
mod instance;
pub(crate) mod ledger;
mod order;
mod poll;
mod run;
mod sockets;
mod start;
mod stop;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deploykit_core::Context;
use deploykit_core::traits::Look;
use serde::{Deserialize, Serialize};

use crate::action::Does;
use crate::children::Children;
use crate::definition::Definition;
use crate::hold::Holder;
use crate::machine::{News, Phase};
use crate::policy::Ending;
use act::Acted;
pub use adopt::Adopted;
use ledger::{Entry, Ledger};
use poll::Waker;
use run::Loop;
pub(crate) use start::preflight;
use watch::Answered;

/// What outlives a manager that is killed.
#[derive(Debug)]
pub(crate) struct Record {
    /// Where it is on record what runs.
    pub(crate) ledger: Ledger,
    /// What is there already.
    pub(crate) entries: BTreeMap<String, Entry>,
    /// Who holds what would be gone with the last process that has it.
    pub(crate) holder: Option<Arc<Holder>>,
}

/// Is called when something was heard that was waited for.
pub type Heard = Box<dyn Fn() + Send + Sync>;

/// Where the output of instances goes, and who is told of them. What it does must not take long: the
/// manager waits for it.
pub trait Surroundings: Send + Sync + std::fmt::Debug {
    /// Where an instance that is about to be started writes its output and its errors; nowhere, where
    /// nothing is given.
    ///
    /// # Errors
    /// What keeps it from being opened. The instance is not started then.
    fn outputs(&self, definition: &Definition, marker: &str) -> io::Result<[Option<OwnedFd>; 2]> {
        let _ = (definition, marker);
        Ok([None, None])
    }

    /// Another manager was killed, and what it has left goes on: these instances, some with the marker of a process.
    /// What it had asked for with any other marker, nobody writes to any more. Before the first is
    /// [adopted](Self::adopt).
    fn succeed(&self, known: &[(&Definition, Option<&str>)]) {
        let _ = known;
    }

    /// An instance goes on that another manager has started, which had asked for its outputs with the same
    /// marker. `heard` is for the line that says that it is ready, as in [`await_line`](Self::await_line),
    /// where it has not written that yet.
    fn adopt(&self, definition: &Definition, marker: &str, heard: Option<Heard>) {
        let _ = (definition, marker, heard);
    }

    /// The process of an instance for which outputs were asked with this marker has ended, with all that it had
    /// started.
    fn ended(&self, marker: &str) {
        let _ = marker;
    }

    /// Variables of this process that no service gets: secrets that are meant for this process alone.
    fn withheld(&self) -> Vec<String> {
        Vec::new()
    }

    /// Something has happened that somebody may want to know.
    fn tell(&self, instance: &str, news: &News) {
        let _ = (instance, news);
    }

    /// Calls `heard` when the process of an instance for which [`outputs`](Self::outputs) were asked for last
    /// writes a line that contains this text, once. Never, where nobody listens to what is written.
    fn await_line(&self, instance: &str, text: &str, heard: Heard) {
        let _ = (instance, text, heard);
    }

    /// Looks once whether what an action asks is well, within the context's deadline; from another thread
    /// than everything else.
    fn ask(&self, ctx: &Context, what: &Does) -> Look {
        let _ = (ctx, what);
        Look::Blind("nobody here can look".to_owned())
    }

    /// An instance is not defined any more, and nothing of it runs.
    fn forget(&self, instance: &str) {
        let _ = instance;
    }

    /// The manager is at its end: it was told to, or something is wrong with it. Nobody starts its
    /// services again.
    fn over(&self) {}
}

impl<S: Surroundings + ?Sized> Surroundings for Arc<S> {
    fn withheld(&self) -> Vec<String> {
        (**self).withheld()
    }

    fn outputs(&self, definition: &Definition, marker: &str) -> io::Result<[Option<OwnedFd>; 2]> {
        (**self).outputs(definition, marker)
    }

    fn succeed(&self, known: &[(&Definition, Option<&str>)]) {
        (**self).succeed(known);
    }

    fn adopt(&self, definition: &Definition, marker: &str, heard: Option<Heard>) {
        (**self).adopt(definition, marker, heard);
    }

    fn ended(&self, marker: &str) {
        (**self).ended(marker);
    }

    fn tell(&self, instance: &str, news: &News) {
        (**self).tell(instance, news);
    }

    fn await_line(&self, instance: &str, text: &str, heard: Heard) {
        (**self).await_line(instance, text, heard);
    }

    fn ask(&self, ctx: &Context, what: &Does) -> Look {
        (**self).ask(ctx, what)
    }

    fn forget(&self, instance: &str) {
        (**self).forget(instance);
    }

    fn over(&self) {
        (**self).over();
    }
}

/// What happens is told to nobody, and what is written is kept by nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Surroundings for Quiet {}

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstanceStatus {
    /// What it is called: `web`, `web@2`.
    pub name: String,
    /// The service.
    pub service: String,
    /// What it is doing.
    pub phase: Phase,
    /// Its main process, while there is one.
    pub pid: Option<u32>,
    /// Since when that runs, as a time ago.
    pub up: Option<Duration>,
    /// How often it was started again without being asked to.
    pub restarts: u64,
    /// How it last ended, in words.
    pub last_end: Option<String>,
    /// How it last ended.
    #[serde(default)]
    pub last_ending: Option<Ending>,
    /// When it ends, and is not started again, the manager has no business any more.
    #[serde(default)]
    pub essential: bool,
    /// It is not defined any more, or another one has taken its place, and it is about to end.
    #[serde(default)]
    pub leaving: bool,
    /// It was started beside another one of its name, under this token.
    #[serde(default)]
    pub beside: Option<String>,
    /// It runs, and one that is to run anew starts beside it.
    #[serde(default)]
    pub hands_over: bool,
    /// What it says of itself by sd_notify.
    pub text: Option<String>,
    /// The release that it runs from.
    pub release: String,
}

/// What a manager does not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ManagerError {
    /// There is no such instance or service.
    #[error("there is no service {name:?}")]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// Two are called alike.
    #[error("two instances are called {name:?}")]
    Twice {
        /// What they are called.
        name: String,
    },
    /// A socket cannot be opened.
    #[error("cannot listen on {address}: {why}")]
    Listen {
        /// Where.
        address: String,
        /// Why not.
        why: String,
    },
    /// There is no such signal.
    #[error("there is no signal {number}")]
    Signal {
        /// Its number.
        number: i32,
    },
    /// It is at its end.
    #[error("the process manager has ended")]
    Gone,
}

/// What the thread is asked.
#[derive(Debug)]
enum Command {
    Define(Vec<Definition>, Sender<Result<(), ManagerError>>),
    Want(Wish, Vec<String>, Sender<Result<(), ManagerError>>),
    Signal(i32, Vec<String>, Sender<Result<(), ManagerError>>),
    Prepare(Preparation, Sender<Result<(), ManagerError>>),
    Commit(String, Sender<()>),
    Abort(String, Sender<()>),
    Reap,
    /// End, and let everything run on.
    LetBe(Sender<Vec<OwnedFd>>),
    Kill,
    /// What was done around an instance has ended.
    Acted(Acted),
    /// What was asked of an instance is answered.
    Answered(Answered),
    /// An instance has written the line that was waited for.
    Wrote(u64, String),
    Status(Sender<Vec<InstanceStatus>>),
    Settle(Those, Instant, Sender<Vec<InstanceStatus>>),
    End,
}

/// Which instances are meant.
#[derive(Debug, Clone)]
enum Those {
    /// Those of these names, or of services of these names; all, where none is named.
    Named(Vec<String>),
    /// Those that were started beside others under this token.
    Beside(String),
}

/// What is to be started beside what runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Preparation {
    /// The name of all of it.
    pub token: String,
    /// What is to run. Where what runs already is defined just so, no other one is started.
    #[serde(default)]
    pub definitions: Vec<Definition>,
    /// Services or instances that are to run anew as they are defined.
    #[serde(default)]
    pub names: Vec<String>,
    /// What is defined just as what runs is started, too.
    #[serde(default)]
    pub anew: bool,
}

impl Preparation {
    /// These, under a name.
    pub fn new(token: impl Into<String>, definitions: Vec<Definition>) -> Self {
        Self { token: token.into(), definitions, names: Vec::new(), anew: false }
    }

    /// Services or instances that run, once more, under a name.
    pub fn again(token: impl Into<String>, names: &[String]) -> Self {
        Self { names: names.to_vec(), ..Self::new(token, Vec::new()) }
    }
}

/// Tells the loop something, from other threads.
#[derive(Debug, Clone)]
struct Teller {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

impl Teller {
    fn tell(&self, command: Command) {
        // At its end nobody listens any more.
        if self.commands.send(command).is_ok() {
            self.waker.wake();
        }
    }
}

/// What is wanted of instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Up,
    Down,
    Anew,
    Renewed,
}

/// A process manager with a thread of its own. It ends with all that it runs.
///
/// ```
/// use std::time::Duration;
/// use deploykit_process::{Definition, Manager, Quiet};
///
/// let manager = Manager::start(Quiet)?;
/// manager.define(vec![Definition::new("nap", ["sleep", "60"], "/")])?;
/// manager.up(&[])?;
/// let status = manager.settle(&[], Duration::from_secs(10))?;
/// assert!(status[0].pid.is_some());
/// manager.end();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Manager {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    children: Children,
    thread: Option<JoinHandle<()>>,
}

impl Manager {
    /// Starts the thread. Nothing is defined yet, and nothing runs.
    ///
    /// # Errors
    /// When the system has no descriptors or threads left.
    pub fn start(surroundings: impl Surroundings + 'static) -> io::Result<Self> {
        Self::start_as(surroundings, "")
    }

    /// The same, with a name by which what it runs can be told from what others run, when it is gone: see
    /// [`end_left`](crate::end_left).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_as(
        surroundings: impl Surroundings + 'static,
        scope: impl Into<String>,
    ) -> io::Result<Self> {
        Ok(Self::begin(surroundings, scope.into(), None)?.0)
    }

    /// The same; but what it runs is on record, and what is on record already is taken over.
    pub(crate) fn begin(
        surroundings: impl Surroundings + 'static,
        scope: String,
        record: Option<Record>,
    ) -> io::Result<(Self, Adopted)> {
        let (commands, receiver): (Sender<Command>, Receiver<Command>) = channel();
        let waker = Arc::new(Waker::new()?);
        let surroundings: Arc<dyn Surroundings> = Arc::new(surroundings);
        let over = Over(Arc::clone(&surroundings));
        let told = Teller { commands: commands.clone(), waker: Arc::clone(&waker) };
        let children = Children::default();
        let mut inner = Loop::new(surroundings, receiver, told, scope, children.clone())?;
        let mut adopted = Adopted::default();
        if let Some(Record { ledger, entries, holder }) = record {
            inner.ledger = Some(ledger);
            inner.sockets.holder = holder;
            adopted = inner.adopt(entries);
        }
        let thread =
            std::thread::Builder::new().name("deploykit-processes".into()).spawn(move || {
                let _over = over;
                inner.run();
            })?;
        Ok((Self { commands, waker, children, thread: Some(thread) }, adopted))
    }

    /// Says what there is to run, all of it. What is not named any more is ended; what is named anew waits
    /// until it is wanted. What runs, and is to run otherwise, goes on as it is until it is started anew.
    ///
    /// # Errors
    /// [`ManagerError::Twice`]; nothing has changed then.
    pub fn define(&self, definitions: Vec<Definition>) -> Result<(), ManagerError> {
        self.ask(|reply| Command::Define(definitions, reply))?
    }

    /// Wants services, or single instances, to run; all, where none is named. What runs already goes on.
    ///
    /// # Errors
    /// [`ManagerError::Unknown`]; nothing has changed then.
    pub fn up(&self, names: &[String]) -> Result<(), ManagerError> {
        self.ask(|reply| Command::Want(Wish::Up, names.to_vec(), reply))?
    }

    /// Wants them not to run.
    ///
    /// # Errors
    /// As [`up`](Self::up).
    pub fn down(&self, names: &[String]) -> Result<(), ManagerError> {
        self.ask(|reply| Command::Want(Wish::Down, names.to_vec(), reply))?
    }

    /// Wants them to run anew, as they are defined now.
    ///
    /// # Errors
    /// As [`up`](Self::up).
    pub fn restart(&self, names: &[String]) -> Result<(), ManagerError> {
        self.ask(|reply| Command::Want(Wish::Anew, names.to_vec(), reply))?
    }

    /// Wants them to run as they are defined now: what runs otherwise runs anew, and what does not run is
    /// started. What runs like that already goes on.
    ///
    /// # Errors
    /// As [`up`](Self::up).
    pub fn renew(&self, names: &[String]) -> Result<(), ManagerError> {
        self.ask(|reply| Command::Want(Wish::Renewed, names.to_vec(), reply))?
    }

    /// Starts instances beside those of the same names that run, and that nothing happens to. They share the
    /// sockets. To prepare under a token a second time goes on with what is there.
    ///
    /// # Errors
    /// [`ManagerError::Listen`], [`ManagerError::Twice`] and [`ManagerError::Unknown`]; nothing has changed
    /// then.
    pub fn prepare(&self, preparation: Preparation) -> Result<(), ManagerError> {
        self.ask(|reply| Command::Prepare(preparation, reply))?
    }

    /// Waits until what was started under a token has settled, as [`settle`](Self::settle) does; how they are
    /// then.
    ///
    /// # Errors
    /// [`ManagerError::Gone`].
    pub fn settle_prepared(
        &self,
        token: &str,
        longest: Duration,
    ) -> Result<Vec<InstanceStatus>, ManagerError> {
        let (those, until) = (Those::Beside(token.to_owned()), poll::after(longest));
        self.ask(|reply| Command::Settle(those, until, reply))
    }

    /// Lets what was started under a token take the place of the others of the same names, which are asked to
    /// end, and of what was started under other tokens. What there is not, any more, is no error.
    ///
    /// # Errors
    /// [`ManagerError::Gone`].
    pub fn commit(&self, token: &str) -> Result<(), ManagerError> {
        self.ask(|reply| Command::Commit(token.to_owned(), reply))
    }

    /// Ends what was started under a token. What there is not, any more, is no error.
    ///
    /// # Errors
    /// [`ManagerError::Gone`].
    pub fn abort(&self, token: &str) -> Result<(), ManagerError> {
        self.ask(|reply| Command::Abort(token.to_owned(), reply))
    }

    /// Takes note of the ends of processes that services had started, and whose parent this process has
    /// become: it is the first of the host, or a subreaper (prctl(2)). To be called at every SIGCHLD, by a
    /// program that starts its own children by [`children`](Self::children) alone.
    pub fn reap(&self) {
        // At its end there is nothing to be done.
        let _ = self.send(Command::Reap);
    }

    /// The children of this process, beside those of the services.
    pub fn children(&self) -> &Children {
        &self.children
    }

    /// Kills everything that runs, with all that it has started, and waits for nothing: for somebody who
    /// has no patience any more.
    pub fn kill(&self) {
        let _ = self.send(Command::Kill);
    }

    /// Sends a signal to their main processes.
    ///
    /// # Errors
    /// As [`up`](Self::up).
    pub fn signal(&self, signal: i32, names: &[String]) -> Result<(), ManagerError> {
        self.ask(|reply| Command::Signal(signal, names.to_vec(), reply))?
    }

    /// How all instances are.
    ///
    /// # Errors
    /// [`ManagerError::Gone`].
    pub fn status(&self) -> Result<Vec<InstanceStatus>, ManagerError> {
        self.ask(Command::Status)
    }

    /// Waits until these services or instances (all, where none is named) run and are ready, or are down
    /// and nobody tries to start them, but not longer than that; how they are then.
    ///
    /// # Errors
    /// [`ManagerError::Gone`].
    pub fn settle(
        &self,
        names: &[String],
        longest: Duration,
    ) -> Result<Vec<InstanceStatus>, ManagerError> {
        let until = poll::after(longest);
        self.ask(|reply| Command::Settle(Those::Named(names.to_vec()), until, reply))
    }

    /// Whether its thread has ended, which it does of itself only if something is wrong with it. Nobody
    /// starts its services again then.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends, and lets everything run on that is on record: another manager takes it over. The sockets.
    pub(crate) fn let_be(&self) -> Vec<OwnedFd> {
        let sockets = self.ask(Command::LetBe).unwrap_or_default();
        while !self.has_ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
        sockets
    }

    /// Ends all that it runs, and waits for that.
    pub fn end(mut self) {
        self.join();
    }

    fn join(&mut self) {
        let _ = self.send(Command::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    fn send(&self, command: Command) -> Result<(), ManagerError> {
        self.commands.send(command).map_err(|_| ManagerError::Gone)?;
        self.waker.wake();
        Ok(())
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Result<T, ManagerError> {
        let (reply, answer) = channel();
        self.send(command(reply))?;
        answer.recv().map_err(|_| ManagerError::Gone)
    }
}

/// Tells that the thread has ended, however that came.
#[derive(Debug)]
struct Over(Arc<dyn Surroundings>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.over();
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.join();
    }
}
