//! The file that the output of the service's commands goes to, and of a daemon that they start and
//! that has no log of its own.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};

use crate::state::Layout;

/// Before a command runs the file is emptied when it is larger than this.
const LARGEST: u64 = 8 << 20;

/// So much of its end is kept then, in a second file.
const KEPT: u64 = 1 << 20;

/// The path of the file, ready to be appended to.
pub(super) fn open(layout: &Layout) -> io::Result<Utf8PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(layout.private())?;
    let path = layout.private().join("service.log");
    if std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.len() > LARGEST) {
        shorten(&path)?;
    }
    let mut options = OpenOptions::new();
    options
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&path)?;
    Ok(path)
}

/// Moves the end of the file away and empties it. It is not renamed: a running daemon has it open,
/// and would fill a file that nobody sees.
fn shorten(path: &Utf8Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    let mut file = File::open(path)?;
    let end = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(end.saturating_sub(KEPT)))?;
    let mut old = options.clone().create(true).truncate(true).open(format!("{path}.1"))?;
    io::copy(&mut file.take(KEPT), &mut old)?;
    options.open(path)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_large_log_is_emptied_and_its_end_kept() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
        let layout = Layout::new(root);
        let path = open(&layout).unwrap();
        let mut daemon = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        daemon.write_all(&vec![b'x'; usize::try_from(LARGEST).unwrap()]).unwrap();
        open(&layout).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), LARGEST);
        daemon.write_all(b"end").unwrap();
        open(&layout).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
        let kept = std::fs::read(format!("{path}.1")).unwrap();
        assert_eq!((kept.len() as u64, &kept[kept.len() - 3..]), (KEPT, &b"end"[..]));
        daemon.write_all(b"goes on").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"goes on");
    }
}
