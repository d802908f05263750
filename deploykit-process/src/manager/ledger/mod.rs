//! What is on disk of the instances, so that a manager that comes after one that was killed finds them again.
//! A file each, in a directory of its own; it is written before a program runs, and holds until the next boot.

mod slots;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::process::ProcessId;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::definition::Definition;
use crate::machine::Phase;
use crate::table;
use slots::Last;

/// The version of the entries. One that is added to keeps its number.
const VERSION: u32 = 1;

/// What is on disk of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    version: u32,
    pub(crate) definition: Definition,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) beside: Option<String>,
    #[serde(default)]
    pub(crate) leaving: bool,
    #[serde(default)]
    pub(crate) is_replaced: bool,
    /// What is wanted of it, and has not begun yet: how it is to run, that it is to end, that it is to run again
    /// then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Definition>,
    #[serde(default)]
    pub(crate) ending: bool,
    #[serde(default)]
    pub(crate) again: bool,
    #[serde(default)]
    pub(crate) is_changed: bool,
    pub(crate) phase: Phase,
    #[serde(default)]
    pub(crate) restarts: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<Running>,
    /// The boot in which all that is true.
    boot: String,
}

/// A process that was started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Its number and when it was started.
    pub(crate) id: ProcessId,
    /// The mark in its environment.
    pub(crate) marker: String,
    /// As whom it runs.
    pub(crate) user: u32,
    /// Since when it is ready, since the boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ready: Option<Duration>,
    /// Since when it is asked to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<Duration>,
    /// The sockets that it was given, by their address, each with the number of its inode.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sockets: BTreeMap<String, u64>,
    /// The number of the inode of the socket on which it is heard, of which it holds the other end, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) notify: Option<u64>,
    /// The name of its control group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
}

impl Entry {
    pub(crate) fn new(definition: Definition, phase: Phase) -> Self {
        Self {
            version: VERSION,
            definition,
            beside: None,
            leaving: false,
            is_replaced: false,
            next: None,
            ending: false,
            again: false,
            is_changed: false,
            phase,
            restarts: 0,
            process: None,
            boot: boot().to_owned(),
        }
    }
}

impl Entry {
    /// Its process, if it still runs: its number and its mark.
    pub(crate) fn alive(&self) -> Option<(u32, String)> {
        let Running { id, marker, .. } = self.process.as_ref()?;
        let row = table::row(id.pid).filter(|row| row.start == id.start_time && !row.is_dead);
        row.map(|row| (row.pid, marker.clone()))
    }

    /// As it is written.
    pub(crate) fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The present boot.
fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| ProcessId::current().boot_id)
}

/// A process, told from all others.
pub(crate) fn identity(pid: u32) -> ProcessId {
    let start_time = table::row(pid).map(|row| row.start).unwrap_or_default();
    let mut id = ProcessId::current();
    (id.pid, id.start_time) = (pid, start_time);
    id
}

/// The time since the boot, also while the host slept.
pub(crate) fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let (secs, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    Duration::new(secs.unwrap_or_default(), nanos.unwrap_or_default())
}

/// The directory of the entries.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    dir: Utf8PathBuf,
    /// Where each file has its newer text, and the number of the last one.
    last: Arc<Mutex<(BTreeMap<String, Last>, u64)>>,
}

