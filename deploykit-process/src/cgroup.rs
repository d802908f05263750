//! Control groups: how much the processes of a service may use together, and which they are.
//!
//! Both versions are used, where they are: the second for all that it has, the first for the controllers
//! that the second does not have on this host (cgroups(7)). Where this process may make no group, there
//! is none, and services run without.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{Mode, OFlags, open};
use serde::{Deserialize, Serialize};

/// How much the processes of an instance may use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Amounts {
    /// Memory, in bytes: one of them is killed at that point.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Processor time, in hundredths of one core.
    pub cpu: Option<u32>,
}

/// Why there is no group.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// What is to be limited cannot be on this host, or not by this process.
    #[error("no control group here limits {what}")]
    NotLimited {
        /// What is to be limited.
        what: &'static str,
    },
    /// The group cannot be made or changed.
    #[error("cannot {operation} the control group {path}")]
    File {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The group, or a file of it.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What can be limited: the names of controllers.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// The period for which processor time is counted, in microseconds: the kernel's own default.
const PERIOD: u64 = 100_000;

/// The group into which a manager goes itself.
const OWN: &str = "deploykit-up";

/// Goes into a group of its own, where this process is alone in one of the second version that it may
/// change: in one that has processes itself, none below it can be limited. For a process that is there for
/// nothing else: in a container, or under a unit with `Delegate=yes`.
pub fn make_room() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let found = Groups::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
    let Some(own) = found.unified.filter(|own| own.file_name() != Some(OWN)) else { return };
    let inside = std::fs::read_to_string(own.join("cgroup.procs")).unwrap_or_default();
    let alone: Vec<u32> = inside.lines().filter_map(|line| line.parse().ok()).collect();
    if alone == [std::process::id()]
        && let Ok(dir) = made(own.join(OWN))
    {
        let _ = std::fs::write(dir.join("cgroup.procs"), "0");
    }
}

/// Where groups are made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Groups {
    /// The group of this process in the second version.
    unified: Option<Utf8PathBuf>,
    /// Those in the first, by controller.
    legacy: BTreeMap<&'static str, Utf8PathBuf>,
}

impl Groups {
    /// Those in which this process is, as far as it may make groups there. Nothing where it may not.
    pub fn find() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut found = Self::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let may_write = |path: &Utf8PathBuf| {
            rustix::fs::access(path.as_std_path(), rustix::fs::Access::WRITE_OK).is_ok()
        };
        // What has made room for its groups stands beside them, not above.
        let beside = |path: Utf8PathBuf| match path.file_name() {
            Some(OWN) => path.parent().map_or(path.clone(), Utf8Path::to_owned),
            _ => path,
        };
        found.unified = found.unified.map(beside).filter(may_write);
        found.legacy.retain(|_, path| may_write(path));
        found
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.unified.is_none() && self.legacy.is_empty()
    }

    fn parse(mounts: &str, memberships: &str) -> Self {
        let mut found = Self::default();
        for line in memberships.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(names), Some(path)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if names.is_empty() {
                found.unified = place(mounts, "cgroup2", None, path);
            }
            for name in names.split(',') {
                let known = CONTROLLERS.into_iter().find(|known| *known == name);
                let group = known.and_then(|known| place(mounts, "cgroup", Some(known), path));
                found.legacy.extend(known.zip(group));
            }
        }
        found
    }

    /// Makes a group for an instance, or takes the one that is there.
    ///
    /// # Errors
    /// When something is to be limited that cannot be, and when a group cannot be made.
    pub fn make(&self, name: &str, amounts: &Amounts) -> Result<Group, GroupError> {
        let name = format!("deploykit-{}", name.replace('/', "-"));
        let mut group = Group::default();
        if let Some(own) = &self.unified {
            // Without it, the group only says which processes belong to it. In one that has processes
            // itself, which is not the first of all, the kernel refuses.
            for controller in CONTROLLERS {
                let _ =
                    std::fs::write(own.join("cgroup.subtree_control"), format!("+{controller}"));
            }
            let dir = made(own.join(&name))?;
            group.has = controllers(&dir);
            group.unified = Some(dir);
        }
        for (what, controller, amount) in [
            ("memory", "memory", amounts.memory),
            ("the number of processes", "pids", amounts.processes),
            ("processor time", "cpu", amounts.cpu.map(u64::from)),
        ] {
            let Some(amount) = amount else { continue };
            if group.has.iter().any(|has| has == controller) {
                let dir = group.unified.as_deref().unwrap_or(Utf8Path::new("/"));
                limit_unified(dir, controller, amount)?;
            } else if let Some(own) = self.legacy.get(controller) {
                let dir = made(own.join(&name))?;
                limit_legacy(&dir, controller, amount)?;
                group.legacy.push(dir);
            } else {
                group.remove();
                return Err(GroupError::NotLimited { what });
            }
        }
        Ok(group)
    }
}

/// Where a group is mounted.
fn place(mounts: &str, kind: &str, controller: Option<&str>, group: &str) -> Option<Utf8PathBuf> {
    mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let (front, back): (Vec<&str>, Vec<&str>) =
            (front.split(' ').collect(), back.split(' ').collect());
        let has = |name: &str| {
            back.last().is_some_and(|options| options.split(',').any(|one| one == name))
        };
        if back.first() != Some(&kind) || controller.is_some_and(|name| !has(name)) {
            return None;
        }
        // A part of the tree may be mounted alone: in a container.
        let (root, point) = (front.get(3)?, front.get(4)?);
        let below = group.strip_prefix(root.trim_end_matches('/'))?;
        Some(Utf8Path::new(point).join(below.trim_start_matches('/')))
    })
}

