use std::collections::BTreeSet;

use proptest::prelude::*;

use super::testing::{
    activated, adopted, at, bad, confirmed, created, entries, probation, release_id, sealed,
    source_id, state, states,
};
use super::{REMEMBERED, State};
use crate::id::DeploymentId;
use crate::state::{Entry, Outcome, Record};
use crate::traits::Verdict;

fn verdict(state: &State, number: u8) -> &Verdict {
    &state.releases[&release_id(number)].state.verdict
}

proptest! {
    #[test]
    fn a_rollback_never_goes_to_what_is_active_bad_or_unusable(state in states()) {
        let actives = state.releases.keys().map(Some).chain([None]);
        for active in actives {
            let Some(target) = state.rollback_target(active) else { continue };
            prop_assert_ne!(Some(&target.id), active);
            prop_assert!(target.is_usable() && !target.state.verdict.is_bad(), "{:?}", target);
            prop_assert!(target.state.is_trusted(), "{:?}", target);
        }
    }

    #[test]
    fn what_has_been_good_is_all_there_and_each_once(state in states()) {
        let trusted: Vec<_> = state.proved_by_activation().iter().map(|r| r.id.clone()).collect();
        let all = state.releases.values().filter(|r| r.is_proved());
        let expected: BTreeSet<_> = all.map(|r| r.id.clone()).collect();
        prop_assert_eq!(trusted.len(), expected.len());
        prop_assert_eq!(trusted.into_iter().collect::<BTreeSet<_>>(), expected);
    }

    #[test]
    fn only_the_release_of_the_probation_is_on_probation(state in states()) {
        let watched = state.probation.as_ref().map(|probation| &probation.release);
        for release in state.releases.values() {
            if release.state.verdict == Verdict::Probation {
                prop_assert_eq!(Some(&release.id), watched);
            }
        }
        if let Some(probation) = &state.probation {
            prop_assert_ne!(&probation.before, &Verdict::Probation);
        }
    }

    #[test]
    fn what_is_written_is_what_is_read(entries in entries()) {
        let mut state = State::default();
        for entry in entries {
            let text = serde_json::to_string(&entry).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Entry>(&text).unwrap(), &entry);
            state.apply(&entry);
        }
        let text = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }

    #[test]
    fn the_deployment_that_goes_on_is_not_forgotten(state in states(), keep in 0..3usize) {
        let mut state = state;
        state.forget_deployments(keep);
        let ended = state.deployments.iter().filter(|record| record.outcome.is_some()).count();
        prop_assert!(ended <= keep.max(1));
        for progress in &state.open {
            prop_assert!(state.deployment(progress.deployment).is_some());
        }
    }
}

#[test]
fn a_rollback_goes_by_the_order_of_activations_not_of_creation() {
    let mut records = Vec::new();
    for number in [1, 2, 3] {
        records.extend([created(number, number, "main"), sealed(number)]);
    }
    for number in [3, 1, 2] {
        records.extend([activated(number), confirmed(number)]);
    }
    let state = state(records);
    assert_eq!(state.rollback_target(Some(&release_id(2))).unwrap().id, release_id(1));
    assert_eq!(state.rollback_target(Some(&release_id(1))).unwrap().id, release_id(2));
    assert_eq!(state.activated_at(&release_id(3)), Some(at(7)));
}

#[test]
fn nobody_goes_forth_to_what_was_never_seen_active() {
    let state = state([adopted(1, 1), adopted(2, 2), adopted(3, 3)]);
    let target = |number: Option<u8>| {
        let active = number.map(release_id);
        state.rollback_target(active.as_ref()).map(|release| release.id.clone())
    };
    assert_eq!(target(Some(2)), Some(release_id(1)));
    assert_eq!(target(Some(1)), None);
    assert_eq!(target(None), Some(release_id(3)), "anything is better than nothing");
}

#[test]
fn adopted_releases_come_behind_those_that_were_activated_the_newest_first() {
    let state = state([
        adopted(5, 1),
        adopted(4, 2),
        created(1, 0, "main"),
        sealed(1),
        activated(1),
        confirmed(1),
    ]);
    let order: Vec<_> = state.proved_by_activation().iter().map(|r| r.id.clone()).collect();
    assert_eq!(order, [release_id(1), release_id(5), release_id(4)]);
}

#[test]
fn a_probation_that_ends_without_a_verdict_leaves_the_one_before() {
    let history =
        [created(1, 1, "main"), sealed(1), activated(1), confirmed(1), probation(1, None)];
    let on = state(history.clone());
    assert_eq!(verdict(&on, 1), &Verdict::Probation);
    let outcome = Outcome::Failed { reason: "no".into() };
    let finished = Record::DeploymentFinished { deployment: DeploymentId(1), outcome };
    for end in [finished, Record::Activated { deployment: DeploymentId(1), to: None }] {
        let state = state(history.clone().into_iter().chain([end]));
        assert_eq!(verdict(&state, 1), &Verdict::Confirmed { verified: true });
        assert_eq!(state.probation, None);
    }
}

#[test]
fn a_second_probation_ends_the_first() {
    let made = |number| [created(number, number, "main"), sealed(number)];
    let first = made(1).into_iter().chain(made(2)).chain([confirmed(1), probation(1, None)]);
    let other = state(first.clone().chain([probation(2, Some(1))]));
    assert_eq!(verdict(&other, 1), &Verdict::Confirmed { verified: true });
    assert_eq!(verdict(&other, 2), &Verdict::Probation);
    let again = state(first.chain([probation(1, None), activated(2)]));
    assert_eq!(verdict(&again, 1), &Verdict::Confirmed { verified: true });
}

#[test]
fn a_confirmed_release_clears_its_source_and_a_bad_one_marks_it() {
    let made = [created(1, 1, "main"), sealed(1), bad(1)];
    assert!(state(made.clone()).bad.contains_key(&source_id(1)));
    assert!(state(made.into_iter().chain([confirmed(1)])).bad.is_empty());
}

#[test]
fn what_is_remembered_has_an_end() {
    let mut state = state([created(1, 1, "main"), sealed(1)]);
    for seq in 3..2 * REMEMBERED as u64 {
        state.apply(&Entry { seq, at: at(seq), records: vec![activated(1)] });
    }
    assert_eq!(state.activations.len(), REMEMBERED);
    assert_eq!(state.activations.back().unwrap().at, at(2 * REMEMBERED as u64 - 1));
}
