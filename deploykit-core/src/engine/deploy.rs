//! A deployment: refuse, plan, then run the plan.

use super::application::Application;
use super::error::Error;
use super::notice::{self, End};
use super::place::release_in;
use super::plan::{self, Known};
use super::recover;
use super::report::{Action, Plan, Report};
use super::request::DeployRequest;
use super::run::Run;
use super::session::Session;
use super::start::Start;
use super::sweep;
use crate::config::{Confirmation, Period, RuntimeConfig};
use crate::context::Context;
use crate::state::{Outcome, Record, ReleaseRecord, Request, State};
use crate::step::Step;
use crate::traits::{Resolved, ServiceState, Switching};

impl Application {
    /// What [`deploy`](Self::deploy) would do now. Changes nothing, takes no lock.
    ///
    /// # Errors
    /// What would keep the deployment from beginning.
    pub fn plan(&self, ctx: &Context, request: &DeployRequest) -> Result<Plan, Error> {
        let ctx = self.masked(ctx);
        let state = self.state()?;
        let state = sweep::without_gone(self, state)?;
        self.refuse_beside_probation(&state)?;
        let path = self.activator().active()?;
        let active = path.and_then(|path| release_in(&self.layout, &state, &path)).cloned();
        let resolved = self.resolve(&ctx, &request.revision)?;
        match refusal(&state, request, &resolved) {
            Some(error) if request.if_changed => {
                self.idle_plan(&ctx, &state, active.as_ref(), request, &resolved, &error)
            }
            Some(error) => Err(error),
            None => {
                let active = proved_or_before(&state, active.as_ref(), &resolved);
                let mut plan = self.plan_deployment(&ctx, &state, active, request, &resolved)?;
                self.preflight(&ctx, &state, &mut plan)?;
                self.refuse_unmakeable(&ctx, &state, &plan, &resolved)?;
                Ok(plan)
            }
        }
    }

    /// Deploys a revision: resolve, fetch, check out, build, seal, activate, verify, confirm.
    ///
    /// It returns when the release is confirmed, or when all is as it was before. How it went is in
    /// the report.
    ///
    /// # Errors
    /// What kept the deployment from beginning: nothing has changed then.
    pub fn deploy(&self, ctx: &Context, request: &DeployRequest) -> Result<Report, Error> {
        let ctx = self.masked(ctx);
        let done = self.deploy_now(&ctx, request);
        if request.if_changed {
            self.note_unattended(&ctx, request, &done);
        }
        self.send_notices(&ctx);
        done
    }

    /// What a timer found: a failure that is no deployment is told of all the same.
    fn note_unattended(
        &self,
        ctx: &Context,
        request: &DeployRequest,
        done: &Result<Report, Error>,
    ) {
        let asked = words(request);
        match done {
            Err(error) if error.is_to_be_told() => self.note_look(ctx, &asked, Some(error)),
            // Nobody has looked then.
            Ok(_) if self.looks_less_often() => {}
            Ok(report) if report.nothing.is_some() => self.note_look(ctx, &asked, None),
            _ => {}
        }
    }

    fn deploy_now(&self, ctx: &Context, request: &DeployRequest) -> Result<Report, Error> {
        let ctx = ctx.clone();
        let begun = ctx.clock().monotonic();
        let asked = words(request);
        let mut session = recover::settled(self, &ctx, &asked.to_string(), request.wait)?;
        if let Some(why) = self.holds_back(&ctx).filter(|_| request.if_changed) {
            return Ok(self.nothing(&session, asked, None, why));
        }
        let resolved = match self.resolve(&ctx, &request.revision) {
            Ok(resolved) => resolved,
            Err(error) => return Err(self.unresolved(&ctx, session, request, error)),
        };
        self.hold_back_no_more(&ctx);
        let (revision, source) = (self.effective(&request.revision)?, resolved.id.clone());
        ctx.emit(crate::EventKind::Resolved { revision, source });
        let stuck = session.state().open.last().map(|open| open.deployment);
        let stuck = stuck.map_or(Ok(()), |deployment| Err(Error::Stuck { deployment }));
        if let Some(error) = refusal(session.state(), request, &resolved) {
            if !request.if_changed {
                return Err(error);
            }
            stuck?;
            let why = crate::chain(&error);
            return Ok(self.nothing(&session, asked, Some(&resolved), why));
        }
        let active = proved_or_before(session.state(), session.active()?, &resolved).cloned();
        let plan =
            self.plan_deployment(&ctx, session.state(), active.as_ref(), request, &resolved)?;
        if let Action::Nothing { why } = &plan.action {
            stuck?;
            return Ok(self.nothing(&session, asked, Some(&resolved), why.clone()));
        }
        self.refuse_unmakeable(&ctx, session.state(), &plan, &resolved)?;
        let resolved = Some(resolved);
        let (spares, unattended) = (false, request.if_changed);
        let start = Start { app: self, ctx, plan, active, resolved, spares, unattended, begun };
        let run = start.begin(&mut session)?;
        Ok(Run { session: Some(session), ..run }.execute())
    }