fn made(dir: Utf8PathBuf) -> Result<Utf8PathBuf, GroupError> {
    match std::fs::create_dir(&dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(GroupError::File { operation: "make", path: dir, source: error })
        }
        _ => Ok(dir),
    }
}

fn controllers(dir: &Utf8Path) -> Vec<String> {
    let text = std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

fn set(dir: &Utf8Path, file: &str, value: impl Into<String>) -> Result<(), GroupError> {
    let path = dir.join(file);
    let written = std::fs::write(&path, value.into());
    written.map_err(|source| GroupError::File { operation: "limit", path, source })
}

fn limit_unified(dir: &Utf8Path, controller: &str, amount: u64) -> Result<(), GroupError> {
    match controller {
        "memory" => set(dir, "memory.max", amount.to_string()),
        "pids" => set(dir, "pids.max", amount.to_string()),
        _ => set(dir, "cpu.max", format!("{} {PERIOD}", amount * PERIOD / 100)),
    }
}

fn limit_legacy(dir: &Utf8Path, controller: &str, amount: u64) -> Result<(), GroupError> {
    match controller {
        "memory" => set(dir, "memory.limit_in_bytes", amount.to_string()),
        "pids" => set(dir, "pids.max", amount.to_string()),
        _ => {
            set(dir, "cpu.cfs_period_us", PERIOD.to_string())?;
            set(dir, "cpu.cfs_quota_us", (amount * PERIOD / 100).to_string())
        }
    }
}

/// The group of an instance.
#[derive(Debug, Default)]
pub struct Group {
    unified: Option<Utf8PathBuf>,
    /// What is limited in the second version.
    has: Vec<String>,
    legacy: Vec<Utf8PathBuf>,
}

impl Group {
    fn dirs(&self) -> impl Iterator<Item = &Utf8PathBuf> {
        self.unified.iter().chain(&self.legacy)
    }

    /// Where a process enters it, by writing `0`.
    ///
    /// # Errors
    /// When one of the files cannot be opened.
    pub fn entrances(&self) -> Result<Vec<OwnedFd>, GroupError> {
        let one = |dir: &Utf8PathBuf| {
            let path = dir.join("cgroup.procs");
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            open(path.as_std_path(), flags, Mode::empty()).map_err(|error| GroupError::File {
                operation: "enter",
                path,
                source: error.into(),
            })
        };
        self.dirs().map(one).collect()
    }

    /// Whether it limits that: the name of a controller.
    pub(crate) fn limits(&self, controller: &str) -> bool {
        let is_it = |dir: &Utf8PathBuf| dir.as_str().contains(&format!("/{controller}"));
        self.has.iter().any(|has| has == controller) || self.legacy.iter().any(is_it)
    }

    /// Which processes are in it.
    pub fn processes(&self) -> Vec<u32> {
        let Some(dir) = self.dirs().next() else { return Vec::new() };
        let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Ends all that are in it at once, those that are just being started included. Whether that can be
    /// done here: a kernel before 5.14 cannot, nor the first version.
    pub fn kill(&self) -> bool {
        self.unified
            .as_ref()
            .is_some_and(|dir| std::fs::write(dir.join("cgroup.kill"), "1").is_ok())
    }

    /// How much memory they use together, in bytes, where that is counted.
    pub fn memory(&self) -> Option<u64> {
        let files = ["memory.current", "memory.usage_in_bytes"];
        let read = |path: Utf8PathBuf| std::fs::read_to_string(path).ok()?.trim().parse().ok();
        self.dirs().flat_map(|dir| files.map(|file| dir.join(file))).find_map(read)
    }

    /// Removes it, if nothing is in it any more; says whether.
    pub fn remove(&self) -> bool {
        self.dirs().all(|dir| match std::fs::remove_dir(dir) {
            Err(error) => error.kind() == io::ErrorKind::NotFound,
            Ok(()) => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 /docker/abc /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw
";

    #[test]
    fn groups_are_found_in_both_versions_and_in_a_container() {
        let memberships = "9:name=systemd:/\n8:pids:/docker/abc/x\n4:memory:/one\n\
             1:cpu,cpuacct:/\n0::/two/three\n";
        let found = Groups::parse(BOTH, memberships);
        assert_eq!(found.unified.as_deref(), Some("/sys/fs/cgroup/unified/two/three".into()));
        let legacy: Vec<_> =
            found.legacy.iter().map(|(name, path)| (*name, path.as_str())).collect();
        assert_eq!(
            legacy,
            [
                ("cpu", "/sys/fs/cgroup/cpu,cpuacct/"),
                ("memory", "/sys/fs/cgroup/memory/one"),
                ("pids", "/sys/fs/cgroup/pids/x"),
            ]
        );
        let second = "25 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Groups::parse(second, "0::/user.slice\n");
        assert_eq!(found.unified.as_deref(), Some("/sys/fs/cgroup/user.slice".into()));
        assert!(found.legacy.is_empty());
        assert!(Groups::parse("", "").is_empty());
    }

    #[test]
    fn what_cannot_be_limited_here_is_said() {
        let amounts = Amounts { memory: Some(1 << 20), ..Amounts::default() };
        let error = Groups::default().make("x", &amounts).unwrap_err();
        assert_eq!(error.to_string(), "no control group here limits memory");
        assert!(Groups::default().make("x", &Amounts::default()).unwrap().processes().is_empty());
    }
}
