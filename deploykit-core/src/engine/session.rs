//! A session: the lock is held, the journal is open, and what others did is known.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::adopt;
use super::application::Application;
use super::error::Error;
use super::place::release_in;
use super::switch::superseded;
use crate::chain;
use crate::context::Context;
use crate::id::{DeploymentId, ReleaseId};
use crate::state::lock::{Which, is_watched};
use crate::state::{
    Holder, InProgress, Journal, Layout, Lock, LockError, Outcome, Record, ReleaseRecord, State,
};
use crate::traits::Activator;

impl Application {
    /// Refuses what could not begin now, since somebody watches a probation.
    pub(super) fn refuse_beside_probation(&self, state: &State) -> Result<(), Error> {
        match &state.probation {
            Some(probation) if is_watched(&self.layout)? => {
                Err(Error::OnProbation { probation: Box::new(probation.clone()) })
            }
            _ => Ok(()),
        }
    }
}

/// The right to change an application, until it is dropped.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) lock: Lock,
    pub(super) journal: Journal,
    pub(super) activator: Arc<dyn Activator>,
    layout: Layout,
}

impl Session {
    /// Takes the lock, waiting for it up to `wait`, and opens the journal.
    pub(super) fn begin(
        app: &Application,
        ctx: &Context,
        doing: &str,
        wait: Duration,
    ) -> Result<Self, Error> {
        let holder = Holder::current(ctx.now(), app.actor.clone(), doing);
        let lock = Lock::acquire(ctx, &app.layout, holder, wait)?;
        let keep = usize::try_from(app.config.history.keep).unwrap_or(usize::MAX);
        let journal = Journal::open(&app.layout, &lock, keep)?;
        if let Some(late) = journal.late() {
            ctx.warn(format!("the journal grows on: {}", chain(late)));
        }
        let (activator, layout) = (app.activator(), app.layout.clone());
        let mut session = Self { lock, journal, activator, layout };
        adopt::existing(app, ctx, &mut session)?;
        Ok(session)
    }

