//! What the records of the journal add up to. Pure: nothing here touches a disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::record::{Actor, ConfirmedBy, Entry, Outcome, Record, Request};
use crate::config::RuntimeConfig;
use crate::id::{BuildDigest, DeploymentId, Identity, ReleaseId, SourceId};
use crate::time::Timestamp;
use crate::traits::{BuildState, Prepared, ReleaseState, Verdict};

/// All that is known of a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReleaseRecord {
    /// Its name.
    pub id: ReleaseId,
    /// What it is made of.
    pub source: SourceId,
    /// The name by which the source was found; nothing for adopted ones.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The digest of the configuration of its build; none for adopted ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildDigest>,
    /// Where it lies, relative to the application's directory.
    pub path: Utf8PathBuf,
    /// When it was begun.
    pub created: Timestamp,
    /// The deployment that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// Its state.
    pub state: ReleaseState,
    /// How its service is run and watched. Releases that are run in the same way share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Arc<RuntimeConfig>>,
    /// How much disk it takes, in bytes; 0 when that is not known.
    #[serde(default)]
    pub bytes: u64,
    /// How many inodes it takes; 0 when that is not known.
    #[serde(default)]
    pub entries: u64,
    /// The variable that the processes of its build carry.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub marker: String,
    /// It has been good: confirmed once, whatever became of it later.
    #[serde(default)]
    pub proved: bool,
    /// It is being removed.
    #[serde(default)]
    pub removing: bool,
}

impl ReleaseRecord {
    /// What makes it interchangeable with another; adopted releases are not.
    pub fn identity(&self) -> Option<Identity> {
        let build = self.build.clone()?;
        Some(Identity { source: self.source.clone(), build })
    }

    /// Whether a rollback may choose it by itself.
    pub fn is_trusted(&self) -> bool {
        self.is_usable() && self.state.is_trusted()
    }

    /// Whether it is or has been good: an operator may have left it, or it has become ill later.
    pub fn is_proved(&self) -> bool {
        self.is_trusted() || self.is_usable() && self.proved
    }

    /// Whether it may be activated.
    pub fn is_usable(&self) -> bool {
        self.state.build.is_complete() && !self.removing
    }
}

/// All that is known of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeploymentRecord {
    /// Its number.
    pub id: DeploymentId,
    /// What was asked for.
    pub request: Request,
    /// By whom.
    pub by: Actor,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What was active before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<ReleaseId>,
    /// The release that it made or chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ReleaseId>,
    /// What its revision was resolved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceId>,
    /// How it ended; nothing while it goes on, or when it was killed and not yet put right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// One switch of the active link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// When.
    pub at: Timestamp,
    /// To which release; none when the link was removed or leads to something unknown.
    pub release: Option<ReleaseId>,
}

/// A release that is being watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProbationRecord {
    /// By which deployment.
    pub deployment: DeploymentId,
    /// Which release.
    pub release: ReleaseId,
    /// To which release it goes back.
    pub predecessor: Option<ReleaseId>,
    /// The verdict on the release until then; it returns when the probation ends without one.
    pub before: Verdict,
    /// Since when.
    pub started: Timestamp,
    /// It is decided by then.
    pub deadline: Timestamp,
    /// Tells this probation from every other: who ends it must have seen this number.
    pub generation: u64,
}

/// A deployment that is being taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevertRecord {
    /// To which release.
    pub to: Option<ReleaseId>,
    /// Why.
    pub reason: String,
    /// Whether the release that is left is bad.
    pub bad: bool,
}

/// How far a deployment that goes on (or was killed) has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InProgress {
    /// Which.
    pub deployment: DeploymentId,
    /// The intended switch of the link, from and to, until it is known to have happened.
    pub intended: Option<(Option<ReleaseId>, Option<ReleaseId>)>,
    /// The release was activated.
    pub activated: bool,
    /// It was confirmed after that. Its verdict does not tell: it may be an earlier one.
    #[serde(default)]
    pub confirmed: bool,
    /// It is being taken back.
    pub revert: Option<RevertRecord>,
    /// Instances that were started beside the old ones.
    pub prepared: Option<Prepared>,
    /// How the service of its release is run and watched, where that is not what is recorded with it.
    #[serde(default)]
    pub runtime: Option<Arc<RuntimeConfig>>,
}

