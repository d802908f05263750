//! Bringing the service of the active release to the configuration as it is now.

use super::application::Application;
use super::error::Error;
use super::plan;
use super::report::{Action, Plan, Report};
use super::request::ReloadRequest;
use super::run::Run;
use super::start::Start;
use crate::context::Context;
use crate::state::{ReleaseRecord, Request, State};
use crate::traits::Switching;

impl Application {
    /// Brings the service of the active release to the configuration as it is now, where that says
    /// otherwise than what is recorded with the release, and watches its health: what is described
    /// otherwise is started anew, and nothing else, as far as the service backend can tell. What proves
    /// ill goes back to what was recorded. The repository is not asked.
    ///
    /// # Errors
    /// As [`restart`](Self::restart).
    pub fn reload(&self, ctx: &Context, request: &ReloadRequest) -> Result<Report, Error> {
        let ctx = self.masked(ctx);
        let done = self.reload_now(&ctx, request);
        self.send_notices(&ctx);
        done
    }

    fn reload_now(&self, ctx: &Context, request: &ReloadRequest) -> Result<Report, Error> {
        let ctx = ctx.clone();
        let begun = ctx.clock().monotonic();
        let asked = Request::Reload;
        let (mut session, active) = self.undisturbed(&ctx, &asked, request.wait)?;
        let plan = self.plan_reload(&ctx, session.state(), &active)?;
        if let Action::Nothing { why } = &plan.action {
            return Ok(self.nothing(&session, asked, None, why.clone()));
        }
        let active = Some(active);
        let (spares, unattended) = (false, false);
        let start =
            Start { app: self, ctx, plan, active, resolved: None, spares, unattended, begun };
        let run = start.begin(&mut session)?;
        Ok(Run { session: Some(session), ..run }.execute())
    }

    fn plan_reload(
        &self,
        ctx: &Context,
        state: &State,
        active: &ReleaseRecord,
    ) -> Result<Plan, Error> {
        // Where nothing could be brought over, nothing is known of what runs either.
        self.operation(&self.config.runtime())?.preflight(ctx, None)?;
        let mut known = self.known(state, Some(active), &self.config.runtime())?;
        known.confirm_within = self.demanded_confirmation();
        let mut plan = plan::reload(&known, active);
        // Whether it runs is only looked at where something follows from it.
        let is_idle = plan.switching == Switching::Nothing || !plan.has_work();
        if is_idle && known.switching != Switching::Nothing {
            known.down = self.is_down(ctx, state, active)?;
            plan = plan::reload(&known, active);
        }
        Ok(plan)
    }
}
