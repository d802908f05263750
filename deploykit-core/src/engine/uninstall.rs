//! Leaving: the application's directory goes on working without deploykit.

use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::application::Application;
use super::error::Error;
use super::place::{real, way};
use super::recover;
use super::session::Session;
use crate::context::Context;
use crate::state::files::{At as _, remove_tree, sync_dir};
use crate::state::{Record, ReleaseRecord};

/// How to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct UninstallRequest {
    /// Rename the releases so that mfd takes them for its own.
    pub to_mfd: bool,
}

impl UninstallRequest {
    /// Leave the releases where they are, or rename them for mfd.
    pub fn new(to_mfd: bool) -> Self {
        Self { to_mfd }
    }
}

/// What was done to leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Uninstalled {
    /// What was removed.
    pub removed: Vec<Utf8PathBuf>,
    /// Releases that were renamed, from and to. The old name stays as a link: what was built there
    /// may have recorded it.
    pub renamed: Vec<(Utf8PathBuf, Utf8PathBuf)>,
}

impl Application {
    /// Removes what is deploykit's own: its journal, caches and logs. The releases, the active
    /// link, `shared/` and the configuration stay, so that the service runs on.
    ///
    /// # Errors
    /// When something goes on, or what keeps it from leaving.
    pub fn uninstall(
        &self,
        ctx: &Context,
        request: &UninstallRequest,
    ) -> Result<Uninstalled, Error> {
        let ctx = self.masked(ctx);
        let mut session = recover::settled(self, &ctx, "uninstall", std::time::Duration::ZERO)?;
        let mut done = Uninstalled { removed: Vec::new(), renamed: Vec::new() };
        if request.to_mfd {
            done.renamed = self.rename_for_mfd(&ctx, &mut session)?;
        }
        // Away under another name at once: a kill must not leave half a journal.
        let (private, away) = (self.layout.private(), self.layout.removed());
        remove_tree(&away)?;
        std::fs::rename(&private, &away).at("remove", &private)?;
        sync_dir(self.layout.root())?;
        remove_tree(&away)?;
        done.removed.push(private);
        Ok(done)
    }

    fn rename_for_mfd(
        &self,
        ctx: &Context,
        session: &mut Session,
    ) -> Result<Vec<(Utf8PathBuf, Utf8PathBuf)>, Error> {
        let active = session.activator.active()?;
        let releases: Vec<ReleaseRecord> = session.state().releases.values().cloned().collect();
        let mut renamed = Vec::new();
        refuse_other_file_system(self.layout.root(), &releases)?;
        for release in releases.iter().filter(|release| release.is_usable()) {
            let Some(name) = mfd_name(self.layout.root(), release, &renamed) else { continue };
            exchange(self.layout.root(), &release.path, &name)?;
            if active.as_ref() == Some(&release.path) {
                session.activator.switch(active.as_ref(), Some(&name))?;
                let (release, path) = (None, Some(name.clone()));
                session.record(ctx, [Record::LinkFound { release, path }])?;
            }
            renamed.push((release.path.clone(), name));
        }
        Ok(renamed)
    }
}

/// Refuses before anything is renamed what cannot be renamed.
fn refuse_other_file_system(root: &Utf8Path, releases: &[ReleaseRecord]) -> Result<(), Error> {
    let device = |path: &Utf8Path| std::fs::symlink_metadata(path).map(|found| found.dev());
    let here = device(root).at("look at", root)?;
    for path in releases.iter().map(|release| root.join(&release.path)) {
        if device(&path).is_ok_and(|there| there != here) {
            let what = format!(
                "{path} lies on another file system than {root}, where mfd looks for releases"
            );
            return Err(Error::Unsettled { what });
        }
    }
    Ok(())
}

/// The name that mfd would have given to a release; none when it has that already, or cannot have
/// one.
fn mfd_name(
    root: &Utf8Path,
    release: &ReleaseRecord,
    taken: &[(Utf8PathBuf, Utf8PathBuf)],
) -> Option<Utf8PathBuf> {
    let hash = Some(release.source.digest()).filter(|digest| digest.len() == 40)?;
    if release.path.parent() != Some(Utf8Path::new("releases")) {
        return None;
    }
    let mut seconds = release.created.as_millis() / 1000;
    loop {
        let name = Utf8PathBuf::from(format!("mfd_{seconds}_{hash}"));
        let path = root.join(&name);
        let strange =
            real(&path).is_some_and(|real| moved_for_mfd(root, &release.path) != Some(real));
        if !strange && taken.iter().all(|(_, other)| *other != name) {
            return Some(name);
        }
        seconds += 1;
    }
}

/// Where the release at `path` lies already, of which only a link is left there: a kill broke
/// [`uninstall`](Application::uninstall) off behind the renaming.
pub(super) fn moved_for_mfd(root: &Utf8Path, path: &Utf8Path) -> Option<Utf8PathBuf> {
    let path = root.join(path);
    let moved = if path.is_symlink() { real(&path) } else { None };
    let is_for_mfd = |moved: &Utf8PathBuf| {
        let name = moved.file_name().unwrap_or_default();
        name.starts_with("mfd_") && moved.parent().map(Utf8Path::to_owned) == real(root)
    };
    moved.filter(is_for_mfd)
}

/// Gives a release another name and leaves a link under the old one, both at the same instant.
fn exchange(root: &Utf8Path, path: &Utf8Path, name: &Utf8Path) -> Result<(), Error> {
    let (old, new) = (root.join(path), root.join(name));
    if old.is_symlink() && real(&old).is_some() && real(&old) == real(&new) {
        // Done before a kill.
        return Ok(());
    }
    if new.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
        std::fs::remove_file(&new).at("remove", &new)?;
    }
    // The link is made where the directory will be, with the target that is right at the other
    // place; then the two are exchanged. The releases may lie elsewhere, behind a link.
    let parent = old.parent().and_then(real).unwrap_or_else(|| root.to_owned());
    std::os::unix::fs::symlink(way(&parent, &new), &new).at("make the link", &new)?;
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    let here = rustix::fs::CWD;
    let exchanged =
        rustix::fs::renameat_with(here, old.as_std_path(), here, new.as_std_path(), flags);
    if exchanged.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    exchanged.at("rename", &old)?;
    sync_dir(root)?;
    Ok(sync_dir(old.parent().unwrap_or(root))?)
}
