//! Files and directories that all releases share.
//!
//! They lie in `APP/shared`, and each release has relative links to them. Nothing is ever written
//! through a link that the release itself brought along: a tree may be hostile.

use std::io;
use std::path::Path;

use camino::{Utf8Path, Utf8PathBuf};

use super::Error;
use super::place::way;
use crate::config::{RelPath, SharedConfig};
use crate::state::files::{self, At as _, make_dirs, remove_tree, sync_dir};
use crate::state::{FileError, Layout};

/// Where one shared thing lies, and where a release wants it.
#[derive(Debug)]
struct Place {
    shared: Utf8PathBuf,
    in_release: Utf8PathBuf,
    /// What the link says.
    target: Utf8PathBuf,
}

/// Refuses when a shared file is missing that the release will not bring, as far as that is known:
/// it is better to fail before anything is fetched.
pub(crate) fn missing_files(
    layout: &Layout,
    config: &SharedConfig,
    brings: impl Fn(&Utf8Path) -> Option<bool>,
) -> Result<(), Error> {
    let mut missing = Vec::new();
    for path in &config.files {
        let shared = layout.shared().join(path.as_path());
        let to_seed = || !exists(&shared) && brings(path.as_path()) != Some(false);
        if !is_shared_file(&shared)? && !to_seed() {
            missing.push(path);
        }
    }
    refuse_missing(layout, &missing)
}

fn refuse_missing(layout: &Layout, missing: &[&RelPath]) -> Result<(), Error> {
    if missing.is_empty() {
        return Ok(());
    }
    let paths = missing.iter().map(ToString::to_string).collect();
    Err(Error::SharedMissing { paths, directory: layout.shared() })
}

/// Links the shared files into the release at `root`. One that is missing is taken from the
/// release, if that has it.
pub(crate) fn link_files(
    layout: &Layout,
    config: &SharedConfig,
    root: &Utf8Path,
) -> Result<usize, Error> {
    let places = places(layout, root, &config.files)?;
    let mut missing = Vec::new();
    for (path, place) in config.files.iter().zip(&places) {
        let to_seed = || !exists(&place.shared) && is_file(&place.in_release);
        if !is_shared_file(&place.shared)? && !to_seed() {
            missing.push(path);
        }
    }
    refuse_missing(layout, &missing)?;
    for place in &places {
        if !exists(&place.shared) {
            seed(place, |from, to| std::fs::copy(from, to).map(drop))?;
        }
        link(place)?;
    }
    Ok(places.len())
}

/// Links shared directories into the release at `root`. One that is missing is taken from the
/// release, if that has it, or made empty.
pub(crate) fn link_directories(
    layout: &Layout,
    directories: &[RelPath],
    root: &Utf8Path,
) -> Result<usize, Error> {
    let places = places(layout, root, directories)?;
    for place in &places {
        if !exists(&place.shared) {
            if is_directory(&place.in_release) {
                seed(place, copy_directory)?;
            } else {
                make_dirs(&place.shared)?;
            }
        } else if !files::is_directory(&place.shared)? {
            let (path, wanted) = (place.shared.clone(), "directory");
            return Err(Error::SharedKind { path, wanted });
        }
        link(place)?;
    }
    Ok(places.len())
}

fn places(layout: &Layout, root: &Utf8Path, paths: &[RelPath]) -> Result<Vec<Place>, Error> {
    paths.iter().map(|path| place(layout, root, path.as_path())).collect()
}

fn place(layout: &Layout, root: &Utf8Path, path: &Utf8Path) -> Result<Place, Error> {
    // A directory of the tree that is a link could lead anywhere.
    for parent in path.ancestors().skip(1).filter(|parent| !parent.as_str().is_empty()) {
        let parent = root.join(parent);
        if parent.is_symlink() {
            let source = io::Error::other("it is a symbolic link of the release");
            return Err(
                FileError { operation: "link a shared file below", path: parent, source }.into()
            );
        }
    }
    let (shared, in_release) = (layout.shared().join(path), root.join(path));
    // The releases may lie elsewhere, behind a link: the way goes from where they really are.
    let real = root.canonicalize_utf8().at("look at", root)?;
    let from = real.join(path);
    let target = way(from.parent().unwrap_or(&from), &shared);
    Ok(Place { shared, in_release, target })
}

/// Copies what a release has to the shared place: under another name first, so that a kill leaves
/// no half of it under the right one.
fn seed(place: &Place, copy: impl Fn(&Path, &Path) -> io::Result<()>) -> Result<(), FileError> {
    let parent = place.shared.parent().unwrap_or(&place.shared);
    make_dirs(parent)?;
    let name = place.shared.file_name().unwrap_or_default();
    let new = parent.join(format!(".{name}.deploykit-new"));
    remove_tree(&new)?;
    copy(place.in_release.as_std_path(), new.as_std_path()).at("copy", &place.in_release)?;
    std::fs::File::open(&new).and_then(|file| file.sync_all()).at("sync", &new)?;
    std::fs::rename(&new, &place.shared).at("make", &place.shared)?;
    sync_dir(parent)
}

fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path())?, &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), &target)?;
            std::fs::File::open(&target)?.sync_all()?;
        }
    }
    std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())?;
    std::fs::File::open(to)?.sync_all()
}

fn link(place: &Place) -> Result<(), FileError> {
    remove_tree(&place.in_release)?;
    let parent = place.in_release.parent().unwrap_or(&place.in_release);
    std::fs::create_dir_all(parent).at("make", parent)?;
    std::os::unix::fs::symlink(&place.target, &place.in_release).at("link", &place.in_release)
}

