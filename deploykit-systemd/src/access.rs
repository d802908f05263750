//! What a user may enter and run, as the modes of files say it.

use std::ffi::CString;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// The right to enter a directory, or to run a program.
const EXECUTE: u32 = 0o1;

/// A user with all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) name: String,
    uid: Uid,
    gids: Vec<Gid>,
}

impl Who {
    /// A user by name, with a group in the place of the user's own if one is given. Nothing when they are
    /// not known, and of root, who may do everything.
    pub(crate) fn named(user: &str, group: Option<&str>) -> Option<Self> {
        let found = match user.parse() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(user),
        };
        let found = found.ok().flatten().filter(|user| !user.uid.is_root())?;
        let group = match group {
            Some(name) => Group::from_name(name).ok().flatten()?.gid,
            None => found.gid,
        };
        let name = CString::new(found.name.clone()).ok()?;
        let mut gids = getgrouplist(&name, group).ok()?;
        gids.push(group);
        Some(Self { name: found.name, uid: found.uid, gids })
    }

    /// The same user with further groups, by name or number.
    pub(crate) fn with_groups(mut self, names: &[String]) -> Self {
        let one = |name: &String| match name.parse() {
            Ok(number) => Some(Gid::from_raw(number)),
            Err(_) => Group::from_name(name).ok().flatten().map(|group| group.gid),
        };
        self.gids.extend(names.iter().filter_map(one));
        self
    }

    /// The first directory on the way to `path` that this user may not enter, or `path` itself if it may not
    /// be entered or, being a program, run; with its mode. Nothing where this process itself cannot look.
    pub(crate) fn barred_from(&self, path: &Utf8Path) -> Option<(Utf8PathBuf, u32)> {
        let real = path.canonicalize_utf8().ok()?;
        let above: Vec<&Utf8Path> = real.ancestors().collect();
        above.into_iter().rev().find_map(|directory| {
            let mode = self.lacks(directory)?;
            Some((directory.to_owned(), mode))
        })
    }

    /// The mode of a file or directory that this user may not execute or enter.
    fn lacks(&self, path: &Utf8Path) -> Option<u32> {
        let found = std::fs::metadata(path).ok()?;
        let shift = match () {
            () if found.uid() == self.uid.as_raw() => 6,
            () if self.gids.iter().any(|gid| gid.as_raw() == found.gid()) => 3,
            () => 0,
        };
        let given = found.mode() >> shift & EXECUTE != 0;
        (!given && !has_list(path)).then_some(found.mode() & 0o7777)
    }
}

/// Whether a list of rights says more than the mode does.
fn has_list(path: &Utf8Path) -> bool {
    let mut nothing = [0_u8; 0];
    rustix::fs::getxattr(path.as_std_path(), "system.posix_acl_access", &mut nothing)
        .is_ok_and(|length| length > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_first_directory_that_is_closed_is_told_and_root_gets_everywhere() {
        assert_eq!(Who::named("root", None), None);
        let Some(nobody) = Who::named("nobody", None) else { return };
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
        let (closed, inner) = (root.join("closed"), root.join("closed/inner"));
        std::fs::create_dir_all(&inner).unwrap();
        let set = |path: &Utf8Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for path in [&root, &closed, &inner] {
            set(path, 0o755);
        }
        assert_eq!(nobody.barred_from(&inner), None);
        set(&inner, 0o700);
        set(&closed, 0o744);
        if rustix::process::geteuid().is_root() {
            assert_eq!(nobody.barred_from(&inner), Some((closed.clone(), 0o744)));
        }
        set(&closed, 0o755);
        assert_eq!(nobody.barred_from(&inner), Some((inner, 0o700)));
    }
}
