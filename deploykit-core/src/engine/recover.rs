//! Putting right what a kill or a loss of power left: it is finished or undone by the same phases
//! that would have done it.

use std::time::Duration;

use super::application::{Application, Operation};
use super::error::{Error, chain};
use super::prepare::end_build;
use super::prune;
use super::report::Recovery;
use super::run::{Run, context};
use super::session::Session;
use super::transition::{Course, Fault, Happened, Phase, next};
use crate::cancel::{Cancelled, Cause};
use crate::context::Context;
use crate::id::{DeploymentId, ReleaseId};
use crate::state::files::remove_tree;
use crate::state::lock::is_watched;
use crate::state::{DeploymentRecord, InProgress, Outcome, Record, ReleaseRecord};
use crate::step::Step;
use crate::traits::{BuildState, Switching, Verdict};

/// What a killed deployment is called in its outcome.
const KILLED: &str = "deploykit was killed before anything was activated";

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
        let session = Session::begin(self, &ctx, "recover", Duration::ZERO)?;
        let watched = is_watched(&self.layout)?;
        let patience = if watched { Patience::WatchedElsewhere } else { Patience::Full };
        let (_session, recovery) = put_right(self, &ctx, session, patience)?;
        Ok(recovery)
    }
}

/// A session of an application in which nothing is left to be put right.
pub(super) fn settled(
    app: &Application,
    ctx: &Context,
    doing: &str,
    wait: Duration,
) -> Result<Session, Error> {
    let session = Session::begin_undisturbed(app, ctx, doing, wait)?;
    Ok(put_right(app, ctx, session, Patience::Full)?.0)
}

/// The same, but what waits for a release to prove itself is passed over: for an operator who leaves
/// it.
pub(super) fn settled_for_rollback(
    app: &Application,
    ctx: &Context,
    session: Session,
) -> Result<Session, Error> {
    Ok(put_right(app, ctx, session, Patience::None)?.0)
}

/// How much of what was broken off is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// All.
    Full,
    /// A probation is somebody else's.
    WatchedElsewhere,
    /// No release has to prove itself any more.
    None,
}

fn put_right(
    app: &Application,
    ctx: &Context,
    mut session: Session,
    patience: Patience,
) -> Result<(Session, Recovery), Error> {
    let mut recovery = Recovery { actions: Vec::new(), deployment: None };
    sweep_releases(app, ctx, &mut session, &mut recovery)?;
    if let Some(unfinished) = unfinished(&session, patience == Patience::Full) {
        let outcome;
        (session, outcome) = finish(app, ctx, session, &unfinished, patience)?;
        recovery.actions.push(format!("deployment {}: {outcome}", unfinished.deployment));
        recovery.deployment = Some((unfinished.deployment, outcome));
    }
    close_lost(ctx, &mut session)?;
    session.notice_link(ctx)?;
    sweep_files(app);
    Ok((session, recovery))
}

/// The deployment that has to be finished or undone.
fn unfinished(session: &Session, probation_too: bool) -> Option<InProgress> {
    let state = session.state();
    let on_probation = state.probation.as_ref().map(|probation| probation.deployment);
    match &state.in_progress {
        Some(progress) if on_probation != Some(progress.deployment) => Some(progress.clone()),
        _ if !probation_too => None,
        _ => on_probation.map(|deployment| InProgress {
            deployment,
            intended: None,
            activated: true,
            confirmed: false,
            revert: None,
            prepared: None,
        }),
    }
}

/// Whether a release is none: half made, half removed, or its directory was taken away.
fn is_wreck(app: &Application, release: &ReleaseRecord) -> bool {
    !release.is_usable() || !app.layout.root().join(&release.path).is_dir()
}

