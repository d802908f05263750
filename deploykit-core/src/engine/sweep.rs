//! Tidying up: releases that were never complete, releases that are gone, and files that only a
//! killed process could have used.

use std::collections::HashSet;

use camino::Utf8Path;

use super::application::Application;
use super::error::Error;
use super::place::is_served_from;
use super::prepare::end_build;
use super::prune;
use super::recover::KILLED;
use super::session::Session;
use crate::context::Context;
use crate::id::ReleaseId;
use crate::state::files::{is_directory, owner_if_another, remove_tree};
use crate::state::{Record, ReleaseRecord, State};
use crate::traits::BuildState;

/// Ends the processes of killed builds, and removes releases that were never complete or are half
/// removed. Returns what was done, a line each.
pub(super) fn unfinished(
    app: &Application,
    ctx: &Context,
    session: &mut Session,
) -> Result<Vec<String>, Error> {
    let mut actions = Vec::new();
    let releases = session.state().releases.values();
    let left: Vec<_> = releases.filter(|release| !release.is_usable()).cloned().collect();
    for release in left {
        let ended = end_build(ctx, &release.marker);
        if ended > 0 {
            actions.push(format!("ended {ended} processes of the build of {}", release.id));
        }
        if is_served_from(&app.layout, &app.layout.root().join(&release.path))? {
            ctx.warn(format!(
                "release {} is not known to be complete, but the active link leads to it: it stays",
                release.id
            ));
            continue;
        }
        let removed = if release.state.build == BuildState::Building {
            prune::discard(app, ctx, session, &release.id, KILLED.to_owned())
        } else {
            prune::remove(app, ctx, session, &release.id)
        };
        match removed {
            Ok(()) => actions.push(format!("removed what was left of release {}", release.id)),
            Err(error @ Error::File(_)) => {
                prune::warn_of_kept(app, ctx, session, &release.id, &error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(actions)
}

/// What root makes in the application of another user, that user can neither change nor remove.
pub(super) fn warn_of_another_owner(app: &Application, ctx: &Context) {
    if let Some(owner) = owner_if_another(&app.layout.private()) {
        ctx.warn(format!(
            "{} belongs to {owner}, who cannot change what another user makes here: run deploykit as \
             {owner}",
            app.layout.private()
        ));
    }
}

/// Refuses to go on when the releases seem to be gone: then a file system is not mounted, and what
/// would be put right now would be wrong as soon as it is.
pub(super) fn refuse_if_all_are_gone(app: &Application, state: &State) -> Result<(), Error> {
    let link = app.activator().active()?.map(|path| app.layout.root().join(path));
    match link {
        Some(active) if !is_directory(&active)? => {}
        _ => return Ok(()),
    }
    let (gone, there) = gone(app, state)?;
    if gone.len() < 2 || there > 0 {
        return Ok(());
    }
    Err(Error::ReleasesMissing {
        number: gone.len(),
        directory: app.layout.releases(),
        link: app.layout.active_link(),
    })
}

/// The state without the releases that are gone: for those who only look.
pub(super) fn without_gone(app: &Application, mut state: State) -> Result<State, Error> {
    refuse_if_all_are_gone(app, &state)?;
    for release in gone(app, &state)?.0 {
        state.releases.remove(&release.id);
    }
    Ok(state)
}

/// Forgets the releases whose directory somebody else has removed. Returns what was done.
pub(super) fn forget_gone(
    app: &Application,
    ctx: &Context,
    session: &mut Session,
) -> Result<Vec<String>, Error> {
    let mut actions = Vec::new();
    let state = session.state();
    let open = state.open.iter().filter_map(|open| state.deployment(open.deployment));
    let awaited: Vec<ReleaseId> = open.filter_map(|record| record.to.clone()).collect();
    for release in gone(app, session.state())?.0 {
        if awaited.contains(&release.id) {
            // Its deployment is finished or undone first.
            continue;
        }
        ctx.warn(format!("release {} is gone: there is no directory {}", release.id, release.path));
        session.record(ctx, [Record::Removed { release: release.id.clone() }])?;
        actions.push(format!("forgot the release {}, whose directory is gone", release.id));
    }
    Ok(actions)
}

/// The complete releases that have no directory any more, and how many have one.
fn gone(app: &Application, state: &State) -> Result<(Vec<ReleaseRecord>, usize), Error> {
    // One listing tells of almost all of them.
    let entries = app.layout.releases().read_dir_utf8().into_iter().flatten().flatten();
    let listed = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let listed: HashSet<String> = listed.map(|entry| entry.file_name().to_owned()).collect();
    let is_listed = |path: &Utf8Path| {
        path.parent() == Some(Utf8Path::new("releases"))
            && path.file_name().is_some_and(|name| listed.contains(name))
    };
    let (mut gone, mut there) = (Vec::new(), 0);
    for release in state.releases.values().filter(|release| release.is_usable()) {
        if is_listed(&release.path) || is_directory(&app.layout.root().join(&release.path))? {
            there += 1;
        } else {
            gone.push(release.clone());
        }
    }
    Ok((gone, there))
}

/// What only a killed process could have used. That it cannot be removed stops nothing.
pub(super) fn files(app: &Application) {
    let layout = &app.layout;
    for path in [layout.trash(), layout.private().join("active.new"), layout.removed()] {
        let _ = remove_tree(&path);
    }
}
