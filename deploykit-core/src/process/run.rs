//! One run of a program, from its start to the end of everything that it started.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use camino::Utf8Path;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::Exit;
use super::awaited::{self, Awaited};
use super::end::{Ended, Hunt, list, warn_of_left};
use super::error::ProcessError;
use super::lines::Tail;
use super::output::{Collector, Feeder, Outputs};
use super::poll::{self, Interest};
use super::program;
use super::spec::{Finished, Input, Leftovers, Outcome, ProcessSpec};
use super::table::Family;
use crate::cancel::Cancelled;
use crate::context::Context;
use crate::event::Stream;

/// How long processes that hold the pipes, or are ending, are waited for when the program itself
/// has ended.
const SETTLE: Duration = Duration::from_millis(300);

/// How long a process may take to vanish after SIGKILL.
const KILLED: Duration = Duration::from_secs(5);

/// Runs a program in a process group of its own, and waits for it.
///
/// Every line of its output is handed to `on_line` when it is there, secrets masked; while
/// `on_line` works, the program waits (a pipe is full at some point). The order of standard output
/// and standard error is kept as far as two pipes allow.
///
/// When the context is cancelled or the time is over, SIGTERM goes to everything that the program
/// started, and SIGKILL to what still lives after the grace. When it ends by itself but leaves
/// processes behind, they are ended with a warning or may stay, as [`Leftovers`] says.
///
/// A signal that the program receives from elsewhere, or an exit code, is no error: see
/// [`Finished::outcome`].
///
/// The program inherits the signal mask of the calling thread, and the signals that this process
/// ignores: a program that watches for signals should do it with handlers, not by blocking them.
///
/// # Errors
/// [`ProcessError`], when it could not be started or watched. No process of it runs then, unless it
/// is [`ProcessError::Stuck`].
pub fn run(
    ctx: &Context,
    spec: &ProcessSpec,
    on_line: &mut dyn FnMut(Stream, &str),
) -> Result<Finished, ProcessError> {
    let started = Instant::now();
    let mut collector = Collector { masker: ctx.masker(), on_line, tail: Tail::default() };
    let outcome = match ctx.check() {
        Ok(()) => {
            let limit = limit(ctx, spec);
            let (running, streams) = Running::start(ctx, spec)?;
            running.watch(ctx, streams, limit, &mut collector)?
        }
        Err(cancelled) => Outcome::Cancelled(cancelled),
    };
    Ok(Finished { outcome, tail: collector.tail.into_lines(), elapsed: started.elapsed() })
}

enum Phase {
    /// It runs.
    Running { until: Option<Instant> },
    /// It was asked to end.
    Stopping { until: Instant, why: Outcome },
    /// It has ended by itself; others may still hold its pipes.
    Draining { until: Instant },
}

impl Phase {
    fn until(&self) -> Option<Instant> {
        match *self {
            Self::Running { until } => until,
            Self::Stopping { until, .. } | Self::Draining { until } => Some(until),
        }
    }
}

/// What was seen in one look at all descriptors.
struct Look {
    ended: bool,
    cancelled: bool,
}

/// A child that does not outlive this value, whatever happens.
struct Running<'a> {
    spec: &'a ProcessSpec,
    child: Child,
    /// Nobody else takes note of its end.
    _awaited: Awaited,
    pidfd: OwnedFd,
    family: Family,
    hunt: Hunt,
    reaped: bool,
}

/// What is read from the child and written to it.
struct Streams<'a> {
    outputs: Outputs,
    feeder: Feeder<'a>,
}