/// Ends the processes of killed builds, and removes releases that are no releases.
fn sweep_releases(
    app: &Application,
    ctx: &Context,
    session: &mut Session,
    recovery: &mut Recovery,
) -> Result<(), Error> {
    let left: Vec<_> = session
        .state()
        .releases
        .values()
        .filter(|release| is_wreck(app, release))
        .cloned()
        .collect();
    for release in left {
        let ended = end_build(ctx, &release.marker);
        if ended > 0 {
            recovery
                .actions
                .push(format!("ended {ended} processes of the build of {}", release.id));
        }
        if release.is_usable() {
            ctx.warn(format!(
                "release {} is gone: there is no directory {}",
                release.id, release.path
            ));
        }
        if release.state.build == BuildState::Building {
            let (release, reason) = (release.id.clone(), KILLED.to_owned());
            session.record(ctx, [Record::ReleaseFailed { release, reason }])?;
        }
        prune::remove(app, ctx, session, &release.id)?;
        recovery.actions.push(match release.is_usable() {
            true => format!("forgot the release {}, whose directory is gone", release.id),
            false => format!("removed the unfinished release {}", release.id),
        });
    }
    Ok(())
}

/// Deployments of which nothing is known any more but that they began.
fn close_lost(ctx: &Context, session: &mut Session) -> Result<(), Error> {
    let state = session.state();
    let going_on = [
        state.in_progress.as_ref().map(|progress| progress.deployment),
        state.probation.as_ref().map(|probation| probation.deployment),
    ];
    let open = state.deployments.iter().filter(|record| record.outcome.is_none());
    let open = open.map(|record| record.id).filter(|id| !going_on.contains(&Some(*id)));
    let lost = |deployment| Record::DeploymentFinished {
        deployment,
        outcome: Outcome::Failed { reason: "another deployment has taken its place".into() },
    };
    let records: Vec<_> = open.map(lost).collect();
    session.record(ctx, records)
}

/// What only this process could have used. That it cannot be removed stops nothing.
fn sweep_files(app: &Application) {
    for path in [app.layout.trash(), app.layout.private().join("active.new")] {
        let _ = remove_tree(&path);
    }
}

/// Finishes or undoes a deployment that was broken off.
fn finish(
    app: &Application,
    ctx: &Context,
    mut session: Session,
    progress: &InProgress,
    patience: Patience,
) -> Result<(Session, Outcome), Error> {
    let Some(record) = session.state().deployment(progress.deployment).cloned() else {
        return Ok((session, Outcome::Failed { reason: KILLED.into() }));
    };
    ctx.note(format!("deployment {} ({}) was broken off", record.id, record.request));
    let phase = match standing(&session, &record, progress)? {
        Standing::Nothing(reason) => {
            abort_prepared(app, ctx, &session, &record, progress);
            return close(ctx, session, record.id, Outcome::Failed { reason });
        }
        Standing::Confirmed { verified } => {
            return close(ctx, session, record.id, Outcome::Deployed { verified });
        }
        Standing::Activated => Phase::Activating,
        Standing::Reverting(fault) => Phase::RevertingLink(fault),
    };
    if matches!(phase, Phase::Activating) && !progress.activated {
        let (deployment, to) = (record.id, record.to.clone());
        session.record(ctx, [Record::Activated { deployment, to }])?;
    }
    if patience == Patience::None && matches!(phase, Phase::Activating) {
        let reason = "deploykit was killed after the activation".into();
        return close(ctx, session, record.id, Outcome::Broken { reason });
    }
    resume(app, ctx, session, &record, progress, phase)
}

/// Where a deployment stood when it was broken off.
enum Standing {
    /// Nothing was activated; why.
    Nothing(String),
    /// The link is switched; the rest is open.
    Activated,
    /// Only its end was not recorded.
    Confirmed { verified: bool },
    /// It was on its way back.
    Reverting(Fault),
}