/// Whether a shared file is there. What is no file cannot be shared as one.
fn is_shared_file(path: &Utf8Path) -> Result<bool, Error> {
    if files::is_directory(path)? {
        return Err(Error::SharedKind { path: path.to_owned(), wanted: "file" });
    }
    // A link to nothing is no file that a release could read.
    Ok(path.exists())
}

/// Whether there is something, a dangling link included.
fn exists(path: &Utf8Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn is_file(path: &Utf8Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file())
}

fn is_directory(path: &Utf8Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct App {
        _dir: tempfile::TempDir,
        layout: Layout,
        root: Utf8PathBuf,
    }

    fn app() -> App {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap());
        let root = layout.releases().join("one");
        std::fs::create_dir_all(&root).unwrap();
        App { _dir: dir, layout, root }
    }

    fn config(files: &[&str], dirs: &[&str]) -> SharedConfig {
        let paths = |names: &[&str]| {
            names.iter().map(|name| RelPath::try_from((*name).to_owned()).unwrap()).collect()
        };
        let mut config = SharedConfig::default();
        (config.files, config.dirs) = (paths(files), paths(dirs));
        config
    }

    #[test]
    fn a_file_of_the_first_release_seeds_the_shared_one_and_later_releases_see_that() {
        let app = app();
        let config = config(&["etc/app.conf"], &[]);
        std::fs::create_dir(app.root.join("etc")).unwrap();
        std::fs::write(app.root.join("etc/app.conf"), "first").unwrap();
        link_files(&app.layout, &config, &app.root).unwrap();
        std::fs::write(app.layout.shared().join("etc/app.conf"), "edited").unwrap();

        let second = app.layout.releases().join("two");
        std::fs::create_dir_all(second.join("etc")).unwrap();
        std::fs::write(second.join("etc/app.conf"), "from the tree").unwrap();
        link_files(&app.layout, &config, &second).unwrap();
        assert_eq!(std::fs::read_to_string(second.join("etc/app.conf")).unwrap(), "edited");
        let link = second.join("etc/app.conf").read_link_utf8().unwrap();
        assert_eq!(link, "../../../shared/etc/app.conf");
    }

    #[test]
    fn all_missing_files_are_named_at_once_and_nothing_is_linked() {
        let app = app();
        let config = config(&["a", "b/c", "d"], &[]);
        std::fs::write(app.root.join("d"), "there").unwrap();
        let error = link_files(&app.layout, &config, &app.root).unwrap_err();
        assert_eq!(error.to_string(), "shared files are missing: a, b/c");
        assert!(is_file(&app.root.join("d")));
        let early = |brings| missing_files(&app.layout, &config, |_| brings);
        assert!(early(Some(false)).is_err());
        assert!(early(Some(true)).is_ok() && early(None).is_ok());
    }

    #[test]
    fn a_directory_of_the_release_seeds_the_shared_one_and_a_missing_one_is_made() {
        let app = app();
        let config = config(&[], &["data", "log/app"]);
        std::fs::create_dir_all(app.root.join("data/sub")).unwrap();
        std::fs::write(app.root.join("data/sub/x"), "x").unwrap();
        link_directories(&app.layout, &config.dirs, &app.root).unwrap();
        assert_eq!(std::fs::read_to_string(app.layout.shared().join("data/sub/x")).unwrap(), "x");
        std::fs::write(app.root.join("log/app/today"), "y").unwrap();
        assert!(app.layout.shared().join("log/app/today").exists());
    }

    #[test]
    fn what_is_of_another_kind_is_refused_and_a_link_to_nothing_is_missing() {
        let app = app();
        std::fs::create_dir_all(app.layout.shared().join("conf")).unwrap();
        std::fs::write(app.layout.shared().join("data"), "").unwrap();
        let error = link_files(&app.layout, &config(&["conf"], &[]), &app.root).unwrap_err();
        assert!(error.to_string().ends_with("shared/conf is no file"), "{error}");
        let dirs = config(&[], &["data"]).dirs;
        let error = link_directories(&app.layout, &dirs, &app.root).unwrap_err();
        assert!(error.to_string().ends_with("shared/data is no directory"), "{error}");
        std::os::unix::fs::symlink("nowhere", app.layout.shared().join(".env")).unwrap();
        std::fs::write(app.root.join(".env"), "").unwrap();
        let error = link_files(&app.layout, &config(&[".env"], &[]), &app.root).unwrap_err();
        assert_eq!(error.to_string(), "shared files are missing: .env");
    }

    #[test]
    fn releases_may_lie_behind_a_link() {
        let app = app();
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::remove_dir_all(app.layout.releases()).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), app.layout.releases()).unwrap();
        std::fs::create_dir_all(app.root.join("etc")).unwrap();
        std::fs::create_dir_all(app.layout.shared().join("etc")).unwrap();
        std::fs::write(app.layout.shared().join("etc/app.conf"), "x").unwrap();
        link_files(&app.layout, &config(&["etc/app.conf"], &[]), &app.root).unwrap();
        assert_eq!(std::fs::read_to_string(app.root.join("etc/app.conf")).unwrap(), "x");
    }

    #[test]
    fn a_link_of_the_tree_leads_nothing_outside() {
        let app = app();
        let outside = app.layout.root().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, app.root.join("etc")).unwrap();
        std::fs::create_dir_all(app.layout.shared().join("etc")).unwrap();
        std::fs::write(app.layout.shared().join("etc/app.conf"), "x").unwrap();
        let config = config(&["etc/app.conf"], &[]);
        assert!(link_files(&app.layout, &config, &app.root).is_err());
        assert_eq!(outside.read_dir_utf8().unwrap().count(), 0);
    }
}
