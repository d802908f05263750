//! Commands over the releases of a directory that mfd has used: what needs no source.

mod common;

use common::{App, CONFIGURATION, release};

/// What is active, and what a rollback goes to.
const LAST: u64 = 1_700_000_200;
const BEFORE: u64 = 1_700_000_100;

#[test]
fn a_script_gets_the_lines_of_mfd() {
    let app = App::taken_over(CONFIGURATION);
    let expected = format!("{} (active)\n{}\n", "a".repeat(40), "b".repeat(40));
    for verb in ["list", "ls"] {
        assert_eq!(app.run(&[verb]).exits_with(0).stdout, expected);
    }
    let releases = app.run(&["list", "--json"]).exits_with(0).json();
    let active: Vec<_> = releases.as_array().unwrap().iter().map(|r| r["active"] == true).collect();
    assert_eq!(active, [true, false, false]);
}

#[test]
fn a_rollback_streams_events_between_a_version_and_a_report() {
    let app = App::taken_over(CONFIGURATION);
    let lines = app.run(&["--json", "rollback"]).exits_with(0).json_lines();
    assert_eq!(lines[0], serde_json::json!({ "format": "deploykit-events", "version": 1 }));
    let (last, events) = lines[1..].split_last().unwrap();
    assert!(events.iter().all(|event| event["event"].is_string() && event["at"].is_string()));
    assert!(events.iter().any(|event| event["event"] == "activated"));
    assert_eq!(last["report"]["outcome"]["outcome"], "deployed");
    assert_eq!(last["report"]["active"], release(BEFORE, "b").as_str());
}

#[test]
fn a_rollback_tells_its_steps_in_plain_lines_and_its_result_on_standard_output() {
    let app = App::taken_over(CONFIGURATION);
    let done = app.run(&["rollback"]).exits_with(0);
    assert!(done.stdout.starts_with("Went back to bbbbbbbbbbbb in "), "{done:#?}");
    assert!(done.stderr.contains("activate: started\n"), "{done:#?}");
    assert!(!done.stderr.contains(|c: char| c.is_control() && c != '\n'), "{done:#?}");
    let quiet = app.run(&["-q", "rollback"]).exits_with(0);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn errors_stream_as_the_last_line() {
    let app = App::taken_over(CONFIGURATION);
    let lines = app.run(&["--json", "rollback", "nonsense"]).exits_with(1).json_lines();
    let error = &lines.last().unwrap()["error"];
    assert_eq!((&error["kind"], &error["exit"]), (&"failed".into(), &1.into()));
    assert!(error["hint"].as_str().unwrap().contains("deploykit list"), "{error}");
}

#[test]
fn history_and_show_tell_what_was_done() {
    let app = App::taken_over(CONFIGURATION);
    let done = app.run(&["history"]).exits_with(0);
    assert_eq!((done.stdout.as_str(), done.stderr.trim()), ("", "There is no deployment yet."));
    app.run(&["show"]).exits_with(1);
    app.run(&["rollback"]).exits_with(0);
    app.run(&["rollback", &release(LAST, "a"), "--retry"]).exits_with(0);
    let history = app.run(&["history", "--json"]).exits_with(0).json();
    let ids: Vec<_> = history.as_array().unwrap().iter().map(|d| d["id"].as_u64()).collect();
    assert_eq!(ids, [Some(2), Some(1)]);
    assert_eq!(app.run(&["history", "-n", "1"]).exits_with(0).stdout.lines().count(), 2);
    let shown = app.run(&["show", "1"]).exits_with(0).stdout;
    assert!(shown.contains("what        rollback\n") && shown.contains("== rollback"), "{shown}");
    assert!(
        app.run(&["show", "--json"]).json()["log"].as_str().unwrap().contains("== rollback mfd_")
    );
    app.run(&["show", "99"]).exits_with(1);
}

#[test]
fn status_tells_what_is_active_and_exits_with_five_when_it_is_gone() {
    let app = App::taken_over(CONFIGURATION);
    app.run(&["hold", "end", "of", "year"]).exits_with(0);
    let shown = app.run(&["status"]).exits_with(0).stdout;
    assert!(
        shown.contains("just now: end of year") && shown.contains("deploykit unhold"),
        "{shown}"
    );
    let status = app.run(&["status", "--json"]).exits_with(0).json();
    assert_eq!(status["active"]["id"], release(LAST, "a").as_str());
    assert_eq!(app.run(&["unhold", "--json"]).exits_with(0).json()["was_held"], true);
    std::fs::remove_dir_all(app.path().join(release(LAST, "a"))).unwrap();
    let shown = app.run(&["status"]).exits_with(5).stdout;
    assert!(shown.contains("hint: "), "{shown}");
}

#[test]
fn what_cannot_be_done_now_is_an_error() {
    let app = App::taken_over(CONFIGURATION);
    let done = app.run(&["confirm"]).exits_with(1);
    assert_eq!(done.stderr, "error: nothing is on probation\n");
    assert_eq!(
        app.run(&["prune", "--json"]).exits_with(0).json()["removed"],
        serde_json::json!([])
    );
    let report = app.run(&["recover", "--json"]).exits_with(0).json_lines().pop().unwrap();
    assert_eq!(report["report"]["actions"], serde_json::json!([]));
}

#[test]
fn leaving_needs_a_word_and_keeps_the_releases() {
    let app = App::taken_over(CONFIGURATION);
    let done = app.run(&["uninstall"]).exits_with(2);
    assert!(done.stderr.contains("--yes"), "{done:#?}");
    app.run(&["uninstall", "--yes"]).exits_with(0);
    assert!(!app.path().join(".deploykit").exists());
    assert!(app.path().join("active").is_dir());
}
