//! Removing what is not kept.

use std::collections::BTreeSet;

use camino::Utf8Path;

use super::application::Application;
use super::error::Error;
use super::place::is_served_from;
use super::session::Session;
use super::uninstall::moved_for_mfd;
use crate::chain;
use crate::config::ReleasesConfig;
use crate::context::Context;
use crate::id::ReleaseId;
use crate::state::files::{owner_if_another, private_dir, remove_tree};
use crate::state::{Record, ReleaseRecord, State};
use crate::traits::BuildState;

/// The release that will be active when the removal takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// The one that is.
    Same,
    /// One that is yet to be made.
    New,
    /// Another that exists.
    Other(&'a ReleaseId),
}

impl<'a> Next<'a> {
    pub(super) fn of(to: Option<&'a ReleaseId>) -> Self {
        to.map_or(Self::New, Self::Other)
    }
}

/// The releases that are not kept once `next` is active and confirmed.
///
/// Kept are those that have been good, the last activated first (trusted ones before those that an
/// operator has left), a small number of others, and in any case what is active, what a rollback
/// would go to, and what is on probation with its predecessor.
pub(super) fn after(
    state: &State,
    config: &ReleasesConfig,
    active: Option<&ReleaseRecord>,
    next: Next<'_>,
) -> Vec<ReleaseId> {
    let mut kept: BTreeSet<&ReleaseId> = BTreeSet::new();
    kept.extend(active.map(|release| &release.id));
    // An ill release is left for its predecessor, whether a rollback would choose that or not.
    let watched = state.probation.as_ref();
    kept.extend(watched.map(|probation| &probation.release));
    kept.extend(watched.and_then(|probation| probation.predecessor.as_ref()));
    // What is not settled yet may still go either way.
    let unsettled = state.open.iter().filter_map(|open| state.deployment(open.deployment));
    kept.extend(unsettled.flat_map(|record| record.from.iter().chain(&record.to)));
    let coming = match next {
        Next::Same => active.map(|release| &release.id),
        Next::New => None,
        Next::Other(id) => Some(id),
    };
    kept.extend(coming);
    kept.extend(state.rollback_target(coming).map(|release| &release.id));

    let keep = usize::try_from(config.keep.max(1)).unwrap_or(usize::MAX);
    let mut proved = state.proved_by_activation();
    proved.retain(|release| Some(&release.id) != coming);
    proved.sort_by_key(|release| !release.is_trusted());
    kept.extend(proved.iter().take(keep - 1).map(|release| &release.id));

    let mut others: Vec<&ReleaseRecord> = state
        .releases
        .values()
        .filter(|release| release.is_usable() && !release.is_proved())
        .filter(|release| !kept.contains(&release.id))
        .collect();
    others.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
    let keep_others = usize::try_from(config.keep_others).unwrap_or(usize::MAX);
    kept.extend(others.iter().take(keep_others).map(|release| &release.id));

    let complete = state.releases.values().filter(|release| release.state.build.is_complete());
    complete.filter(|release| !kept.contains(&release.id)).map(|r| r.id.clone()).collect()
}

/// What came of removing what is not kept.
#[derive(Debug, Default)]
pub(super) struct Pruned {
    /// What was removed.
    pub(super) removed: Vec<ReleaseId>,
    /// Why something could not be removed, the first of it. It is tried again by every command.
    pub(super) kept: Option<Error>,
}

