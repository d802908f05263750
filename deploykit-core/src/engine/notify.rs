//! Sending the notices that are owed. The application's lock is free while a command runs.

use std::time::Duration;

use serde_json::Value;

use super::application::Application;
use super::error::Error;
use super::logfile;
use super::notice::is_a_wish;
use super::place::release_in;
use super::session::Session;
use crate::backend::environment::Environment;
use crate::cancel::Cause;
use crate::chain;
use crate::config::Argv;
use crate::context::Context;
use crate::process::{self, Input, ProcessSpec};
use crate::state::lock::Which;
use crate::state::{
    Holder, Lock, LockError, NOTICE_TRIES, Notice, NoticeEvent, NoticeNow, OwedNotice, Record,
    State, read_state,
};

/// How many of the last lines of a deployment's output a notice has.
const LINES: usize = 50;

/// How long the lock is waited for to record something in a few milliseconds.
const BRIEF: Duration = Duration::from_secs(60);

/// What came of sending a notice.
enum Sent {
    Yes,
    No { reason: String, late: bool },
    Cancelled,
}

impl Application {
    /// Sends the notices that are owed. Each is tried once; what cannot be sent is sent by the next
    /// command. Nothing that goes wrong here changes what the command itself has done.
    pub(super) fn send_notices(&self, ctx: &Context) {
        if !self.config.notify.is_on() {
            return;
        }
        let sent = calm(ctx).and_then(|ctx| match ctx {
            Some(ctx) => self.send(&self.masked(&ctx)),
            None => Ok(()),
        });
        if let Err(error) = sent {
            ctx.warn(format!("what is to be told cannot be sent now: {}", chain(&error)));
        }
    }

    fn send(&self, ctx: &Context) -> Result<(), Error> {
        if read_state(&self.layout)?.notices.owed.is_empty() {
            return Ok(());
        }
        let holder = Holder::current(ctx.now(), self.actor.clone(), "sending notices");
        let none = Duration::ZERO;
        let _lock = match Lock::acquire_which(ctx, &self.layout, Which::Notify, holder, none) {
            // Somebody else sends them.
            Err(LockError::Held { .. }) => return Ok(()),
            lock => lock?,
        };
        let state = read_state(&self.layout)?;
        for owed in &state.notices.owed {
            let notice = owed.notice.number;
            let (record, late) = match self.send_one(ctx, &state, &owed.notice) {
                Sent::Yes => (Record::NoticeSent { notice }, false),
                Sent::No { reason, late } => {
                    warn_of(ctx, owed, &reason);
                    (Record::NoticeFailed { notice, reason }, late)
                }
                Sent::Cancelled => return Ok(()),
            };
            let ctx = uncancelled(ctx)?;
            self.brief(&ctx, "recording what was told")?.record(&ctx, [record])?;
            if late {
                // The others would take as long.
                return Ok(());
            }
        }
        Ok(())
    }

    /// A session for one record.
    pub(super) fn brief(&self, ctx: &Context, doing: &str) -> Result<Session, Error> {
        Session::begin(self, ctx, doing, BRIEF)
    }

    fn send_one(&self, ctx: &Context, state: &State, notice: &Notice) -> Sent {
        let config = &self.config.notify;
        let command = match notice.event {
            NoticeEvent::Failure => &config.on_failure,
            NoticeEvent::Recovery => &config.on_recovery,
        };
        let Some(command) = command else { return Sent::Yes };
        let story = self.story(ctx, state, notice);
        let mut spec = ProcessSpec::new("notify", command.as_slice(), self.layout.root());
        spec.stdin = Input::Bytes(format!("{story}\n").into_bytes());
        spec.env = self.notice_environment(&story, notice).into_vec();
        spec.timeout = Some(config.timeout.get());
        run(ctx, command, &spec)
    }