    fn plan_deployment(
        &self,
        ctx: &Context,
        state: &State,
        active: Option<&ReleaseRecord>,
        request: &DeployRequest,
        resolved: &Resolved,
    ) -> Result<Plan, Error> {
        let mut known = self.known(state, active, &self.config.runtime())?;
        known.confirm_within = request.confirm_within.or(self.demanded_confirmation());
        let revision = self.effective(&request.revision)?;
        let mut plan = plan::deploy(&known, words(request), revision.clone(), resolved);
        // Whether it runs is only looked at where something follows from it.
        let asks = match plan.action {
            Action::Nothing { .. } => !request.if_changed,
            Action::Reconfigure => plan.switching == Switching::Nothing,
            _ => false,
        };
        if let Some(active) = active.filter(|_| asks) {
            known.down = self.is_down(ctx, state, active)?;
            plan = plan::deploy(&known, words(request), revision, resolved);
        }
        if request.if_changed {
            self.pass_over_what_was_tried(state, &mut plan);
        }
        Ok(plan)
    }

    /// How long somebody has time to confirm what is new, where the configuration demands that.
    pub(super) fn demanded_confirmation(&self) -> Option<Period> {
        let probation = &self.config.probation;
        let is_demanded = probation.confirmation == Confirmation::Required;
        is_demanded.then(|| probation.confirmation_window())
    }

    /// A timer does not bring a service over again and again that has failed.
    fn pass_over_what_was_tried(&self, state: &State, plan: &mut Plan) {
        let Some((release, runtime)) = &state.refused else { return };
        let same = plan.to.as_ref() == Some(release) && **runtime == self.config.runtime();
        match plan.action {
            Action::Reconfigure if same => plan
                .idle("the changed configuration of its service was tried, and failed".to_owned()),
            Action::Restart if same => {
                plan.idle("its service was started again, and was not well".to_owned());
            }
            _ => {}
        }
    }

    /// What there is to say of the service of the active release, when it does not run.
    pub(super) fn is_down(
        &self,
        ctx: &Context,
        state: &State,
        active: &ReleaseRecord,
    ) -> Result<Option<String>, Error> {
        let supervisor = self.operation(&self.present(state, active))?.supervisor;
        if !supervisor.observes() {
            return Ok(None);
        }
        Ok(match supervisor.status(ctx) {
            Ok(status) => matches!(status.state, ServiceState::Stopped | ServiceState::Failed)
                .then_some(status.detail),
            Err(error) => {
                let why = crate::chain(&error);
                ctx.warn(format!("whether the service runs cannot be seen: {why}"));
                None
            }
        })
    }

    fn idle_plan(
        &self,
        ctx: &Context,
        state: &State,
        active: Option<&ReleaseRecord>,
        request: &DeployRequest,
        resolved: &Resolved,
        error: &Error,
    ) -> Result<Plan, Error> {
        let mut plan = self.plan_deployment(ctx, state, active, request, resolved)?;
        plan.idle(crate::chain(error));
        Ok(plan)
    }