impl Ledger {
    /// That of a directory, which is made when it is not there.
    pub(crate) fn open(dir: impl Into<Utf8PathBuf>) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let dir = dir.into();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        Ok(Self { dir, last: Arc::default() })
    }

    /// The entries of this boot, by the names of their files; what cannot be read tells of nothing that could
    /// be taken over. What processes have said that are not on record is removed; what is in their pipes is not
    /// written yet.
    pub(crate) fn read(&self) -> io::Result<BTreeMap<String, Entry>> {
        let (mut found, mut others) = (BTreeMap::new(), Vec::new());
        for file in self.dir.read_dir_utf8()? {
            let name = file?.file_name().to_owned();
            if !name.ends_with(SUFFIX) {
                others.push(name);
                continue;
            }
            let read = slots::read(&self.dir.join(&name));
            let read =
                read.and_then(|(text, last)| Some((serde_json::from_slice(&text).ok()?, last)));
            let is_known = |entry: &Entry| entry.boot == boot() && entry.version <= VERSION;
            match read.filter(|(entry, _)| is_known(entry)) {
                Some((entry, last)) => {
                    self.locked().0.insert(name.clone(), last);
                    found.insert(name, entry);
                }
                None => self.remove(&name),
            }
        }
        let known: BTreeSet<&str> = found
            .values()
            .filter_map(|entry| entry.process.as_ref().map(|running| &*running.marker))
            .collect();
        for name in others {
            if name.strip_suffix(SAID).is_some_and(|marker| !known.contains(marker)) {
                self.remove(&name);
            }
        }
        Ok(found)
    }

    /// Writes an entry: what was there, or what is new, is there at every instant.
    pub(crate) fn write(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let mut locked = self.locked();
        let (last, number) = &mut *locked;
        // Greater than those of the managers before, in this boot.
        let now = u64::try_from(since_boot().as_nanos()).unwrap_or(u64::MAX);
        *number = now.max(number.saturating_add(1));
        let written = slots::write(&self.dir.join(name), *number, last.get(name).copied(), text)?;
        last.insert(name.to_owned(), written);
        Ok(())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, (BTreeMap<String, Last>, u64)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process of this mark has written that it is ready, which may not be on record yet.
    pub(crate) fn has_said(&self, marker: &str) {
        // Without it, a kill just now has a start take too long.
        let _ = std::fs::File::create(self.said(marker));
    }

    /// Whether it has; it is on record from now on.
    pub(crate) fn forget_said(&self, marker: &str) -> bool {
        std::fs::remove_file(self.said(marker)).is_ok()
    }

    fn said(&self, marker: &str) -> Utf8PathBuf {
        self.dir.join(format!("{marker}{SAID}"))
    }

    pub(crate) fn remove(&self, name: &str) {
        // It may not have been written.
        let _ = std::fs::remove_file(self.dir.join(name));
        self.locked().0.remove(name);
    }

    /// Whether there are entries: a manager was killed, or lets what it runs be.
    pub(crate) fn is_left(dir: &Utf8Path) -> bool {
        let is_entry = |name: &str| name.ends_with(SUFFIX);
        let mut files = dir.read_dir_utf8().into_iter().flatten().flatten();
        files.any(|file| is_entry(file.file_name()))
    }

    /// Removes the entries: nothing runs any more. What has not been read yet stays.
    pub(crate) fn forget(&self) {
        for file in self.dir.read_dir_utf8().into_iter().flatten().flatten() {
            if file.file_name().ends_with(SUFFIX) {
                self.remove(file.file_name());
            }
        }
    }

    /// Removes all, at an orderly end.
    pub(crate) fn clear(&self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }

    /// Where they are.
    pub(crate) fn dir(&self) -> &Utf8Path {
        &self.dir
    }
}

/// What the names of files end with that tell of a process that it has said to be ready.
const SAID: &str = ".said";

/// What the names of entries end with.
const SUFFIX: &str = ".json";

/// The name of the file of a new instance: no other one of this boot has it, and those that are newer come later.
pub(crate) fn new_file(instance: &str) -> String {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = u64::try_from(since_boot().as_nanos()).unwrap_or(u64::MAX);
    let next = |last: u64| now.max(last.saturating_add(1));
    let update = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
    let number = next(update.unwrap_or_default());
    format!("{instance}.{number:016x}{SUFFIX}")
}

/// What files are ordered by: the older instance comes first.
pub(crate) fn age(file: &str) -> &str {
    file.strip_suffix(SUFFIX).and_then(|name| name.rsplit('.').next()).unwrap_or_default()
}
