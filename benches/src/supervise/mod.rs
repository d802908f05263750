//! The supervisor beside those peers that are installed: how soon a killed service runs again, what a hundred
//! that do nothing cost, starting and stopping, and what a service may write.

mod host;
mod peers;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Result;
use crate::report::{number, row, say, table, tell};
use peers::{Peer, Running};

/// Nothing that is measured takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What has run for so long is stable for all of them.
const STABLE: Duration = Duration::from_millis(1200);

/// A line of this many bytes is written again and again.
const LINE: usize = 100;

/// How much a service writes.
const WRITTEN: u64 = 1 << 30;

/// A service: what it is called, and what its shell does.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) script: String,
    /// Whether what it writes is kept.
    pub(super) is_logged: bool,
}

/// Measures, and prints a table.
pub(crate) fn run(program: &Path, directory: &Path, rounds: usize, is_quick: bool) -> Result<()> {
    let all = peers::installed(program);
    let many = if is_quick { 10 } else { 1000 };
    table(
        "Supervisors",
        &[
            "supervisor",
            "SIGKILL to next start, ms (99th percentile)",
            "100 idle: wake-ups a second",
            "100 idle: resident, MB",
            "start of 100, s",
            "stop of 100, s",
            "log, MB/s",
        ],
    );
    for peer in &all {
        tell(&format!("{} …", peer.name()));
        let place = |name: &str| -> Result<PathBuf> {
            let path = directory.join(format!("{}-{name}", peer.name()));
            std::fs::create_dir_all(&path)?;
            Ok(path)
        };
        let restart = restarts(&**peer, &place("restart")?, rounds)?;
        let idle = idle(&**peer, &place("idle")?, if is_quick { 10 } else { 100 })?;
        let bytes = if is_quick { WRITTEN / 64 } else { WRITTEN };
        let log = log(&**peer, &place("log")?, bytes)?;
        row(&[
            peer.name().to_owned(),
            format!("{} ({})", number(restart.0), number(restart.1)),
            number(idle.wakeups),
            number(idle.resident),
            number(idle.start),
            number(idle.stop),
            number(log),
        ]);
    }
    let ours = peers::ours(program);
    let path = directory.join("many");
    std::fs::create_dir_all(&path)?;
    let (start, stop) = start_and_stop(&ours, &path, many)?;
    say(&format!(
        "\ndeploykit, {many} services: start {} s, stop {} s.",
        number(start),
        number(stop)
    ));
    Ok(())
}

/// A service that says who it is, and sleeps. `exec` keeps its number.
fn sleeper(directory: &Path, name: &str) -> Service {
    let file = directory.join(format!("{name}.pid"));
    let script = format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000000", file.display());
    Service { name: name.to_owned(), script, is_logged: false }
}

fn pid_in(directory: &Path, name: &str) -> Option<i32> {
    let text = std::fs::read_to_string(directory.join(format!("{name}.pid"))).ok()?;
    text.trim().parse().ok()
}

fn until<T>(what: &str, mut so: impl FnMut() -> Option<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = so() {
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("it never came to this: {what}").into());
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Starts it, and says when that was.
fn start(peer: &dyn Peer, directory: &Path, services: &[Service]) -> Result<(Running, Instant)> {
    peer.describe(directory, services)?;
    // What has described them may have run them.
    for Service { name, .. } in services {
        let _ = std::fs::remove_file(directory.join(format!("{name}.pid")));
    }
    let begun = Instant::now();
    Ok((peer.start(directory)?, begun))
}

/// From SIGKILL of a stable service until the next process of it has written its number: the median and the
/// 99th percentile, in milliseconds.
fn restarts(peer: &dyn Peer, directory: &Path, rounds: usize) -> Result<(f64, f64)> {
    let running = start(peer, directory, &[sleeper(directory, "one")])?.0;
    let mut took = Vec::new();
    for _ in 0..rounds {
        let pid = until("it runs", || pid_in(directory, "one"))?;
        std::thread::sleep(STABLE);
        let begun = Instant::now();
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        until("it runs again", || pid_in(directory, "one").filter(|now| *now != pid))?;
        took.push(begun.elapsed().as_secs_f64() * 1000.0);
    }
    running.end()?;
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    Ok((at(50), at(99)))
}

struct Idle {
    wakeups: f64,
    resident: f64,
    start: f64,
    stop: f64,
}

fn idle(peer: &dyn Peer, directory: &Path, count: usize) -> Result<Idle> {
    let (running, start) = up(peer, directory, count)?;
    std::thread::sleep(Duration::from_secs(3));
    let before = host::wakeups(&running)?;
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(5));
    let woken = host::wakeups(&running)?.saturating_sub(before);
    let wakeups = woken as f64 / begun.elapsed().as_secs_f64();
    let resident = host::resident(&running)?;
    let stop = down(running, directory, count)?;
    Ok(Idle { wakeups, resident, start, stop })
}

fn start_and_stop(peer: &dyn Peer, directory: &Path, count: usize) -> Result<(f64, f64)> {
    let (running, start) = up(peer, directory, count)?;
    Ok((start, down(running, directory, count)?))
}

/// Starts so many; until all have written their numbers.
fn up(peer: &dyn Peer, directory: &Path, count: usize) -> Result<(Running, f64)> {
    let names: Vec<String> = (0..count).map(|number| format!("s{number}")).collect();
    let services: Vec<Service> = names.iter().map(|name| sleeper(directory, name)).collect();
    let (running, begun) = start(peer, directory, &services)?;
    until("all run", || names.iter().all(|name| pid_in(directory, name).is_some()).then_some(()))?;
    Ok((running, begun.elapsed().as_secs_f64()))
}

/// Ends all; until none of their processes is there.
fn down(running: Running, directory: &Path, count: usize) -> Result<f64> {
    let pids: Vec<i32> =
        (0..count).filter_map(|number| pid_in(directory, &format!("s{number}"))).collect();
    let begun = Instant::now();
    running.end()?;
    until("all have ended", || (!pids.iter().any(|pid| host::runs(*pid))).then_some(()))?;
    Ok(begun.elapsed().as_secs_f64())
}

/// How fast a service may write, in megabytes a second: until all of it has been taken.
fn log(peer: &dyn Peer, directory: &Path, bytes: u64) -> Result<f64> {
    let (go, done) = (directory.join("go"), directory.join("done"));
    let line = "x".repeat(LINE - 1);
    let script = format!(
        "while [ ! -e {} ]; do sleep 0.01; done; yes {line} | head -c {bytes}; echo > {}; exec sleep 1000000",
        go.display(),
        done.display()
    );
    let service = Service { name: "one".to_owned(), script, is_logged: true };
    let running = start(peer, directory, &[service])?.0;
    std::thread::sleep(Duration::from_secs(1));
    let begun = Instant::now();
    std::fs::write(&go, "")?;
    until("all is written", || done.exists().then_some(()))?;
    let took = begun.elapsed().as_secs_f64();
    running.end()?;
    Ok(bytes as f64 / 1e6 / took)
}
