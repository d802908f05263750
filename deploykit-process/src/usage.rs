//! What processes take of the host.

use std::collections::HashMap;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};

use crate::table;

/// What a process, and all that it has started, takes of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Usage {
    /// How much memory is resident, in bytes. What several processes share counts for each.
    pub memory: u64,
    /// How much processor time they have had.
    pub cpu: Duration,
    /// How many processes there are.
    pub processes: u32,
}

/// What these processes take, each with those of its session and what these have started. Nothing for one
/// that is not there.
///
/// # Errors
/// When `/proc` cannot be listed.
pub fn usage(pids: &[u32]) -> std::io::Result<Vec<Option<Usage>>> {
    let rows = table::all()?;
    let mut owner: HashMap<u32, usize> =
        pids.iter().enumerate().map(|(index, pid)| (*pid, index)).collect();
    let by_session = owner.clone();
    owner.extend(rows.iter().filter_map(|row| Some((row.pid, *by_session.get(&row.session)?))));
    loop {
        let more: Vec<(u32, usize)> = rows
            .iter()
            .filter(|row| !owner.contains_key(&row.pid))
            .filter_map(|row| Some((row.pid, *owner.get(&row.parent)?)))
            .collect();
        if more.is_empty() {
            break;
        }
        owner.extend(more);
    }
    let mut found = vec![None; pids.len()];
    for row in &rows {
        let (Some(index), Some(own)) = (owner.get(&row.pid), of_one(row.pid)) else { continue };
        let sum: &mut Usage = found[*index].get_or_insert_default();
        sum.memory += own.memory;
        sum.cpu += own.cpu;
        sum.processes += 1;
    }
    Ok(found)
}

/// What one process takes; see proc(5), `/proc/PID/stat`: `utime`, `stime` and `rss`.
fn of_one(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok());
    let ticks = number(11)? + number(12)?;
    let cpu = Duration::from_millis(ticks * 1000 / clock_ticks_per_second().max(1));
    Some(Usage { memory: number(21)? * page_size() as u64, cpu, processes: 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_what_it_and_its_children_take() {
        let mut child =
            std::process::Command::new("sh").args(["-c", "sleep 100 & wait"]).spawn().unwrap();
        let begun = std::time::Instant::now();
        let usage = loop {
            let found = usage(&[child.id(), u32::MAX]).unwrap();
            assert_eq!(found[1], None);
            let one = found[0].unwrap();
            if one.processes == 2 || begun.elapsed() > Duration::from_secs(10) {
                break one;
            }
        };
        assert!(usage.processes == 2 && usage.memory > 100_000, "{usage:?}");
        let rows = table::all().unwrap();
        let sleep = rows.iter().find(|row| row.parent == child.id()).unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(sleep.pid).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }
}
