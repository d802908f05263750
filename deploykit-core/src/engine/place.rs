//! Which directory is which: links and mounts give one directory several names.

use camino::{Utf8Path, Utf8PathBuf};

use super::error::Error;
use crate::state::files::{At as _, look_at};
use crate::state::{Layout, ReleaseRecord, State};

/// The release in the directory at `path`, relative to the application's directory, whatever it is
/// called there.
pub(super) fn release_in<'a>(
    layout: &Layout,
    state: &'a State,
    path: &Utf8Path,
) -> Option<&'a ReleaseRecord> {
    let exact = state.release_at(path);
    if exact.is_some() {
        return exact;
    }
    let real = real(&layout.root().join(path))?;
    state
        .releases
        .values()
        .find(|release| self::real(&layout.root().join(&release.path)).as_ref() == Some(&real))
}

/// The path of a directory without links in it; nothing when there is none.
pub(super) fn real(path: &Utf8Path) -> Option<Utf8PathBuf> {
    path.canonicalize_utf8().ok().filter(|path| path.is_dir())
}

/// Whether the active link leads to `path`, or to something below it: then it is not removed,
/// whatever is recorded of it.
pub(super) fn is_served_from(layout: &Layout, path: &Utf8Path) -> Result<bool, Error> {
    let link = layout.active_link();
    if look_at(&link)?.is_none() || look_at(path)?.is_none() {
        return Ok(false);
    }
    match link.canonicalize_utf8() {
        Ok(active) => Ok(active.starts_with(path.canonicalize_utf8().at("look at", path)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Ok(Err(error).at("follow", &link)?),
    }
}

/// The relative path that leads from a directory to `to`; both are absolute, and without links.
pub(super) fn way(from: &Utf8Path, to: &Utf8Path) -> Utf8PathBuf {
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| "..");
    up.chain(to.components().skip(common).map(|component| component.as_str())).collect()
}