impl InProgress {
    fn of(deployment: DeploymentId) -> Self {
        Self {
            deployment,
            intended: None,
            activated: false,
            confirmed: false,
            revert: None,
            prepared: None,
            runtime: None,
        }
    }
}

/// The present release is pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// By whom.
    pub by: Actor,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: Option<String>,
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the present release is held by {} since {}", self.by.user, self.since)?;
        self.reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// A source that is not deployed again unasked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadSource {
    /// When it was found bad.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// How many bad sources and activations are remembered. Older ones belong to releases that are
/// long gone.
const REMEMBERED: usize = 1000;

/// The state of an application.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct State {
    /// The number of the last record.
    pub seq: u64,
    /// The number of the last deployment.
    pub last_deployment: DeploymentId,
    /// The releases.
    pub releases: BTreeMap<ReleaseId, ReleaseRecord>,
    /// The switches of the link, the oldest first.
    pub activations: VecDeque<Activation>,
    /// Where the link led when it was last found changed by somebody else to something unknown.
    pub foreign_link: Option<Utf8PathBuf>,
    /// The deployments that are remembered, the oldest first.
    pub deployments: VecDeque<DeploymentRecord>,
    /// The deployments that have begun and not ended, the oldest first. There are several when an
    /// operator acts while a release is on probation, or when one was killed.
    pub open: Vec<InProgress>,
    /// The probation that goes on.
    pub probation: Option<ProbationRecord>,
    /// The pin.
    pub hold: Option<Hold>,
    /// What is not deployed again unasked.
    pub bad: BTreeMap<SourceId, BadSource>,
    /// The release whose service could not be brought over to another configuration, and that
    /// configuration: a timer does not try it again.
    #[serde(default)]
    pub refused: Option<(ReleaseId, Arc<RuntimeConfig>)>,
    /// Whether an existing installation was looked for.
    pub adopted: bool,
}

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

    /// Where a rollback from `active` goes by default: to the trusted release that was active
    /// before it, in the order of the activations.
    pub fn rollback_target(&self, active: Option<&ReleaseId>) -> Option<&ReleaseRecord> {
        let other = |release: &&ReleaseRecord| Some(&release.id) != active;
        let activated = self.activations.iter().rev().filter_map(|a| a.release.as_ref());
        let mut releases = activated.filter_map(|id| self.releases.get(id));
        releases.find(|release| release.is_trusted() && other(release)).or_else(|| {
            let mut proved = self.proved_by_activation().into_iter();
            proved.find(|release| release.is_trusted() && other(release))
        })
    }

    /// The releases that are trusted or were once, those activated last first. Adopted ones of which
    /// no activation is known come behind, the newest first.
    pub fn proved_by_activation(&self) -> Vec<&ReleaseRecord> {
        let mut order: Vec<&ReleaseRecord> = Vec::new();
        let mut seen = std::collections::HashSet::new();
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

    /// Adds the records of one line of the journal.
    pub fn apply(&mut self, entry: &Entry) {
        self.seq = entry.seq;
        for record in &entry.records {
            self.apply_record(entry.at, record.clone());
        }
    }

    fn apply_record(&mut self, at: Timestamp, record: Record) {
        match record {
            Record::DeploymentStarted { deployment, request, by, from } => {
                self.start(DeploymentRecord {
                    id: deployment,
                    request,
                    by,
                    started: at,
                    ended: None,
                    from,
                    to: None,
                    source: None,
                    outcome: None,
                });
            }
            Record::DeploymentResolved { deployment, source, release, runtime } => {
                self.with_deployment(deployment, |record| {
                    record.source = Some(source);
                    record.to = release;
                });
                self.with_progress(deployment, |p| p.runtime = runtime.map(Arc::new));
            }
            Record::DeploymentFinished { deployment, outcome } => {
                self.finish(deployment, at, outcome);
            }
            Record::ActivationIntended { deployment, from, to } => {
                self.with_progress(deployment, |p| p.intended = Some((from, to)));
            }
            Record::Activated { deployment, to } => self.activated(at, deployment, to),
            Record::LinkFound { release, path } => {
                self.foreign_link = if release.is_none() { path } else { None };
                self.forget_intentions();
                self.push_activation(at, release);
            }
            Record::RevertStarted { deployment, to, reason, bad } => {
                if let Some(probation) = self.probation.take_if(|p| p.deployment == deployment) {
                    self.leave_probation(probation);
                }
                let tried = self.deployment(deployment).and_then(|record| record.to.clone());
                let same = bad && tried == to;
                let mut refused = None;
                self.with_progress(deployment, |progress| {
                    progress.intended = None;
                    progress.revert = Some(RevertRecord { to, reason, bad });
                    refused = progress.runtime.clone().filter(|_| same);
                });
                self.refused = tried.zip(refused).or(self.refused.take());
            }
            Record::ServicePrepared { deployment, prepared } => {
                self.with_progress(deployment, |p| p.prepared = Some(prepared));
            }
            Record::ProbationStarted { deployment, release, predecessor, deadline } => {
                // Only one release is watched: another one that was is left as it was before.
                if let Some(other) = self.probation.take() {
                    self.leave_probation(other);
                }
                let mut before = Verdict::None;
                self.with_release(&release, |record| {
                    before = std::mem::replace(&mut record.state.verdict, Verdict::Probation);
                });
                self.probation = Some(ProbationRecord {
                    deployment,
                    release,
                    predecessor,
                    before,
                    started: at,
                    deadline,
                    generation: self.seq,
                });
            }
            Record::Held { by, reason } => self.hold = Some(Hold { by, since: at, reason }),
            Record::Unheld { .. } => self.hold = None,
            Record::Unknown => {}
            other => self.apply_to_release(at, other),
        }
    }

    fn apply_to_release(&mut self, at: Timestamp, record: Record) {
        match record {
            Record::ReleaseCreated { deployment, release, source, name, build, path, marker } => {
                self.with_deployment(deployment, |record| record.to = Some(release.clone()));
                let mut record = new_release(release, source, path, at);
                record.name = name;
                record.build = Some(build);
                record.deployment = Some(deployment);
                record.marker = marker;
                self.releases.insert(record.id.clone(), record);
            }
            Record::ReleaseAdopted { release, source, path, created, runtime } => {
                let mut record = new_release(release, source, path, created);
                record.state.build = BuildState::Adopted;
                record.proved = true;
                record.runtime = Some(Arc::new(runtime));
                self.adopted = true;
                self.releases.insert(record.id.clone(), record);
            }
            Record::ReleaseSealed { release, runtime, bytes, entries } => {
                self.with_release(&release, |record| {
                    record.state.build = BuildState::Sealed;
                    record.runtime = Some(Arc::new(runtime));
                    record.bytes = bytes;
                    record.entries = entries;
                });
            }
            Record::ReleaseFailed { release, reason } => {
                // What was never complete has no verdict; a snapshot has room for one reason.
                let (build, verdict) = (BuildState::Failed { reason }, Verdict::None);
                self.with_release(&release, |r| r.state = ReleaseState { build, verdict });
            }
            Record::RuntimeChanged { release, runtime } => {
                self.with_release(&release, |record| record.runtime = Some(Arc::new(runtime)));
            }
            Record::Confirmed { release, by } => self.confirm(&release, by),
            Record::MarkedBad { release, reason } => self.mark_bad(at, &release, &reason),
            Record::RemovalIntended { release } => {
                self.with_release(&release, |record| record.removing = true);
            }
            Record::Removed { release } => {
                self.releases.remove(&release);
            }
            _ => {}
        }
    }

    fn with_release(&mut self, id: &ReleaseId, change: impl FnOnce(&mut ReleaseRecord)) {
        if let Some(record) = self.releases.get_mut(id) {
            change(record);
        }
    }

    fn with_deployment(&mut self, id: DeploymentId, change: impl FnOnce(&mut DeploymentRecord)) {
        if let Some(record) = self.deployments.iter_mut().rev().find(|record| record.id == id) {
            change(record);
        }
    }

    fn with_progress(&mut self, id: DeploymentId, change: impl FnOnce(&mut InProgress)) {
        if let Some(progress) = self.open.iter_mut().find(|p| p.deployment == id) {
            change(progress);
        }
    }

    fn start(&mut self, record: DeploymentRecord) {
        self.last_deployment = record.id;
        self.open.push(InProgress::of(record.id));
        self.deployments.push_back(record);
    }

    fn finish(&mut self, deployment: DeploymentId, at: Timestamp, outcome: Outcome) {
        self.with_deployment(deployment, |record| {
            record.ended = Some(at);
            record.outcome = Some(outcome);
        });
        self.open.retain(|progress| progress.deployment != deployment);
        if let Some(probation) = self.probation.take_if(|p| p.deployment == deployment) {
            self.leave_probation(probation);
        }
    }

    fn activated(&mut self, at: Timestamp, deployment: DeploymentId, to: Option<ReleaseId>) {
        self.forget_intentions();
        self.with_progress(deployment, |progress| progress.activated = true);
        if let Some(probation) = self.probation.take_if(|p| to.as_ref() != Some(&p.release)) {
            self.leave_probation(probation);
        }
        self.foreign_link = None;
        self.push_activation(at, to);
    }

    /// A probation that ended without a verdict leaves the one that was there before.
    fn leave_probation(&mut self, probation: ProbationRecord) {
        self.with_release(&probation.release, |record| {
            if record.state.verdict == Verdict::Probation {
                record.state.verdict = probation.before;
            }
        });
    }

    /// Where the link leads now has come about in another way.
    fn forget_intentions(&mut self) {
        self.open.iter_mut().for_each(|progress| progress.intended = None);
    }

    fn push_activation(&mut self, at: Timestamp, release: Option<ReleaseId>) {
        self.activations.push_back(Activation { at, release });
        if self.activations.len() > REMEMBERED {
            self.activations.pop_front();
        }
    }

    fn confirm(&mut self, release: &ReleaseId, by: ConfirmedBy) {
        let verified = by != ConfirmedBy::Nothing;
        self.with_release(release, |record| {
            record.state.verdict = Verdict::Confirmed { verified };
            record.proved = true;
        });
        self.probation.take_if(|probation| probation.release == *release);
        if self.last_active() == Some(release) {
            // The last deployment that has activated it.
            let mut open = self.open.iter_mut().rev();
            if let Some(progress) = open.find(|progress| progress.activated) {
                progress.confirmed = true;
            }
        }
        if let Some(record) = self.releases.get(release) {
            let source = record.source.clone();
            self.bad.remove(&source);
        }
        self.refused.take_if(|(refused, _)| refused == release);
    }

    fn mark_bad(&mut self, at: Timestamp, release: &ReleaseId, reason: &str) {
        self.with_release(release, |record| {
            record.state.verdict = match record.state.build {
                BuildState::Failed { .. } => Verdict::None,
                _ => Verdict::Bad { reason: reason.to_owned() },
            };
        });
        self.probation.take_if(|probation| probation.release == *release);
        let Some(record) = self.releases.get(release) else { return };
        self.bad.insert(record.source.clone(), BadSource { at, reason: reason.to_owned() });
        if self.bad.len() > REMEMBERED {
            let oldest = self.bad.iter().min_by_key(|(_, bad)| bad.at).map(|(id, _)| id.clone());
            oldest.map(|id| self.bad.remove(&id));
        }
    }

    /// Forgets all but the last `keep` deployments. Those that have not ended are never forgotten.
    pub fn forget_deployments(&mut self, keep: usize) {
        let mut surplus = self.deployments.len().saturating_sub(keep.max(1));
        self.deployments.retain(|record| {
            let forgotten = surplus > 0 && record.outcome.is_some();
            surplus = surplus.saturating_sub(1);
            !forgotten
        });
    }
}

fn new_release(id: ReleaseId, source: SourceId, path: Utf8PathBuf, at: Timestamp) -> ReleaseRecord {
    ReleaseRecord {
        id,
        source,
        name: String::new(),
        build: None,
        path,
        created: at,
        deployment: None,
        state: ReleaseState { build: BuildState::Building, verdict: Verdict::None },
        runtime: None,
        bytes: 0,
        entries: 0,
        marker: String::new(),
        proved: false,
        removing: false,
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
