//! Switching to a release, and going back.

use camino::Utf8PathBuf;

use super::error::Error;
use super::run::Run;
use super::transition::{Fault, Happened};
use super::trouble::Trouble;
use crate::chain;
use crate::event::EventKind;
use crate::id::{DeploymentId, ReleaseId};
use crate::state::files::is_directory;
use crate::state::{ConfirmedBy, Outcome, Record, State};
use crate::step::Step;
use crate::traits::{Prepared, Release as _, SupervisorError};

/// The ends of the deployments that are open when deployment `own` activates `to`. What a rollback
/// among them has left is bad, but for what is just gone back to.
pub(super) fn superseded(state: &State, own: DeploymentId, to: Option<&ReleaseId>) -> Vec<Record> {
    let reason = state.deployment(own).map_or_else(
        || format!("#{own}"),
        |record| format!("{} by {} (#{own})", record.request, record.by.user),
    );
    let open = state.open.iter().map(|progress| progress.deployment).filter(|id| *id != own);
    let ended = open.flat_map(|deployment| {
        let outcome = Outcome::RolledBack { reason: reason.clone() };
        let ended = Record::DeploymentFinished { deployment, outcome };
        let other = |record: &Record| {
            !matches!(record, Record::MarkedBad { release, .. } if Some(release) == to)
        };
        condemned(state, deployment).filter(other).into_iter().chain([ended])
    });
    ended.collect()
}

/// The mark on the release that a deployment leaves because an operator rolls it back.
pub(super) fn condemned(state: &State, deployment: DeploymentId) -> Option<Record> {
    let (release, reason) = state.left_by_rollback(deployment)?;
    Some(Record::MarkedBad { release: release.clone(), reason })
}

/// What is recorded when the release of a deployment has proved good, whoever says so: the release
/// that a rollback left is bad now, and the way to run the service that was tried is the right one.
pub(super) fn confirmation(
    state: &State,
    deployment: DeploymentId,
    release: &ReleaseId,
    by: ConfirmedBy,
) -> Vec<Record> {
    let left = condemned(state, deployment);
    let tried = state.progress(deployment).and_then(|progress| progress.runtime.as_deref());
    let tried = tried.map(|runtime| Record::RuntimeChanged {
        release: release.clone(),
        runtime: runtime.clone(),
    });
    let confirmed = Record::Confirmed { release: release.clone(), by };
    left.into_iter().chain(tried).chain([confirmed]).collect()
}

