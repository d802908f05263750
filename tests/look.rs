//! What the program tells of itself, of its configuration, of what it would do and of what it did:
//! for people and for programs.

mod common;

use common::{App, BUILD, SHORT, deploykit, names, snapshot};
use serde_json::Value;

#[test]
fn a_plan_says_what_a_deployment_then_does() {
    let app = App::served(SHORT);
    let planned = |code: i32, arguments: &[&str]| {
        app.run(&[&["plan", "--json"], arguments].concat()).expect(code).value()
    };
    let check = |plan: &Value, arguments: &[&str]| {
        let ran = app.run(&[&["deploy", "--json"], arguments].concat()).expect(0);
        let lines = ran.lines();
        let started = lines.iter().find(|line| line["event"] == "deployment-started").unwrap();
        assert_eq!(started["steps"], plan["steps"]);
        let done = lines.iter().filter(|line| line["event"] == "step-finished");
        let done: Vec<_> = done.map(|line| line["step"].clone()).collect();
        assert_eq!(Value::Array(done), plan["steps"]);
        let report = &ran.value()["report"];
        for key in ["from", "source", "request"] {
            assert_eq!(report[key], plan[key], "{key}");
        }
        if plan["to"].is_string() {
            assert_eq!(report["to"], plan["to"]);
        }
    };
    let plan = planned(10, &[]);
    assert_eq!(plan["action"], "build");
    assert!(app.releases().is_empty() && !app.path(".deploykit/journal").exists());
    check(&plan, &[]);
    let plan = planned(0, &[]);
    assert_eq!((&plan["action"], &plan["steps"]), (&"nothing".into(), &Value::Array(vec![])));

    let one = app.repo.head();
    for version in ["two", "three"] {
        app.deploy_version(version);
    }
    let plan = planned(10, &[&one]);
    assert_eq!(plan["action"], "activate");
    check(&plan, &[&one]);
    app.assert_serves("one");

    app.commit("four");
    let before = app.releases();
    let plan = planned(10, &[]);
    check(&plan, &[]);
    let after = app.releases();
    let gone = before.into_iter().filter(|name| !after.contains(name)).map(Value::String);
    assert_eq!(plan["prune"], gone.collect::<Value>(), "what is planned to be removed is removed");
    app.run(&["plan", "--rebuild"]).expect(10).tells("build and activate it");
}

#[test]
fn looking_changes_nothing_and_has_the_shapes_that_programs_rely_on() {
    let app = App::served(SHORT);
    for arguments in [["list"], ["history"], ["status"], ["plan"]] {
        app.run(&arguments);
        assert!(!app.path(".deploykit/journal").exists(), "{arguments:?} changed something");
    }
    app.run(&["show"]).expect(1).says("there is no deployment yet");
    app.deploy();
    let (one, two) = (app.repo.head(), app.deploy_version("two"));
    let before = snapshot(&app.path(".deploykit"));

    assert_eq!(app.run(&["list"]).expect(0).stdout, format!("{two} (active)\n{one}\n"));
    assert_eq!(app.run(&["ls"]).stdout, app.run(&["list"]).stdout);
    let list = app.json(&["list"]);
    assert_eq!(list[0]["source"], format!("git:{two}"));
    assert_eq!((&list[0]["active"], &list[1]["rollback"]), (&true.into(), &true.into()));
    assert_eq!(list[0]["state"]["build"], "sealed");
    assert_eq!(list[0]["state"]["verdict"], "confirmed");

    let history = app.json(&["history"]);
    assert_eq!((&history[0]["id"], &history[1]["id"]), (&2.into(), &1.into()));
    assert_eq!(history[0]["request"]["verb"], "deploy");
    assert_eq!(history[0]["by"]["via"], "deploykit");
    assert_eq!(history[0]["from"], list[1]["id"]);
    assert_eq!(history[0]["to"], list[0]["id"]);
    assert_eq!(history[0]["outcome"]["verified"], true);
    assert!(history[0]["ended"].as_str() >= history[0]["started"].as_str());
    assert_eq!(app.json(&["history", "-n", "1"]).as_array().unwrap().len(), 1);

    let shown = app.json(&["show", "1"]);
    assert_eq!(shown["deployment"], history[1]);
    assert!(shown["log"].as_str().unwrap().contains("building"));
    app.run(&["show", "9"]).expect(1).says("there is no deployment 9");

    let status = app.json(&["status"]);
    assert_eq!(status["active"]["id"], list[0]["id"]);
    assert_eq!(status["rollback"]["id"], list[1]["id"]);
    assert_eq!((&status["intact"], &status["probation"]), (&true.into(), &Value::Null));
    assert_eq!(status["service"]["state"], "running");
    assert_eq!(
        (&status["checks"][0]["check"], &status["checks"][0]["look"]),
        (&"fit".into(), &"well".into())
    );
    app.run(&["status"]).expect(0).tells("running").tells("fit: well").tells("would go to");
    assert_eq!(snapshot(&app.path(".deploykit")), before);
}

