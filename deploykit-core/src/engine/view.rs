//! Looking at an application. Nothing here takes a lock or changes anything.

use super::application::Application;
use super::error::Error;
use super::place::release_in;
use super::report::{BrokenOff, CheckView, ReleaseView, Stage, Status};
use super::request::RollbackRequest;
use super::stored::StoredRelease;
use super::{logfile, rollback, watch};
use crate::config::RuntimeConfig;
use crate::context::Context;
use crate::id::DeploymentId;
use crate::state::files::At as _;
use crate::state::lock::{Which, current_holder, watchers};
use crate::state::{
    DeploymentRecord, Holder, InProgress, Layout, ReleaseRecord, Request, State, read_state,
};

/// How many of the last switches `status` shows.
const SWITCHES: usize = 10;

impl Application {
    /// The complete releases, the one made last first.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn releases(&self) -> Result<Vec<ReleaseView>, Error> {
        let state = self.state()?;
        let path = self.activator().active()?;
        let active = path.and_then(|path| release_in(&self.layout, &state, &path));
        Ok(releases_of(&state, active))
    }

    /// The deployments that are remembered, the newest first.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn history(&self) -> Result<Vec<DeploymentRecord>, Error> {
        Ok(self.state()?.deployments.into_iter().rev().collect())
    }

    /// One deployment; the last one when none is named.
    ///
    /// # Errors
    /// [`Error::NoSuchDeployment`] when it is not remembered.
    pub fn deployment(&self, id: Option<DeploymentId>) -> Result<DeploymentRecord, Error> {
        let state = self.state()?;
        let found = match id {
            Some(id) => state.deployment(id),
            None => state.deployments.back(),
        };
        found.cloned().ok_or(Error::NoSuchDeployment { id })
    }

    /// The output of a deployment; nothing when it is not kept any more.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log(&self, id: DeploymentId) -> Result<Option<String>, Error> {
        let path = self.layout.log(id);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Ok(Err(error).at("read", &path)?),
        }
    }

    /// What goes on. Looks once at the service and through the checks.
    ///
    /// # Errors
    /// When the state or the link cannot be read.
    pub fn status(&self, ctx: &Context) -> Result<Status, Error> {
        let ctx = self.masked(ctx);
        let state = self.state()?;
        let link = self.activator().active()?;
        let found = link.as_ref().and_then(|link| release_in(&self.layout, &state, link));
        let runtime = found.map(|release| self.present(&state, release));
        let releases = releases_of(&state, found);
        let active = releases.iter().find(|release| release.active).cloned();
        let intact = link.as_ref().is_none_or(|link| self.layout.root().join(link).is_dir());
        let busy = current_holder(&self.layout, Which::Main);
        let is_open =
            |holder: &Holder| holder.watches.is_some_and(|id| state.progress(id).is_some());
        let watching = watchers(&self.layout).find(is_open);
        let broken_off = broken_off(&self.layout, &state, found, &self.left(&state));
        let mut status = Status {
            root: self.layout.root().to_owned(),
            link,
            intact,
            service: None,
            changed: runtime
                .as_ref()
                .is_some_and(|runtime| !runtime.runs_like(&self.config.runtime())),
            checks: Vec::new(),
            unfinished: broken_off.first().map(|broken| broken.deployment),
            broken_off,
            busy,
            watching,
            rollback: releases.into_iter().find(|release| release.rollback),
            last: state.deployments.back().cloned(),
            activations: state.activations.iter().rev().take(SWITCHES).cloned().collect(),
            confirm_with: state
                .probation
                .as_ref()
                .filter(|probation| probation.confirmation)
                .map(|_| self.confirm_command()),
            probation: state.probation,
            hold: state.hold,
            active,
        };
        if let Some(runtime) = runtime {
            self.look(&ctx, &runtime, &mut status)?;
        }
        Ok(status)
    }

    /// What is open in this state and was left by whoever carried it on. They may have come to an end
    /// since the state was read: then it is not open any more. Who has watched takes the main lock
    /// before they let the other go, so that one is looked at on both sides.
    pub(super) fn left(&self, state: &State) -> Vec<DeploymentId> {
        let open =
            |state: &State| state.open.iter().map(|open| open.deployment).collect::<Vec<_>>();
        let is_busy = || current_holder(&self.layout, Which::Main).is_some();
        let mut left = open(state);
        if left.is_empty() || is_busy() {
            return Vec::new();
        }
        let watched: Vec<_> = watchers(&self.layout).filter_map(|holder| holder.watches).collect();
        left.retain(|deployment| !watched.contains(deployment));
        let is_as_it_was = || read_state(&self.layout).is_ok_and(|now| open(&now) == open(state));
        if is_busy() || !is_as_it_was() { Vec::new() } else { left }
    }

    fn look(
        &self,
        ctx: &Context,
        runtime: &RuntimeConfig,
        status: &mut Status,
    ) -> Result<(), Error> {
        let Some(active) = &status.active else { return Ok(()) };
        let operation = self.operation(runtime)?;
        let release = StoredRelease::new(&self.layout, active.record.clone());
        if operation.supervisor.observes() {
            status.service = Some(operation.supervisor.status(ctx).unwrap_or_else(|error| {
                crate::traits::ServiceStatus::new(
                    crate::traits::ServiceState::Unknown,
                    crate::chain(&error),
                )
            }));
        }
        let looks = watch::glance(ctx, &operation, &release);
        status.checks = looks.into_iter().map(|(check, look)| CheckView { check, look }).collect();
        Ok(())
    }
}

