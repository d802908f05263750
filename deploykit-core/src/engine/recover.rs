//! Putting right what a kill or a loss of power left: it is finished or undone by the same phases
//! that would have done it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::application::{Application, Operation};
use super::error::Error;
use super::notice::{self, End};
use super::report::{Recovery, Report};
use super::run::{Run, context};
use super::session::Session;
use super::sweep;
use super::transition::{Course, Fault, Happened, Phase, next, unconfirmed};
use crate::cancel::{Cancelled, Cause};
use crate::chain;
use crate::context::Context;
use crate::id::{DeploymentId, ReleaseId};
use crate::state::lock::is_watching;
use crate::state::{DeploymentRecord, InProgress, Outcome, Record, Request, State};
use crate::step::Step;
use crate::traits::{Switching, Verdict};

/// What a killed deployment is called in its outcome.
pub(super) const KILLED: &str = "deploykit was killed before anything was activated";

impl Application {
    /// Puts right what a kill or a loss of power left. Does nothing where nothing is to be done,
    /// and can run at any time.
    ///
    /// A release on probation that nobody watches is watched to the end of its probation, or, when
    /// that is over, looked at once more; then it is confirmed or rolled back.
    ///
    /// # Errors
    /// [`Error::Lock`] when a deployment is going on; what keeps it from putting things right.
    pub fn recover(&self, ctx: &Context) -> Result<Recovery, Error> {
        let ctx = self.masked(ctx);
        let done = self.recover_now(&ctx);
        self.send_notices(&ctx);
        done
    }

    fn recover_now(&self, ctx: &Context) -> Result<Recovery, Error> {
        let session = Session::begin(self, ctx, "recover", Duration::ZERO)?;
        let watched = match &session.state().probation {
            Some(probation) => is_watching(&self.layout, probation.deployment)?,
            None => false,
        };
        let patience = if watched { Patience::WatchedElsewhere } else { Patience::Full };
        Ok(put_right(self, ctx, session, patience, &mut BTreeSet::new())?.recovery)
    }
}

/// A session of an application in which nothing is left to be put right.
pub(super) fn settled(
    app: &Application,
    ctx: &Context,
    doing: &str,
    wait: Duration,
) -> Result<Session, Error> {
    let mut tried = BTreeSet::new();
    loop {
        let session = Session::begin_undisturbed(app, ctx, doing, wait)?;
        let settled = put_right(app, ctx, session, Patience::Full, &mut tried)?;
        if settled.reports.is_empty() {
            for open in &settled.session.state().open {
                ctx.warn(format!(
                    "deployment {} is still not brought to an end: what it left may not serve",
                    open.deployment
                ));
            }
            return Ok(settled.session);
        }
        // The lock was free while something was watched: others may have begun since.
    }
}

/// The same for an operator who leaves a release: what waits for it to prove itself is passed over.
/// A rollback that was broken off is only finished when the same is wanted `again`.
pub(super) fn settled_for_rollback(
    app: &Application,
    ctx: &Context,
    session: Session,
    again: Option<DeploymentId>,
) -> Result<Settled, Error> {
    let patience = Patience::Leaving { finish: again };
    put_right(app, ctx, session, patience, &mut BTreeSet::new())
}

/// How much of what was broken off is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// All.
    Full,
    /// A probation is somebody else's.
    WatchedElsewhere,
    /// No release has to prove itself any more, but that of a rollback where that is wanted.
    Leaving { finish: Option<DeploymentId> },
}

/// An application in which all is put right that can be.
pub(super) struct Settled {
    pub(super) session: Session,
    pub(super) recovery: Recovery,
    /// Of the deployments that were gone on with.
    pub(super) reports: Vec<Report>,
}

fn put_right(
    app: &Application,
    ctx: &Context,
    mut session: Session,
    patience: Patience,
    tried: &mut BTreeSet<DeploymentId>,
) -> Result<Settled, Error> {
    sweep::refuse_if_all_are_gone(app, session.state())?;
    sweep::warn_of_another_owner(app, ctx);
    session.claim_return(ctx)?;
    session.notice_link(ctx)?;
    let mut actions = sweep::unfinished(app, ctx, &mut session)?;
    actions.extend(sweep::forget_gone(app, ctx, &mut session)?);
    let mut recovery = Recovery { actions, deployments: Vec::new() };
    let mut reports = Vec::new();
    let left: BTreeSet<_> = session.state().open.iter().map(|open| open.deployment).collect();
    while let Some(progress) = next_open(&session, patience, tried) {
        tried.insert(progress.deployment);
        let (outcome, report);
        (session, outcome, report) = finish(app, ctx, session, &progress)?;
        recovery.actions.push(format!("deployment {}: {outcome}", progress.deployment));
        recovery.deployments.push((progress.deployment, outcome));
        reports.extend(report);
        // While something was watched the lock was free. What others have begun since is theirs.
        if session.state().open.iter().any(|open| !left.contains(&open.deployment)) {
            return Ok(Settled { session, recovery, reports });
        }
    }
    if !recovery.deployments.is_empty() {
        session.notice_link(ctx)?;
        recovery.actions.extend(sweep::forget_gone(app, ctx, &mut session)?);
    }
    sweep::files(app);
    Ok(Settled { session, recovery, reports })
}

