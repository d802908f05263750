//! Bringing a service to a release, there and back.

use super::application::Operation;
use super::run::Run;
use super::stored::StoredRelease;
use super::trouble::Trouble;
use crate::chain;
use crate::context::Context;
use crate::id::ReleaseId;
use crate::traits::{InstanceName, Manner, Prepared, Release, ServiceState, Switching};

/// Whether the instances are brought over one by one: where there is one only, it makes no difference.
fn rolls(instances: &[InstanceName]) -> bool {
    instances.iter().filter(|of| of.instance.is_some()).count() > 1
}

impl Run<'_> {
    /// Brings the service of `operation` to a release.
    pub(super) fn bring_service(
        &mut self,
        operation: &Operation,
        id: Option<ReleaseId>,
    ) -> Result<String, Trouble> {
        if let Some(session) = &mut self.session {
            session.lock.doing(format!("{}: bringing the service over", self.request));
        }
        let (release, supervisor) = (self.stored(id)?, &operation.supervisor);
        self.switched = Some(self.ctx.now());
        let ctx = self.ctx.clone();
        self.leave_the_other(&ctx, operation);
        let instances = supervisor.instances();
        match supervisor.switching() {
            Switching::Nothing => {}
            Switching::Restart if rolls(&instances) => {
                supervisor.settle(&ctx, &release)?;
                self.roll(&ctx, operation, &release, &instances)?;
            }
            Switching::Restart => match supervisor.restart(
                &self.bounded(operation, instances.len()),
                &release,
                self.manner(),
            ) {
                Err(error) if self.reverting && instances.len() > 1 => {
                    // One of several that fails keeps none of the others down.
                    let _ = self.roll(&ctx, operation, &release, &instances);
                    return Err(error.into());
                }
                result => result?,
            },
            Switching::Overlap => {
                let prepared = match self.prepared.take() {
                    Some(prepared) => prepared,
                    None => {
                        let prepared = Prepared::new(format!("{}-back", self.deployment));
                        supervisor.prepare(&ctx, &release, &prepared, Manner::Usual)?;
                        prepared
                    }
                };
                supervisor.commit(&ctx, &release, &prepared)?;
                let others: Vec<InstanceName> =
                    instances.into_iter().filter(|one| !supervisor.hands_over(one)).collect();
                if !others.is_empty() {
                    supervisor.settle(&ctx, &release)?;
                    self.roll(&ctx, operation, &release, &others)?;
                }
            }
        }
        Ok(Release::id(&release).to_string())
    }

    /// The context of what is started. A start that was broken off, and is now begun anew, is not waited
    /// for longer than each of so many instances may take to be well: nobody is there who could end it.
    fn bounded(&self, operation: &Operation, instances: usize) -> Context {
        let ctx = self.ctx.clone();
        if self.resumed && !self.reverting {
            let each = operation.runtime.health.deadline.get();
            let instances = u32::try_from(instances).unwrap_or(u32::MAX);
            ctx.with_timeout(each.saturating_mul(instances.max(1)))
        } else {
            ctx
        }
    }

    /// What has made a release ill may keep it from taking over another one: a process that was told to
    /// reload, and only says that it has.
    pub(super) fn manner(&self) -> Manner {
        match () {
            // A changed description takes effect when a process is started, and not before; there and back,
            // what is described as before need not be touched.
            () if self.reconfigure && !self.course.again => Manner::Changed,
            () if self.reverting || self.course.again => Manner::Anew,
            () => Manner::Usual,
        }
    }

    /// Ends what only the other release runs.
    fn leave_the_other(&self, ctx: &Context, operation: &Operation) {
        let other = if self.reverting { Some(&self.there) } else { self.back.as_ref() };
        let Some(other) = other else { return };
        if let Err(error) = other.supervisor.leave(ctx, &*operation.supervisor) {
            ctx.warn(format!("what is left may still run: {}", chain(&error)));
        }
    }

    /// Brings the instances over one by one; each must be well before the next is touched. On the way
    /// back, and after a kill, those are left alone that run from the release already; on the way back
    /// one that fails keeps none of the others down.
    fn roll(
        &self,
        ctx: &Context,
        operation: &Operation,
        release: &StoredRelease,
        instances: &[InstanceName],
    ) -> Result<(), Trouble> {
        let supervisor = &operation.supervisor;
        let again = self.course.again || self.reconfigure;
        let mut failed = None;
        for instance in instances {
            if !again && (self.reverting || self.resumed) && self.runs(operation, release, instance)
            {
                ctx.note(format!("{instance} runs from {} already", Release::id(release)));
                continue;
            }
            ctx.note(format!("bringing {instance} over"));
            let brought = supervisor
                .restart_instance(&self.bounded(operation, 1), release, instance, self.manner())
                .map_err(Trouble::from)
                .and_then(|()| self.await_instance(operation, release, instance));
            match brought {
                Err(trouble) if !self.reverting => return Err(trouble),
                Err(trouble) => drop(failed.get_or_insert(trouble)),
                Ok(()) => {}
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn runs(&self, operation: &Operation, release: &StoredRelease, name: &InstanceName) -> bool {
        let name = name.to_string();
        operation.supervisor.status(&self.ctx).is_ok_and(|status| {
            let found = status.instances.iter().find(|instance| instance.name == name);
            found.is_some_and(|instance| {
                instance.state == ServiceState::Running
                    && instance.release.as_ref() == Some(Release::id(release))
            })
        })
    }
}
