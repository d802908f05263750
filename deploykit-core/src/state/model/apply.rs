//! What each record does to the state.

use std::sync::Arc;

use camino::Utf8PathBuf;

use super::{
    Activation, BadSource, DeploymentRecord, Hold, InProgress, ProbationRecord, REMEMBERED,
    ReleaseRecord, RevertRecord, State,
};
use crate::id::{DeploymentId, ReleaseId, SourceId};
use crate::state::{ConfirmedBy, Entry, Outcome, Record};
use crate::time::Timestamp;
use crate::traits::{BuildState, ReleaseState, Verdict};

impl State {
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
            Record::DeploymentResolved { deployment, source, release, runtime, spares, demand } => {
                self.with_deployment(deployment, |record| {
                    record.source = Some(source);
                    record.to = release;
                });
                self.with_progress(deployment, |progress| {
                    progress.runtime = runtime.map(Arc::new);
                    progress.spares = spares;
                    progress.demand = demand;
                });
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
                self.start_revert(deployment, RevertRecord { to, reason, bad });
            }
            Record::ServicePrepared { deployment, prepared } => {
                self.with_progress(deployment, |p| p.prepared = Some(prepared));
            }
            Record::ProbationStarted {
                deployment,
                release,
                predecessor,
                deadline,
                confirmation,
            } => {
                self.start_probation(ProbationRecord {
                    deployment,
                    release,
                    predecessor,
                    before: Verdict::None,
                    started: at,
                    deadline,
                    confirmation,
                    generation: self.seq,
                });
            }
            Record::Held { by, reason } => self.hold = Some(Hold { by, since: at, reason }),
            Record::Unheld { .. } => self.hold = None,
            Record::NoticeOwed { notice } => self.notices.owe(*notice),
            Record::NoticeSent { notice } => self.notices.sent(notice),
            Record::NoticeFailed { notice, told, .. } => self.notices.failed(notice, told),
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

    fn start_revert(&mut self, deployment: DeploymentId, revert: RevertRecord) {
        if let Some(probation) = self.probation.take_if(|p| p.deployment == deployment) {
            self.leave_probation(probation);
        }
        let tried = self.deployment(deployment).and_then(|record| record.to.clone());
        let same = tried.filter(|tried| revert.bad && Some(tried) == revert.to.as_ref());
        let mut runtime = None;
        self.with_progress(deployment, |progress| {
            progress.intended = None;
            progress.revert = Some(revert);
            runtime = progress.runtime.clone();
        });
        let Some(release) = same else { return };
        let recorded = || self.releases.get(&release)?.runtime.clone();
        let refused = runtime.or_else(recorded).map(|runtime| (release.clone(), runtime));
        self.refused = refused.or(self.refused.take());
    }

    /// Only one release is watched: another one that was is left as it was before.
    fn start_probation(&mut self, mut probation: ProbationRecord) {
        if let Some(other) = self.probation.take() {
            self.leave_probation(other);
        }
        self.with_release(&probation.release.clone(), |record| {
            probation.before = std::mem::replace(&mut record.state.verdict, Verdict::Probation);
        });
        self.probation = Some(probation);
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
        self.serves = None;
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
            self.serves = Some(release.clone());
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
