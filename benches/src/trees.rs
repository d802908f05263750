//! Whether two directories hold the same.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::Result;

/// At the top of a release: what the deployment itself writes there.
const OWN: [&str; 2] = [".git", "REVISION"];

/// What differs below the two directories; nothing when they hold the same. Kinds, contents, targets
/// of links and the executable bit count; owners, times and the other bits do not.
pub(crate) fn difference(a: &Path, b: &Path) -> Result<Option<String>> {
    // The active release is reached through a link, whose own target is each side's affair.
    compare(&a.canonicalize()?, &b.canonicalize()?, true)
}

fn compare(a: &Path, b: &Path, top: bool) -> Result<Option<String>> {
    let differ = |what: &str| Ok(Some(format!("{} and {}: {what}", a.display(), b.display())));
    let (found_a, found_b) = (fs::symlink_metadata(a)?, fs::symlink_metadata(b)?);
    if found_a.file_type() != found_b.file_type() {
        return differ("of different kinds");
    }
    if found_a.is_symlink() {
        return if fs::read_link(a)? == fs::read_link(b)? { Ok(None) } else { differ("targets") };
    }
    if !found_a.is_dir() {
        let executable = |found: &fs::Metadata| found.permissions().mode() & 0o100 != 0;
        if executable(&found_a) != executable(&found_b) {
            return differ("one is executable");
        }
        return if fs::read(a)? == fs::read(b)? { Ok(None) } else { differ("contents") };
    }
    let (names_a, names_b) = (names(a, top)?, names(b, top)?);
    if let Some(lonely) = names_a.symmetric_difference(&names_b).next() {
        return differ(&format!("only one has {}", lonely.display()));
    }
    for name in names_a {
        if let Some(what) = compare(&a.join(&name), &b.join(&name), false)? {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

fn names(directory: &Path, top: bool) -> Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !(top && OWN.iter().any(|own| name == *own)) {
            names.insert(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree(root: &Path) {
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "x").unwrap();
        symlink("b", root.join("a/link")).unwrap();
        fs::write(root.join("REVISION"), root.display().to_string()).unwrap();
    }

    #[test]
    fn every_kind_of_difference_is_found() {
        let changes: [fn(&Path); 6] = [
            |root| fs::write(root.join("a/b/file"), "y").unwrap(),
            |root| fs::write(root.join("a/b/other"), "").unwrap(),
            |root| fs::write(root.join("a/REVISION"), "").unwrap(),
            |root| fs::remove_file(root.join("a/link")).unwrap(),
            |root| {
                fs::remove_file(root.join("a/link")).unwrap();
                symlink("c", root.join("a/link")).unwrap();
            },
            |root| {
                let mode = fs::Permissions::from_mode(0o755);
                fs::set_permissions(root.join("a/b/file"), mode).unwrap();
            },
        ];
        for change in changes {
            let directory = tempfile::tempdir().unwrap();
            let (one, other) = (directory.path().join("one"), directory.path().join("other"));
            tree(&one);
            tree(&other);
            assert_eq!(difference(&one, &other).unwrap(), None);
            change(&other);
            assert!(difference(&one, &other).unwrap().is_some());
        }
    }
}