    /// The same, once nobody watches a probation any more: what changes releases cannot go on
    /// beside one.
    pub(super) fn begin_undisturbed(
        app: &Application,
        ctx: &Context,
        doing: &str,
        wait: Duration,
    ) -> Result<Self, Error> {
        let give_up = Instant::now() + wait;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            let session = Self::begin(app, ctx, doing, left)?;
            let Some(probation) = session.state().probation.clone() else { return Ok(session) };
            if !is_watched(&app.layout)? {
                return Ok(session);
            }
            drop(session);
            let holder = Holder::current(ctx.now(), app.actor.clone(), doing);
            for which in Which::WATCHES {
                let left = give_up.saturating_duration_since(Instant::now());
                match Lock::acquire_which(ctx, &app.layout, which, holder.clone(), left) {
                    Ok(_) => {}
                    Err(LockError::Held { .. }) => {
                        return Err(Error::OnProbation { probation: Box::new(probation) });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    pub(super) fn state(&self) -> &State {
        self.journal.state()
    }

    /// Writes records that hold together.
    pub(super) fn record(
        &mut self,
        ctx: &Context,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<(), Error> {
        Ok(self.journal.append(ctx.now(), records)?)
    }

    /// The release that is active, by the link.
    pub(super) fn active(&self) -> Result<Option<&ReleaseRecord>, Error> {
        let path = self.activator.active()?;
        Ok(path.and_then(|path| release_in(&self.layout, self.state(), &path)))
    }

    /// The number of the next deployment.
    pub(super) fn next_deployment(&self) -> DeploymentId {
        DeploymentId(self.state().last_deployment.0 + 1)
    }

    /// Records the activation by a deployment that was killed between switching the link and
    /// recording that.
    fn claim_activation(&mut self, ctx: &Context) -> Result<(), Error> {
        let link = self.active()?.map(|release| release.id.clone());
        let state = self.state();
        let last = state.last_active();
        if link.as_ref() == last {
            return Ok(());
        }
        if let Some(forth) = state.open.iter().rev().find(|open| open.intends(link.as_ref())) {
            let deployment = forth.deployment;
            let ended = superseded(state, deployment, link.as_ref());
            let activated = Record::Activated { deployment, to: link };
            self.record(ctx, [activated].into_iter().chain(ended))?;
        }
        Ok(())
    }

    /// Records the way back of a deployment that was killed on it, where the link alone tells of it:
    /// the disk was full, say. Where another deployment was about to go is that one's activation.
    pub(super) fn claim_return(&mut self, ctx: &Context) -> Result<(), Error> {
        self.claim_activation(ctx)?;
        let link = self.active()?.map(|release| release.id.clone());
        let state = self.state();
        let last = state.last_active();
        if link.as_ref() == last {
            return Ok(());
        }
        let going_back = |progress: &&InProgress| {
            let deployment = state.deployment(progress.deployment);
            progress.activated
                && deployment.is_some_and(|d| d.to.as_ref() == last && d.from == link)
        };
        let Some(back) = state.open.iter().rev().find(going_back) else { return Ok(()) };
        let deployment = back.deployment;
        let revert = Record::RevertStarted {
            deployment,
            to: link.clone(),
            reason: "it was taken back, and why could not be recorded".into(),
            bad: false,
        };
        let revert = Some(revert).filter(|_| back.revert.is_none());
        let activated = Record::Activated { deployment, to: link };
        self.record(ctx, revert.into_iter().chain([activated]))
    }

    /// Takes a link that somebody else has changed as a fact.
    pub(super) fn notice_link(&mut self, ctx: &Context) -> Result<(), Error> {
        self.claim_activation(ctx)?;
        let path = self.activator.active()?;
        let found: Option<ReleaseId> = self.active()?.map(|release| release.id.clone());
        let unknown = if found.is_none() { path } else { None };
        let state = self.state();
        if found.as_ref() == state.last_active() && unknown == state.foreign_link {
            return Ok(());
        }
        let leads = found.as_ref().map(ToString::to_string);
        let leads = leads.or_else(|| unknown.as_ref().map(ToString::to_string));
        // What was there before deploykit came was changed by nobody, and a release whose directory
        // is gone was told of.
        let known = |id: &ReleaseId| state.releases.contains_key(id);
        if !state.activations.is_empty() && state.last_active().is_none_or(known) {
            ctx.note(format!(
                "the active link was changed by somebody else: it leads to {}",
                leads.as_deref().unwrap_or("nothing")
            ));
        }
        let ended = overtaken(state, found.as_ref()).into_iter().map(|deployment| {
            let reason = "the active link was changed by somebody else".to_owned();
            Record::DeploymentFinished { deployment, outcome: Outcome::Failed { reason } }
        });
        let ended: Vec<Record> = ended.collect();
        let found = Record::LinkFound { release: found, path: unknown };
        self.record(ctx, ended.into_iter().chain([found]))
    }
}

/// The deployments that have nothing to go on with, since somebody else has set the link to `found`:
/// to what they have not activated, and are not on their way back to.
fn overtaken(state: &State, found: Option<&ReleaseId>) -> Vec<DeploymentId> {
    let on_probation = state.probation.as_ref().map(|probation| probation.deployment);
    let is_theirs = |progress: &InProgress| {
        let record = state.deployment(progress.deployment);
        let is = |id: Option<&ReleaseId>| id == found;
        let back = progress.revert.as_ref().map(|revert| revert.to.as_ref());
        record.is_some_and(|record| {
            is(record.to.as_ref()) || back.is_some_and(|to| is(to) || is(record.from.as_ref()))
        })
    };
    let open = state.open.iter().filter(|progress| {
        let waits = progress.activated && !progress.confirmed && !is_theirs(progress);
        waits || on_probation == Some(progress.deployment)
    });
    open.map(|progress| progress.deployment).collect()
}
