//! Running a deployment: the phases of the transition function and their effects.
//!
//! The effects of making a release are in [`super::prepare`], those of switching and going back in
//! [`super::switch`], watching is in [`super::watch`]. Here is what holds them together.

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;

use super::application::{Application, Operation};
use super::error::Error;
use super::logfile::{self, LogFile};
use super::place::release_in;
use super::prune;
use super::report::{Failure, Report};
use super::session::Session;
use super::stored::StoredRelease;
use super::transition::{Course, Happened, Phase, first, next};
use super::trouble::Trouble;
use crate::cancel::Cause;
use crate::config::Period;
use crate::context::Context;
use crate::event::{EventKind, EventSink, Sinks, millis};
use crate::id::{DeploymentId, ReleaseId};
use crate::state::{Outcome, ProbationRecord, Record, ReleaseRecord, Request};
use crate::step::Step;
use crate::time::Timestamp;
use crate::traits::{Builder, Prepared, Resolved, Source};

/// How long a step that needs the lock again waits for it: as long as an operator's rollback may
/// take.
pub(super) const LOCK_AGAIN: Duration = Duration::from_secs(600);

/// What is needed to make a release.
#[derive(Debug)]
pub(super) struct Making {
    pub(super) source: Arc<dyn Source>,
    pub(super) builder: Arc<dyn Builder>,
    pub(super) resolved: Resolved,
}

/// A deployment that is being carried out.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) app: &'a Application,
    pub(super) ctx: Context,
    /// Nothing while health is watched: then everybody else may take the lock.
    pub(super) session: Option<Session>,
    pub(super) deployment: DeploymentId,
    pub(super) request: Request,
    pub(super) steps: Vec<Step>,
    pub(super) course: Course,
    pub(super) making: Option<Making>,
    /// The release that is to be active, once it has a name.
    pub(super) to: Option<ReleaseId>,
    /// The release that was active before.
    pub(super) from: Option<ReleaseId>,
    /// Where the link leads when it goes back.
    pub(super) from_path: Option<Utf8PathBuf>,
    /// Where it led before. That is elsewhere when what was active was never decided about.
    pub(super) link_before: Option<Utf8PathBuf>,
    pub(super) there: Operation,
    pub(super) back: Option<Operation>,
    /// The release stays; its service is brought over to another configuration.
    pub(super) reconfigure: bool,
    /// The release is being left; that is recorded, or owed.
    pub(super) reverting: bool,
    /// What could not be recorded when it happened, and must not be left out.
    pub(super) owed: Vec<Record>,
    /// When the service was brought over, if this run did it.
    pub(super) switched: Option<Timestamp>,
    /// The probation that was watched.
    pub(super) watched: Option<ProbationRecord>,
    pub(super) prepared: Option<Prepared>,
    pub(super) failure: Option<Failure>,
    /// How somebody else has ended the deployment while it was watched.
    pub(super) decided_elsewhere: Option<Outcome>,
    /// Somebody else has ended the deployment, and has recorded it.
    pub(super) ended_elsewhere: bool,
    /// It was broken off and is taken up again, by a command that may only have come by.
    pub(super) resumed: bool,
    /// Nobody asked for this one in particular: a timer tries it again and again.
    pub(super) unattended: bool,
    /// Somebody must confirm it within this time.
    pub(super) confirm_within: Option<Period>,
    /// What cancels nothing any more, until the run has ended: the handle is the caller's.
    pub(super) ignoring: Vec<Cause>,
    /// What was asked for while it was ignored.
    pub(super) passed_over: Option<Cause>,
    pub(super) begun: Duration,
}