/// The complete releases, the newest first.
fn releases_of(state: &State, active: Option<&ReleaseRecord>) -> Vec<ReleaseView> {
    let rollback = state.rollback_target(active.map(|release| &release.id));
    let activated = state.activation_times();
    let usable = state.releases.values().filter(|release| release.is_usable());
    let mut views: Vec<_> = usable
        .map(|release| ReleaseView {
            active: active.is_some_and(|active| active.id == release.id),
            activated: activated.get(&release.id).copied(),
            rollback: rollback.is_some_and(|rollback| rollback.id == release.id),
            record: release.clone(),
        })
        .collect();
    views.sort_by(|a, b| (b.record.created, &b.record.id).cmp(&(a.record.created, &a.record.id)));
    views
}

/// The deployments that nobody carries on, the one begun last first.
fn broken_off(
    layout: &Layout,
    state: &State,
    active: Option<&ReleaseRecord>,
    left: &[DeploymentId],
) -> Vec<BrokenOff> {
    let id = active.map(|active| &active.id);
    let again = rollback::broken_off(state, id, &RollbackRequest::previous());
    let again = again.or_else(|| way_back(state));
    let one = |progress: &InProgress| {
        let record = state.deployment(progress.deployment);
        BrokenOff {
            deployment: progress.deployment,
            request: record.map_or(Request::Unknown, |record| record.request.clone()),
            stage: stage(progress, active),
            to: record.and_then(|record| record.to.clone()),
            back_to: progress.revert.as_ref().and_then(|revert| revert.to.clone()),
            reason: progress.revert.as_ref().map(|revert| revert.reason.clone()),
            failure: logfile::last_failure(layout, progress.deployment),
            finished_by_rollback: again == Some(progress.deployment),
        }
    };
    let open = state.open.iter().rev().filter(|open| left.contains(&open.deployment));
    open.map(one).collect()
}

/// The deployment whose way back is what a rollback now is to do.
fn way_back(state: &State) -> Option<DeploymentId> {
    let mut open = state.open.iter().rev();
    let (deployment, revert) = open.find_map(|p| Some((p.deployment, p.revert.as_ref()?)))?;
    let left = state.deployment(deployment)?.to.as_ref();
    let target = state.rollback_target(left).map(|release| &release.id);
    (target.is_some() && target == revert.to.as_ref()).then_some(deployment)
}

fn stage(progress: &InProgress, active: Option<&ReleaseRecord>) -> Stage {
    // It may have been killed between the switch of the link and the record of that.
    let switched = active.is_some_and(|active| progress.intends(Some(&active.id)));
    let activated = progress.activated || switched;
    match () {
        () if progress.revert.is_some() => Stage::GoingBack,
        () if !activated => Stage::Preparing,
        () if progress.confirmed => Stage::Confirmed,
        () => Stage::Activated,
    }
}
