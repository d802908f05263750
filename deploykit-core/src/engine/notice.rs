//! Which ends are to be told of, and what is told: the record that a notice is owed.

use super::application::Application;
use super::error::Error;
use super::report::Failure;
use super::run::Run;
use crate::cancel::Cause;
use crate::context::Context;
use crate::id::DeploymentId;
use crate::process::shorten;
use crate::state::{
    Actor, DeploymentRecord, NOTICE_FORMAT, Notice, NoticeEvent, NoticeFailure, Outcome, Record,
    Request, State, Told,
};
use crate::time::Timestamp;
use crate::{causes, chain};

/// How something ended.
pub(super) struct End<'a> {
    /// The deployment; none when it did not even begin.
    pub(super) deployment: Option<DeploymentId>,
    /// What was asked for, of what is no deployment.
    pub(super) request: &'a Request,
    /// How; none when nothing had to be done.
    pub(super) outcome: Option<Outcome>,
    pub(super) failure: Option<NoticeFailure>,
    /// An operator has ended it.
    pub(super) wished: bool,
    /// Somebody tries it again and again: what was told is not told once more.
    pub(super) again: bool,
    /// It stays open, as it could be brought neither to its end nor back.
    pub(super) stuck: bool,
}

impl<'a> End<'a> {
    pub(super) fn of(deployment: DeploymentId, request: &'a Request, outcome: Outcome) -> Self {
        Self {
            deployment: Some(deployment),
            request,
            outcome: Some(outcome),
            failure: None,
            wished: false,
            again: false,
            stuck: false,
        }
    }

    fn event(&self) -> NoticeEvent {
        match &self.outcome {
            Some(outcome) if !outcome.is_success() => NoticeEvent::Failure,
            _ => NoticeEvent::Recovery,
        }
    }

    fn must_look(&self) -> bool {
        self.stuck || matches!(self.outcome, Some(Outcome::Broken { .. }))
    }

    /// Whether it is told. `told` is the failure that was told of and is not over.
    fn is_news(&self, told: Option<&Told>, reason: &str) -> bool {
        match self.event() {
            NoticeEvent::Recovery => told.is_some(),
            // Who has cancelled it knows; but what is not in a good state concerns everybody.
            NoticeEvent::Failure if self.wished && !self.must_look() => false,
            NoticeEvent::Failure => !(self.again && told.is_some_and(|told| told.covers(reason))),
        }
    }
}

/// The record that a notice of this end is owed, when one is.
pub(super) fn owed(
    app: &Application,
    ctx: &Context,
    state: &State,
    end: &End<'_>,
) -> Option<Record> {
    if !app.config.notify.tells_of_deployments() {
        return None;
    }
    let record = end.deployment.and_then(|id| state.deployment(id));
    let (now, must_look, event) = (ctx.now(), end.must_look(), end.event());
    let (request, by, started) = whose(app, record, end.request, now);
    let from = record.and_then(|record| record.from.as_ref());
    let to = record.and_then(|record| record.to.as_ref());
    let mut notice = Notice {
        format: NOTICE_FORMAT,
        number: state.notices.last + 1,
        event,
        application: app.layout.root().to_owned(),
        host: crate::state::host_name(),
        deployment: end.deployment,
        request,
        by,
        started,
        ended: now,
        outcome: end.outcome.clone(),
        failure: end.failure.clone().filter(|_| event == NoticeEvent::Failure),
        from: state.noticed(from, record),
        to: state.noticed(to, record),
        must_look,
        recovers: state.notices.told().cloned().filter(|_| event == NoticeEvent::Recovery),
        now: None,
        log: end.deployment.map(|id| app.layout.log(id)),
        log_end: Vec::new(),
    };
    mask(app, &mut notice);
    let told = match event {
        NoticeEvent::Failure if end.deployment.is_none() => state.notices.look.as_ref(),
        _ => state.notices.told(),
    };
    if !end.is_news(told, notice.reason()) {
        return None;
    }
    Some(Record::NoticeOwed { notice: Box::new(notice) })
}

fn whose(
    app: &Application,
    record: Option<&DeploymentRecord>,
    request: &Request,
    now: Timestamp,
) -> (String, Actor, Timestamp) {
    match record {
        Some(record) => (record.request.to_string(), record.by.clone(), record.started),
        None => (request.to_string(), app.actor.clone(), now),
    }
}

