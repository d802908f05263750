//! Measures the process manager: `cargo run --release -p deploykit-process --example supervise`.
//!
//! From SIGKILL of a stable service to the start of the next process (the service itself writes when it
//! was started), starting and stopping a thousand, and what a hundred take when nothing happens.
#![allow(clippy::print_stdout, reason = "it is for people")]

use std::error::Error;
use std::time::{Duration, Instant};

use deploykit_process::machine::Phase;
use deploykit_process::{Definition, Manager, Quiet};

const LONG: Duration = Duration::from_secs(120);

fn main() -> Result<(), Box<dyn Error>> {
    restarts(1000)?;
    many(1000)?;
    idle(100)
}

/// How long from SIGKILL until the kernel has started the next process.
fn restarts(times: usize) -> Result<(), Box<dyn Error>> {
    let manager = Manager::start(Quiet)?;
    let mut one = Definition::new("one", ["sleep", "100000"], "/");
    one.course.rules.stable = Duration::ZERO;
    manager.define(vec![one])?;
    manager.up(&[])?;
    manager.settle(&[], LONG)?;
    let mut took = Vec::new();
    for _ in 0..times {
        let pid = manager.status()?[0].pid.ok_or("it does not run")?;
        let begun = Instant::now();
        let number = i32::try_from(pid)?;
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(number),
            nix::sys::signal::Signal::SIGKILL,
        )?;
        loop {
            let now = manager.status()?.remove(0);
            if now.pid.is_some_and(|now| now != pid) && now.phase == Phase::Running {
                break;
            }
        }
        took.push(begun.elapsed());
    }
    took.sort();
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    println!("SIGKILL to the next start: median {:?}, 99th percentile {:?}", at(50), at(99));
    Ok(())
}

fn sleepers(count: usize) -> Vec<Definition> {
    (0..count)
        .map(|number| Definition::new(format!("s{number}"), ["sleep", "100000"], "/"))
        .collect()
}

fn many(count: usize) -> Result<(), Box<dyn Error>> {
    let manager = Manager::start(Quiet)?;
    manager.define(sleepers(count))?;
    let begun = Instant::now();
    manager.up(&[])?;
    let up = manager.settle(&[], LONG)?;
    let running = up.iter().filter(|one| one.phase == Phase::Running).count();
    println!("start of {count}: {:?} ({running} run)", begun.elapsed());
    let begun = Instant::now();
    manager.down(&[])?;
    let down = manager.settle(&[], LONG)?;
    let left = down.iter().filter(|one| one.pid.is_some()).count();
    println!("stop of {count}: {:?} ({left} left)", begun.elapsed());
    Ok(())
}

fn idle(count: usize) -> Result<(), Box<dyn Error>> {
    let manager = Manager::start(Quiet)?;
    manager.define(sleepers(count))?;
    manager.up(&[])?;
    manager.settle(&[], LONG)?;
    let naps = || -> Result<u64, Box<dyn Error>> {
        let mut sum = 0;
        for task in std::fs::read_dir("/proc/self/task")? {
            let status = std::fs::read_to_string(task?.path().join("status"))?;
            let count =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            sum += count.map_or(Ok(0), |count| count.trim().parse::<u64>())?;
        }
        Ok(sum)
    };
    std::thread::sleep(Duration::from_secs(1));
    let before = naps()?;
    std::thread::sleep(Duration::from_secs(5));
    // One of them is that of this thread itself.
    println!("wake-ups in 5 s with {count}: {}", naps()? - before - 1);
    let status = std::fs::read_to_string("/proc/self/status")?;
    let resident = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    println!("resident with {count}: {}", resident.trim_start_matches("VmRSS:").trim());
    Ok(())
}
