//! Room on the disk: looked at before anything begins, and before a tree is written.

use camino::Utf8Path;
use nix::sys::statvfs::statvfs;

use super::Error;
use crate::config::DiskConfig;
use crate::state::FileError;
use crate::traits::TreeSize;

/// What a file system has, and what of it is free for this user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    bytes: u64,
    free_bytes: u64,
    /// Zero where the file system makes inodes as they are needed.
    inodes: u64,
    free_inodes: u64,
}

/// Refuses when `needed` does not fit beside what must stay free.
pub(crate) fn guard(path: &Utf8Path, config: &DiskConfig, needed: TreeSize) -> Result<(), Error> {
    let found = statvfs(path.as_std_path()).map_err(|error| FileError {
        operation: "look at the room in",
        path: path.to_owned(),
        source: error.into(),
    })?;
    let room = Room {
        bytes: found.blocks() * found.fragment_size(),
        free_bytes: found.blocks_available() * found.fragment_size(),
        inodes: found.files(),
        free_inodes: found.files_available(),
    };
    match shortage(room, config, needed) {
        None => Ok(()),
        Some(what) => Err(Error::Disk { path: path.to_owned(), what }),
    }
}

/// What is short, in numbers.
fn shortage(room: Room, config: &DiskConfig, needed: TreeSize) -> Option<String> {
    let reserve = config.min_free.of(room.bytes);
    // Every entry takes a block of its own, more or less.
    let bytes = needed.bytes.saturating_add(needed.entries.saturating_mul(4096));
    if room.free_bytes < reserve.saturating_add(bytes) {
        return Some(format!(
            "{} are free, {} are needed and {} must stay free (disk.min_free)",
            size(room.free_bytes),
            size(bytes),
            size(reserve)
        ));
    }
    let reserve = config.min_free_inodes.of(room.inodes);
    if room.inodes > 0 && room.free_inodes < reserve.saturating_add(needed.entries) {
        return Some(format!(
            "{} inodes are free, {} are needed and {reserve} must stay free (disk.min_free_inodes)",
            room.free_inodes, needed.entries
        ));
    }
    None
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut whole, mut tenth, mut unit) = (bytes, 0, "B");
    for next in UNITS {
        if whole < 1024 {
            break;
        }
        (tenth, whole, unit) = (whole % 1024 * 10 / 1024, whole / 1024, next);
    }
    if unit == "B" { format!("{whole} B") } else { format!("{whole}.{tenth} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Threshold;

    const ROOM: Room =
        Room { bytes: 100 << 20, free_bytes: 20 << 20, inodes: 1000, free_inodes: 100 };

    fn config(min_free: Threshold, min_free_inodes: Threshold) -> DiskConfig {
        DiskConfig { min_free, min_free_inodes }
    }

    #[test]
    fn what_must_stay_free_is_not_given_away() {
        let config = config(Threshold::Percent(10), Threshold::Absolute(50));
        assert_eq!(shortage(ROOM, &config, TreeSize::new(5 << 20, 10)), None);
        let what = shortage(ROOM, &config, TreeSize::new(11 << 20, 10)).unwrap();
        assert!(what.starts_with("20.0 MiB are free, 11.0 MiB are needed and 10.0 MiB"), "{what}");
        let what = shortage(ROOM, &config, TreeSize::new(0, 51)).unwrap();
        assert!(what.starts_with("100 inodes are free, 51 are needed"), "{what}");
    }

    #[test]
    fn a_file_system_without_fixed_inodes_has_always_enough() {
        let config = config(Threshold::Absolute(0), Threshold::Absolute(50));
        let room = Room { inodes: 0, free_inodes: 0, ..ROOM };
        assert_eq!(shortage(room, &config, TreeSize::new(0, 1000)), None);
    }

    #[test]
    fn the_numbers_are_shown_to_people() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
        let all = config(Threshold::Percent(100), Threshold::Absolute(0));
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap();
        let error = guard(path, &all, TreeSize::default()).unwrap_err();
        assert!(error.to_string().contains("must stay free"), "{error}");
        let none = config(Threshold::Absolute(0), Threshold::Absolute(0));
        guard(path, &none, TreeSize::default()).unwrap();
    }
}