    pub(super) fn known<'a>(
        &'a self,
        state: &'a State,
        active: Option<&'a ReleaseRecord>,
        runtime: &RuntimeConfig,
    ) -> Result<Known<'a>, Error> {
        let operation = self.operation(runtime)?;
        let way = operation.way();
        Ok(Known {
            config: &self.config,
            state,
            active,
            build: self.builder()?.steps(),
            service: operation.supervisor.name().to_owned(),
            switching: way.switching,
            watched: way.watched,
            confirm_within: None,
            down: None,
        })
    }

    /// The configuration of the service that is recorded with a release.
    pub(super) fn recorded(&self, release: &ReleaseRecord) -> RuntimeConfig {
        release.runtime.as_deref().cloned().unwrap_or_else(|| self.config.runtime())
    }

    /// How the service of a release is run now: an activation that is not decided yet may have
    /// brought it over to another configuration than what is recorded.
    pub(super) fn present(&self, state: &State, release: &ReleaseRecord) -> RuntimeConfig {
        state.runtime(release).cloned().unwrap_or_else(|| self.config.runtime())
    }

    /// An attempt that did not even find its revision is remembered, unless a timer made it: the
    /// next one will tell the same.
    fn unresolved(
        &self,
        ctx: &Context,
        mut session: Session,
        request: &DeployRequest,
        error: Error,
    ) -> Error {
        if request.if_changed {
            self.hold_back(ctx, &error);
        } else {
            let deployment = session.next_deployment();
            let from = session.active().ok().flatten().map(|release| release.id.clone());
            let by = self.actor.clone();
            let reason = ctx.masker().mask(&crate::chain(&error)).into_owned();
            let outcome = Outcome::Failed { reason };
            let started =
                Record::DeploymentStarted { deployment, request: words(request), by, from };
            let request = words(request);
            let end = End {
                failure: Some(notice::refused(&error, Some(Step::Resolve))),
                wished: !error.is_to_be_told(),
                ..End::of(deployment, &request, outcome.clone())
            };
            let notice = notice::owed(self, ctx, session.state(), &end);
            let ended = Record::DeploymentFinished { deployment, outcome };
            let records = [started, ended].into_iter().chain(notice);
            if let Err(error) = session.record(ctx, records) {
                ctx.warn(format!("the attempt cannot be recorded: {}", crate::chain(&error)));
            }
        }
        error
    }

    pub(super) fn nothing(
        &self,
        session: &Session,
        request: Request,
        resolved: Option<&Resolved>,
        why: String,
    ) -> Report {
        let active = session.active().ok().flatten().map(|release| release.id.clone());
        Report {
            deployment: None,
            request,
            outcome: None,
            nothing: Some(why),
            from: active.clone(),
            to: active.clone(),
            source: resolved.map(|resolved| resolved.id.clone()),
            active,
            marked: None,
            millis: 0,
            failure: None,
            unsettled: false,
            log: None,
        }
    }
}

/// What a deployment of `resolved` comes from: what is active; or, when that is of the same source and
/// was never decided about, the good release before it, if there is one, so that there is something to
/// go back to.
fn proved_or_before<'a>(
    state: &'a State,
    active: Option<&'a ReleaseRecord>,
    resolved: &Resolved,
) -> Option<&'a ReleaseRecord> {
    let active = active?;
    if active.source == resolved.id && active.is_undecided() && state.probation.is_none() {
        return state.rollback_target(Some(&active.id)).or(Some(active));
    }
    Some(active)
}

fn words(request: &DeployRequest) -> Request {
    Request::Deploy {
        revision: request.revision.clone(),
        rebuild: request.rebuild,
        retry: request.retry,
    }
}

/// Why a deployment is refused: a hold, or a bad source.
fn refusal(state: &State, request: &DeployRequest, resolved: &Resolved) -> Option<Error> {
    let named = request.revision.is_named() && !request.if_changed;
    if let (Some(hold), false) = (&state.hold, named) {
        return Some(Error::Held { hold: Box::new(hold.clone()) });
    }
    let bad = state.bad.get(&resolved.id).filter(|_| !request.retry)?;
    Some(Error::Bad { source_id: resolved.id.clone(), reason: bad.reason.clone() })
}
