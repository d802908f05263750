//! The locks of an application.
//!
//! A lock is `flock` on a file that is never deleted: the kernel lets it go when its holder ends,
//! however it ends. Who holds it is written in the file, for people; it is true only while the
//! lock is held.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::files::{At as _, FileError, private_dir};
use super::{Actor, Layout};
use crate::cancel::Cancelled;
use crate::context::Context;
use crate::id::DeploymentId;
use crate::process::ProcessId;
use crate::time::Timestamp;

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Holder {
    /// The process.
    #[serde(flatten)]
    pub process: ProcessId,
    /// Who started it.
    pub by: Actor,
    /// Since when it has the lock.
    pub since: Timestamp,
    /// What it is doing.
    pub doing: String,
    /// The deployment whose health it watches, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watches: Option<DeploymentId>,
}

impl Holder {
    /// This process, from `now` on.
    pub fn current(now: Timestamp, by: Actor, doing: impl Into<String>) -> Self {
        let process = ProcessId::current();
        Self { process, by, since: now, doing: doing.into(), watches: None }
    }

    /// The same, who watches the health of a deployment.
    #[must_use]
    pub fn watching(mut self, deployment: DeploymentId) -> Self {
        self.watches = Some(deployment);
        self
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { process, by, since, doing, .. } = self;
        write!(f, "{doing} (process {} of {by}, since {since})", process.pid)
    }
}

/// The lock could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else has it.
    #[error("another deployment is going on{}", holder.as_ref().map_or(String::new(), |h| format!(": {h}")))]
    Held {
        /// Who, if that can be read.
        holder: Option<Box<Holder>>,
    },
    /// It was cancelled while it waited.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// The system refused it.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Which of the locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Of everything that changes the application.
    Main,
    /// Of whoever watches a probation.
    Watch,
    /// Of whoever watches one while the watcher of another, which has ended, still has that.
    WatchBeside,
    /// Of who sends the notices.
    Notify,
}

impl Which {
    /// Those by which a probation is watched.
    pub(crate) const WATCHES: [Self; 2] = [Self::Watch, Self::WatchBeside];

    fn path(self, layout: &Layout) -> Utf8PathBuf {
        match self {
            Self::Main => layout.lock(),
            Self::Watch => layout.watch_lock(),
            Self::WatchBeside => layout.watch_beside_lock(),
            Self::Notify => layout.notify_lock(),
        }
    }
}

/// A lock that is held. Dropping it lets it go.
#[derive(Debug)]
pub struct Lock {
    /// The kernel lets the lock go when this is closed.
    file: File,
    holder: Holder,
}

/// How long the pauses between two looks at a held lock are. `flock` knows no time limit.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

impl Lock {
    /// Takes the application's lock, waiting for it up to `wait` (zero: not at all).
    ///
    /// # Errors
    /// [`LockError::Held`] when somebody else has it all that time.
    pub fn acquire(
        ctx: &Context,
        layout: &Layout,
        holder: Holder,
        wait: Duration,
    ) -> Result<Self, LockError> {
        Self::acquire_which(ctx, layout, Which::Main, holder, wait)
    }

    pub(crate) fn acquire_which(
        ctx: &Context,
        layout: &Layout,
        which: Which,
        mut holder: Holder,
        wait: Duration,
    ) -> Result<Self, LockError> {
        private_dir(&layout.private())?;
        let path = which.path(layout);
        let give_up = Instant::now() + wait;
        let (mut pause, mut told) = (FIRST_PAUSE, false);
        loop {
            if let Some(file) = try_lock(&path)? {
                holder.since = ctx.now();
                let mut lock = Self { file, holder };
                lock.write();
                return Ok(lock);
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LockError::Held { holder: read_holder(&path).map(Box::new) });
            }
            if !std::mem::replace(&mut told, true) {
                let doing = read_holder(&path).map_or(String::new(), |h| format!(": {h}"));
                ctx.note(format!("waiting for another deployment{doing}"));
            }
            ctx.sleep(pause.min(left))?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Who holds it.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Tells the others what is being done now.
    pub fn doing(&mut self, doing: impl Into<String>) {
        self.holder.doing = doing.into();
        self.write();
    }

    /// That it cannot be told who has the lock (the disk is full) does not make it less theirs.
    fn write(&mut self) {
        let mut text = serde_json::to_vec(&self.holder).unwrap_or_default();
        let file = &mut self.file;
        // Over what was there, in one piece: whoever reads it must not find nothing and take that for
        // nobody.
        let before = file.metadata().map_or(0, |metadata| metadata.len());
        text.resize(text.len().max(usize::try_from(before).unwrap_or_default()), b' ');
        let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(&text));
    }
}

impl Drop for Lock {
    /// Takes the holder's name off, so that nobody reads it once the lock is let go.
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

fn open(path: &Utf8Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn try_lock(path: &Utf8Path) -> Result<Option<File>, FileError> {
    loop {
        let file = open(path).at("open", path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(&file, path).at("look at", path)? => return Ok(Some(file)),
            // Somebody has removed the file in between: another one may be locked by now.
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error).at("lock", path),
        }
    }
}

/// Whether `path` is the name of that file still.
fn is_at(file: &File, path: &Utf8Path) -> std::io::Result<bool> {
    let named = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        named => named?,
    };
    let open = file.metadata()?;
    Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
}