#[test]
fn a_systemd_that_cannot_be_reached_is_told_before_anything_is_made() {
    let mut app = App::bare();
    let bus = format!("unix:path={}", app.path("no-bus").display());
    app.env("DBUS_SYSTEM_BUS_ADDRESS", &bus);
    app.configure(&format!("{BUILD}{SHORT}"));
    app.commit("one");
    app.deploy();
    app.configure(&format!("{BUILD}{SHORT}[systemd]\nunit = \"app\"\n"));
    app.run(&["deploy"]).expect(1).says("the system bus cannot be reached at").says("no-bus");
    // The service of what is active has no part in it: it is run as it is recorded.
    app.run(&["status"]).expect(0).tells("confirmed");
    app.commit("two");
    app.run(&["plan"]).expect(1).says("the system bus cannot be reached");
    let before = app.json(&["history"]);
    app.run(&["deploy"]).expect(1).says("hint").says("dbus");
    assert_eq!(app.json(&["history"]), before, "nothing was begun");
}

#[test]
fn a_deployment_as_json_is_a_stream_of_events_that_ends_with_the_report() {
    let app = App::new();
    let ran = app.run(&["deploy", "--json"]).expect(0);
    let lines = ran.lines();
    assert_eq!(lines[0]["format"], "deploykit-events");
    let ours = |event: &str| lines.iter().any(|line| line["event"] == event);
    for event in
        ["resolved", "deployment-started", "step-started", "output", "activated", "confirmed"]
    {
        assert!(ours(event), "no {event}: {ran}");
    }
    let report = &ran.value()["report"];
    assert_eq!(report["deployment"], 1);
    assert_eq!(report["active"], report["to"]);
    assert_eq!(report["outcome"]["outcome"], "deployed");
    assert!(ran.stderr.is_empty(), "{ran}");
}

#[test]
fn a_configuration_error_shows_the_place_and_what_would_be_right() {
    let app = App::new();
    app.configure("[buidl]\ncommands = []\n");
    let ran = app.run(&["deploy"]).expect(2).says("error: unknown key `buidl`");
    let ran = ran
        .says("deploykit.toml:3:2")
        .says("3 | [buidl]")
        .says("^^^^^")
        .says("did you mean `build`?");
    assert!(ran.stdout.is_empty(), "{ran}");
    app.configure("[build]\ncommands = []\n[probation]\nduration = \"soon\"\n");
    app.run(&["plan"]).expect(2).says("duration = \"soon\"").says("^^^^^^");
    let error = app.json(&["deploy"]);
    assert_eq!((&error["error"]["kind"], &error["error"]["exit"]), (&"config".into(), &2.into()));
    app.run(&["config", "check"]).expect(2);
    app.configure(BUILD);
    app.run(&["config", "check"]).expect(0).tells("is valid.");
    app.run(&["config", "show"]).expect(0).tells("keep = 3");
    assert!(!app.path(".deploykit").exists(), "nothing was begun");
}

#[test]
fn what_needs_no_configuration_asks_for_none() {
    let empty = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| deploykit(empty.path()).args(arguments).output().unwrap();
    for arguments in [
        &["help"][..],
        &["--help"],
        &["-h"],
        &["deploy", "--help"],
        &["help", "deploy"],
        &["--version"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["man"],
        &["config", "schema"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [&["deploy"][..], &["list"], &["status"], &["config", "path"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("hint: `deploykit init URL`"));
    }
    for arguments in [&["deplyo"][..], &[], &["deploy", "a", "b"], &["deploy", "--wait=soon"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert!(names(empty.path()).is_empty());
}

#[test]
fn init_writes_a_configuration_that_deploys() {
    let app = App::bare();
    app.commit("one");
    app.run(&["init", app.repo.url()]).expect(0).tells("deploykit.toml");
    app.run(&["config", "check"]).expect(0);
    app.run(&["init", app.repo.url()]).expect(2).says("exists already");
    app.deploy();
    assert_eq!(app.read("active/version"), "one\n");
}
