//! Putting a release on disk durably.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::OFlag;

use crate::context::Context;
use crate::state::FileError;
use crate::state::files::{At as _, sync_dir};
use crate::traits::TreeSize;

/// Up to so many entries are synced one by one, which takes 0.15 ms for each. Beyond that the whole
/// file system is synced at once, which takes a tenth of that, but also waits for what strangers
/// have written.
const ONE_BY_ONE: usize = 50;

/// How long the sync of the file system may take for each entry before the entries are synced one
/// by one after all: about what that takes on a slow disk, so that strangers who write a lot never
/// cost more than twice the time.
const PATIENCE: Duration = Duration::from_millis(5);
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// What a tree consists of, as far as it has to be synced.
#[derive(Debug, Default)]
struct Tree {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
    size: TreeSize,
}

/// Makes everything below `root` durable, and `root`'s own name. Returns how much disk it takes.
pub(crate) fn sync_tree(ctx: &Context, root: &Utf8Path) -> Result<TreeSize, FileError> {
    let mut tree = Tree::default();
    survey(root.as_std_path(), &mut tree)?;
    let entries = tree.files.len() + tree.directories.len();
    if entries <= ONE_BY_ONE || !sync_file_system(ctx, root, patience(entries))? {
        tree.files.iter().chain(&tree.directories).try_for_each(|path| sync_entry(path))?;
    }
    sync_dir(root.parent().unwrap_or(root))?;
    Ok(tree.size)
}

fn patience(entries: usize) -> Duration {
    let all = PATIENCE.saturating_mul(u32::try_from(entries).unwrap_or(u32::MAX));
    all.clamp(LEAST_PATIENCE, MOST_PATIENCE)
}

/// The names in a tree are the author's: they need not be UTF-8. In an error they are shown as well as
/// they can be.
fn named(path: &Path) -> Utf8PathBuf {
    path.to_string_lossy().into_owned().into()
}

fn survey(directory: &Path, tree: &mut Tree) -> Result<(), FileError> {
    tree.directories.push(directory.to_owned());
    for entry in std::fs::read_dir(directory).at("list", &named(directory))? {
        let entry = entry.at("list", &named(directory))?;
        let found = entry.metadata().at("look at", &named(&entry.path()))?;
        tree.size.entries += 1;
        tree.size.bytes += found.blocks() * 512;
        if found.is_dir() {
            survey(&entry.path(), tree)?;
        } else if found.is_file() {
            tree.files.push(entry.path());
        }
    }
    Ok(())
}

fn sync_entry(path: &Path) -> Result<(), FileError> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    match opened {
        // What the build made unreadable for ourselves can only be synced with the whole.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let parent = path.parent().unwrap_or(path);
            let dir = File::open(parent).at("open", &named(parent))?;
            nix::unistd::syncfs(dir).at("sync the file system of", &named(path))
        }
        opened => opened.and_then(|file| file.sync_all()).at("sync", &named(path)),
    }
}

/// Syncs the file system of `root`; false when that takes too long, because others write a lot.
fn sync_file_system(ctx: &Context, root: &Utf8Path, patience: Duration) -> Result<bool, FileError> {
    let dir = File::open(root).at("open", root)?;
    let (done, result) = std::sync::mpsc::channel();
    // The thread may outlive this call: the system call cannot be broken off. It holds nothing but
    // the descriptor.
    let thread = std::thread::Builder::new().name("syncfs".into()).spawn(move || {
        let _ = done.send(nix::unistd::syncfs(dir));
    });
    thread.at("start a thread to sync", root)?;
    let begun = Instant::now();
    match result.recv_timeout(patience) {
        Ok(synced) => synced.at("sync the file system of", root).map(|()| true),
        Err(_) => {
            ctx.note(format!(
                "syncing the file system takes longer than {} s, because others write to it; \
                 syncing the release's files one by one",
                begun.elapsed().as_secs()
            ));
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn strangers_are_waited_for_as_long_as_the_tree_is_large_and_never_for_ever() {
        assert_eq!(patience(ONE_BY_ONE + 1), LEAST_PATIENCE);
        assert_eq!(patience(1000), Duration::from_secs(5));
        assert_eq!(patience(usize::MAX), MOST_PATIENCE);
    }

    #[test]
    fn trees_small_and_large_are_measured_and_odd_files_do_not_block_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap().join("release");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/file"), vec![1; 5000]).unwrap();
        let odd = std::ffi::OsStr::from_bytes(b"\xff");
        std::fs::write(root.as_std_path().join("a").join(odd), "x").unwrap();
        std::os::unix::fs::symlink("/nowhere", root.join("a/dangling")).unwrap();
        nix::unistd::mkfifo(root.join("fifo").as_std_path(), nix::sys::stat::Mode::S_IRWXU)
            .unwrap();
        let ctx = Context::new().unwrap();
        let size = sync_tree(&ctx, &root).unwrap();
        assert_eq!(size.entries, 6);
        assert!(size.bytes >= 5000);
        for number in 0..ONE_BY_ONE {
            std::fs::write(root.join(format!("a/b/{number}")), "x").unwrap();
        }
        assert_eq!(sync_tree(&ctx, &root).unwrap().entries, 6 + ONE_BY_ONE as u64);
    }
}