    /// The notice as the command gets it: with how things stand now.
    fn story(&self, ctx: &Context, state: &State, notice: &Notice) -> Value {
        let mut notice = notice.clone();
        let path = self.activator().active().ok().flatten();
        let active = path.and_then(|path| release_in(&self.layout, state, &path));
        let service = active.and_then(|active| {
            let supervisor = self.operation(&self.present(state, active)).ok()?.supervisor;
            if supervisor.observes() { supervisor.status(ctx).ok() } else { None }
        });
        let active = state.noticed(active.map(|active| &active.id), None);
        notice.now = Some(NoticeNow { active, service });
        let log = notice.deployment;
        notice.log_end =
            log.map_or_else(Vec::new, |id| logfile::last_lines(&self.layout, id, LINES));
        let mut story = serde_json::to_value(&notice).unwrap_or_default();
        self.masker().mask_json(&mut story);
        story
    }

    fn notice_environment(&self, story: &Value, notice: &Notice) -> Environment {
        let mut environment = Environment::inherited(&self.config);
        environment
            .set("DEPLOYKIT_APP", self.layout.root().as_str())
            .set("DEPLOYKIT_EVENT", notice.event.to_string());
        if let Some(deployment) = notice.deployment {
            environment.set("DEPLOYKIT_DEPLOYMENT", deployment.to_string());
        }
        let active = &story["now"]["active"];
        if let Some(release) = active["id"].as_str() {
            environment.set("DEPLOYKIT_RELEASE", release);
        }
        if let Some(commit) = active["commit"].as_str() {
            environment.set("DEPLOYKIT_REVISION", commit);
        }
        if let Ok(root) = self.layout.active_link().canonicalize_utf8() {
            environment.set("DEPLOYKIT_ROOT", root.as_str());
        }
        environment
    }
}

fn run(ctx: &Context, command: &Argv, spec: &ProcessSpec) -> Sent {
    let finished = match process::run(ctx, spec, &mut |_, _| {}) {
        Ok(finished) => finished,
        Err(error) => return Sent::No { reason: chain(&error), late: false },
    };
    let (what, late) = match finished.outcome {
        process::Outcome::Exited(exit) if exit.success() => return Sent::Yes,
        process::Outcome::Exited(exit) => (format!("{command} {exit}"), false),
        process::Outcome::TimedOut(limit) => {
            (format!("{command} took longer than {} s", limit.as_secs_f32()), true)
        }
        process::Outcome::Cancelled(_) => return Sent::Cancelled,
    };
    let last = finished.tail[finished.tail.len().saturating_sub(3)..].join("\n");
    let reason = if last.is_empty() { what } else { format!("{what}: {last}") };
    Sent::No { reason, late }
}

fn warn_of(ctx: &Context, owed: &OwedNotice, reason: &str) {
    let failures = owed.failures + 1;
    let what = match owed.notice.deployment {
        Some(deployment) => format!("the {} of deployment {deployment}", owed.notice.event),
        None => format!("the {}", owed.notice.event),
    };
    let then = if failures >= NOTICE_TRIES {
        "it is given up".to_owned()
    } else {
        format!("the next command tries again ({failures} of {NOTICE_TRIES})")
    };
    ctx.warn(format!("{what} could not be told: {reason}; {then}"));
}

/// The context in which notices are sent; none when somebody wants everything to end. A host that goes
/// down leaves the time that a notice takes.
fn calm(ctx: &Context) -> Result<Option<Context>, Error> {
    match ctx.cancellation().cause() {
        None => Ok(Some(ctx.clone())),
        Some(cause) if is_a_wish(cause) => Ok(None),
        Some(Cause::HangUp | Cause::Terminate | _) => Ok(Some(uncancelled(ctx)?)),
    }
}

fn uncancelled(ctx: &Context) -> Result<Context, Error> {
    let what = |error| Error::Unsettled { what: format!("no descriptor is left: {error}") };
    ctx.uncancelled().map_err(what)
}
