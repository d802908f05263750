//! Asking a manager to do something with a unit, and waiting until it is done.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::time::{Duration, Instant};

use deploykit_core::Context;
use futures_core::Stream as _;
use zbus::message::Type;
use zbus::{MatchRule, Message, MessageStream, OwnedObjectPath, OwnedVariant};

use crate::bus::{Bus, CallError, MANAGER, NAME, PATH, body};
use crate::error::SystemdError;
use crate::name::UnitName;
use crate::wait::{Ended, wait};

/// What a manager is asked to do with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Start,
    Stop,
    Restart,
    Reload,
}

impl Verb {
    fn method(self) -> &'static str {
        match self {
            Self::Start => "StartUnit",
            Self::Stop => "StopUnit",
            Self::Restart => "RestartUnit",
            Self::Reload => "ReloadUnit",
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Reload => "reload",
        }
    }

    pub(crate) fn done(self) -> &'static str {
        match self {
            Self::Start => "started",
            Self::Stop => "stopped",
            Self::Restart => "restarted",
            Self::Reload => "reloaded",
        }
    }
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As the manager says: `done`, `failed`, `canceled`, `timeout`, `dependency`, `skipped`, …
    Result(String),
    /// It is over, and nobody heard how.
    Unheard,
    /// It goes on still.
    TimedOut,
    /// It has not begun: other units come first.
    Queued,
}

/// How long one wait for a signal takes, until it is looked whether the job is still there: a signal
/// is lost when the manager is executed anew meanwhile.
const LOOK: Duration = Duration::from_secs(1);

/// How long a unit that may take for ever is waited for.
const LONGEST_STOP: Duration = Duration::from_secs(600);

/// So much longer than systemd itself waits for a unit it is waited for the end of the job. Some kinds of
/// units have no time of their own.
const MARGIN: Duration = Duration::from_secs(10);

/// So many signals may wait to be read: others start and stop units, too.
const QUEUED: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// Asks for it and waits at most `limit` for its end.
pub(crate) fn run(
    ctx: &Context,
    bus: &Bus,
    verb: Verb,
    unit: &UnitName,
    limit: Duration,
) -> Result<Ending, CallError> {
    let mut signals = listen(ctx, bus)?;
    let begun = Instant::now();
    let reply = bus.manage(ctx, verb.method(), &(unit.as_str(), "replace"))?;
    let job: OwnedObjectPath = body(&reply)?;
    let left = || {
        let left = limit.saturating_sub(begun.elapsed());
        ctx.remaining().map_or(left, |remaining| remaining.min(left))
    };
    let mut waits = false;
    loop {
        let left_now = left();
        if left_now.is_zero() {
            return Ok(if waits { Ending::Queued } else { Ending::TimedOut });
        }
        let next = std::future::poll_fn(|task| Pin::new(&mut signals).poll_next(task));
        match wait(ctx, left_now.min(LOOK), next) {
            Ok(Some(Ok(signal))) => {
                if let Some(result) = result_of(&signal, &job) {
                    return Ok(Ending::Result(result));
                }
            }
            Ok(Some(Err(_))) => {}
            Ok(None) => return Err(lost()),
            Err(Ended::Cancelled(cancelled)) => return Err(CallError::Cancelled(cancelled)),
            // Nothing more can be asked then.
            Err(Ended::TimedOut) if left().is_zero() => {}
            Err(Ended::TimedOut) => match state(ctx, bus, &job)? {
                None => return Ok(Ending::Unheard),
                Some(state) => waits = state == "waiting",
            },
        }
    }
}

/// Whether there is something of a unit to stop.
pub(crate) fn runs(ctx: &Context, bus: &Bus, unit: &str) -> Result<bool, SystemdError> {
    let facts = bus.facts(ctx, &UnitName::complete(unit));
    let facts = facts.map_err(|error| error.failed_to(format!("look at {unit}")))?;
    Ok(!matches!(facts.active.as_str(), "inactive" | "failed"))
}

