use camino::Utf8PathBuf;

use super::{Journal, JournalError, read_state};
use crate::context::Context;
use crate::id::DeploymentId;
use crate::state::{Actor, Holder, Layout, Lock, Outcome, Record, Request};
use crate::time::Timestamp;

fn ann() -> Actor {
    Actor { user: "ann".into(), via: "test".into() }
}

struct App {
    _dir: tempfile::TempDir,
    layout: Layout,
    lock: Lock,
}

fn app() -> App {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap());
    let now = Timestamp::now();
    let holder = Holder::current(now, ann(), "test");
    let ctx = Context::new().unwrap();
    let lock = Lock::acquire(&ctx, &layout, holder, std::time::Duration::ZERO).unwrap();
    App { _dir: dir, layout, lock }
}

fn deployment(number: u64) -> [Record; 2] {
    let request = Request::Rollback { to: None };
    let deployment = DeploymentId(number);
    [
        Record::DeploymentStarted { deployment, request, by: ann(), from: None },
        Record::DeploymentFinished { deployment, outcome: Outcome::Failed { reason: "x".into() } },
    ]
}

impl App {
    fn open(&self) -> Result<Journal, JournalError> {
        Journal::open(&self.layout, &self.lock, 5)
    }

    fn fill(&self, deployments: std::ops::RangeInclusive<u64>) {
        let mut journal = self.open().unwrap();
        for number in deployments {
            journal.append(Timestamp::from_millis(0), deployment(number)).unwrap();
        }
    }

    fn edit(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.layout.journal()).unwrap();
        change(&mut bytes);
        std::fs::write(self.layout.journal(), bytes).unwrap();
    }
}

#[test]
fn what_was_appended_is_read_again() {
    let app = app();
    assert_eq!(read_state(&app.layout).unwrap().seq, 0);
    app.fill(1..=3);
    let state = read_state(&app.layout).unwrap();
    assert_eq!((state.seq, state.last_deployment), (3, DeploymentId(3)));
    assert_eq!(state.deployments[0].outcome, Some(Outcome::Failed { reason: "x".into() }));
    assert_eq!(app.open().unwrap().state(), &state);
}

#[test]
fn a_torn_tail_is_passed_over_by_readers_and_cut_off_by_the_next_writer() {
    let app = app();
    app.fill(1..=2);
    app.edit(|bytes| bytes.truncate(bytes.len() - 7));
    assert_eq!(read_state(&app.layout).unwrap().last_deployment, DeploymentId(1));
    app.fill(2..=3);
    let state = read_state(&app.layout).unwrap();
    assert_eq!((state.seq, state.deployments.len()), (3, 3));
}

#[test]
fn damage_in_the_middle_is_reported_with_its_line_and_changes_nothing() {
    let app = app();
    app.fill(1..=3);
    app.edit(|bytes| {
        let second = bytes.iter().position(|b| *b == b'\n').unwrap() + 20;
        bytes[second] ^= 1;
    });
    let before = std::fs::read(app.layout.journal()).unwrap();
    let error = app.open().unwrap_err();
    assert!(matches!(error, JournalError::Damaged { line: 2, .. }), "{error}");
    assert!(read_state(&app.layout).is_err());
    assert_eq!(std::fs::read(app.layout.journal()).unwrap(), before);
}

#[test]
fn a_rotation_loses_nothing_but_the_oldest_deployments() {
    let app = app();
    app.fill(1..=1100);
    let journal = app.open().unwrap();
    assert_eq!(journal.state().last_deployment, DeploymentId(1100));
    let remembered: Vec<_> = journal.state().deployments.iter().map(|d| d.id.0).collect();
    assert_eq!(remembered, [1096, 1097, 1098, 1099, 1100]);
    assert!(std::fs::metadata(app.layout.journal()).unwrap().len() < 200);
    drop(journal);
    app.fill(1101..=1101);
    assert_eq!(read_state(&app.layout).unwrap().seq, 1101);
}

#[test]
fn a_kill_between_snapshot_and_new_journal_counts_no_record_twice() {
    let app = app();
    app.fill(1..=1100);
    let old = std::fs::read(app.layout.journal()).unwrap();
    drop(app.open().unwrap());
    std::fs::write(app.layout.journal(), old).unwrap();
    let state = read_state(&app.layout).unwrap();
    assert_eq!((state.seq, state.deployments.len()), (1100, 5));
}

#[test]
fn a_journal_whose_snapshot_is_gone_is_reported() {
    let app = app();
    app.fill(1..=1100);
    drop(app.open().unwrap());
    std::fs::remove_file(app.layout.snapshot()).unwrap();
    assert!(matches!(app.open().unwrap_err(), JournalError::Gap { base: 1100, .. }));
}

#[test]
fn a_newer_version_is_read_and_not_written() {
    let app = app();
    app.fill(1..=2);
    app.edit(|bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let mut lines: Vec<String> = text.lines().map(|l| l[9..].to_owned()).collect();
        lines[0] = lines[0].replace("\"version\":1", "\"version\":2");
        lines.push(r#"{"seq":3,"at":"2026-01-01T00:00:00Z","records":[{"record":"teleported","to":"mars"}]}"#.into());
        *bytes = Vec::new();
        for line in lines {
            bytes.extend(format!("{:08x} {line}\n", crc32fast::hash(line.as_bytes())).bytes());
        }
    });
    assert_eq!(read_state(&app.layout).unwrap().seq, 3);
    let before = std::fs::read(app.layout.journal()).unwrap();
    assert!(matches!(app.open().unwrap_err(), JournalError::Newer { found: 2, .. }));
    assert_eq!(std::fs::read(app.layout.journal()).unwrap(), before);
}
