//! Writing the tree of a commit into a directory.

use std::sync::atomic::Ordering;

use camino::Utf8Path;
use gix::ObjectId;
use gix::index::entry::Mode;

use super::fault::Fault;
use super::inspect::{Objection, index_of};
use super::progress::Gauge;
use super::watch::Watch;
use crate::context::Context;
use crate::event::Unit;
use crate::id::SourceId;
use crate::step::Step;
use crate::traits::{Materialised, SourceError};

/// More threads than this wait for one another rather than write more.
const MOST_THREADS: usize = 4;

/// Writes the tree of `id` into the empty directory `into`.
pub(crate) fn checkout(
    ctx: &Context,
    repository: &gix::Repository,
    source: &SourceId,
    id: ObjectId,
    into: &Utf8Path,
) -> Result<Materialised, Objection> {
    let mut index = index_of(ctx, repository, source, id)?;
    let entries = index.entries().len();
    let links = index.entries().iter().filter(|entry| entry.mode == Mode::SYMLINK).count();
    let files = Gauge::up_to(entries);
    let sampler = Box::new(files.sampler(ctx, Step::Checkout, Unit::Files));
    let watch = Watch::start(ctx, Some(sampler)).map_err(|error| SourceError::Foreign {
        operation: "start a thread".into(),
        source: Box::new(error),
    })?;
    let outcome = gix::worktree::state::checkout(
        &mut index,
        into.as_std_path(),
        repository.objects.clone().into_arc().map_err(|error| foreign(Box::new(error)))?,
        &files,
        &Gauge::default(),
        watch.flag(),
        options(repository)?,
    );
    // A checkout that was interrupted returns what it has, as a success.
    if watch.flag().load(Ordering::SeqCst) {
        ctx.check().map_err(SourceError::from)?;
        return Err(foreign(Box::new(Fault::Deadline)).into());
    }
    drop(watch);
    let mut outcome = outcome.map_err(|error| damage_or_disk("check out".into(), error))?;
    if !outcome.errors.is_empty() {
        let first = outcome.errors.swap_remove(0);
        return Err(damage_or_disk(format!("check out {:?}", first.path.to_string()), first.error));
    }
    // Links are made at the end, and not counted.
    look_at(&outcome, source, entries - links)?;
    Ok(Materialised::new(outcome.bytes_written, entries as u64))
}

fn foreign(source: crate::traits::BoxError) -> SourceError {
    SourceError::Foreign { operation: "check out".into(), source }
}

/// A full disk is no damage of the repository.
fn damage_or_disk(operation: String, error: gix::Error) -> Objection {
    if error.downcast_any_ref::<std::io::Error>().is_some() && !error.is_corrupted() {
        SourceError::Foreign { operation, source: Box::new(error) }.into()
    } else {
        error.into()
    }
}

fn options(
    repository: &gix::Repository,
) -> Result<gix::worktree::state::checkout::Options, gix::Error> {
    use gix::worktree::stack::state::attributes::Source;
    let mut options = repository.checkout_options(Source::IdMapping)?;
    options.fs = gix::fs::Capabilities {
        precompose_unicode: false,
        ignore_case: false,
        executable_bit: true,
        symlink: true,
    };
    options.destination_is_initially_empty = true;
    options.overwrite_existing = false;
    // It goes on after a failure: only so is it told which path failed.
    options.keep_going = true;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    options.thread_limit = Some(cores.min(MOST_THREADS));
    // Drivers are programs that a configuration names: none is ever run.
    options.filters.options_mut().drivers.clear();
    Ok(options)
}

fn look_at(
    outcome: &gix::worktree::state::checkout::Outcome,
    source: &SourceId,
    expected: usize,
) -> Result<(), SourceError> {
    let refused = |why: String| Err(SourceError::Refused { id: source.clone(), why });
    if let Some(collision) = outcome.collisions.first() {
        return refused(format!("{:?} collides with another path", collision.path.to_string()));
    }
    if outcome.files_updated != expected {
        return refused(format!("{} of {expected} files were written", outcome.files_updated));
    }
    Ok(())
}