/// Stops a unit, whose limit is systemd's own, and waits for that.
pub(crate) fn stop(ctx: &Context, bus: &Bus, unit: &str) -> Result<(), SystemdError> {
    let unit = UnitName::complete(unit);
    let failed = |error: CallError| {
        if error.is_forbidden() {
            let (user, what) = (crate::supervisor::user(), "stop a unit for good");
            return SystemdError::NotAllowed { user, what };
        }
        error.failed_to(format!("stop {unit}"))
    };
    let facts = bus.facts(ctx, &unit).map_err(failed)?;
    if matches!(facts.active.as_str(), "inactive" | "failed") {
        return Ok(());
    }
    let limit = Duration::from_micros(facts.stop_timeout).saturating_add(MARGIN).min(LONGEST_STOP);
    match run(ctx, bus, Verb::Stop, &unit, limit).map_err(failed)? {
        ending @ (Ending::TimedOut | Ending::Queued) => {
            Err(not_done(&unit, Verb::Stop, &ending, limit))
        }
        _ => Ok(()),
    }
}

fn lost() -> CallError {
    CallError::Refused { name: None, message: "the connection to the bus was lost".to_owned() }
}

/// The ends of all jobs, from now on.
fn listen(ctx: &Context, bus: &Bus) -> Result<MessageStream, CallError> {
    let rule = MatchRule::builder()
        .msg_type(Type::Signal)
        .sender(NAME)
        .path(PATH)
        .interface(MANAGER)
        .member("JobRemoved")
        .build();
    let rule = rule.map_err(|error| refused(&error))?;
    let stream = MessageStream::for_match_rule(rule, &bus.connection, Some(QUEUED));
    match wait(ctx, LOOK * 25, stream) {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(refused(&error)),
        Err(Ended::Cancelled(cancelled)) => Err(CallError::Cancelled(cancelled)),
        Err(Ended::TimedOut) => Err(lost()),
    }
}

fn refused(error: &zbus::Error) -> CallError {
    CallError::Refused { name: None, message: error.to_string() }
}

/// The result of this job, if the signal tells it.
fn result_of(signal: &Message, job: &OwnedObjectPath) -> Option<String> {
    let (_, removed, _, result): (u32, OwnedObjectPath, String, String) = body(signal).ok()?;
    (removed == *job).then_some(result)
}

/// `waiting` or `running`; nothing when there is no such job any more.
fn state(ctx: &Context, bus: &Bus, job: &OwnedObjectPath) -> Result<Option<String>, CallError> {
    let asked = bus.call(
        ctx,
        job.as_str(),
        "org.freedesktop.DBus.Properties",
        "Get",
        &("org.freedesktop.systemd1.Job", "State"),
    );
    match asked {
        Ok(reply) => {
            let state: OwnedVariant = body(&reply)?;
            Ok(Some(<&str>::try_from(&*state).map(str::to_owned).unwrap_or_default()))
        }
        Err(error) if error.is(&["UnknownObject", "UnknownMethod", "UnknownInterface"]) => Ok(None),
        Err(error @ CallError::Cancelled(_)) => Err(error),
        Err(error) if error.is_lost() => Err(error),
        // It may be about to be executed anew.
        Err(_) => Ok(Some(String::new())),
    }
}

/// What an ending that is none of `done` means.
pub(crate) fn not_done(
    unit: &UnitName,
    verb: Verb,
    ending: &Ending,
    limit: Duration,
) -> SystemdError {
    let unit = unit.as_str().to_owned();
    let done = verb.done();
    let why = match ending {
        Ending::TimedOut => {
            return SystemdError::TimedOut { unit, done, seconds: limit.as_secs() };
        }
        Ending::Queued => return SystemdError::Queued { unit },
        Ending::Unheard => "the manager did not tell how it ended",
        Ending::Result(result) => match result.as_str() {
            "canceled" => "somebody else asked for something else meanwhile",
            "timeout" => "systemd gave up waiting",
            "dependency" => "a unit that it needs did not start",
            "skipped" => "it was not applicable any more",
            "assert" => "an assertion of the unit was not met",
            "invalid" => "that cannot be done with this unit",
            other => return SystemdError::NotDone { unit, done, why: format!("its job {other}") },
        },
    };
    SystemdError::NotDone { unit, done, why: why.to_owned() }
}