/// The deployment that is to be finished or undone next: the one begun last comes first, since it
/// has touched the link last.
fn next_open(
    session: &Session,
    patience: Patience,
    tried: &BTreeSet<DeploymentId>,
) -> Option<InProgress> {
    let state = session.state();
    let on_probation = state.probation.as_ref().map(|probation| probation.deployment);
    let passed_over = |progress: &InProgress| match patience {
        Patience::Full => false,
        // Its release is left: the activation that leaves it ends it, too, and nothing before that.
        Patience::Leaving { finish } => {
            finish != Some(progress.deployment) && is_unproved(progress)
        }
        Patience::WatchedElsewhere => on_probation == Some(progress.deployment),
    };
    let mut open = state.open.iter().rev().filter(|progress| !tried.contains(&progress.deployment));
    open.find(|progress| !passed_over(progress)).cloned()
}

/// Its release was activated, and neither found good nor left since.
fn is_unproved(progress: &InProgress) -> bool {
    progress.activated && !progress.confirmed && progress.revert.is_none()
}

/// Finishes or undoes a deployment that was broken off.
fn finish(
    app: &Application,
    ctx: &Context,
    session: Session,
    progress: &InProgress,
) -> Result<(Session, Outcome, Option<Report>), Error> {
    let deployment = progress.deployment;
    let Some(record) = session.state().deployment(deployment).cloned() else {
        let outcome = Outcome::Failed { reason: KILLED.into() };
        return close(app, ctx, session, deployment, outcome);
    };
    ctx.note(format!("deployment {} ({}) was broken off", record.id, record.request));
    let phase = match standing(&session, &record, progress) {
        Standing::Nothing => {
            abort_prepared(app, ctx, &session, &record, progress);
            let outcome = Outcome::Failed { reason: KILLED.into() };
            return close(app, ctx, session, deployment, outcome);
        }
        Standing::Confirmed { verified } => {
            return close(app, ctx, session, deployment, Outcome::Deployed { verified });
        }
        Standing::Activated => Phase::Activating,
        Standing::Reverting(fault) => Phase::RevertingLink(fault),
    };
    resume(app, ctx, session, &record, progress, phase)
}

/// Where a deployment stood when it was broken off.
enum Standing {
    /// Nothing was activated.
    Nothing,
    /// The link is switched; the rest is open.
    Activated,
    /// Only its end was not recorded.
    Confirmed { verified: bool },
    /// It was on its way back.
    Reverting(Fault),
}

fn standing(session: &Session, record: &DeploymentRecord, progress: &InProgress) -> Standing {
    if let Some(revert) = &progress.revert {
        let (reason, bad) = (revert.reason.clone(), revert.bad);
        return Standing::Reverting(Fault { reason, bad });
    }
    let state = session.state();
    let release = record.to.as_ref().and_then(|to| state.release(to));
    match release.map(|release| &release.state.verdict) {
        _ if !progress.activated => Standing::Nothing,
        Some(Verdict::Confirmed { verified }) if progress.confirmed => {
            Standing::Confirmed { verified: *verified }
        }
        _ => Standing::Activated,
    }
}

fn close(
    app: &Application,
    ctx: &Context,
    mut session: Session,
    deployment: DeploymentId,
    outcome: Outcome,
) -> Result<(Session, Outcome, Option<Report>), Error> {
    let request = session.state().deployment(deployment).map(|record| record.request.clone());
    let request = request.unwrap_or(Request::Unknown);
    let end = End::of(deployment, &request, outcome.clone());
    let notice = notice::owed(app, ctx, session.state(), &end);
    let finished = Record::DeploymentFinished { deployment, outcome: outcome.clone() };
    session.record(ctx, [finished].into_iter().chain(notice))?;
    Ok((session, outcome, None))
}

fn abort_prepared(
    app: &Application,
    ctx: &Context,
    session: &Session,
    record: &DeploymentRecord,
    progress: &InProgress,
) {
    let Some(prepared) = &progress.prepared else { return };
    let aborted = operation_of(app, session, record.to.as_ref(), progress)
        .and_then(|operation| Ok(operation.supervisor.abort(ctx, prepared)?));
    if let Err(error) = aborted {
        ctx.warn(format!("new instances may be left: {}", chain(&error)));
    }
}

