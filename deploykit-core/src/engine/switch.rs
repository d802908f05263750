//! Switching to a release, and going back.

use camino::Utf8PathBuf;

use super::application::Operation;
use super::error::{Error, chain};
use super::run::Run;
use super::transition::{Fault, Happened};
use super::trouble::Trouble;
use crate::event::EventKind;
use crate::id::ReleaseId;
use crate::state::{ConfirmedBy, Outcome, Record};
use crate::step::Step;
use crate::traits::{Release, SupervisorError, Switching};

impl Run<'_> {
    /// Starts the new instances beside the old ones.
    pub(super) fn start_beside(&mut self) -> Happened {
        self.step(Step::Prepare, "", |run| {
            let (release, supervisor) = (run.target()?, run.there.supervisor.clone());
            let prepared = supervisor.prepare(&run.ctx, &release)?;
            run.prepared = Some(prepared.clone());
            run.record([Record::ServicePrepared { deployment: run.deployment, prepared }])?;
            Ok(String::new())
        })
    }

    /// Ends the new instances again.
    pub(super) fn abort(&mut self) -> Happened {
        let Some(prepared) = self.prepared.take() else { return Happened::Done };
        match self.uncancelled().map(|calm| self.there.supervisor.abort(&calm, &prepared)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                self.ctx.warn(format!("new instances may be left: {}", chain(&error)));
            }
            Err(error) => self.ctx.warn(format!("new instances may be left: {}", chain(&error))),
        }
        Happened::Done
    }

    /// Switches the link.
    pub(super) fn activate(&mut self) -> Happened {
        if self.reconfigure.is_some() {
            self.survive_hang_up();
            return Happened::Done;
        }
        self.step(Step::Activate, "", |run| {
            run.ctx.check()?;
            let (to, from) = (run.to.clone(), run.from.clone());
            let path = run.path_of(to.as_ref())?;
            let deployment = run.deployment;
            run.record([Record::ActivationIntended { deployment, from, to: to.clone() }])?;
            let expected = run.from_path.clone();
            run.switch_link(expected.as_ref(), Some(&path))?;
            let activated = Record::Activated { deployment, to: to.clone() };
            let records = [vec![activated], run.superseded()?].concat();
            if let Err(error) = run.record(records) {
                // What cannot be recorded must not stay.
                run.switch_link(Some(&path), expected.as_ref())?;
                return Err(error.into());
            }
            run.survive_hang_up();
            run.ctx.emit(EventKind::Activated { from: run.from.clone(), to });
            Ok(path.into_string())
        })
    }

    /// The path of a release, relative to the application's directory.
    fn path_of(&mut self, id: Option<&ReleaseId>) -> Result<Utf8PathBuf, Error> {
        let release = self.release(id).ok_or_else(|| Error::NoSuchRelease {
            name: id.map_or_else(|| "(none)".into(), ToString::to_string),
        })?;
        Ok(release.path)
    }

    /// Switches the link; done, too, when it is there already.
    fn switch_link(
        &mut self,
        from: Option<&Utf8PathBuf>,
        to: Option<&Utf8PathBuf>,
    ) -> Result<(), Error> {
        let activator = self.session()?.activator.clone();
        match activator.switch(from, to) {
            Err(_) if activator.active().is_ok_and(|found| found.as_ref() == to) => Ok(()),
            result => Ok(result?),
        }
    }

    /// The ends of the deployments whose probation this activation ends.
    fn superseded(&mut self) -> Result<Vec<Record>, Error> {
        let own = self.deployment;
        let reason = format!("{} by {} (#{own})", self.request, self.app.actor.user);
        let state = self.session()?.state();
        let open = state.deployments.iter().filter(|record| record.outcome.is_none());
        let open = open.map(|record| record.id).filter(|id| *id != own);
        let ended = open.map(|deployment| Record::DeploymentFinished {
            deployment,
            outcome: Outcome::RolledBack { reason: reason.clone() },
        });
        Ok(ended.collect())
    }

    /// Brings the service over.
    pub(super) fn switch_service(&mut self) -> Happened {
        let operation = self.there.clone();
        let id = self.to.clone();
        self.step(Step::Service, operation.supervisor.name().to_owned(), |run| {
            run.bring_service(&operation, id)
        })
    }

    fn bring_service(
        &mut self,
        operation: &Operation,
        id: Option<ReleaseId>,
    ) -> Result<String, Trouble> {
        if let Some(session) = &mut self.session {
            session.lock.doing(format!("{}: bringing the service over", self.request));
        }
        let (release, supervisor) = (self.stored(id)?, &operation.supervisor);
        match supervisor.switching() {
            Switching::Nothing => {}
            Switching::Restart => supervisor.restart(&self.ctx, &release)?,
            Switching::Overlap => {
                let prepared = match self.prepared.take() {
                    Some(prepared) => prepared,
                    None => supervisor.prepare(&self.ctx, &release)?,
                };
                supervisor.commit(&self.ctx, &release, &prepared)?;
            }
        }
        Ok(Release::id(&release).to_string())
    }

    /// Declares the release good.
    pub(super) fn confirm(&mut self) -> Happened {
        let verified = self.course.there.watched;
        self.step(Step::Confirm, "", |run| {
            let Some(release) = run.to.clone() else { return Ok(String::new()) };
            let by = if verified { ConfirmedBy::Health } else { ConfirmedBy::Nothing };
            let runtime = run.reconfigure.clone();
            let runtime =
                runtime.map(|runtime| Record::RuntimeChanged { release: release.clone(), runtime });
            let left = run.from.clone().filter(|left| *left != release).zip(run.condemn.clone());
            let left = left.map(|(release, reason)| Record::MarkedBad { release, reason });
            let confirmed = Record::Confirmed { release: release.clone(), by };
            run.record(left.into_iter().chain(runtime).chain([confirmed]))?;
            run.ctx.emit(EventKind::Confirmed { release, verified });
            Ok(String::new())
        })
    }

    /// Records that the deployment is being taken back, once.
    fn begin_revert(&mut self, fault: &Fault) -> Result<(), Error> {
        self.survive_everything();
        let (deployment, to) = (self.deployment, self.from.clone());
        let progress = self.session()?.state().in_progress.as_ref();
        if progress.is_some_and(|p| p.deployment == deployment && p.revert.is_some()) {
            return Ok(());
        }
        // A changed configuration that fails is no fault of the release that it was tried on.
        let bad = fault.bad && self.reconfigure.is_none();
        let reason = fault.reason.clone();
        let mark = self.to.clone().filter(|_| bad);
        let mark = mark.map(|release| Record::MarkedBad { release, reason: reason.clone() });
        let revert = Record::RevertStarted { deployment, to, reason, bad };
        self.record([revert].into_iter().chain(mark))
    }

    /// Switches the link back.
    pub(super) fn revert_link(&mut self, fault: &Fault) -> Happened {
        let detail = fault.reason.clone();
        let fault = fault.clone();
        self.step(Step::Revert, detail, |run| {
            run.begin_revert(&fault)?;
            if run.reconfigure.is_some() {
                return Ok("the configuration of the service".to_owned());
            }
            run.put_link_back()
        })
    }

    fn put_link_back(&mut self) -> Result<String, Trouble> {
        let to = self.to.clone();
        let now = self.path_of(to.as_ref())?;
        let (back, id) = (self.from_path.clone(), self.from.clone());
        self.switch_link(Some(&now), back.as_ref())?;
        let deployment = self.deployment;
        self.record([Record::Activated { deployment, to: id.clone() }])?;
        self.ctx.emit(EventKind::Activated { from: to, to: id });
        Ok(back.map_or_else(|| "nothing is active".to_owned(), Utf8PathBuf::into_string))
    }

    /// Brings the service back.
    pub(super) fn revert_service(&mut self) -> Happened {
        self.survive_everything();
        // What was prepared is of the release that is left: the commit of the other ends it.
        self.prepared = None;
        let Some(operation) = self.back.clone() else { return Happened::Done };
        let (id, name) = (self.from.clone(), operation.supervisor.name().to_owned());
        self.step(Step::Service, name, |run| run.bring_service(&operation, id))
    }

    /// There is no release to go back to: ends the service.
    pub(super) fn withdraw_service(&mut self, fault: &Fault) -> Happened {
        let fault = fault.clone();
        self.step(Step::Revert, fault.reason.clone(), |run| {
            run.begin_revert(&fault)?;
            match run.there.supervisor.stop(&run.ctx) {
                Err(error @ SupervisorError::Unsupported { .. }) => {
                    run.ctx.warn(format!("the service may still run: {error}"));
                    Ok(String::new())
                }
                stopped => Ok(stopped.map(|()| "the service is stopped".to_owned())?),
            }
        })
    }

    /// There is no release to go back to: removes the link.
    pub(super) fn withdraw_link(&mut self, fault: &Fault) -> Happened {
        let fault = fault.clone();
        self.step(Step::Revert, "the first release is withdrawn", |run| {
            run.begin_revert(&fault)?;
            run.put_link_back()
        })
    }
}