impl Run<'_> {
    /// Starts the new instances beside the old ones.
    pub(super) fn start_beside(&mut self) -> Happened {
        let happened = self.step(Step::Prepare, "", |run| {
            let operation = run.there.clone();
            let (release, deployment) = (run.target()?, run.deployment);
            // The link is not touched while nothing could be brought over.
            operation.preflight(&run.ctx, Some(&release)).map_err(|e| Trouble::from(e).own())?;
            let prepared = Prepared::new(deployment.to_string());
            run.record([Record::ServicePrepared { deployment, prepared: prepared.clone() }])?;
            run.prepared = Some(prepared.clone());
            let (ctx, manner) = (run.ctx.clone(), run.manner());
            let beside = operation.supervisor.prepare(&ctx, &release, &prepared, manner);
            beside.map_err(|error| run.blamed(error.into()))?;
            Ok(String::new())
        });
        self.condemn_if_ill(&happened);
        happened
    }

    /// A release whose instances do not get ready is bad, though it was never active: nobody who comes by
    /// on their own tries it again.
    fn condemn_if_ill(&mut self, happened: &Happened) {
        let Happened::Failed { reason, own: false } = happened else { return };
        let Some(release) = self.to.clone().filter(|_| !self.reconfigure) else { return };
        self.record_or_owe(vec![Record::MarkedBad { release, reason: reason.clone() }]);
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
        if self.reconfigure {
            return self.begin_reconfiguration();
        }
        self.step(Step::Activate, "", |run| {
            run.ctx.check()?;
            let (to, from) = (run.to.clone(), run.from.clone());
            let path = run.path_of(to.as_ref())?;
            if run.making.is_some() {
                // Of a release that existed it is known from the beginning.
                let release = run.target()?;
                run.there.preflight(&run.ctx, Some(&release))?;
            }
            let deployment = run.deployment;
            run.record([Record::ActivationIntended { deployment, from, to: to.clone() }])?;
            let expected = run.link_before.clone();
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

    /// The link stays where it is. That the service is about to be touched is recorded all the same.
    fn begin_reconfiguration(&mut self) -> Happened {
        self.survive_hang_up();
        let activated = Record::Activated { deployment: self.deployment, to: self.to.clone() };
        let recorded =
            self.superseded().and_then(|ended| self.record([vec![activated], ended].concat()));
        match recorded {
            Ok(()) => Happened::Done,
            Err(error) => Trouble::from(error).happened(),
        }
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
        let to = self.to.clone();
        Ok(superseded(self.session()?.state(), own, to.as_ref()))
    }

    /// Brings the service over.
    pub(super) fn switch_service(&mut self) -> Happened {
        let operation = self.there.clone();
        let id = self.to.clone();
        self.step(Step::Service, operation.supervisor.name().to_owned(), |run| {
            // It may be long since that was looked at. On the way back all is tried: what the checks
            // miss keeps no service from running.
            let release = run.stored(id.clone())?;
            operation.preflight(&run.ctx, Some(&release)).map_err(|e| Trouble::from(e).own())?;
            run.bring_service(&operation, id).map_err(|trouble| run.blamed(trouble))
        })
    }

    /// A release whose directory somebody has taken away is not to blame for what follows.
    pub(super) fn blamed(&mut self, trouble: Trouble) -> Trouble {
        let there = self.target().map(|release| is_directory(release.root()));
        if matches!(there, Ok(Ok(true))) { trouble } else { trouble.own() }
    }

    /// Declares the release good.
    pub(super) fn confirm(&mut self) -> Happened {
        let verified = self.course.there.watched;
        let happened = self.step(Step::Confirm, "", |run| {
            let Some(release) = run.to.clone() else { return Ok(String::new()) };
            if run.is_decided_elsewhere()? {
                return Ok(String::new());
            }
            let by = if verified { ConfirmedBy::Health } else { ConfirmedBy::Nothing };
            let deployment = run.deployment;
            let records = confirmation(run.session()?.state(), deployment, &release, by);
            run.record(records)?;
            run.ctx.emit(EventKind::Confirmed { release, verified });
            Ok(String::new())
        });
        self.unless_decided_elsewhere(happened)
    }

    /// Records that the deployment is being taken back, once.
    fn begin_revert(&mut self, fault: &Fault) -> Result<(), Error> {
        self.survive_everything();
        let (deployment, to) = (self.deployment, self.from.clone());
        // Nothing goes back without the lock.
        self.session()?;
        if std::mem::replace(&mut self.reverting, true) {
            return Ok(());
        }
        let (reason, bad) = (fault.reason.clone(), fault.bad);
        // A changed configuration that fails is no fault of the release that it was tried on.
        let mark = self.to.clone().filter(|_| bad && !self.reconfigure);
        let mark = mark.map(|release| Record::MarkedBad { release, reason: reason.clone() });
        let revert = Record::RevertStarted { deployment, to, reason, bad };
        self.record_or_owe([revert].into_iter().chain(mark).collect());
        Ok(())
    }

    /// Switches the link back.
    pub(super) fn revert_link(&mut self, fault: &Fault) -> Happened {
        if self.course.again {
            // There is nothing to go back to; that it failed is recorded.
            return match self.begin_revert(fault) {
                Ok(()) => Happened::Done,
                Err(error) => Trouble::from(error).happened(),
            };
        }
        let detail = fault.reason.clone();
        let fault = fault.clone();
        self.step(Step::Revert, detail, |run| {
            run.begin_revert(&fault)?;
            if run.reconfigure {
                return Ok("the configuration of the service".to_owned());
            }
            run.put_link_back()
        })
    }

    fn put_link_back(&mut self) -> Result<String, Trouble> {
        let to = self.to.clone();
        let now = self.link_to_leave(to.as_ref())?;
        let (back, id) = (self.from_path.clone(), self.from.clone());
        if let Some(back) = &back {
            let path = self.app.layout.root().join(back);
            if !is_directory(&path)? {
                let what = format!("the directory of the previous release is gone: {path}");
                return Err(Error::Unsettled { what }.into());
            }
        }
        self.switch_link(Some(&now), back.as_ref())?;
        let deployment = self.deployment;
        self.record_or_owe(vec![Record::Activated { deployment, to: id.clone() }]);
        self.ctx.emit(EventKind::Activated { from: to, to: id });
        Ok(back.map_or_else(|| "nothing is active".to_owned(), Utf8PathBuf::into_string))
    }

    /// Where the link leads before it goes back: to the release that is left. When that was done
    /// before a kill, and the release that it went back to was taken away since, it leads nowhere.
    fn link_to_leave(&mut self, to: Option<&ReleaseId>) -> Result<Utf8PathBuf, Error> {
        let found = self.session()?.activator.active()?;
        let root = self.app.layout.root();
        match found {
            Some(found) if self.resumed && !is_directory(&root.join(&found))? => Ok(found),
            _ => self.path_of(to),
        }
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