/// Removes what is not kept. What something runs from, or what does not lie below the application's
/// directory, stays.
pub(super) fn prune(
    app: &Application,
    ctx: &Context,
    session: &mut Session,
) -> Result<Pruned, Error> {
    let mut pruned = Pruned::default();
    for id in condemned(app, ctx, session)? {
        match remove(app, ctx, session, &id) {
            Ok(()) => pruned.removed.push(id),
            Err(error @ Error::File(_)) => {
                warn_of_kept(app, ctx, session, &id, &error);
                pruned.kept.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(pruned)
}

/// A release that cannot be removed keeps nothing else from being done.
pub(super) fn warn_of_kept(
    app: &Application,
    ctx: &Context,
    session: &Session,
    id: &ReleaseId,
    error: &Error,
) {
    let path = session.state().release(id).map(|release| app.layout.root().join(&release.path));
    let owner = path.as_deref().and_then(owner_if_another).map_or_else(String::new, |owner| {
        format!(": it belongs to {owner}, who can remove it, or give it to you (chown)")
    });
    ctx.warn(format!("release {id} stays for now: {}{owner}", chain(error)));
}

fn condemned(app: &Application, ctx: &Context, session: &Session) -> Result<Vec<ReleaseId>, Error> {
    let active = session.active()?.cloned();
    let mut condemned = after(session.state(), &app.config.releases, active.as_ref(), Next::Same);
    if condemned.is_empty() {
        return Ok(condemned);
    }
    let runtime = active
        .map_or_else(|| app.config.runtime(), |release| app.present(session.state(), &release));
    let in_use = match app.operation(&runtime)?.supervisor.releases_in_use(ctx) {
        Ok(in_use) => in_use,
        Err(error) => {
            ctx.warn(format!("nothing is removed, since it is not known what is in use: {error}"));
            return Ok(Vec::new());
        }
    };
    // What is half removed was tried at the beginning.
    condemned.retain(|id| session.state().release(id).is_some_and(|release| !release.removing));
    condemned.retain(|id| {
        let used = in_use.contains(id);
        if used {
            ctx.note(format!("release {id} is not kept any more, but something runs from it"));
        }
        !used
    });
    let served = |id: &ReleaseId| match session.state().release(id) {
        Some(release) => is_served_from(&app.layout, &app.layout.root().join(&release.path)),
        None => Ok(false),
    };
    for id in condemned.clone() {
        if served(&id)? {
            ctx.note(format!("release {id} is not kept any more, but the active link leads to it"));
            condemned.retain(|other| *other != id);
        }
    }
    Ok(condemned)
}

/// Whether a path is one where releases lie. What else was taken over because the active link led
/// to it is somebody's own.
fn is_ours(path: &Utf8Path) -> bool {
    let mut components = path.components();
    let first = components.next().map_or("", |component| component.as_str());
    match components.next() {
        None => first.starts_with("mfd_"),
        Some(_) => first == "releases" && components.next().is_none(),
    }
}

/// Removes one release: its directory is moved away first, so that it is never there in part.
pub(super) fn remove(
    app: &Application,
    ctx: &Context,
    session: &mut Session,
    id: &ReleaseId,
) -> Result<(), Error> {
    let Some(release) = session.state().release(id) else { return Ok(()) };
    let path = app.layout.root().join(&release.path);
    if !is_ours(&release.path) {
        ctx.note(format!("{path} is forgotten, not removed: deploykit has not made it"));
        return session.record(ctx, [Record::Removed { release: id.clone() }]);
    }
    refuse_if_served(app, &path)?;
    let moved = moved_for_mfd(app.layout.root(), &release.path);
    let intended = !release.removing && !matches!(release.state.build, BuildState::Failed { .. });
    if intended {
        session.record(ctx, [Record::RemovalIntended { release: id.clone() }])?;
    }
    for path in moved.iter().chain([&path]) {
        erase(app, path, id)?;
    }
    session.record(ctx, [Record::Removed { release: id.clone() }])
}

/// Removes a release that was never complete. Nothing could use it, so it goes before that is
/// recorded: it may be what fills the disk.
pub(super) fn discard(
    app: &Application,
    ctx: &Context,
    session: &mut Session,
    id: &ReleaseId,
    reason: String,
) -> Result<(), Error> {
    let Some(release) = session.state().release(id) else { return Ok(()) };
    let path = app.layout.root().join(&release.path);
    refuse_if_served(app, &path)?;
    erase(app, &path, id)?;
    let release = id.clone();
    let failed = Record::ReleaseFailed { release: release.clone(), reason };
    session.record(ctx, [failed, Record::Removed { release }])
}

fn refuse_if_served(app: &Application, path: &Utf8Path) -> Result<(), Error> {
    if is_served_from(&app.layout, path)? {
        let what = format!("{path} is not removed: the active link leads to it");
        return Err(Error::Unsettled { what });
    }
    Ok(())
}

/// Removes a directory, out of its place first where that can be done.
fn erase(app: &Application, path: &Utf8Path, id: &ReleaseId) -> Result<(), Error> {
    let away = app.layout.trash().join(id.as_str());
    // A full disk may have no room for the trash, and another file system is out of reach.
    let moved = private_dir(&app.layout.trash()).is_ok()
        && remove_tree(&away).is_ok()
        && std::fs::rename(path, &away).is_ok();
    Ok(remove_tree(if moved { &away } else { path })?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::state::model::testing::{
        activated, adopted, bad, confirmed, created, probation, release_id, sealed, state, states,
        usable,
    };

    fn config(keep: u32, keep_others: u32) -> ReleasesConfig {
        ReleasesConfig { keep, keep_others }
    }

    fn served(number: u8) -> [Record; 4] {
        [created(number, number, "main"), sealed(number), activated(number), confirmed(number)]
    }

    fn ids<const N: usize>(numbers: [u8; N]) -> Vec<ReleaseId> {
        numbers.into_iter().map(release_id).collect()
    }

    #[test]
    fn the_active_one_counts_and_a_new_one_takes_a_place() {
        let state = state([1, 2, 3, 4].into_iter().flat_map(served));
        let active = state.release(&release_id(4));
        assert_eq!(after(&state, &config(3, 0), active, Next::Same), ids([1]));
        assert_eq!(after(&state, &config(3, 0), active, Next::New), ids([1, 2]));
        let first = release_id(1);
        assert_eq!(after(&state, &config(2, 0), active, Next::Other(&first)), ids([2, 3]));
    }

    #[test]
    fn a_way_back_is_kept_even_if_only_one_is_to_be() {
        let state = state([1, 2, 3].into_iter().flat_map(served));
        let active = state.release(&release_id(3));
        assert_eq!(after(&state, &config(1, 0), active, Next::Same), ids([1]));
        assert_eq!(after(&state, &config(0, 0), active, Next::Same), ids([1]));
    }

    #[test]
    fn bad_and_unconfirmed_ones_have_a_limit_of_their_own_the_newest_stay() {
        let others = [created(5, 0, "main"), sealed(5), created(6, 0, "main"), sealed(6), bad(6)];
        let state = state(served(1).into_iter().chain(others));
        let active = state.release(&release_id(1));
        assert_eq!(after(&state, &config(3, 1), active, Next::Same), ids([5]));
        assert_eq!(after(&state, &config(3, 0), active, Next::Same), ids([5, 6]));
    }

    #[test]
    fn what_an_operator_left_outlives_what_was_found_ill_but_not_what_is_trusted() {
        let found_ill = [created(7, 7, "main"), sealed(7), activated(7), bad(7)];
        let left = [bad(4), activated(3), bad(3), activated(2), confirmed(2)];
        let served = [1, 2, 3, 4].into_iter().flat_map(served);
        let state = state(served.chain(left).chain(found_ill).chain([activated(2)]));
        let active = state.release(&release_id(2));
        assert_eq!(after(&state, &config(4, 0), active, Next::Same), ids([7]));
        assert_eq!(after(&state, &config(3, 0), active, Next::Same), ids([4, 7]));
        assert_eq!(after(&state, &config(2, 1), active, Next::Same), ids([3, 4]));
    }

    #[test]
    fn the_predecessor_of_a_probation_stays_even_if_it_is_not_trusted() {
        let unconfirmed = [created(2, 2, "main"), sealed(2), activated(2)];
        let watched = [created(3, 3, "main"), sealed(3), activated(3), probation(3, Some(2))];
        let state = state(served(1).into_iter().chain(unconfirmed).chain(watched));
        let active = state.release(&release_id(3));
        assert_eq!(after(&state, &config(1, 0), active, Next::Same), []);
    }

    #[test]
    fn what_is_being_built_is_not_pruned_and_old_adopted_ones_are() {
        let found = [adopted(2, 2), adopted(4, 2), created(3, 3, "main")];
        let state = state(served(1).into_iter().chain(found));
        let active = state.release(&release_id(1));
        assert_eq!(after(&state, &config(1, 0), active, Next::Same), ids([2, 4]));
        assert_eq!(after(&state, &config(2, 0), active, Next::Same), ids([2]));
    }

    proptest! {
        #[test]
        fn what_may_be_needed_stays_and_no_more_than_is_to_be_kept(
            state in states(), active in 0..8usize, coming in 0..8usize, which in 0..3,
            keep in 0..4u32, keep_others in 0..3u32,
        ) {
            let active = usable(&state, active).and_then(|id| state.release(id));
            let next = match (which, usable(&state, coming)) {
                (0, _) => Next::Same,
                (1, Some(id)) => Next::Other(id),
                _ => Next::New,
            };
            let condemned = after(&state, &config(keep, keep_others), active, next);
            let coming = match next {
                Next::Same => active.map(|release| &release.id),
                Next::New => None,
                Next::Other(id) => Some(id),
            };
            let watched = state.probation.as_ref();
            let unsettled = state.open.iter().filter_map(|open| state.deployment(open.deployment));
            let unsettled = unsettled.flat_map(|record| record.from.iter().chain(&record.to));
            let needed: BTreeSet<_> = [
                active.map(|release| &release.id),
                coming,
                watched.map(|probation| &probation.release),
                watched.and_then(|probation| probation.predecessor.as_ref()),
                state.rollback_target(coming).map(|release| &release.id),
            ].into_iter().flatten().chain(unsettled).collect();
            for id in &condemned {
                prop_assert!(!needed.contains(id), "{} is needed", id);
                prop_assert!(state.releases[id].state.build.is_complete());
            }
            let stays = |proved: bool| {
                let all = state.releases.values().filter(|release| release.is_usable());
                let kept = all.filter(|r| !condemned.contains(&r.id) && !needed.contains(&r.id));
                kept.filter(|release| release.is_proved() == proved).count()
            };
            prop_assert!(stays(true) < keep.max(1) as usize, "{} proved", stays(true));
            prop_assert!(stays(false) <= keep_others as usize, "{} others", stays(false));

            let mut rest = state.clone();
            rest.releases.retain(|id, _| !condemned.contains(id));
            let active = active.and_then(|release| rest.release(&release.id));
            prop_assert_eq!(after(&rest, &config(keep, keep_others), active, next), []);
        }
    }
}