fn read_holder(path: &Utf8Path) -> Option<Holder> {
    let mut text = String::new();
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Who holds the lock now, for people. It is not touched: a look must not keep a deployment from
/// getting it.
pub(crate) fn current_holder(layout: &Layout, which: Which) -> Option<Holder> {
    let path = which.path(layout);
    read_holder(&path).filter(|holder| holder.process.is_alive())
}

/// Who watches a probation now, for people: one, as a rule, and another one when the watcher of what
/// has ended is still there.
pub(crate) fn watchers(layout: &Layout) -> impl Iterator<Item = Holder> {
    Which::WATCHES.into_iter().filter_map(|which| current_holder(layout, which))
}

/// Whether somebody watches a probation: asked of the kernel, since a decision follows from it. Who
/// begins to watch at this very instant waits for a moment.
pub(crate) fn is_watched(layout: &Layout) -> Result<bool, FileError> {
    is_held_by(layout, |_| true)
}

/// Whether somebody watches this deployment. One who has watched another, which has ended since, may
/// still have a lock: a look of theirs takes its time.
pub(crate) fn is_watching(layout: &Layout, deployment: DeploymentId) -> Result<bool, FileError> {
    is_held_by(layout, |watched| watched.is_none_or(|watched| watched == deployment))
}

fn is_held_by(
    layout: &Layout,
    so: impl Fn(Option<DeploymentId>) -> bool,
) -> Result<bool, FileError> {
    for which in Which::WATCHES {
        let holder = || current_holder(layout, which);
        if try_lock(&which.path(layout))?.is_none() && so(holder().and_then(|h| h.watches)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cause;
    use crate::event::{Event, EventKind, FnSink};
    use std::sync::{Arc, Mutex};

    fn application() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        (dir, Layout::new(root))
    }

    fn holder(doing: &str) -> Holder {
        let by = Actor { user: "ann".into(), via: "test".into() };
        Holder::current(Timestamp::now(), by, doing)
    }

    #[test]
    fn the_second_is_told_who_has_it_and_what_they_do() {
        let (_guard, layout) = application();
        let ctx = Context::new().unwrap();
        let mut lock = Lock::acquire(&ctx, &layout, holder("deploy"), Duration::ZERO).unwrap();
        lock.doing("building v2");
        let error = Lock::acquire(&ctx, &layout, holder("x"), Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("building v2"), "{error}");
        assert!(error.to_string().contains("ann via test"), "{error}");
        assert_eq!(current_holder(&layout, Which::Main).unwrap().doing, "building v2");
        drop(lock);
        assert_eq!(current_holder(&layout, Which::Main), None);
        Lock::acquire(&ctx, &layout, holder("x"), Duration::ZERO).unwrap();
    }

    #[test]
    fn who_watches_another_deployment_does_not_watch_this_one() {
        let (_guard, layout) = application();
        let ctx = Context::new().unwrap();
        let take = |which, number| {
            let holder = holder("watching").watching(DeploymentId(number));
            Lock::acquire_which(&ctx, &layout, which, holder, Duration::ZERO).unwrap()
        };
        let watching = |number| is_watching(&layout, DeploymentId(number)).unwrap();
        let _before = take(Which::Watch, 3);
        assert!(watching(3) && !watching(4) && is_watched(&layout).unwrap());
        let beside = take(Which::WatchBeside, 4);
        assert!(watching(3) && watching(4) && !watching(5));
        assert_eq!(watchers(&layout).filter_map(|holder| holder.watches).count(), 2);
        drop(beside);
        assert!(!watching(4));
    }

    #[test]
    fn who_waits_gets_it_when_it_is_let_go() {
        let (_guard, layout) = application();
        let (told, hears) = std::sync::mpsc::channel();
        let told = Mutex::new(told);
        let sink = FnSink::new(move |event: &Event| {
            if let EventKind::Note { message } = &event.kind {
                let _ = told.lock().unwrap().send(message.clone());
            }
        });
        let ctx = Context::new().unwrap().with_sink(Arc::new(sink));
        let lock = Lock::acquire(&ctx, &layout, holder("deploy"), Duration::ZERO).unwrap();
        let thread = std::thread::spawn(move || {
            Lock::acquire(&ctx, &layout, holder("next"), Duration::from_secs(60)).map(drop)
        });
        assert!(hears.recv().unwrap().contains("waiting for another deployment: deploy"));
        drop(lock);
        thread.join().unwrap().unwrap();
    }

    #[test]
    fn a_wait_can_be_cancelled() {
        let (_guard, layout) = application();
        let ctx = Context::new().unwrap();
        let _lock = Lock::acquire(&ctx, &layout, holder("deploy"), Duration::ZERO).unwrap();
        ctx.cancellation().cancel(Cause::Interrupt);
        let error = Lock::acquire(&ctx, &layout, holder("x"), Duration::from_secs(60)).unwrap_err();
        assert!(matches!(error, LockError::Cancelled(Cancelled(Cause::Interrupt))), "{error}");
    }
}
