//! Only one deployment at a time, and what the others are told.

mod common;

use common::{App, BUILD, LONG, Running, SERVED, SHORT, build_with, gate, until};
use serde_json::Value;

/// An application with one release, and a deployment of a second one that waits in its build.
fn busy() -> (App, Running) {
    let app = App::new();
    app.deploy();
    app.configure(&format!("{}{SHORT}", build_with(&gate("build"))));
    app.commit("two");
    app.close_gate("build");
    let deploying = app.start(&["deploy", "main"]);
    app.wait_at_gate("build");
    (app, deploying)
}

#[test]
fn a_second_deployment_is_told_who_is_doing_what_since_when() {
    let (app, deploying) = busy();
    let holder = app.json(&["status"])["busy"].clone();
    assert_eq!(holder["pid"], deploying.pid());
    let (user, since) = (holder["by"]["user"].as_str().unwrap(), holder["since"].as_str().unwrap());
    for command in ["deploy", "rollback"] {
        let ran = app.run(&[command]).expect(4).says("another deployment is going on");
        let ran = ran.says("deploy main: build").says(&format!("process {}", deploying.pid()));
        ran.says(user).says(since).says("--wait");
        let error = app.json(&[command]);
        assert_eq!((&error["error"]["kind"], &error["error"]["exit"]), (&"busy".into(), &4.into()));
    }
    app.run(&["recover"]).expect(4);
    app.open_gate("build");
    deploying.wait().expect(0);
    assert_eq!(app.active_version(), "two");
    assert_eq!(app.history().len(), 2, "what was refused is no deployment");
}

#[test]
fn looking_is_possible_while_a_deployment_goes_on() {
    let (app, deploying) = busy();
    app.run(&["status"]).expect(0).tells("deploy main: build");
    app.run(&["list"]).expect(0).tells("(active)");
    app.run(&["history"]).expect(0).tells("unfinished");
    app.run(&["show"]).expect(0).tells("build step 1 of 1");
    app.run(&["plan"]).expect(10);
    app.run(&["resolve"]).expect(0);
    assert_eq!(app.json(&["status"])["unfinished"], Value::Null, "somebody carries it on");
    assert_eq!(app.active_version(), "one");
    app.open_gate("build");
    deploying.wait().expect(0);
}

#[test]
fn who_waits_gets_his_turn() {
    let (app, deploying) = busy();
    let mut waiting = app.start(&["deploy", "--wait"]);
    let mut patient = app.start(&["deploy", "--wait=1h"]);
    app.run(&["deploy", "--wait=200ms"]).expect(4).says("another deployment is going on");
    assert!(!waiting.has_ended() && !patient.has_ended());
    app.open_gate("build");
    deploying.wait().expect(0);
    waiting.wait().expect(0).tells("is active already");
    patient.wait().expect(0).tells("is active already");
}

#[test]
fn who_waits_can_be_interrupted() {
    let (app, deploying) = busy();
    let mut waiting = app.start(&["deploy", "--wait"]);
    waiting.hears("waiting for");
    waiting.signal(nix::sys::signal::Signal::SIGINT);
    waiting.wait().expect(130);
    app.open_gate("build");
    deploying.wait().expect(0);
}

#[test]
fn a_lock_whose_holder_was_killed_is_no_lock() {
    let (app, deploying) = busy();
    deploying.kill();
    app.open_gate("build");
    assert!(app.path(".deploykit/lock").exists(), "the file is never deleted");
    assert_eq!(app.json(&["status"])["busy"], Value::Null);
    app.deploy();
    assert_eq!(app.active_version(), "two");
}

#[test]
fn while_a_release_is_on_probation_another_deployment_waits_and_an_operator_does_not() {
    let app = App::served(LONG);
    let deploying = app.start(&["deploy"]);
    until("somebody watches", || app.json(&["status"])["watching"].is_object());
    app.commit("two");
    app.run(&["deploy"]).expect(4).says("is on probation until").says("deploykit confirm");
    app.run(&["plan"]).expect(4).says("is on probation until").says("deploykit confirm");
    let waiting = app.start(&["deploy", "--wait"]);
    app.run(&["confirm"]).expect(0);
    deploying.wait().expect(0);
    until("the other one watches", || app.json(&["status"])["probation"]["deployment"] == 2);
    app.run(&["confirm"]).expect(0);
    waiting.wait().expect(0);
    app.assert_serves("two");
}

#[test]
fn many_at_once_leave_one_history_that_is_true() {
    let app = App::served(SHORT);
    app.deploy();
    app.deploy_version("two");
    app.configure(&format!("{BUILD}{SERVED}[probation]\nduration = \"0s\"\n"));
    app.deploy();
    let hash = app.repo.head();
    let begun = app.history().len();
    let commands: [&[&str]; 8] = [
        &["deploy", &hash, "--retry", "--wait"],
        &["rollback", "--wait"],
        &["deploy", "--retry", "--rebuild", "--wait"],
        &["prune"],
        &["rollback", "--wait"],
        &["deploy", "--retry", "--wait"],
        &["prune"],
        &["deploy", "--retry", "--rebuild", "--wait"],
    ];
    let running: Vec<_> = commands.iter().map(|command| app.start(command)).collect();
    let ended: Vec<_> = running.into_iter().map(Running::wait).collect();
    for (command, ran) in commands.iter().zip(&ended) {
        // There may be nothing to go back to, or no turn for it in time.
        assert!(matches!(ran.code, Some(0 | 1 | 3 | 4)), "{command:?}: {ran}");
    }
    let history = app.json(&["history", "-n", "0"]);
    let history = history.as_array().unwrap();
    assert!(history.len() > begun);
    let mut active = Value::Null;
    for (number, deployment) in history.iter().rev().enumerate() {
        assert_eq!(deployment["id"], number + 1, "the numbers have no gap");
        assert_eq!(deployment["from"], active, "each begins where the one before ended");
        // A release whose probation somebody else has ended was active until then.
        let reason = deployment["outcome"]["reason"].as_str().unwrap_or_default();
        let superseded = reason.contains(&format!("(#{})", number + 2));
        if deployment["outcome"]["outcome"] == "deployed" || superseded {
            active = deployment["to"].clone();
        }
        assert!(deployment["outcome"].is_object(), "{deployment}");
    }
    let status = app.json(&["status"]);
    assert_eq!(status["active"]["id"], active);
    let root = app.path("active").canonicalize().unwrap();
    assert_eq!(app.serves(), Some(root), "the service runs from what is active");
    app.assert_tidy();
}
