//! Compression of rotated files, by a thread that lives as long as there is something to do.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use camino::Utf8Path;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{LogEvent, LogSettings, names};

/// So much is read at once.
const READ: usize = 128 << 10;

/// Compresses the rotated files of all logs it is told of, one after another.
#[derive(Clone)]
pub struct Compressor(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    idle: Condvar,
    tell: Box<dyn Fn(LogEvent) + Send + Sync>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<LogSettings>,
    running: bool,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("state", &self.0.state).finish_non_exhaustive()
    }
}

impl Compressor {
    /// One that tells of what it cannot compress.
    pub fn new(tell: impl Fn(LogEvent) + Send + Sync + 'static) -> Self {
        let (state, idle) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { state, idle, tell: Box::new(tell) }))
    }

    /// Has the rotated files of this log compressed.
    pub(super) fn wake(&self, settings: &LogSettings) {
        if !settings.compress {
            return;
        }
        let mut state = self.0.state();
        let same =
            |other: &LogSettings| (&other.dir, &other.name) == (&settings.dir, &settings.name);
        state.waiting.retain(|other| !same(other));
        state.waiting.push_back(settings.clone());
        if !state.running {
            let shared = Arc::clone(&self.0);
            // Without a thread they wait until the next rotation, or the next start.
            let thread = std::thread::Builder::new().name("log-compress".to_owned());
            state.running = thread.spawn(move || shared.run()).is_ok();
        }
    }

    /// Waits until there is nothing to compress.
    pub fn wait(&self) {
        let mut state = self.0.state();
        while state.running {
            state = self.0.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        // On Linux this is the calling thread's priority alone; it works at any.
        let _ = rustix::process::setpriority_process(None, 19);
        loop {
            let mut state = self.state();
            let Some(settings) = state.waiting.pop_front() else {
                state.running = false;
                self.idle.notify_all();
                return;
            };
            drop(state);
            if let Err(error) = compress_all(&settings) {
                (self.tell)(LogEvent::NotCompressed { name: settings.name, error });
            }
        }
    }
}

fn compress_all(settings: &LogSettings) -> io::Result<()> {
    for file in names::rotated(settings)? {
        if file.packed {
            continue;
        }
        match compress(&settings.dir, &file.path) {
            // It was the oldest, and is removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    // One that was removed while it was compressed is there again.
    names::prune(settings)
}

/// The original is removed when its copy is surely on the disk. When both are there after a crash, it
/// is compressed again.
fn compress(dir: &Utf8Path, path: &Utf8Path) -> io::Result<()> {
    let (packed, half) = names::packed_of(path);
    let result = write_packed(path, &half).and_then(|()| {
        std::fs::symlink_metadata(path)?;
        std::fs::rename(&half, &packed)?;
        File::open(dir)?.sync_all()?;
        std::fs::remove_file(path)
    });
    if result.is_err() {
        let _ = std::fs::remove_file(&half);
    }
    result
}

fn write_packed(path: &Utf8Path, half: &Utf8Path) -> io::Result<()> {
    let original = File::open(path)?;
    let metadata = original.metadata()?;
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.custom_flags(nix::libc::O_NOFOLLOW).open(half)?;
    file.set_permissions(metadata.permissions())?;
    let mut encoder = GzEncoder::new(file, Compression::default());
    io::copy(&mut BufReader::with_capacity(READ, original), &mut encoder)?;
    encoder.flush()?;
    let file = encoder.finish()?;
    // Its age is that of its last line, which is what `--since` looks at.
    file.set_modified(metadata.modified()?)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
