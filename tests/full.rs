//! A journal that cannot grow, or whose rotation fails: the kernel refuses what goes beyond a limit, as
//! a full disk does, at every place in turn. With `DEPLOYKIT_LONG_TESTS=1` in the environment the places are closer together.

mod common;

use common::{App, BUILD, SHORT, names};

/// How much a deployment adds to the journal at most.
const MOST: u64 = 2800;

/// The limits, in bytes beyond the present length of the journal. Its lines are longer than the smaller
/// steps, and most of them longer than the larger.
fn limits() -> impl Iterator<Item = u64> {
    let long = std::env::var_os("DEPLOYKIT_LONG_TESTS").is_some_and(|value| value == "1");
    (0..MOST).step_by(if long { 70 } else { 230 })
}

/// Runs the program while no file may become longer than `limit`. Everything else that it and its
/// children write here is shorter than the journal is already.
fn run_limited(app: &App, limit: u64, arguments: &[&str]) -> Option<i32> {
    let program = app.command(arguments);
    let mut command = std::process::Command::new("prlimit");
    command.arg(format!("--fsize={limit}"));
    command.args(["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    command.arg(program.get_program()).args(program.get_args());
    command.current_dir(app.root()).stdin(std::process::Stdio::null());
    command.output().expect("prlimit runs").status.code()
}

fn length(app: &App) -> u64 {
    std::fs::metadata(app.path(".deploykit/journal")).expect("a journal").len()
}

/// An application that serves `one`, with a journal that is longer than any other file of its own.
fn served() -> App {
    let app = App::served(SHORT);
    app.deploy().expect(0);
    for _ in 0..4 {
        app.run(&["hold", "the journal becomes longer"]).expect(0);
        app.run(&["unhold"]).expect(0);
    }
    app
}

#[test]
fn a_well_release_is_not_blamed_and_the_next_deployment_finishes_it() {
    let mut ends = std::collections::BTreeSet::new();
    for more in limits() {
        let app = served();
        app.commit("two");
        let code = run_limited(&app, length(&app) + more, &["deploy"]);
        ends.insert(code);
        app.run(&["recover"]).expect(0);
        app.assert_tidy();
        app.run(&["deploy"]).expect(0);
        app.assert_serves("two");
    }
    // Refused, taken back (or unconfirmed), and deployed in the end.
    assert!([0, 1, 3].iter().all(|code| ends.contains(&Some(*code))), "{ends:?}");
}

#[test]
fn an_ill_release_does_not_stay_because_that_cannot_be_recorded() {
    for more in limits() {
        let app = served();
        app.commit_with("two", &["ill"]);
        let code = run_limited(&app, length(&app) + more, &["deploy"]);
        assert!(matches!(code, Some(1 | 3)), "{code:?}");
        app.assert_serves("one");
        app.run(&["recover"]).expect(0);
        app.assert_serves("one");
        app.assert_tidy();
    }
}

#[test]
fn a_rollback_ends_where_it_was_to_go_or_where_it_began() {
    for more in limits() {
        let app = served();
        app.deploy_version("two");
        let code = run_limited(&app, length(&app) + more, &["rollback"]);
        app.run(&["recover"]).expect(0);
        app.assert_tidy();
        if code == Some(0) || code == Some(5) {
            app.assert_serves("one");
        } else {
            app.assert_serves("two");
            app.run(&["rollback"]).expect(0);
            app.assert_serves("one");
        }
        assert_eq!(app.run(&["deploy"]).code, Some(1), "two was left, and is bad");
    }
}

/// A journal that is rotated by the next command that opens it.
fn before_a_rotation() -> App {
    let app = App::served(SHORT);
    app.deploy().expect(0);
    let lines = || app.read(".deploykit/journal").lines().count();
    while lines() <= 251 {
        app.run(&["hold"]).expect(0);
    }
    app
}

/// Runs the program while these of its calls fail, which of them as strace counts.
fn run_failing(app: &App, error: &str, calls: &[(&str, &str)], arguments: &[&str]) -> Option<i32> {
    let program = app.command(arguments);
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-b", "execve", "-qq", "-o", "/dev/null"]);
    for (call, when) in calls {
        command.args(["-e", &format!("inject={call}:error={error}:when={when}")]);
    }
    command.arg(program.get_program()).args(program.get_args());
    command.current_dir(app.root()).stdin(std::process::Stdio::null());
    command.output().expect("strace runs").status.code()
}

#[test]
fn a_journal_whose_rotation_fails_anywhere_is_whole_and_keeps_what_was_acknowledged() {
    let app = before_a_rotation();
    let kept = app.root().with_file_name("kept");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let _ = std::fs::remove_dir_all(to);
        let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status();
        assert!(copied.expect("cp runs").success());
    };
    copy(&app.path(".deploykit"), &kept);
    let mut ends = std::collections::BTreeSet::new();
    for (number, call) in (1..7).flat_map(|number| [(number, "fsync"), (number, "rename")]) {
        copy(&kept, &app.path(".deploykit"));
        let code = run_failing(&app, "EIO", &[(call, &number.to_string())], &["unhold"]);
        ends.insert(code);
        let held = app.json(&["status"])["hold"].is_object();
        assert_eq!(held, code != Some(0), "{call} {number} failed: {code:?}");
        app.run(&["recover"]).expect(0);
        app.run(&["hold"]).expect(0);
        assert!(app.json(&["status"])["hold"].is_object(), "{call} {number} failed");
    }
    assert!(ends.contains(&Some(0)), "{ends:?}");
}

#[test]
fn what_cannot_be_removed_keeps_nothing_else_from_being_done() {
    let app = App::new();
    app.configure(&format!("{BUILD}{SHORT}[releases]\nkeep = 2\nkeep_others = 0\n"));
    for version in ["one", "two"] {
        app.deploy_version(version);
    }
    app.commit("three");
    // Somebody else has made what is in it: it can neither be emptied nor moved away.
    let removing = ("unlinkat", "1+");
    assert_eq!(run_failing(&app, "EACCES", &[removing], &["deploy"]), Some(0));
    assert_eq!(app.active_version(), "three");
    let id = names(&app.path(".deploykit/trash")).remove(0);
    let there = app.path("releases").join(&id);
    std::fs::rename(app.path(".deploykit/trash").join(&id), &there).unwrap();
    let refused = [removing, ("rename", "1")];
    assert_eq!(run_failing(&app, "EACCES", &refused, &["rollback"]), Some(0));
    assert_eq!(app.active_version(), "two");
    assert!(there.is_dir());
    app.run(&["recover"]).expect(0).tells("removed what was left of release");
    app.assert_tidy();
}
