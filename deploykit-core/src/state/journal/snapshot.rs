//! The content of a snapshot.
//!
//! Of a thousand releases, reading the snapshot is most of what `list` and `rollback` cost, so it
//! says nothing twice: most releases are built and run in the same way, and these ways stand in it
//! once each; a release lies where its name says; and there is no build to be found of one that is
//! made.

use std::sync::Arc;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::config::RuntimeConfig;
use crate::id::{BuildDigest, DeploymentId, ReleaseId, SourceId};
use crate::state::{Layout, ReleaseRecord, State};
use crate::time::Timestamp;
use crate::traits::{BuildState, ReleaseState};

/// The second line of a snapshot; its header is the first.
#[derive(Serialize, Deserialize)]
pub(super) struct Snapshot {
    /// The ways in which releases are run.
    runtimes: Vec<Arc<RuntimeConfig>>,
    /// The ways in which they were built.
    builds: Vec<BuildDigest>,
    releases: Vec<Stored>,
    /// The rest: a state without releases.
    state: State,
}

/// A release, without what its name or another one's record says already.
#[derive(Serialize, Deserialize)]
struct Stored {
    id: ReleaseId,
    source: SourceId,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    /// Which of the builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    build: Option<usize>,
    /// None where its name says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<Utf8PathBuf>,
    created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deployment: Option<DeploymentId>,
    state: ReleaseState,
    /// Which of the runtimes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runtime: Option<usize>,
    #[serde(default, skip_serializing_if = "is_zero")]
    bytes: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    entries: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    marker: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    proved: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removing: bool,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The place of `value` in `known`, where it is put if it is new. There are few different ones.
fn index_of<T: PartialEq>(known: &mut Vec<T>, value: T) -> usize {
    known.iter().position(|other| *other == value).unwrap_or_else(|| {
        known.push(value);
        known.len() - 1
    })
}

impl Snapshot {
    pub(super) fn of(mut state: State) -> Self {
        let (mut runtimes, mut builds) = (Vec::new(), Vec::new());
        let releases = std::mem::take(&mut state.releases);
        let releases = releases.into_values().map(|release| Stored {
            path: (release.path != Layout::release_path(&release.id)).then_some(release.path),
            build: release.build.map(|build| index_of(&mut builds, build)),
            runtime: release.runtime.map(|runtime| index_of(&mut runtimes, runtime)),
            // Only a build that may still be running is looked for by it.
            marker: match release.state.build {
                BuildState::Sealed | BuildState::Adopted => String::new(),
                BuildState::Building | BuildState::Failed { .. } => release.marker,
            },
            id: release.id,
            source: release.source,
            name: release.name,
            created: release.created,
            deployment: release.deployment,
            state: release.state,
            bytes: release.bytes,
            entries: release.entries,
            proved: release.proved,
            removing: release.removing,
        });
        Self { releases: releases.collect(), runtimes, builds, state }
    }

    pub(super) fn into_state(self) -> State {
        let Self { runtimes, builds, releases, mut state } = self;
        let releases = releases.into_iter().map(|stored| {
            let record = ReleaseRecord {
                build: stored.build.and_then(|index| builds.get(index).cloned()),
                runtime: stored.runtime.and_then(|index| runtimes.get(index).cloned()),
                path: stored.path.unwrap_or_else(|| Layout::release_path(&stored.id)),
                id: stored.id,
                source: stored.source,
                name: stored.name,
                created: stored.created,
                deployment: stored.deployment,
                state: stored.state,
                bytes: stored.bytes,
                entries: stored.entries,
                marker: stored.marker,
                proved: stored.proved,
                removing: stored.removing,
            };
            (record.id.clone(), record)
        });
        state.releases = releases.collect();
        state
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Period;
    use crate::state::Entry;
    use crate::state::model::testing::{adopted, at, created, entries, release_id, sealed};

    fn written_and_read(state: &State) -> State {
        let text = serde_json::to_string(&Snapshot::of(state.clone())).unwrap();
        serde_json::from_str::<Snapshot>(&text).unwrap().into_state()
    }

    /// The state without what a snapshot leaves out of complete releases.
    fn without_markers(mut state: State) -> State {
        state.releases.values_mut().for_each(|release| release.marker.clear());
        state
    }

    #[test]
    fn each_way_to_run_and_build_stands_there_once_and_every_release_gets_its_own_back() {
        let mut state = State::default();
        let mut records = vec![adopted(0, 0)];
        for number in 1..5 {
            records.extend([created(number, 0, "refs/heads/main"), sealed(number)]);
        }
        records.push(created(5, 0, "refs/heads/main"));
        state.apply(&Entry { seq: 1, at: at(1), records });
        let mut other = RuntimeConfig::default();
        other.probation.duration = Period::from_secs(77);
        state.releases.get_mut(&release_id(3)).unwrap().runtime = Some(Arc::new(other));

        let snapshot = Snapshot::of(state.clone());
        assert_eq!((snapshot.runtimes.len(), snapshot.builds.len()), (2, 1));
        let read = written_and_read(&state);
        let markers: Vec<_> = read.releases.values().map(|release| &*release.marker).collect();
        assert_eq!(markers, ["", "", "", "", "", "marker-5"], "only one may still be built");
        assert_eq!(without_markers(read), without_markers(state));
    }

    proptest! {
        #[test]
        fn a_snapshot_in_between_changes_nothing(entries in entries(), cut in 0..40usize) {
            let (mut whole, mut cut_off) = (State::default(), State::default());
            for (index, entry) in entries.iter().enumerate() {
                if index == cut {
                    cut_off = written_and_read(&cut_off);
                }
                whole.apply(entry);
                cut_off.apply(entry);
            }
            prop_assert_eq!(without_markers(cut_off), without_markers(whole));
        }
    }
}