impl<'a> Running<'a> {
    fn start(ctx: &Context, spec: &'a ProcessSpec) -> Result<(Self, Streams<'a>), ProcessError> {
        program::check_directory(&spec.dir)?;
        let file = program::find(spec)?;
        let bytes: &[u8] = match &spec.stdin {
            Input::Null => &[],
            Input::Bytes(bytes) => bytes,
        };
        let mut command = command(spec, &file);
        command.stdin(if bytes.is_empty() { Stdio::null() } else { Stdio::piped() });
        let mut outputs = Outputs::prepare(spec, &mut command)
            .map_err(|source| failed(spec, "open the output of", source))?;
        let (mut child, awaited) = spawn(ctx, &mut command)
            .map_err(|source| program::explain(spec.program(), &file, source))?;
        let pidfd = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(errno) => {
                signal_group(&child, Signal::KILL);
                let _ = child.wait();
                return Err(failed(spec, "watch", errno.into()));
            }
        };
        let family = family(spec, child.id());
        let (hunt, reaped) = (Hunt::default(), false);
        let mut running = Self { spec, child, _awaited: awaited, pidfd, family, hunt, reaped };
        let feeder = outputs
            .take_pipes(&mut running.child)
            .and_then(|()| Feeder::new(&mut running.child, bytes))
            .map_err(|source| failed(spec, "watch", source))?;
        Ok((running, Streams { outputs, feeder }))
    }

    /// The one loop: reads, and waits for the end, the deadline and the cancellation.
    fn watch(
        mut self,
        ctx: &Context,
        mut streams: Streams<'_>,
        limit: Option<Duration>,
        collector: &mut Collector<'_>,
    ) -> Result<Outcome, ProcessError> {
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut phase = Phase::Running { until };
        let mut ended = false;
        while !(ended && streams.outputs.closed()) {
            let running = matches!(phase, Phase::Running { .. });
            if phase.until().is_some_and(|until| Instant::now() >= until) {
                if !running {
                    break;
                }
                phase = self.stop(Outcome::TimedOut(limit.unwrap_or_default()));
                continue;
            }
            let look = self
                .look(ctx, &mut streams, (!ended, running), phase.until(), collector)
                .map_err(|source| failed(self.spec, "watch", source))?;
            ended |= look.ended;
            if look.ended && running {
                phase = Phase::Draining { until: Instant::now() + SETTLE };
            } else if let (true, Some(cause)) = (look.cancelled, ctx.cancellation().cause()) {
                phase = self.stop(Outcome::Cancelled(Cancelled(cause)));
            }
        }
        self.conclude(ctx, &phase, streams, collector)
    }

    /// Waits until something happens, and reads and writes what can be.
    fn look(
        &self,
        ctx: &Context,
        streams: &mut Streams<'_>,
        (await_end, await_cancel): (bool, bool),
        until: Option<Instant>,
        collector: &mut Collector<'_>,
    ) -> io::Result<Look> {
        let mut fds: Vec<(BorrowedFd<'_>, Interest)> = Vec::with_capacity(5);
        if await_end {
            fds.push((self.pidfd.as_fd(), Interest::Readable));
        }
        if await_cancel {
            fds.push((ctx.cancellation().fd(), Interest::Readable));
        }
        fds.extend(streams.outputs.fds());
        fds.extend(streams.feeder.fd());
        let mut ready = poll::wait(&fds, until)?.into_iter();
        let ended = await_end && ready.next().unwrap_or(false);
        let cancelled = await_cancel && ready.next().unwrap_or(false);
        if ready.any(|is| is) {
            streams.outputs.read(collector);
            streams.feeder.write();
        }
        Ok(Look { ended, cancelled })
    }

    /// Asks everything that was started to end.
    fn stop(&mut self, why: Outcome) -> Phase {
        // The group first and at once: of those found one by one, one may fork meanwhile.
        signal_group(&self.child, Signal::TERM);
        signal_group(&self.child, Signal::CONT);
        // A failure to read /proc must not keep us from going on; it is met again at the end.
        let found = self.family.find().unwrap_or_default();
        self.hunt.terminate(&found, self.family.group);
        Phase::Stopping { until: Instant::now() + self.spec.grace, why }
    }

    /// Ends what is left, takes the rest of the output, and reaps the child.
    fn conclude(
        mut self,
        ctx: &Context,
        phase: &Phase,
        streams: Streams<'_>,
        collector: &mut Collector<'_>,
    ) -> Result<Outcome, ProcessError> {
        let ended = match *phase {
            Phase::Stopping { until, .. } => self.end_all(until),
            Phase::Running { .. } | Phase::Draining { .. } => self.end_leftovers(ctx),
        };
        let report = ended.map_err(|source| failed(self.spec, "end the processes of", source))?;
        warn_of_left(ctx, &report);
        streams.outputs.finish(collector);
        let Some(exit) = self.reap() else {
            let pid = self.child.id();
            return Err(ProcessError::Stuck { program: self.spec.program().to_owned(), pid });
        };
        Ok(match *phase {
            Phase::Stopping { why, .. } => why,
            Phase::Running { .. } | Phase::Draining { .. } => Outcome::Exited(exit),
        })
    }

    fn end_all(&mut self, until: Instant) -> io::Result<Ended> {
        if Instant::now() >= until {
            signal_group(&self.child, Signal::KILL);
        }
        std::mem::take(&mut self.hunt).finish(&mut self.family, until)
    }

    fn end_leftovers(&mut self, ctx: &Context) -> io::Result<Ended> {
        if self.spec.leftovers == Leftovers::Leave || Hunt::settle(&mut self.family, SETTLE)? {
            return Ok(Ended::default());
        }
        let until = Instant::now() + self.spec.grace;
        let report = std::mem::take(&mut self.hunt).finish(&mut self.family, until)?;
        if !report.ended.is_empty() {
            let (name, ended) = (&self.spec.name, list(&report.ended));
            ctx.warn(format!("{name:?} left processes behind, which were ended: {ended}"));
        }
        Ok(report)
    }

    /// Takes note of the child's end, if that comes in time.
    fn reap(&mut self) -> Option<Exit> {
        // Once it is reaped, its group's number may be given to another: nobody may use it again.
        self.reaped = true;
        let fds = [(self.pidfd.as_fd(), Interest::Readable)];
        if !poll::wait(&fds, Some(Instant::now() + KILLED)).is_ok_and(|ready| ready[0]) {
            return None;
        }
        let status = self.child.wait().ok()?;
        status.code().map(Exit::Code).or(status.signal().map(Exit::Signal))
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.reaped {
            signal_group(&self.child, Signal::KILL);
            let _ = self.reap();
        }
    }
}

