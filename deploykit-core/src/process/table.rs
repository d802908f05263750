//! The processes of the host, as `/proc` shows them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

/// One process, told apart from a later one of the same number by the time at which it started.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessInfo {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the host booted.
    pub start_time: u64,
    /// Its command line, shortened; its name in brackets where that is empty. It may contain what
    /// somebody passed as an argument: mask it before it is shown.
    pub command: String,
}

impl std::fmt::Display for ProcessInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.pid, self.command)
    }
}

/// What tells a process from every other since the host booted.
pub(super) type Key = (u32, u64);

impl ProcessInfo {
    pub(super) fn key(&self) -> Key {
        (self.pid, self.start_time)
    }
}

/// The line of a process in `/proc/PID/stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: u32,
    name: String,
    pub(super) parent: u32,
    pub(super) group: u32,
    /// It has ended; only its entry is left, until its parent takes note.
    pub(super) ended: bool,
    pub(super) start_time: u64,
}

impl Stat {
    pub(super) fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(pid: u32, bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        // The name stands in parentheses and may itself contain any character.
        let (before, after) = text.rsplit_once(')')?;
        let name = before.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        // proc(5) counts from 1 and the number and the name are gone: field n is at n - 3.
        Some(Self {
            pid,
            name,
            ended: matches!(*fields.first()?, "Z" | "X" | "x"),
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }

    fn info(&self) -> ProcessInfo {
        ProcessInfo { pid: self.pid, start_time: self.start_time, command: self.command() }
    }

    fn command(&self) -> String {
        let bytes = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let words: Vec<&str> = text.split('\0').filter(|word| !word.is_empty()).collect();
        if words.is_empty() { format!("[{}]", self.name) } else { shorten(&words.join(" "), 80) }
    }
}

/// At most `most` characters of a text, control characters replaced, with an ellipsis when it is
/// not the whole.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().count() <= most {
        return text.chars().map(visible).collect();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).map(visible).collect();
    short.push('\u{2026}');
    short
}

/// The numbers of all processes that can be seen.
fn pids() -> io::Result<Vec<u32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// Whether the environment that the process was started with has exactly this entry. Not, when it
/// cannot be read: it is another user's.
fn has_entry(pid: u32, entry: &[u8]) -> bool {
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|&b| b == 0).any(|e| e == entry))
}

/// Which processes belong together.
#[derive(Debug, Clone, Default)]
pub(super) struct Family {
    /// Those of this process group. Its leader must not have been reaped: until then the number
    /// means no other group.
    pub(super) group: Option<u32>,
    /// Those with this `NAME=VALUE` in their environment.
    pub(super) marker: Option<String>,
    /// Whether the descendants of members are members, and stay it when they lose their parents.
    pub(super) descendants: bool,
    /// Descendants that were found once.
    pub(super) known: BTreeSet<Key>,
}

impl Family {
    /// The members that live now, without this process itself.
    pub(super) fn find(&mut self) -> io::Result<Vec<ProcessInfo>> {
        let own = std::process::id();
        let stats: Vec<Stat> =
            pids()?.into_iter().filter(|&pid| pid != own).filter_map(Stat::read).collect();
        let mut members: BTreeSet<u32> =
            stats.iter().filter(|stat| self.is_member(stat)).map(|stat| stat.pid).collect();
        if self.descendants {
            add_descendants(&stats, &mut members);
        }
        let mut found = Vec::new();
        for stat in stats.iter().filter(|stat| !stat.ended && members.contains(&stat.pid)) {
            if self.descendants {
                self.known.insert((stat.pid, stat.start_time));
            }
            found.push(stat.info());
        }
        Ok(found)
    }

    fn is_member(&self, stat: &Stat) -> bool {
        self.group == Some(stat.group)
            || self.known.contains(&(stat.pid, stat.start_time))
            || self.marker.as_ref().is_some_and(|entry| has_entry(stat.pid, entry.as_bytes()))
    }
}

fn add_descendants(stats: &[Stat], members: &mut BTreeSet<u32>) {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for stat in stats {
        children.entry(stat.parent).or_default().push(stat.pid);
    }
    let mut queue: Vec<u32> = members.iter().copied().collect();
    while let Some(parent) = queue.pop() {
        for &child in children.get(&parent).into_iter().flatten() {
            if members.insert(child) {
                queue.push(child);
            }
        }
    }
}

/// The processes that have the variable `name` with exactly this value in their environment, as far
/// as this user may see it; never this process itself.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn marked(name: &str, value: &str) -> io::Result<Vec<ProcessInfo>> {
    Family { marker: Some(format!("{name}={value}")), ..Family::default() }.find()
}

/// The processes whose working directory or program is `dir` or lies below it, and the path by
/// which they do. Processes of other users are left out unless this one is privileged.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn in_use(dir: &Utf8Path) -> io::Result<Vec<(u32, Utf8PathBuf)>> {
    let real = dir.canonicalize_utf8().unwrap_or_else(|_| dir.to_owned());
    let mut found = Vec::new();
    for pid in pids()? {
        let paths = ["cwd", "exe"].into_iter().filter_map(|link| target(pid, link));
        for path in paths.filter(|path| path.starts_with(&real)) {
            let path = Utf8PathBuf::from(path.to_string_lossy().into_owned());
            if !found.contains(&(pid, path.clone())) {
                found.push((pid, path));
            }
        }
    }
    Ok(found)
}

/// Where a link of the process leads, also if that has been deleted since.
fn target(pid: u32, link: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let path = std::fs::read_link(Path::new("/proc").join(pid.to_string()).join(link)).ok()?;
    match path.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(gone) if !path.exists() => Some(std::ffi::OsString::from_vec(gone.to_vec()).into()),
        _ => Some(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_contain_what_separates_fields() {
        let line = b"42 (a) b (c) S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2 3";
        let stat = Stat::parse(42, line).unwrap();
        assert_eq!((stat.parent, stat.group, stat.start_time, stat.ended), (7, 8, 98765, false));
        assert_eq!(stat.name, "a) b (c");
        let zombie = Stat::parse(1, b"1 (x) Z 7 8 9 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 5 1").unwrap();
        assert!(zombie.ended);
        assert_eq!(Stat::parse(1, b"1 (x"), None);
    }

    #[test]
    fn a_text_is_shortened_by_characters() {
        assert_eq!(shorten("a\nb", 3), "a b");
        assert_eq!(shorten("\u{e9}\u{e9}\u{e9}\u{e9}", 3), "\u{e9}\u{e9}\u{2026}");
    }
}
