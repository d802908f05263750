//! Beginning a rollback: finish one that was broken off, refuse, plan, then run the plan.

use super::application::Application;
use super::error::Error;
use super::recover::{self, Settled};
use super::report::Report;
use super::request::RollbackRequest;
use super::run::Run;
use super::session::Session;
use super::start::Start;
use super::{plan, target};
use crate::context::Context;
use crate::id::{DeploymentId, ReleaseId};
use crate::state::lock::is_watching;
use crate::state::{DeploymentRecord, InProgress, Outcome, ReleaseRecord, Request, State};

impl Application {
    /// Goes back to an earlier release: activates it, restarts its service, verifies it.
    ///
    /// A rollback that was broken off is finished when the same is asked for again.
    ///
    /// # Errors
    /// What kept the rollback from beginning: nothing has changed then.
    pub fn rollback(&self, ctx: &Context, request: &RollbackRequest) -> Result<Report, Error> {
        let ctx = self.masked(ctx);
        let done = self.rollback_now(&ctx, request);
        self.send_notices(&ctx);
        done
    }

    fn rollback_now(&self, ctx: &Context, request: &RollbackRequest) -> Result<Report, Error> {
        let ctx = ctx.clone();
        let begun = ctx.clock().monotonic();
        let asked = Request::Rollback { to: request.to.clone() };
        let session = Session::begin(self, &ctx, &asked.to_string(), request.wait)?;
        let seen = session.active()?.map(|release| release.id.clone());
        let again = match broken_off(session.state(), seen.as_ref(), request) {
            Some(id) if is_watching(&self.layout, id)? => None,
            found => found,
        };
        // What cannot be done is refused before anything is put right.
        let leaving = match left_already(session.state()) {
            None => session.active()?,
            found => found,
        };
        let wanted = match target::of_rollback(session.state(), leaving, request) {
            Err(_) if again.is_some() => None,
            found => Some(found?.id.clone()),
        };
        let settled = recover::settled_for_rollback(self, &ctx, session, again)?;
        let mut session = match self.done_already(settled, again, wanted.as_ref(), &asked)? {
            Ok(report) => return Ok(*report),
            Err(session) => session,
        };
        let active = session.active()?.cloned();
        let target = target::of_rollback(session.state(), active.as_ref(), request)?.clone();
        let mut known = self.known(session.state(), active.as_ref(), &self.recorded(&target))?;
        known.confirm_within = request.confirm_within;
        let plan = plan::rollback(&known, asked, &target);
        // Who goes to what is not trusted takes that back, and says nothing of what they leave.
        let spares = active.as_ref().map(|release| &release.id) != seen.as_ref()
            || !target.state.is_trusted();
        let unattended = false;
        let start =
            Start { app: self, ctx, plan, active, resolved: None, spares, unattended, begun };
        let run = start.begin(&mut session)?;
        Ok(Run { session: Some(session), ..run }.execute())
    }

    /// The report, when putting things right has done what was asked for; the session otherwise.
    fn done_already(
        &self,
        settled: Settled,
        again: Option<DeploymentId>,
        wanted: Option<&ReleaseId>,
        asked: &Request,
    ) -> Result<Result<Box<Report>, Session>, Error> {
        let Settled { session, recovery, mut reports } = settled;
        let is_again = |report: &Report| again.is_some() && report.deployment == again;
        if let Some(index) = reports.iter().position(is_again) {
            return Ok(Ok(Box::new(reports.swap_remove(index))));
        }
        let mut finished = recovery.deployments.iter();
        if finished.any(|(id, outcome)| Some(*id) == again && outcome.is_success()) {
            // Only its end was not recorded.
            let why = "the rollback that was broken off had done its work".to_owned();
            return Ok(Ok(Box::new(self.nothing(&session, asked.clone(), None, why))));
        }
        let active = session.active()?.map(|release| release.id.clone());
        if active.is_none() || active.as_ref() != wanted {
            return Ok(Err(session));
        }
        // That it is active is not enough: it must serve.
        let back = |report: &Report| matches!(report.outcome, Some(Outcome::RolledBack { .. }));
        Ok(Ok(Box::new(match reports.into_iter().next_back() {
            Some(report) if !back(&report) => report,
            _ => {
                let why = "putting things right has gone back to it already".to_owned();
                self.nothing(&session, asked.clone(), None, why)
            }
        })))
    }
}

/// The release that a deployment was on its way back from when it was broken off. That way is what
/// the operator wants, however far it has come.
fn left_already(state: &State) -> Option<&ReleaseRecord> {
    let mut open = state.open.iter().rev().filter(|open| open.revert.is_some());
    state.release(state.deployment(open.next()?.deployment)?.to.as_ref()?)
}

/// The rollback that was broken off, after it had switched the link, and is asked for again.
pub(super) fn broken_off(
    state: &State,
    active: Option<&ReleaseId>,
    request: &RollbackRequest,
) -> Option<DeploymentId> {
    let named = request.to.as_ref().and_then(|name| target::named(state, name).ok());
    let same = |record: &&DeploymentRecord| match &request.to {
        None => true,
        Some(_) => record.to.as_ref() == named.map(|release| &release.id),
    };
    let switched = |open: &&InProgress| open.activated || open.intends(active);
    let open = state.open.iter().rev().filter(switched);
    let open = open.filter_map(|open| state.deployment(open.deployment));
    open.filter(|record| record.is_rollback()).find(same).map(|record| record.id)
}
