//! How much services may use, and control groups where this machine lets us make some.

use std::time::{Duration, Instant};

use deploykit_process::cgroup::{Amounts, Groups};
use deploykit_process::machine::Phase;
use deploykit_process::{Definition, InstanceStatus, Manager, Quiet};

const LONG: Duration = Duration::from_secs(30);

fn up(manager: &Manager, one: Definition) -> InstanceStatus {
    manager.define(vec![one]).unwrap();
    manager.up(&[]).unwrap();
    manager.settle(&[], LONG).unwrap().remove(0)
}

#[track_caller]
fn until(manager: &Manager, what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < LONG, "never: {what}; {:#?}", manager.status());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_uses_more_memory_than_it_may_is_started_anew() {
    let manager = Manager::start(Quiet).unwrap();
    // A shell keeps the whole text.
    let script = "sleep 0.2; text=$(head -c 200000000 /dev/zero | tr '\\0' x); sleep 1000";
    let mut one = Definition::new("greedy", ["sh", "-c", script], "/");
    one.amounts = serde_json::from_str::<Amounts>(r#"{ "memory": 67108864 }"#).unwrap();
    let first = up(&manager, one);
    assert_eq!(first.phase, Phase::Running);
    until(&manager, "it is started anew", || manager.status().unwrap()[0].restarts > 0);
}

#[test]
fn in_a_control_group_nobody_hides() {
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let manager = Manager::start(Quiet).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pid");
    let script =
        format!("env -i setsid sleep 1000 & echo $! > {}; exec sleep 1000", path.display());
    let mut one = Definition::new("web", ["sh", "-c", &script], "/");
    one.amounts = serde_json::from_str::<Amounts>(r#"{ "processes": 1000 }"#).unwrap();
    let pid = up(&manager, one).pid.unwrap();
    let inside = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    if Groups::find().is_empty() || inside == own {
        return;
    }
    assert!(inside.contains("deploykit-"), "{inside}");
    until(&manager, "it has written", || path.metadata().is_ok_and(|file| file.len() > 0));
    let hidden: u32 = std::fs::read_to_string(&path).unwrap().trim().parse().unwrap();
    // It becomes nobody's child.
    let signal = nix::libc::SIGKILL;
    manager.signal(signal, &[]).unwrap();
    until(&manager, "it runs anew", || {
        let now = manager.status().unwrap().remove(0);
        now.phase == Phase::Running && now.pid != Some(pid)
    });
    let is_there = || std::path::Path::new(&format!("/proc/{hidden}/cwd")).read_link().is_ok();
    assert!(!is_there());
    manager.end();
    assert!(!inside.lines().any(|line| {
        let group = line.rsplit(':').next().unwrap_or_default();
        group.contains("deploykit-")
            && std::path::Path::new(&format!("/sys/fs/cgroup/unified{group}")).exists()
    }));
}
