//! When a new file is begun, and how: by names only, so that no line is ever on the way.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;
use deploykit_core::Timestamp;
use memchr::memrchr;
use rustix::fs::{CWD, RenameFlags};

use super::file::{LogFile, open_to_append};
use super::write::some_lines;
use super::{LogEvent, names};

/// How long a rotation that failed is left alone.
const AGAIN: u64 = 10_000;

impl LogFile {
    /// How much of the lines goes to the file next, which is another one afterwards when that is due.
    pub(super) fn make_room(&mut self, by: u64, lines: &[u8], now: Timestamp) -> usize {
        let failed = self.rotation_failed.map(|at| at.as_millis().abs_diff(now.as_millis()));
        if failed.is_some_and(|millis| millis < AGAIN) {
            return lines.len();
        }
        let within = self.open_line == Some(by);
        if self.is_old(now) && !within && !self.rotate(now) {
            return lines.len();
        }
        let most = if self.settings.max_bytes == 0 { u64::MAX } else { self.settings.max_bytes };
        let room = usize::try_from(most.saturating_sub(self.size)).unwrap_or(usize::MAX);
        if lines.len() <= room {
            return lines.len();
        }
        if let Some(last) = memrchr(b'\n', &lines[..room]) {
            return last + 1;
        }
        // A line that has begun is not torn, except when it would never end.
        let goes_on = within && self.size < most.saturating_mul(2);
        if self.size > 0 && !goes_on && !self.rotate(now) {
            return lines.len();
        }
        let room = if self.size > 0 { 1 } else { usize::try_from(most).unwrap_or(usize::MAX) };
        some_lines(lines, room)
    }

    fn is_old(&self, now: Timestamp) -> bool {
        let (Some(born), Some(most)) = (self.born, self.settings.max_age) else { return false };
        self.size > 0 && now.since(born) >= most
    }

    /// Begins a new file. When that is not possible the old one is written on.
    fn rotate(&mut self, now: Timestamp) -> bool {
        match self.begin_new(now) {
            Ok(()) => {
                self.rotation_failed = None;
                // What is not removed now is removed the next time.
                let _ = names::prune(&self.settings);
                self.compressor.wake(&self.settings);
                true
            }
            Err(error) => {
                if self.rotation_failed.replace(now).is_none() {
                    let name = self.settings.name.clone();
                    self.events.push(LogEvent::RotationFailed { name, error });
                }
                false
            }
        }
    }

    /// The new file is open before anything is renamed; after a crash between the two renamings there
    /// is no live file, and the next start makes one.
    fn begin_new(&mut self, now: Timestamp) -> io::Result<()> {
        let (live, next) = (names::live(&self.settings), names::next(&self.settings));
        let number = names::next_number(&names::rotated(&self.settings)?);
        let target = names::target(&self.settings, now, number);
        let file = open_to_append(&next)?;
        file.set_len(0)?;
        self.hand_on_mode(&file)?;
        if self.open_line.is_some() {
            (&self.file).write_all(b"\n")?;
            self.size += 1;
            self.open_line = None;
        }
        // The index goes first: were it last, a crash would leave it to the next file.
        let (index, index_target) = (names::index_of(&live), names::index_of(&target));
        let _ = std::fs::rename(&index, &index_target);
        if let Err(error) = rename_new(&live, &target) {
            let _ = std::fs::rename(&index_target, &index);
            return Err(error);
        }
        if let Err(error) = rename_new(&next, &live) {
            let _ = rename_new(&target, &live);
            let _ = std::fs::rename(&index_target, &index);
            return Err(error);
        }
        self.inode = file.metadata()?.ino();
        self.file = file;
        (self.size, self.born) = (0, None);
        self.open_index();
        Ok(())
    }

    /// Who may read the old file may read the new one.
    fn hand_on_mode(&self, file: &File) -> io::Result<()> {
        let (old, new) = (self.file.metadata()?, file.metadata()?);
        if old.gid() != new.gid() {
            // Without the group nobody reads more than before.
            let _ = std::os::unix::fs::fchown(file, None, Some(old.gid()));
        }
        file.set_permissions(old.permissions())
    }
}

/// Renames, and never over a file that is there.
fn rename_new(from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
    let (from, to) = (from.as_std_path(), to.as_std_path());
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot do it in one step. Nobody else gives such names.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            if std::fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(from, to)
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests;
