//! Taking over what is there already: mfd's directories, and whatever the active link leads to.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use super::application::Application;
use super::error::Error;
use super::place::{real, release_in};
use super::session::Session;
use crate::context::Context;
use crate::id::{BuildDigest, ReleaseId, SourceId};
use crate::state::{Entry, Record, State};
use crate::time::Timestamp;

/// A release that deploykit has not made.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    path: Utf8PathBuf,
    source: SourceId,
    created: Timestamp,
}

/// Records every release of somebody else's making that is not known yet.
pub(super) fn existing(
    app: &Application,
    ctx: &Context,
    session: &mut Session,
) -> Result<(), Error> {
    let active = session.activator.active()?;
    let found = unknown(app, session.state(), active.as_deref());
    if found.is_empty() {
        return Ok(());
    }
    ctx.note(format!("taken over: {}", names(&found)));
    let records = records(app, session.state(), &found);
    session.record(ctx, records)
}

/// The state as it will be once what is there is taken over: for those who only look.
pub(super) fn foreseen(app: &Application, mut state: State) -> Result<State, Error> {
    let active = app.activator().active()?;
    let found = unknown(app, &state, active.as_deref());
    let records = records(app, &state, &found);
    if !records.is_empty() {
        state.apply(&Entry { seq: state.seq, at: Timestamp::now(), records });
    }
    Ok(state)
}

/// What lies there and is not known yet, the oldest first.
fn unknown(app: &Application, state: &State, active: Option<&Utf8Path>) -> Vec<Found> {
    let root = app.layout.root();
    let mut found: Vec<Found> = mfd_directories(root);
    if state.seq == 0 {
        found.extend(capistrano_directories(root));
    }
    if let Some(active) = active.and_then(|path| active_directory(root, path))
        && found.iter().all(|found| found.path != active.path)
    {
        found.push(active);
    }
    found.retain(|found| release_in(&app.layout, state, &found.path).is_none());
    // One directory may have several names: the link may lead to it by another one.
    let mut known = BTreeSet::new();
    found.retain(|found| real(&root.join(&found.path)).is_some_and(|path| known.insert(path)));
    found.sort_by(|a, b| (a.created, &a.path).cmp(&(b.created, &b.path)));
    found
}

fn records(app: &Application, state: &State, found: &[Found]) -> Vec<Record> {
    let mut taken: BTreeSet<ReleaseId> = state.releases.keys().cloned().collect();
    found.iter().map(|found| adopted(app, &mut taken, found)).collect()
}

fn names(found: &[Found]) -> String {
    let names: Vec<&str> = found.iter().map(|found| found.path.as_str()).collect();
    names.join(", ")
}

fn adopted(app: &Application, taken: &mut BTreeSet<ReleaseId>, found: &Found) -> Record {
    let name = found.path.file_name().unwrap_or_default();
    let release = name.parse().ok().filter(|id| !taken.contains(id)).unwrap_or_else(|| {
        ReleaseId::generate(found.created, &found.source, |id| taken.contains(id))
    });
    taken.insert(release.clone());
    Record::ReleaseAdopted {
        release,
        source: found.source.clone(),
        path: found.path.clone(),
        created: found.created,
        runtime: app.config.runtime(),
    }
}

/// mfd's releases: directories named `mfd_<unix seconds>_<40 hexadecimal digits>`.
fn mfd_directories(root: &Utf8Path) -> Vec<Found> {
    let entries = root.read_dir_utf8().into_iter().flatten().flatten();
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let filled = directories.filter(|entry| !is_empty(entry.path()));
    filled.filter_map(|entry| parse_mfd(entry.file_name())).collect()
}

/// What mfd had only begun is no release.
fn is_empty(path: &Utf8Path) -> bool {
    path.read_dir_utf8().is_ok_and(|mut entries| entries.next().is_none())
}

fn parse_mfd(name: &str) -> Option<Found> {
    let mut parts = name.split('_');
    let (Some("mfd"), Some(seconds), Some(hash), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let seconds: i64 = seconds.parse().ok().filter(|seconds| *seconds >= 0)?;
    let source = SourceId::new("git", hash).ok().filter(|_| hash.len() == 40)?;
    let created = Timestamp::from_millis(seconds.saturating_mul(1000));
    Some(Found { path: name.into(), source, created })
}

/// Capistrano's releases: directories named by 14 digits of time, with a `REVISION`.
fn capistrano_directories(root: &Utf8Path) -> Vec<Found> {
    let entries = root.join("releases").read_dir_utf8().into_iter().flatten().flatten();
    let digits = |name: &str| name.len() == 14 && name.bytes().all(|byte| byte.is_ascii_digit());
    let paths = entries.filter(|entry| digits(entry.file_name()));
    let paths = paths.map(|entry| Utf8Path::new("releases").join(entry.file_name()));
    let found = paths.filter_map(|path| active_directory(root, &path));
    found.filter(|found| found.source.kind() == "git").collect()
}

/// What the active link leads to, when that is a directory: of Capistrano, of a shell script, of a
/// person. A file `REVISION` in it that holds a commit's hash names its source.
fn active_directory(root: &Utf8Path, path: &Utf8Path) -> Option<Found> {
    let directory = root.join(path);
    // The application itself, or what it lies in, is no release of it.
    if root.starts_with(real(&directory)?) {
        return None;
    }
    let metadata = std::fs::metadata(&directory).ok().filter(std::fs::Metadata::is_dir)?;
    if let Some(found) = parse_mfd(path.as_str()) {
        return Some(found);
    }
    let modified = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let created = Timestamp::from_millis(i64::try_from(modified.as_millis()).ok()?);
    let revision = std::fs::read_to_string(directory.join("REVISION")).unwrap_or_default();
    let source =
        SourceId::new("git", revision.trim()).ok().filter(|id| id.digest().len() >= 40).or_else(
            || SourceId::new("unknown", BuildDigest::of(path.as_str().as_bytes()).as_str()).ok(),
        )?;
    Some(Found { path: path.to_owned(), source, created })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_mfd_makes_are_taken_for_its_releases() {
        let hash = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";
        let found = parse_mfd(&format!("mfd_1625079600_{hash}")).unwrap();
        assert_eq!(found.source.digest(), hash);
        assert_eq!(found.created.to_string(), "2021-06-30T19:00:00.000Z");
        for name in ["mfd", "mfd_1", "mfd_x_y", "mfd_1625079600_abc", "xyz_1_2", ""] {
            assert_eq!(parse_mfd(name), None, "{name}");
        }
        assert_eq!(parse_mfd(&format!("mfd_1_{hash}_2")), None);
        assert_eq!(parse_mfd(&format!("mfd_-1_{hash}")), None);
    }

    #[test]
    fn what_the_link_leads_to_is_named_by_its_revision_file_or_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        std::fs::create_dir_all(root.join("releases/2024")).unwrap();
        let path = Utf8Path::new("releases/2024");
        assert_eq!(active_directory(root, path).unwrap().source.kind(), "unknown");
        let hash = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";
        std::fs::write(root.join(path).join("REVISION"), format!("{hash}\n")).unwrap();
        assert_eq!(active_directory(root, path).unwrap().source.digest(), hash);
        assert_eq!(active_directory(root, Utf8Path::new("nowhere")), None);
    }
}
