//! Control groups, where this machine lets us make some.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use deploykit_process::cgroup::{Amounts, Group, Groups};

/// A shell that waits in the group for its script.
fn inside(group: &Group) -> Child {
    let mut shell =
        Command::new("sh").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    for entrance in group.entrances().unwrap() {
        // As its parent; it has done nothing yet.
        let written = write!(std::fs::File::from(entrance), "{}", shell.id());
        written.unwrap();
    }
    assert_eq!(group.processes(), [shell.id()]);
    shell.stdin.as_mut().unwrap().flush().unwrap();
    shell
}

fn says(mut shell: Child, script: &str) -> String {
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Where groups are to be had, and this process may make them.
fn groups() -> Option<Groups> {
    let groups = Groups::find();
    let may = groups.make("test-may", &Amounts::default()).is_ok_and(|group| {
        let may = !group.entrances().unwrap_or_default().is_empty();
        group.remove();
        may
    });
    may.then_some(groups)
}

#[test]
fn processes_in_a_group_are_known_and_ended_together() {
    let Some(groups) = groups() else { return };
    let name = format!("test-{}", std::process::id());
    let group = groups.make(&name, &Amounts::default()).unwrap();
    let mut shell = inside(&group);
    let script =
        "setsid sleep 1000 >/dev/null & setsid sleep 1001 >/dev/null & echo started; wait\n";
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let begun = std::time::Instant::now();
    while group.processes().len() < 3 {
        assert!(begun.elapsed().as_secs() < 20, "{:?}", group.processes());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(!group.remove(), "something is in it");
    assert!(group.kill());
    shell.wait().unwrap();
    while !group.processes().is_empty() {
        assert!(begun.elapsed().as_secs() < 20, "{:?}", group.processes());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(group.remove() && group.remove(), "twice is no error");
}

#[test]
fn what_a_group_may_use_is_limited() {
    let Some(groups) = groups() else { return };
    let name = format!("test-limits-{}", std::process::id());
    let mut amounts = Amounts::default();
    (amounts.processes, amounts.memory) = (Some(3), Some(64 << 20));
    let group = match groups.make(&name, &amounts) {
        Ok(group) => group,
        // Not every host gives these away.
        Err(error) => {
            assert!(error.to_string().contains("no control group here limits"), "{error}");
            return;
        }
    };
    let told = says(inside(&group), "for i in 1 2 3 4; do sleep 0.2 & done; wait; echo end\n");
    assert_eq!(told, "", "a fourth process was started");
    let shell = inside(&group);
    assert!(group.memory().is_some_and(|bytes| bytes < 64 << 20));
    let told = says(shell, "head -c 200M /dev/zero | tail -c 190M | wc -c; echo $?\n");
    assert_ne!(told.lines().next(), Some("199229440"), "it had 190 MiB");
    assert!(group.remove());
}