/// How the release of a deployment is run: as the deployment says, or else as is recorded with it.
fn operation_of(
    app: &Application,
    session: &Session,
    id: Option<&ReleaseId>,
    progress: &InProgress,
) -> Result<Operation, Error> {
    match &progress.runtime {
        Some(tried) => app.operation(tried),
        None => recorded_operation(app, session, id),
    }
}

fn recorded_operation(
    app: &Application,
    session: &Session,
    id: Option<&ReleaseId>,
) -> Result<Operation, Error> {
    let release = id.and_then(|id| session.state().release(id));
    app.operation(&release.map_or_else(|| app.config.runtime(), |release| app.recorded(release)))
}

/// Goes on with a deployment from where it stood.
fn resume(
    app: &Application,
    ctx: &Context,
    session: Session,
    record: &DeploymentRecord,
    progress: &InProgress,
    phase: Phase,
) -> Result<(Session, Outcome, Option<Report>), Error> {
    let there = operation_of(app, &session, record.to.as_ref(), progress)?;
    let from = way_back(session.state(), record);
    let back = match &from {
        Some(from) => Some(recorded_operation(app, &session, Some(from))?),
        None => None,
    };
    let reconfigure = record.to.is_some() && record.to == from;
    let course = Course {
        preparation: Vec::new(),
        there: there.way(),
        back: back.as_ref().map(Operation::way),
        stays: true,
        again: reconfigure && progress.runtime.is_none(),
        unconfirmed: progress.demand.as_ref().map(|_| unconfirmed(&record.request)),
    };
    let phase = first_phase(&course, ctx, &session, record.id, reconfigure, phase)?;
    let from_path = from.as_ref().and_then(|from| session.state().release(from));
    let from_path = from_path.map(|release| release.path.clone());
    let run = Run {
        app,
        ctx: context(app, ctx, record.id),
        session: Some(session),
        deployment: record.id,
        request: record.request.clone(),
        steps: vec![Step::Service, Step::Verify, Step::Confirm],
        course,
        making: None,
        reconfigure,
        to: record.to.clone(),
        from,
        link_before: from_path.clone(),
        from_path,
        there,
        back,
        reverting: progress.revert.is_some(),
        owed: Vec::new(),
        switched: None,
        watched: None,
        prepared: progress.prepared.clone(),
        failure: None,
        decided_elsewhere: None,
        ended_elsewhere: false,
        resumed: true,
        unattended: false,
        confirm_within: progress.demand.as_ref().map(|demand| demand.within),
        ignoring: Vec::new(),
        passed_over: None,
        begun: ctx.clock().monotonic(),
    };
    let report = run.execute_from(phase);
    if let Some(cause) = ctx.cancellation().cause() {
        return Err(Cancelled(cause).into());
    }
    let session = Session::begin(app, ctx, "recover", super::run::LOCK_AGAIN)?;
    let interrupted = Outcome::Interrupted { signal: Cause::Requested.signal() };
    let outcome = report.outcome.clone().unwrap_or(interrupted);
    Ok((session, outcome, Some(report)))
}

/// The release that a deployment goes back to. The one that it was to be may be gone: another good one is
/// better than none.
fn way_back(state: &State, record: &DeploymentRecord) -> Option<ReleaseId> {
    let from = record.from.as_ref()?;
    if state.releases.contains_key(from) {
        return Some(from.clone());
    }
    state.rollback_target(record.to.as_ref()).map(|release| release.id.clone())
}

/// The phase to go on with. Only what may not have been done is done again.
fn first_phase(
    course: &Course,
    ctx: &Context,
    session: &Session,
    deployment: DeploymentId,
    reconfigure: bool,
    phase: Phase,
) -> Result<Phase, Error> {
    let probation = session.state().probation.as_ref().filter(|p| p.deployment == deployment);
    let on_probation = probation.is_some();
    let is_too_late = probation.is_some_and(|p| p.confirmation && p.deadline <= ctx.now());
    // The link goes last, so the service has been stopped when it is gone.
    let stopped =
        course.there.switching == Switching::Nothing || session.activator.active()?.is_none();
    Ok(match phase {
        // However well it may be: nobody has shown that the host can still be reached.
        Phase::Activating if is_too_late => next(course, Phase::Watching, Happened::Done),
        // Of two configurations of one release nothing tells which one the service runs with.
        Phase::Activating if on_probation && (!reconfigure || course.again) => Phase::Watching,
        Phase::Activating => next(course, phase, Happened::Done),
        Phase::RevertingLink(fault) if course.back.is_some() => Phase::RevertingLink(fault),
        Phase::RevertingLink(fault) if stopped => Phase::WithdrawingLink(fault, None),
        Phase::RevertingLink(fault) => Phase::WithdrawingService(fault),
        other => other,
    })
}
