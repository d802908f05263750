//! What an operator decides: hold, unhold, prune.

use std::time::Duration;

use super::application::Application;
use super::error::Error;
use super::session::Session;
use super::{prune, recover};
use crate::context::Context;
use crate::id::ReleaseId;
use crate::state::Record;

/// How long an operator's word waits for the lock: while a release is on probation it is free.
pub(super) const SHORT: Duration = Duration::from_secs(5);

impl Application {
    /// Pins the present release: nothing that nobody named is deployed until [`unhold`](Self::unhold).
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn hold(&self, ctx: &Context, reason: Option<String>) -> Result<(), Error> {
        let ctx = self.masked(ctx);
        let mut session = Session::begin(self, &ctx, "hold", SHORT)?;
        session.record(&ctx, [Record::Held { by: self.actor.clone(), reason }])
    }

    /// Ends a hold. Returns whether there was one.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn unhold(&self, ctx: &Context) -> Result<bool, Error> {
        let ctx = self.masked(ctx);
        let mut session = Session::begin(self, &ctx, "unhold", SHORT)?;
        let held = session.state().hold.is_some();
        if held {
            session.record(&ctx, [Record::Unheld { by: self.actor.clone() }])?;
        }
        Ok(held)
    }

    /// Removes the releases that are not kept. Returns which.
    ///
    /// # Errors
    /// What keeps it from removing them.
    pub fn prune(&self, ctx: &Context) -> Result<Vec<ReleaseId>, Error> {
        let ctx = self.masked(ctx);
        let pruned = self.prune_now(&ctx);
        self.send_notices(&ctx);
        pruned
    }

    fn prune_now(&self, ctx: &Context) -> Result<Vec<ReleaseId>, Error> {
        let mut session = recover::settled(self, ctx, "prune", SHORT)?;
        let pruned = prune::prune(self, ctx, &mut session)?;
        pruned.kept.map_or(Ok(pruned.removed), Err)
    }
}
