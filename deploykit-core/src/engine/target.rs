//! Which release a rollback goes to. Pure.

use super::error::Error;
use super::request::RollbackRequest;
use crate::state::{ReleaseRecord, State};
use crate::traits::Verdict;

/// The release that a rollback from `active` goes to.
pub(super) fn of_rollback<'a>(
    state: &'a State,
    active: Option<&ReleaseRecord>,
    request: &RollbackRequest,
) -> Result<&'a ReleaseRecord, Error> {
    let active = active.map(|release| &release.id);
    let Some(name) = &request.to else {
        return state.rollback_target(active).ok_or(Error::NothingToRollBackTo);
    };
    let target = named(state, name)?;
    if Some(&target.id) == active {
        return Err(Error::AlreadyActive { release: target.id.clone() });
    }
    if target.state.is_trusted() || request.retry {
        return Ok(target);
    }
    let release = target.id.clone();
    Err(match &target.state.verdict {
        Verdict::Bad { reason } => Error::BadRelease { release, reason: reason.clone() },
        _ => Error::Unconfirmed { release },
    })
}

/// The release that a person means: by its id or the beginning of it, by a full or partial hash, or
/// by the branch or tag that it was deployed from. Of several releases of one source the best is
/// taken.
pub(super) fn named<'a>(state: &'a State, name: &str) -> Result<&'a ReleaseRecord, Error> {
    if name.is_empty() {
        return Err(Error::NoSuchRelease { name: String::new() });
    }
    let usable = || state.releases.values().filter(|release| release.is_usable());
    if let Some(exact) = usable().find(|release| release.id.as_str() == name) {
        return Ok(exact);
    }
    let lower = name.to_ascii_lowercase();
    let by_name = |release: &ReleaseRecord| {
        // What was deployed by its hash is found by that below, with all others of that source.
        release.name != release.source.digest()
            && ["refs/heads/", "refs/tags/", ""]
                .iter()
                .any(|prefix| release.name.strip_prefix(prefix) == Some(name))
    };
    let mut found: Vec<_> = usable().filter(|release| by_name(release)).collect();
    if let Some(latest) = found.iter().max_by_key(|release| release.created) {
        // A branch moves on: the name means what was deployed last under it.
        return Ok(latest);
    }
    found = usable()
        .filter(|release| {
            release.id.as_str().starts_with(name)
                || (name.len() >= 4 && release.source.digest().starts_with(&lower))
        })
        .collect();
    let best = found.iter().max_by_key(|r| (r.state.is_trusted(), r.created)).copied();
    let best = best.ok_or_else(|| Error::NoSuchRelease { name: name.to_owned() })?;
    if found.iter().any(|release| release.source != best.source) {
        let candidates = found.iter().map(|release| release.id.clone()).collect();
        return Err(Error::AmbiguousRelease { name: name.to_owned(), candidates });
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::ReleaseId;
    use crate::state::Record;
    use crate::state::model::testing::{
        activated, adopted, bad, confirmed, created, release_id, sealed, source_id, state, states,
        usable,
    };

    fn served(number: u8, source: u8, name: &str) -> [Record; 4] {
        [created(number, source, name), sealed(number), activated(number), confirmed(number)]
    }

    fn to(state: &State, name: &str) -> Result<ReleaseId, String> {
        let found = of_rollback(state, None, &RollbackRequest::to(name));
        found.map(|release| release.id.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_id_comes_before_a_branch_and_a_branch_means_what_was_deployed_last() {
        let records = [
            served(1, 1, "refs/heads/main"),
            served(2, 2, "refs/heads/main"),
            served(3, 3, "refs/heads/release-1"),
            served(4, 4, "refs/tags/v1"),
        ];
        let state = state(records.into_iter().flatten());
        assert_eq!(to(&state, "release-1"), Ok(release_id(1)));
        assert_eq!(to(&state, "main"), Ok(release_id(2)));
        assert_eq!(to(&state, "refs/heads/main"), Ok(release_id(2)));
        assert_eq!(to(&state, "v1"), Ok(release_id(4)));
        assert!(to(&state, "refs/heads/v1").is_err());
    }

    #[test]
    fn a_hash_may_be_short_and_in_capitals_but_not_too_short() {
        let state = state(served(1, 0xab, "refs/heads/main"));
        for name in ["abab", "ABAB", &"ab".repeat(20), &"AB".repeat(20)] {
            assert_eq!(to(&state, name), Ok(release_id(1)), "{name}");
        }
        for name in ["aba", "", "abac", "main2"] {
            assert!(to(&state, name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn of_several_releases_of_one_source_a_hash_means_the_best_however_they_were_deployed() {
        let hash = source_id(1).digest().to_owned();
        let by_hash = [created(1, 1, &hash), sealed(1), bad(1)];
        let by_branch = served(2, 1, "refs/heads/main");
        for records in [
            by_hash.iter().chain(&by_branch).cloned().collect::<Vec<_>>(),
            by_branch.iter().chain(&by_hash).cloned().collect(),
        ] {
            assert_eq!(to(&state(records), &hash), Ok(release_id(2)));
        }
    }

    #[test]
    fn nothing_is_no_name_of_an_adopted_release() {
        let state = state([adopted(1, 1)]);
        assert!(to(&state, "").is_err());
        assert_eq!(to(&state, "release-1"), Ok(release_id(1)));
    }

    #[test]
    fn what_several_sources_begin_with_is_listed() {
        let state = state([1, 2].into_iter().flat_map(|n| served(n, n, "refs/heads/main")));
        let error = of_rollback(&state, None, &RollbackRequest::to("release-")).unwrap_err();
        let Error::AmbiguousRelease { candidates, .. } = error else { panic!("{error}") };
        assert_eq!(candidates, [release_id(1), release_id(2)]);
    }

    #[test]
    fn what_is_active_bad_or_unconfirmed_is_refused_until_it_is_wanted_all_the_same() {
        let others = [created(2, 2, "x"), sealed(2), bad(2), created(3, 3, "y"), sealed(3)];
        let state = state(served(1, 1, "main").into_iter().chain(others));
        let active = state.release(&release_id(1));
        let of = |request: &RollbackRequest| of_rollback(&state, active, request);
        let named = |number| RollbackRequest::to(release_id(number).to_string());
        assert!(matches!(of(&named(1)), Err(Error::AlreadyActive { .. })));
        assert!(matches!(of(&named(2)), Err(Error::BadRelease { .. })));
        assert!(matches!(of(&named(3)), Err(Error::Unconfirmed { .. })));
        assert!(matches!(of(&RollbackRequest::previous()), Err(Error::NothingToRollBackTo)));
        assert_eq!(of(&named(2).retry(true)).unwrap().id, release_id(2));
        assert_eq!(of(&named(3).retry(true)).unwrap().id, release_id(3));
    }

    proptest! {
        #[test]
        fn a_rollback_goes_to_what_is_usable_and_meant(
            state in states(), active in 0..8usize, name in "release-[0-5]?|main|[0-2]{4,6}|.{0,4}",
            retry: bool,
        ) {
            let active = usable(&state, active).and_then(|id| state.release(id));
            let request = RollbackRequest::to(name.clone()).retry(retry);
            if let Ok(target) = of_rollback(&state, active, &request) {
                prop_assert!(target.is_usable());
                prop_assert!(retry || target.state.is_trusted());
                prop_assert_ne!(Some(&target.id), active.map(|release| &release.id));
                let meant = target.id.as_str().starts_with(&name)
                    || target.source.digest().starts_with(&name)
                    || target.name.ends_with(&name);
                prop_assert!(meant && !name.is_empty(), "{:?} is not {:?}", target, name);
            }
        }
    }
}
