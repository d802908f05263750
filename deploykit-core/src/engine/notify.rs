//! Sending the notices that are owed. The application's lock is free while somebody is told.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::application::Application;
use super::error::Error;
use super::notice::is_a_wish;
use super::place::release_in;
use super::recipient::{self, Recipient};
use super::session::Session;
use super::{logfile, words};
use crate::cancel::Cause;
use crate::chain;
use crate::context::Context;
use crate::message::Message;
use crate::state::lock::Which;
use crate::state::{
    Holder, Lock, LockError, NOTICE_TRIES, Notice, NoticeNow, OwedNotice, Record, State, read_state,
};
use crate::traits::NotifierError;

/// How many of the last lines of a deployment's output a notice has.
const LINES: usize = 50;

/// How long the lock is waited for to record something in a few milliseconds.
const BRIEF: Duration = Duration::from_secs(60);

/// What came of telling all of a notice.
#[derive(Debug, Default)]
struct Attempt {
    /// Who was told now.
    told: Vec<String>,
    /// Who could not be, and why.
    failed: Vec<String>,
    /// Somebody took longer than they may: the next notice would wait as long for them.
    is_late: bool,
    is_cancelled: bool,
}

impl Application {
    /// Sends the notices that are owed. Each is tried once; whoever cannot be told is told by the next
    /// command. Nothing that goes wrong here changes what the command itself has done.
    pub(super) fn send_notices(&self, ctx: &Context) {
        if !self.config.notify.tells_of_deployments() {
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
        let recipients = self.recipients();
        let mut tried = BTreeSet::new();
        loop {
            // Others that have found the lock held leave theirs to this one.
            let state = read_state(&self.layout)?;
            let is_new = |owed: &&OwedNotice| !tried.contains(&owed.notice.number);
            let Some(owed) = state.notices.owed.iter().find(is_new) else { return Ok(()) };
            let notice = owed.notice.number;
            tried.insert(notice);
            let attempt = self.attempt(ctx, &state, owed, &recipients);
            let Attempt { told, failed, is_late, is_cancelled } = attempt;
            let record = match (failed.is_empty(), is_cancelled) {
                (true, false) => Record::NoticeSent { notice },
                (true, true) if told.is_empty() => return Ok(()),
                (true, true) => {
                    let reason = NotifierError::Cancelled.to_string();
                    Record::NoticeFailed { notice, reason, told }
                }
                (false, _) => Record::NoticeFailed { notice, reason: failed.join("; "), told },
            };
            if !failed.is_empty() {
                warn_of(ctx, owed, &failed.join("; "));
            }
            let ctx = uncancelled(ctx)?;
            self.brief(&ctx, "recording what was told")?.record(&ctx, [record])?;
            if is_late || is_cancelled {
                return Ok(());
            }
        }
    }

    /// A session for one record.
    pub(super) fn brief(&self, ctx: &Context, doing: &str) -> Result<Session, Error> {
        Session::begin(self, ctx, doing, BRIEF)
    }

    /// Tells all who are to be told of a notice, and have not been yet.
    fn attempt(
        &self,
        ctx: &Context,
        state: &State,
        owed: &OwedNotice,
        recipients: &[Recipient],
    ) -> Attempt {
        let topic = owed.notice.topic();
        let is_left =
            |one: &&Recipient| one.wants(topic, None) && !owed.told.contains(&one.label());
        let left: Vec<&Recipient> = recipients.iter().filter(is_left).collect();
        let mut attempt = Attempt::default();
        if left.is_empty() {
            return attempt;
        }
        let message = self.message(ctx, state, &owed.notice);
        for one in left {
            let error = match one.tell(ctx, &message) {
                Ok(()) => {
                    attempt.told.push(one.label());
                    continue;
                }
                Err(NotifierError::Cancelled) => {
                    attempt.is_cancelled = true;
                    return attempt;
                }
                Err(error) => error,
            };
            attempt.is_late |= matches!(error, NotifierError::Late { .. });
            // Of one's own command everybody knows which it is.
            let is_own = |label: &str| ["on_failure", "on_recovery"].contains(&label);
            let label = Some(one.label()).filter(|label| !is_own(label));
            let label = label.map(|label| format!("{label}: ")).unwrap_or_default();
            attempt.failed.push(format!("{label}{}", chain(&error)));
        }
        attempt
    }

    /// The notice in words, and as JSON.
    fn message(&self, ctx: &Context, state: &State, notice: &Notice) -> Message {
        let story = self.story(ctx, state, notice);
        let name = match notice.deployment {
            Some(deployment) => format!("deployment {deployment}"),
            None => "a deployment".to_owned(),
        };
        let masker = self.masker();
        let masked = |text: String| masker.mask(&text).into_owned();
        Message {
            id: format!("deployment-notice-{}", notice.number),
            topic: notice.topic(),
            at: notice.ended,
            host: notice.host.clone(),
            application: notice.application.clone(),
            name,
            what: masked(words::what(notice)),
            text: masked(words::text(notice, &story)),
            variables: self.variables(&story, notice),
            story,
        }
    }

    /// The notice as a program gets it: with how things stand now.
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
        story["topic"] = notice.topic().as_str().into();
        self.masker().mask_json(&mut story);
        story
    }

    fn variables(&self, story: &Value, notice: &Notice) -> Vec<(String, String)> {
        let event = notice.event.to_string();
        let mut variables = recipient::variables(self.layout.root(), &event, notice.topic());
        let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
        if let Some(deployment) = notice.deployment {
            set("DEPLOYKIT_DEPLOYMENT", deployment.to_string());
        }
        let active = &story["now"]["active"];
        if let Some(release) = active["id"].as_str() {
            set("DEPLOYKIT_RELEASE", release.to_owned());
        }
        if let Some(commit) = active["commit"].as_str() {
            set("DEPLOYKIT_REVISION", commit.to_owned());
        }
        if let Ok(root) = self.layout.active_link().canonicalize_utf8() {
            set("DEPLOYKIT_ROOT", root.into_string());
        }
        variables
    }
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
