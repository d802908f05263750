//! Starting the service of the active release again.

use std::time::Duration;

use super::application::Application;
use super::error::Error;
use super::report::Report;
use super::request::RestartRequest;
use super::run::Run;
use super::session::Session;
use super::start::Start;
use super::{plan, recover};
use crate::context::Context;
use crate::state::{ReleaseRecord, Request};
use crate::traits::Switching;

impl Application {
    /// Starts the service of the active release again, as it is recorded with it, and watches its
    /// health. The release stays, whatever comes of it.
    ///
    /// # Errors
    /// What kept the restart from beginning: nothing has changed then. [`Error::NothingActive`] when
    /// there is no release whose service could be started; [`Error::NoService`]
    /// when there is no service; [`Error::Stuck`]
    /// when an earlier deployment cannot be brought to its end.
    pub fn restart(&self, ctx: &Context, request: &RestartRequest) -> Result<Report, Error> {
        let ctx = self.masked(ctx);
        let done = self.restart_now(&ctx, request);
        self.send_notices(&ctx);
        done
    }

    fn restart_now(&self, ctx: &Context, request: &RestartRequest) -> Result<Report, Error> {
        let ctx = ctx.clone();
        let begun = ctx.clock().monotonic();
        let asked = Request::Restart;
        let (mut session, active) = self.undisturbed(&ctx, &asked, request.wait)?;
        let known = self.known(session.state(), Some(&active), &self.recorded(&active))?;
        if known.switching == Switching::Nothing {
            return Err(Error::NoService);
        }
        let plan = plan::restart(&known, asked, &active);
        let active = Some(active);
        let (spares, unattended) = (false, false);
        let start =
            Start { app: self, ctx, plan, active, resolved: None, spares, unattended, begun };
        let run = start.begin(&mut session)?;
        Ok(Run { session: Some(session), ..run }.execute())
    }

    /// Begins something about the active release, where nothing else is to be brought to its end first.
    pub(super) fn undisturbed(
        &self,
        ctx: &Context,
        asked: &Request,
        wait: Duration,
    ) -> Result<(Session, ReleaseRecord), Error> {
        let session = recover::settled(self, ctx, &asked.to_string(), wait)?;
        if let Some(open) = session.state().open.last() {
            // Starting the service was tried just now, or it is not the one that should be active.
            return Err(Error::Stuck { deployment: open.deployment });
        }
        let active = session.active()?.cloned().ok_or(Error::NothingActive)?;
        Ok((session, active))
    }
}