/// How long a text and a line of output may be, in characters. A notice is recorded together with the
/// end of a deployment, and that must find room in what is reserved on a full disk.
const TEXT: usize = 2000;
const LINE: usize = 400;

/// Secrets do not even get into the journal, and no text without an end.
fn mask(app: &Application, notice: &mut Notice) {
    let within = |text: &mut String, most: usize| {
        let masked = app.masker().mask(text);
        if masked.len() > most || matches!(masked, std::borrow::Cow::Owned(_)) {
            *text = shorten(&masked, most);
        }
    };
    let mask = |text: &mut String| within(text, TEXT);
    if let Some(
        Outcome::Failed { reason } | Outcome::RolledBack { reason } | Outcome::Broken { reason },
    ) = &mut notice.outcome
    {
        mask(reason);
    }
    if let Some(NoticeFailure { error, causes, tail, hint, .. }) = &mut notice.failure {
        causes.iter_mut().chain(hint).chain([error]).for_each(mask);
        tail.iter_mut().for_each(|line| within(line, LINE));
    }
    mask(&mut notice.request);
}

/// What failed, when something was refused before its first step.
pub(super) fn refused(error: &Error, step: Option<crate::Step>) -> NoticeFailure {
    NoticeFailure {
        step,
        error: error.to_string(),
        causes: causes(error),
        tail: Vec::new(),
        hint: error.hint(),
    }
}

fn failed(failure: &Failure) -> NoticeFailure {
    NoticeFailure {
        step: Some(failure.step),
        error: failure.error.clone(),
        causes: failure.causes.clone(),
        tail: failure.tail.clone(),
        hint: failure.hint.clone(),
    }
}

/// Whether it was ended by somebody who wanted that. A lost terminal is nobody's wish, nor is the end
/// that a host asks for when it goes down.
pub(super) fn is_a_wish(cause: Cause) -> bool {
    matches!(cause, Cause::Interrupt | Cause::Requested)
}

impl Run<'_> {
    /// The record that a notice of this end is owed, when one is.
    pub(super) fn notice(&mut self, outcome: &Outcome, settled: bool) -> Option<Record> {
        let failure = self.failure.as_ref();
        let cancelled = failure.and_then(|failure| failure.cancelled);
        let (app, ctx, request) = (self.app, self.ctx.clone(), self.request.clone());
        let end = End {
            failure: failure.map(failed),
            wished: cancelled.is_some_and(is_a_wish),
            // What recovery tries again stays open all the time.
            again: self.unattended || (self.resumed && !settled),
            stuck: !settled,
            ..End::of(self.deployment, &request, outcome.clone())
        };
        owed(app, &ctx, self.session().ok()?.state(), &end)
    }
}

impl Application {
    /// Records that a deployment that did not even begin is to be told of, or that the next one could.
    /// That it cannot be recorded is no loss: it is found again the next time.
    pub(super) fn note_look(&self, ctx: &Context, request: &Request, error: Option<&Error>) {
        let owed = |state: &State| {
            let reason = error.map(|error| chain(error));
            let end = End {
                deployment: None,
                outcome: reason.map(|reason| Outcome::Failed { reason }),
                failure: error.map(|error| refused(error, step_of(error))),
                again: true,
                ..End::of(DeploymentId::default(), request, Outcome::Deployed { verified: false })
            };
            let over = error.is_some() || state.notices.look.is_some();
            owed(self, ctx, state, &end).filter(|_| over)
        };
        // Most looks change nothing: then no lock is taken either.
        if !self.config.notify.tells_of_deployments()
            || self.state().ok().as_ref().and_then(owed).is_none()
        {
            return;
        }
        let recorded = self.brief(ctx, "recording what is to be told").and_then(|mut session| {
            let record = owed(session.state());
            session.record(ctx, record)
        });
        if let Err(error) = recorded {
            ctx.warn(format!("what is to be told cannot be recorded: {}", chain(&error)));
        }
    }
}

fn step_of(error: &Error) -> Option<crate::Step> {
    matches!(error, Error::Source(_)).then_some(crate::Step::Resolve)
}
