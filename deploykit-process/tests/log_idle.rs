//! That nothing ticks while nobody writes. It counts what a thread of this process does, so it is one
//! test in a process of its own.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use camino::Utf8PathBuf;
use deploykit_process::log::{Collector, LogSettings, Stream};

#[test]
fn while_nobody_writes_the_thread_is_not_woken() {
    let directory = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
    let collector = Collector::start(|_| {}).unwrap();
    let mut settings = LogSettings::new(&dir, "web");
    settings.max_age = Some(Duration::from_millis(1));
    let log = collector.open(settings).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let out = collector.add(reader.into(), Stream::Out, &log).unwrap();
    writer.write_all(b"line\n").unwrap();
    assert!(out.catch_up(Duration::from_secs(60)));
    let thread = thread_of_the_collector();
    let before = sleeps(&thread);
    // Not a wait for something: whatever ticks has had the time to. That it takes longer is no harm.
    std::thread::sleep(Duration::from_millis(400));
    let after = sleeps(&thread);
    assert!(before > 0 && after - before <= 1, "{before} {after}: it may just have fallen asleep");
}

fn thread_of_the_collector() -> PathBuf {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    let named = |path: &PathBuf| std::fs::read_to_string(path.join("comm")).unwrap() == "log\n";
    tasks.into_iter().find(named).unwrap()
}

fn sleeps(thread: &std::path::Path) -> u64 {
    let status = std::fs::read_to_string(thread.join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