fn signal_group(child: &Child, signal: Signal) {
    // It fails when all of them have ended, which is what is wanted.
    let _ = kill_process_group(Pid::from_child(child), signal);
}

fn command(spec: &ProcessSpec, file: &Utf8Path) -> Command {
    let mut command = Command::new(file);
    command
        .arg0(spec.program())
        .args(spec.argv.get(1..).unwrap_or_default())
        .current_dir(&spec.dir)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .process_group(0);
    if let Leftovers::End { name, value } = &spec.leftovers {
        command.env(name, value);
    }
    command
}

/// Which processes belong to a run whose child has this number.
fn family(spec: &ProcessSpec, group: u32) -> Family {
    let mut family = Family { group: Some(group), ..Family::default() };
    if let Leftovers::End { name, value } = &spec.leftovers {
        family.marker = Some(format!("{name}={value}"));
        family.descendants = true;
    }
    family
}

/// Starts it. A program that was written a moment ago may still be open for writing in a child that
/// another thread has forked and that has not executed its own program yet: that passes.
fn spawn(ctx: &Context, command: &mut Command) -> io::Result<(Child, Awaited)> {
    let mut tries = 0;
    loop {
        match awaited::spawn(command) {
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && tries < 20 => tries += 1,
            result => return result,
        }
        let _ = ctx.cancellation().sleep(Duration::from_millis(20));
    }
}

fn failed(spec: &ProcessSpec, operation: &'static str, source: io::Error) -> ProcessError {
    ProcessError::Io { operation, program: spec.program().to_owned(), source }
}

/// How long it may run: its own limit or what is left to the context, whichever is shorter.
fn limit(ctx: &Context, spec: &ProcessSpec) -> Option<Duration> {
    [spec.timeout, ctx.remaining()].into_iter().flatten().min()
}
