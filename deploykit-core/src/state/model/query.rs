//! What the state tells when it is asked.

use std::collections::{BTreeMap, HashSet};

use camino::Utf8Path;

use super::{Activation, DeploymentRecord, InProgress, ReleaseRecord, State};
use crate::config::RuntimeConfig;
use crate::id::{DeploymentId, Identity, ReleaseId};
use crate::time::Timestamp;

impl State {
    /// The release of that name.
    pub fn release(&self, id: &ReleaseId) -> Option<&ReleaseRecord> {
        self.releases.get(id)
    }

    /// The release at that path, relative to the application's directory.
    pub fn release_at(&self, path: &Utf8Path) -> Option<&ReleaseRecord> {
        // As text: paths compare component by component, which a thousand releases feel.
        self.releases.values().find(|release| release.path.as_str() == path.as_str())
    }

    /// The deployment of that number, if it is still remembered.
    pub fn deployment(&self, id: DeploymentId) -> Option<&DeploymentRecord> {
        self.deployments.iter().rev().find(|deployment| deployment.id == id)
    }

    /// How far that deployment has come; nothing when it has ended.
    pub fn progress(&self, id: DeploymentId) -> Option<&InProgress> {
        self.open.iter().find(|progress| progress.deployment == id)
    }

    /// How the service of a release is run and watched: as the deployment says that has activated
    /// it and not ended yet, or else as it is recorded with it.
    pub fn runtime<'a>(&'a self, release: &'a ReleaseRecord) -> Option<&'a RuntimeConfig> {
        let its = |id| self.deployment(id).is_some_and(|d| d.to.as_ref() == Some(&release.id));
        let tried = self.open.iter().rev().filter(|p| p.activated && p.revert.is_none());
        let tried = tried.filter(|progress| its(progress.deployment));
        let mut tried = tried.filter_map(|progress| progress.runtime.as_deref());
        tried.next().or(release.runtime.as_deref())
    }

    /// What was active after the last switch that is recorded.
    pub fn last_active(&self) -> Option<&ReleaseId> {
        self.activations.back()?.release.as_ref()
    }

    /// When `release` was last activated.
    pub fn activated_at(&self, release: &ReleaseId) -> Option<Timestamp> {
        let same = |activation: &&Activation| activation.release.as_ref() == Some(release);
        self.activations.iter().rev().find(same).map(|activation| activation.at)
    }

    /// When each release was last activated: all at once, since looking each up goes through all
    /// activations every time.
    pub fn activation_times(&self) -> BTreeMap<&ReleaseId, Timestamp> {
        let known = self.activations.iter();
        known.filter_map(|activation| Some((activation.release.as_ref()?, activation.at))).collect()
    }

    /// The release that an open deployment has left because an operator rolls it back, and the reason:
    /// it is bad as soon as that is confirmed.
    pub fn left_by_rollback(&self, deployment: DeploymentId) -> Option<(&ReleaseId, String)> {
        let progress = self.progress(deployment)?;
        let record = self.deployment(deployment)?;
        let leaving = progress.activated && progress.revert.is_none() && !progress.spares;
        let leaving = leaving && record.from != record.to;
        let left = record.from.as_ref().filter(|_| record.is_rollback() && leaving)?;
        Some((left, format!("rolled back by {}", record.by.user)))
    }

    /// Where a rollback from `active` goes by default: to the trusted release that was active
    /// before it, in the order of the activations; not forth to one that is just being left, nor to
    /// one of which no activation is known and that is newer than the active one.
    pub fn rollback_target(&self, active: Option<&ReleaseId>) -> Option<&ReleaseRecord> {
        let open = self.open.iter().filter_map(|open| self.left_by_rollback(open.deployment));
        let left: Vec<&ReleaseId> = open.map(|(left, _)| left).collect();
        let other =
            |release: &&ReleaseRecord| Some(&release.id) != active && !left.contains(&&release.id);
        let activated = self.activations.iter().rev().filter_map(|a| a.release.as_ref());
        let mut releases = activated.filter_map(|id| self.releases.get(id));
        releases.find(|release| release.is_trusted() && other(release)).or_else(|| {
            // Somebody else's tool may have gone back from it, or have left it half built.
            let active = active.and_then(|id| self.releases.get(id));
            let older = |release: &&ReleaseRecord| {
                active.is_none_or(|active| release.created <= active.created)
            };
            let mut proved = self.proved_by_activation().into_iter();
            proved.find(|release| release.is_trusted() && other(release) && older(release))
        })
    }

    /// The releases that are trusted or were once, those activated last first. Adopted ones of which
    /// no activation is known come behind, the newest first.
    pub fn proved_by_activation(&self) -> Vec<&ReleaseRecord> {
        let mut order: Vec<&ReleaseRecord> = Vec::new();
        let mut seen = HashSet::new();
        for activation in self.activations.iter().rev() {
            let Some(id) = &activation.release else { continue };
            if let Some(release) = self.releases.get(id).filter(|_| seen.insert(id)) {
                order.push(release);
            }
        }
        let mut rest: Vec<_> = self.releases.values().filter(|r| !seen.contains(&r.id)).collect();
        rest.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
        order.extend(rest);
        order.retain(|release| release.is_proved());
        order
    }

    /// A complete release that is interchangeable with `identity`, the one activated or made last.
    pub fn interchangeable(&self, identity: &Identity) -> Option<&ReleaseRecord> {
        self.releases
            .values()
            .filter(|release| release.is_usable() && release.identity().as_ref() == Some(identity))
            .max_by_key(|release| (release.state.is_trusted(), release.created))
    }
}
