//! Which process is meant, also after its number was given to another one.

use serde::{Deserialize, Serialize};

use super::table::Stat;

/// A process, told from every other that had or will have its number: by its start time, and the
/// boot in which it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessId {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since boot (`/proc/PID/stat`, field 22); 0 when unknown.
    pub start_time: u64,
    /// The boot (`/proc/sys/kernel/random/boot_id`); empty when unknown.
    pub boot_id: String,
}

impl ProcessId {
    /// This process.
    pub fn current() -> Self {
        let pid = std::process::id();
        Self { pid, start_time: start_time(pid).unwrap_or_default(), boot_id: boot_id() }
    }

    /// The leader of the session that this process is in. It may have ended: then it has no start
    /// time.
    pub(crate) fn of_session() -> Self {
        let leader = nix::unistd::getsid(None).map_or(0, nix::unistd::Pid::as_raw);
        let pid = u32::try_from(leader).unwrap_or_default();
        Self { pid, start_time: start_time(pid).unwrap_or_default(), boot_id: boot_id() }
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        self.boot_id == boot_id() && start_time(self.pid) == Some(self.start_time)
    }
}

/// The boot in which this runs.
pub(crate) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// When the process of that number started, in clock ticks since boot.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    Stat::read(pid).map(|stat| stat.start_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_start_time_and_a_boot() {
        let me = ProcessId::current();
        assert!(me.start_time > 0);
        assert_eq!(me.boot_id.len(), 36);
        assert_eq!(me, ProcessId::current());
        assert!(me.is_alive());
        assert!(!ProcessId { start_time: me.start_time + 1, ..me.clone() }.is_alive());
        assert!(!ProcessId { boot_id: "another".into(), ..me }.is_alive());
        assert_eq!(start_time(u32::MAX), None);
    }
}
