//! The file that the output of the service's commands goes to, and of a daemon that they start and
//! that has no log of its own.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use crate::context::Context;
use crate::process::Tail;
use crate::state::Layout;
use crate::state::files::read_end;
use crate::time::Timestamp;
use crate::traits::{BoxError, LogLine, LogRequest};

const NAME: &str = "service.log";

/// So much of its end is looked at for the last lines.
const LOOKED_AT: u64 = 16 << 10;

/// Before a command runs the file is emptied when it is larger than this.
const LARGEST: u64 = 8 << 20;

/// So much of its end is kept then, in a second file.
const KEPT: u64 = 1 << 20;

/// The path of the file, ready to be appended to.
pub(super) fn open(layout: &Layout) -> io::Result<Utf8PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(layout.private())?;
    let path = layout.private().join(NAME);
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

/// The last lines of the file, if anything was written since then.
pub(super) fn last_lines(layout: &Layout, since: Timestamp) -> Vec<String> {
    let mut tail = Tail::default();
    let text = end_of(&layout.private().join(NAME), since).unwrap_or_default();
    text.lines().for_each(|line| tail.push(line));
    tail.into_lines()
}

/// How often it is looked for new lines.
const GLANCE: Duration = Duration::from_millis(250);

/// Hands over the last lines of the file, and then what is written to it. When its lines were written
/// is not known, so none is left out because of its age.
pub(super) fn show(
    ctx: &Context,
    layout: &Layout,
    request: &LogRequest,
    on_line: &mut dyn FnMut(LogLine),
) -> Result<(), BoxError> {
    let path = layout.private().join(NAME);
    let mut tell = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        on_line(LogLine::new(None, "service", ctx.masker().mask(line.trim_end_matches('\r'))));
    };
    let mut file = match File::open(&path) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let mut begun = Vec::new();
    if let Some(file) = &mut file {
        file.read_to_end(&mut begun)?;
        let lines = begun.iter().filter(|byte| **byte == b'\n').count();
        let skipped = request.lines.map_or(0, |most| lines.saturating_sub(most));
        begun = whole_lines(begun, skipped, &mut tell);
    }
    if request.follow {
        return follow(ctx, &path, file, begun, &mut tell);
    }
    if !begun.is_empty() {
        tell(&begun);
    }
    Ok(())
}

/// Tells of what is written from now on, until it is cancelled. `begun` is a line without its end.
fn follow(
    ctx: &Context,
    path: &Utf8Path,
    mut file: Option<File>,
    mut begun: Vec<u8>,
    tell: &mut dyn FnMut(&[u8]),
) -> Result<(), BoxError> {
    loop {
        ctx.sleep(GLANCE)?;
        let Some(open) = &mut file else {
            file = File::open(path).ok();
            continue;
        };
        if open.metadata()?.len() < open.stream_position()? {
            // It was emptied.
            open.seek(SeekFrom::Start(0))?;
            begun.clear();
        }
        open.read_to_end(&mut begun)?;
        begun = whole_lines(begun, 0, tell);
    }
}

/// Tells of the lines that are complete, without the first ones; what is left is the beginning of one.
fn whole_lines(text: Vec<u8>, skipped: usize, tell: &mut dyn FnMut(&[u8])) -> Vec<u8> {
    let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else { return text };
    text[..end].split(|byte| *byte == b'\n').skip(skipped).for_each(tell);
    text[end + 1..].to_vec()
}

fn end_of(path: &Utf8Path, since: Timestamp) -> io::Result<String> {
    let file = File::open(path)?;
    let written = file.metadata()?.modified()?;
    let written = written.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
    if written < u128::from(since.as_millis().unsigned_abs()) {
        return Ok(String::new());
    }
    read_end(file, LOOKED_AT)
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
    fn the_last_lines_are_told_of_when_they_are_new() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::new(Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap());
        assert_eq!(last_lines(&layout, Timestamp::from_millis(0)), [""; 0], "there is none");
        let path = open(&layout).unwrap();
        let text: String = (0..9000).map(|number| format!("line {number}\n")).collect();
        std::fs::write(&path, text).unwrap();
        let lines = last_lines(&layout, Timestamp::from_millis(0));
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (20, Some("line 8999")));
        let later = Timestamp::now() + Duration::from_secs(60);
        assert_eq!(last_lines(&layout, later), [""; 0], "somebody else has said that");
    }

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
