//! The content of a snapshot.
//!
//! Most releases of an application are run in the same way. The ways stand in the snapshot once each,
//! and releases point to theirs: of a thousand releases that makes half the file, and reading it is
//! most of what `list` and `rollback` cost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::format::{SNAPSHOT, VERSION};
use crate::config::RuntimeConfig;
use crate::id::ReleaseId;
use crate::state::State;

/// The content of a snapshot.
#[derive(Serialize, Deserialize)]
pub(super) struct Snapshot {
    format: String,
    version: u32,
    /// The ways in which releases are run.
    runtimes: Vec<RuntimeConfig>,
    /// Which of them is whose.
    run_by: BTreeMap<ReleaseId, usize>,
    /// The rest.
    state: State,
}

impl Snapshot {
    pub(super) fn of(mut state: State) -> Self {
        let mut runtimes: Vec<RuntimeConfig> = Vec::new();
        let mut run_by = BTreeMap::new();
        for (id, release) in &mut state.releases {
            let Some(runtime) = release.runtime.take() else { continue };
            let known = runtimes.iter().position(|known| *known == runtime);
            let index = known.unwrap_or_else(|| {
                runtimes.push(runtime);
                runtimes.len() - 1
            });
            run_by.insert(id.clone(), index);
        }
        Self { format: SNAPSHOT.to_owned(), version: VERSION, runtimes, run_by, state }
    }

    pub(super) fn into_state(self) -> State {
        let Self { runtimes, run_by, mut state, .. } = self;
        for (id, index) in run_by {
            if let (Some(release), Some(runtime)) =
                (state.releases.get_mut(&id), runtimes.get(index))
            {
                release.runtime = Some(runtime.clone());
            }
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Period;
    use crate::state::Entry;
    use crate::state::model::testing::{adopted, at, created, release_id, sealed};

    #[test]
    fn each_way_to_run_stands_there_once_and_every_release_gets_its_own_back() {
        let mut state = State::default();
        let mut records = vec![adopted(0, 0)];
        for number in 1..5 {
            records.extend([created(number, 0, "refs/heads/main"), sealed(number)]);
        }
        records.push(created(5, 0, "refs/heads/main"));
        state.apply(&Entry { seq: 1, at: at(1), records });
        let other = state.releases.get_mut(&release_id(3)).unwrap().runtime.as_mut().unwrap();
        other.probation.duration = Period::from_secs(77);

        let snapshot = Snapshot::of(state.clone());
        assert_eq!((snapshot.runtimes.len(), snapshot.run_by.len()), (2, 5));
        let text = serde_json::to_string(&snapshot).unwrap();
        assert_eq!(serde_json::from_str::<Snapshot>(&text).unwrap().into_state(), state);
    }
}
