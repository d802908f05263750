//! What the processes of a supervisor take of the host, without those of its services.

use std::collections::HashMap;

use super::peers::Running;
use crate::Result;

/// Whether a process runs.
pub(super) fn runs(pid: i32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok()
}

/// The supervisor's own processes: itself, and what it has started that is called like a part of it.
fn own(running: &Running) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent =
            stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![running.pid()]);
    while let Some(pid) = next.pop() {
        found.push(pid);
        let is_part = |pid: &u32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            running.parts().contains(&name.trim())
        };
        next.extend(children.get(&pid).into_iter().flatten().copied().filter(is_part));
    }
    found
}

/// How often they were given a processor.
pub(super) fn wakeups(running: &Running) -> Result<u64> {
    let mut sum = 0;
    for pid in own(running) {
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            let counts = status.lines().filter(|line| line.contains("ctxt_switches:"));
            sum += counts
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .sum::<u64>();
        }
    }
    Ok(sum)
}

/// How much of their memory is resident, in megabytes, added up.
pub(super) fn resident(running: &Running) -> Result<f64> {
    let mut kilobytes = 0;
    for pid in own(running) {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        kilobytes +=
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(kilobytes as f64 * 1024.0 / 1e6)
}