fn standing(
    session: &Session,
    record: &DeploymentRecord,
    progress: &InProgress,
) -> Result<Standing, Error> {
    if let Some(revert) = &progress.revert {
        let (reason, bad) = (revert.reason.clone(), revert.bad);
        return Ok(Standing::Reverting(Fault { reason, bad }));
    }
    let state = session.state();
    let release = record.to.as_ref().and_then(|to| state.release(to));
    if let (Some((_, to)), false) = (&progress.intended, progress.activated) {
        let path = session.activator.active()?;
        let target = to.as_ref().and_then(|to| state.release(to)).map(|release| &release.path);
        return Ok(match target == path.as_ref() {
            true => Standing::Activated,
            false => Standing::Nothing(KILLED.into()),
        });
    }
    Ok(match release.map(|release| &release.state.verdict) {
        _ if !progress.activated => Standing::Nothing(KILLED.into()),
        Some(Verdict::Confirmed { verified }) if progress.confirmed => {
            Standing::Confirmed { verified: *verified }
        }
        _ => Standing::Activated,
    })
}

fn close(
    ctx: &Context,
    mut session: Session,
    deployment: DeploymentId,
    outcome: Outcome,
) -> Result<(Session, Outcome), Error> {
    session.record(ctx, [Record::DeploymentFinished { deployment, outcome: outcome.clone() }])?;
    Ok((session, outcome))
}

fn abort_prepared(
    app: &Application,
    ctx: &Context,
    session: &Session,
    record: &DeploymentRecord,
    progress: &InProgress,
) {
    let Some(prepared) = &progress.prepared else { return };
    let aborted = operation_of(app, session, record.to.as_ref())
        .and_then(|operation| Ok(operation.supervisor.abort(ctx, prepared)?));
    if let Err(error) = aborted {
        ctx.warn(format!("new instances may be left: {}", chain(&error)));
    }
}

fn operation_of(
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
) -> Result<(Session, Outcome), Error> {
    let there = operation_of(app, &session, record.to.as_ref())?;
    let from = record.from.clone().filter(|from| session.state().releases.contains_key(from));
    let back = match &from {
        Some(from) => Some(operation_of(app, &session, Some(from))?),
        None => None,
    };
    let course = Course {
        preparation: Vec::new(),
        there: there.way(),
        back: back.as_ref().map(Operation::way),
    };
    let phase = first_phase(&course, &session, record.id, phase);
    let from_path = from.as_ref().and_then(|from| session.state().release(from));
    let from_path = from_path.map(|release| release.path.clone());
    let same = record.to.is_some() && record.to == from;
    let run = Run {
        app,
        ctx: context(app, ctx, record.id),
        session: Some(session),
        deployment: record.id,
        request: record.request.clone(),
        steps: vec![Step::Service, Step::Verify, Step::Confirm],
        course,
        making: None,
        to: record.to.clone(),
        from,
        from_path,
        reconfigure: same.then(|| there.runtime.clone()),
        there,
        back,
        condemn: matches!(record.request, crate::state::Request::Rollback { .. })
            .then(|| format!("rolled back by {}", record.by.user)),
        prepared: progress.prepared.clone(),
        failure: None,
        decided_elsewhere: None,
        ended_elsewhere: false,
        resumed: true,
        ignoring: Vec::new(),
        begun: ctx.clock().monotonic(),
    };
    let outcome = run.execute_from(phase).outcome;
    if let Some(cause) = ctx.cancellation().cause() {
        return Err(Cancelled(cause).into());
    }
    let session = Session::begin(app, ctx, "recover", super::run::LOCK_AGAIN)?;
    Ok((session, outcome.unwrap_or(Outcome::Interrupted { signal: Cause::Requested.signal() })))
}

/// The phase to go on with. Only what may not have been done is done again.
fn first_phase(
    course: &Course,
    session: &Session,
    deployment: DeploymentId,
    phase: Phase,
) -> Phase {
    let on_probation =
        session.state().probation.as_ref().is_some_and(|p| p.deployment == deployment);
    match phase {
        Phase::Activating if on_probation => Phase::Watching,
        Phase::Activating => next(course, phase, Happened::Done),
        Phase::RevertingLink(fault) if course.back.is_none() => match course.there.switching {
            Switching::Nothing => Phase::WithdrawingLink(fault, None),
            _ => Phase::WithdrawingService(fault),
        },
        other => other,
    }
}
