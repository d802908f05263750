//! Beginning what is planned, be it a deployment, a rollback or a restart.

use super::application::{Application, Operation};
use super::error::Error;
use super::report::{Action, Plan};
use super::run::{Making, Run, context};
use super::session::Session;
use super::stored::StoredRelease;
use super::transition::{Course, unconfirmed};
use crate::chain;
use crate::config::RuntimeConfig;
use crate::context::Context;
use crate::state::{Demand, Record, ReleaseRecord, Request, State};
use crate::step::Step;
use crate::traits::{Resolved, Switching};

impl Application {
    /// Whether the service of what is planned could be brought over at all: what cannot is refused
    /// before anything changes. What is still to be built may bring what is missing: then it is only
    /// warned of.
    pub(super) fn preflight(
        &self,
        ctx: &Context,
        state: &State,
        plan: &mut Plan,
    ) -> Result<(), Error> {
        if !plan.has_work() {
            return Ok(());
        }
        let (target, runtime) = self.aim(state, plan);
        let operation = self.operation(&runtime)?;
        let Some(target) = target else {
            return match operation.preflight(ctx, None) {
                // No build mends the host.
                Err(Error::Supervisor(error)) if error.is_of_the_host() => Err(error.into()),
                missing => {
                    plan.warnings.extend(missing.err().map(|error| chain(&error)));
                    Ok(())
                }
            };
        };
        operation.preflight(ctx, Some(&StoredRelease::new(&self.layout, target)))
    }

    /// The release that a plan leads to, if it exists, and how its service is to be run: as it was,
    /// when the plan goes back to it.
    fn aim(&self, state: &State, plan: &Plan) -> (Option<ReleaseRecord>, RuntimeConfig) {
        let target = plan.to.as_ref().and_then(|to| state.release(to)).cloned();
        let as_it_was = matches!(plan.request, Request::Rollback { .. } | Request::Restart);
        let runtime = match &target {
            Some(target) if as_it_was => self.recorded(target),
            _ => self.config.runtime(),
        };
        (target, runtime)
    }
}

/// What a run is begun with.
pub(super) struct Start<'a> {
    pub(super) app: &'a Application,
    pub(super) ctx: Context,
    pub(super) plan: Plan,
    pub(super) active: Option<ReleaseRecord>,
    pub(super) resolved: Option<Resolved>,
    /// What is left is not what the operator wanted to leave.
    pub(super) spares: bool,
    /// Nobody asked for this one in particular.
    pub(super) unattended: bool,
    pub(super) begun: std::time::Duration,
}

impl<'a> Start<'a> {
    /// Records that it begins.
    pub(super) fn begin(self, session: &mut Session) -> Result<Run<'a>, Error> {
        let Self { app, ctx, mut plan, active, resolved, spares, unattended, begun } = self;
        app.preflight(&ctx, session.state(), &mut plan)?;
        let (target, runtime) = app.aim(session.state(), &plan);
        let there = app.operation(&runtime)?;
        let back =
            active.as_ref().map(|active| app.operation(&app.recorded(active))).transpose()?;
        let making = match (&plan.action, resolved) {
            (Action::Build, Some(resolved)) => {
                Some(Making { source: app.source()?, builder: app.builder()?, resolved })
            }
            _ => None,
        };
        let deployment = session.next_deployment();
        // What is tried is recorded with the release when it has proved good.
        let other = target.filter(|target| target.runtime.as_deref() != Some(&runtime));
        record_start(app, &ctx, session, &plan, other.map(|_| runtime), spares)?;
        let confirm_within = plan.confirm_within;
        session.lock.doing(plan.request.to_string());
        // That is where the link leads, but for a release that was never decided about.
        let link_before = session.activator.active()?;
        let from_path = match &active {
            Some(active) if session.active()? != Some(active) => Some(active.path.clone()),
            _ => link_before.clone(),
        };
        let course = course(&plan, &there, back.as_ref());
        let ctx = context(app, &ctx, deployment);
        for warning in &plan.warnings {
            ctx.warn(warning.clone());
        }
        Ok(Run {
            app,
            ctx,
            session: None,
            deployment,
            request: plan.request,
            steps: plan.steps,
            course,
            making,
            to: plan.to,
            from: plan.from,
            from_path,
            link_before,
            there,
            back,
            reconfigure: matches!(plan.action, Action::Reconfigure | Action::Restart),
            reverting: false,
            owed: Vec::new(),
            switched: None,
            watched: None,
            prepared: None,
            failure: None,
            decided_elsewhere: None,
            ended_elsewhere: false,
            resumed: false,
            unattended,
            confirm_within,
            ignoring: Vec::new(),
            passed_over: None,
            begun,
        })
    }
}

fn record_start(
    app: &Application,
    ctx: &Context,
    session: &mut Session,
    plan: &Plan,
    runtime: Option<RuntimeConfig>,
    spares: bool,
) -> Result<(), Error> {
    let deployment = session.next_deployment();
    let (request, from) = (plan.request.clone(), plan.from.clone());
    let by = app.actor.clone();
    let (source, release) = (plan.source.clone(), plan.to.clone());
    let started = Record::DeploymentStarted { deployment, request, by, from };
    let demand = plan.confirm_within.map(|within| Demand::new(within, app.connection.clone()));
    let resolved =
        Record::DeploymentResolved { deployment, source, release, runtime, spares, demand };
    session.record(ctx, [started, resolved])
}

/// The course of a plan.
fn course(plan: &Plan, there: &Operation, back: Option<&Operation>) -> Course {
    // The service that is only to be watched otherwise runs on.
    let runs_on = plan.action == Action::Reconfigure && plan.switching == Switching::Nothing;
    let way = |operation: &Operation| operation.way().watching_only(runs_on);
    let again = plan.action == Action::Restart;
    let makes = |step: &Step| *step <= Step::Seal && *step != Step::Resolve;
    Course {
        preparation: plan.steps.iter().copied().filter(makes).collect(),
        there: way(there),
        back: back.map(way),
        stays: again || matches!(plan.request, Request::Rollback { .. }),
        again,
        unconfirmed: plan.confirm_within.map(|_| unconfirmed(&plan.request)),
    }
}