impl Run<'_> {
    /// Carries it out from its first phase.
    pub(super) fn execute(self) -> Report {
        let request = self.request.to_string();
        self.ctx.emit(EventKind::DeploymentStarted { request, steps: self.steps.clone() });
        let phase = first(&self.course);
        self.execute_from(phase)
    }

    /// Carries it out from `phase` to its end.
    pub(super) fn execute_from(mut self, mut phase: Phase) -> Report {
        loop {
            match phase {
                Phase::Ended(outcome) => return self.finish(outcome, true),
                Phase::Stuck(reason) => return self.finish(Outcome::Broken { reason }, false),
                _ => {}
            }
            let happened = self.perform(&phase);
            if matches!(happened, Happened::DecidedElsewhere(_)) {
                self.ended_elsewhere = true;
            }
            phase = next(&self.course, phase, happened);
        }
    }

    fn perform(&mut self, phase: &Phase) -> Happened {
        match phase {
            Phase::Preparing(step) => self.prepare(*step),
            Phase::Discarding(_) => self.discard(),
            Phase::StartingBeside => self.start_beside(),
            Phase::Aborting(_) => self.abort(),
            Phase::Activating => self.activate(),
            Phase::Switching => self.switch_service(),
            Phase::Watching => self.watch(),
            Phase::Confirming => self.confirm(),
            Phase::RevertingLink(fault) => self.revert_link(fault),
            Phase::RevertingService(_) => self.revert_service(),
            Phase::RevertingVerify(_) => self.revert_verify(),
            Phase::WithdrawingService(fault) => self.withdraw_service(fault),
            Phase::WithdrawingLink(fault, _) => self.withdraw_link(fault),
            Phase::Ended(_) | Phase::Stuck(_) => Happened::Done,
        }
    }

    /// Does one step: tells of its beginning and its end, and keeps what failed for the report.
    pub(super) fn step(
        &mut self,
        step: Step,
        detail: impl Into<String>,
        work: impl FnOnce(&mut Self) -> Result<String, Trouble>,
    ) -> Happened {
        let begun = self.ctx.clock().monotonic();
        self.ctx.emit(EventKind::StepStarted { step, detail: detail.into() });
        let result = work(self);
        let elapsed = self.ctx.clock().monotonic().saturating_sub(begun);
        match result {
            Ok(detail) => {
                self.ctx.emit(EventKind::step_finished(step, elapsed, detail));
                Happened::Done
            }
            Err(trouble) => {
                let trouble = trouble.masked(self.ctx.masker());
                self.ctx.emit(trouble.event(step, millis(elapsed)));
                let happened = trouble.happened();
                // The first failure is what the report is about; what fails on the way back is in
                // the outcome.
                self.failure.get_or_insert_with(|| trouble.failure(step));
                happened
            }
        }
    }

    /// The session; taken again if it was let go.
    pub(super) fn session(&mut self) -> Result<&mut Session, Error> {
        if self.session.is_none() {
            let doing = self.request.to_string();
            let calm = self.uncancelled()?;
            self.session = Some(Session::begin(self.app, &calm, &doing, LOCK_AGAIN)?);
        }
        self.session.as_mut().ok_or_else(|| Error::Unsettled { what: "no session".into() })
    }

    /// The same context, but nobody can cancel it: for what must be done in any case.
    pub(super) fn uncancelled(&self) -> Result<Context, Error> {
        let failed = |source| Error::Directory { path: self.app.layout.root().to_owned(), source };
        self.ctx.uncancelled().map_err(failed)
    }

    /// Writes records that hold together.
    pub(super) fn record(
        &mut self,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<(), Error> {
        let ctx = self.ctx.clone();
        let owed = self.owed.clone();
        self.session()?.record(&ctx, owed.into_iter().chain(records))?;
        self.owed.clear();
        Ok(())
    }

    /// Writes records of what is being done in any case. What cannot be written now is written
    /// together with what comes next: that a disk is full must keep no ill release in its place.
    pub(super) fn record_or_owe(&mut self, records: Vec<Record>) {
        if let Err(error) = self.record(records.clone()) {
            self.ctx.warn(format!("this cannot be recorded now: {}", crate::chain(&error)));
            self.owed.extend(records);
        }
    }

    /// The record of a release.
    pub(super) fn release(&mut self, id: Option<&ReleaseId>) -> Option<ReleaseRecord> {
        let session = self.session().ok()?;
        session.state().release(id?).cloned()
    }

    /// The release that is to be active, for a backend.
    pub(super) fn target(&mut self) -> Result<StoredRelease, Error> {
        let id = self.to.clone();
        self.stored(id)
    }

    pub(super) fn stored(&mut self, id: Option<ReleaseId>) -> Result<StoredRelease, Error> {
        let record = self.release(id.as_ref()).ok_or_else(|| Error::NoSuchRelease {
            name: id.map_or_else(|| "(none)".into(), |id| id.to_string()),
        })?;
        Ok(StoredRelease::new(&self.app.layout, record))
    }

    /// What happens after the activation is not broken off by a lost terminal.
    pub(super) fn survive_hang_up(&mut self) {
        self.ignore(Cause::HangUp);
        if self.ctx.cancellation().cause() == Some(Cause::HangUp) {
            self.ctx.cancellation().take();
        }
    }

    /// Going back is not broken off by anything.
    pub(super) fn survive_everything(&mut self) {
        for cause in [Cause::HangUp, Cause::Interrupt, Cause::Terminate, Cause::Requested] {
            self.ignore(cause);
        }
        let cause = self.ctx.cancellation().take();
        self.passed_over = self.passed_over.or(cause);
    }

    fn ignore(&mut self, cause: Cause) {
        if self.ctx.cancellation().ignore(cause) {
            self.ignoring.push(cause);
        }
    }

    /// Tells how it ended, and tidies up. Records it when it is settled: then nothing is left for
    /// recovery.
    fn finish(mut self, outcome: Outcome, settled: bool) -> Report {
        let (deployment, told) = (self.deployment, outcome.clone());
        let ended = Record::DeploymentFinished { deployment, outcome: told };
        let ended = Some(ended).filter(|_| settled);
        let notice = if self.ended_elsewhere { None } else { self.notice(&outcome, settled) };
        let to_record = settled || !self.owed.is_empty() || notice.is_some();
        let to_record = to_record && !self.ended_elsewhere;
        if to_record && let Err(error) = self.record(ended.into_iter().chain(notice)) {
            self.ctx.warn(format!(
                "the outcome cannot be recorded; `deploykit recover` will: {}",
                crate::chain(&error)
            ));
        }
        if outcome.is_success() {
            self.prune();
        }
        self.warn_of_undecided(&outcome);
        logfile::forget(&self.app.layout, self.deployment, self.app.config.history.logs);
        for cause in self.ignoring.drain(..) {
            self.ctx.cancellation().heed(cause);
        }
        // Whoever came by and took this deployment up still wants an end of their own.
        if let Some(cause) = self.passed_over.take().filter(|_| self.resumed) {
            self.ctx.cancellation().cancel(cause);
        }
        let elapsed = millis(self.ctx.clock().monotonic().saturating_sub(self.begun));
        let told = outcome.to_string();
        self.ctx.emit(EventKind::DeploymentFinished { outcome: told, millis: elapsed });
        let unsettled = !settled || self.is_broken_off_elsewhere();
        self.report(outcome, unsettled, elapsed)
    }

    /// Whether whoever has ended this deployment was killed on the way.
    fn is_broken_off_elsewhere(&mut self) -> bool {
        if !self.ended_elsewhere {
            return false;
        }
        // It would look as if somebody were at work.
        self.session = None;
        self.app.state().is_ok_and(|state| !self.app.left(&state).is_empty())
    }

    /// A rollback from a probation that came back has ended that probation.
    fn warn_of_undecided(&mut self, outcome: &Outcome) {
        let from = self.from.clone().filter(|_| matches!(outcome, Outcome::RolledBack { .. }));
        if let Some(release) = self.release(from.as_ref()).filter(ReleaseRecord::is_undecided) {
            self.ctx.warn(format!(
                "release {} serves again, but was never confirmed, and nothing watches it: \
                 `deploykit deploy` of its commit does",
                release.id
            ));
        }
    }

    fn prune(&mut self) {
        let app = self.app;
        if self.reconfigure {
            return;
        }
        // What cannot be removed now is removed the next time.
        let failure = self.failure.take();
        self.step(Step::Prune, "", |run| {
            let ctx = run.ctx.clone();
            let removed = prune::prune(app, &ctx, run.session()?)?.removed;
            Ok(match removed.len() {
                0 => "nothing to remove".to_owned(),
                1 => format!("removed {}", removed[0]),
                number => format!("removed {number} releases"),
            })
        });
        self.failure = failure;
    }

    fn report(self, outcome: Outcome, unsettled: bool, elapsed: u64) -> Report {
        // Without a session it is only looked at: when somebody else has ended the deployment they
        // may hold the lock.
        let read;
        let state = match &self.session {
            Some(session) => session.state(),
            None => {
                read = self.app.state().unwrap_or_default();
                &read
            }
        };
        let path = self.app.activator().active().ok().flatten();
        let found = path.and_then(|path| release_in(&self.app.layout, state, &path));
        let active = found.map(|release| release.id.clone());
        let source = self.to.as_ref().and_then(|to| Some(state.release(to)?.source.clone()));
        let source = source.or_else(|| Some(self.making.as_ref()?.resolved.id.clone()));
        let is_bad = |id: &ReleaseId| state.release(id).is_some_and(|r| r.state.verdict.is_bad());
        let rolled_back = outcome.is_success() && matches!(self.request, Request::Rollback { .. });
        let marked = self.from.clone().filter(|from| rolled_back && is_bad(from));
        Report {
            deployment: Some(self.deployment),
            request: self.request,
            failure: if outcome.is_success() { None } else { self.failure },
            outcome: Some(outcome),
            nothing: None,
            from: self.from,
            to: self.to,
            source,
            active,
            marked,
            millis: elapsed,
            unsettled,
            log: Some(self.app.layout.log(self.deployment)),
        }
    }
}

/// The context of one deployment: its number, and its events also into its log.
pub(super) fn context(app: &Application, ctx: &Context, deployment: DeploymentId) -> Context {
    let ctx = app.masked(ctx).with_deployment(deployment);
    match LogFile::open(&app.layout, deployment) {
        Ok(log) => {
            let sinks: Vec<Arc<dyn EventSink>> = vec![ctx.sink().clone(), Arc::new(log)];
            ctx.with_sink(Arc::new(Sinks(sinks)))
        }
        Err(error) => {
            ctx.warn(format!("the output is not kept: {}", crate::chain(&error)));
            ctx
        }
    }
}
