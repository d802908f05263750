//! Whole deployments from a real git repository.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use common::{App, Done, program};
use deploykit_testkit::git_repo::GitRepo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A repository with one commit, and an application that deploys it with this in its configuration.
fn application(rest: &str) -> (GitRepo, App) {
    let repository = GitRepo::new();
    repository.commit_file("file", "one");
    let app = App::empty();
    app.write(
        "deploykit.toml",
        &format!("[repo]\nurl = \"{}\"\n{rest}", repository.path().display()),
    );
    (repository, app)
}

const BUILD: &str = "[build]\ncommands = [[\"sh\", \"-c\", \"echo building; cat file > built\"]]\n";

#[test]
fn a_deployment_ends_with_an_active_release_and_a_second_has_nothing_to_do() {
    let (repository, app) = application(BUILD);
    assert_eq!(app.run(&["plan", "--json"]).exits_with(10).json()["action"], "build");
    let done = app.run(&["deploy"]).exits_with(0);
    let commit = repository.head();
    assert!(done.stdout.starts_with(&format!("Deployed {}", &commit[..12])), "{done:#?}");
    assert!(done.stderr.contains("| building\n"), "{done:#?}");
    assert_eq!(app.read("active/built"), "one");
    assert_eq!(app.run(&["list"]).stdout, format!("{commit} (active)\n"));
    assert_eq!(app.run(&["resolve"]).exits_with(0).stdout, format!("{commit}\n"));

    let again = app.run(&["deploy"]).exits_with(0);
    assert!(again.stdout.starts_with("Nothing to do: "), "{again:#?}");
    let silent = app.run(&["deploy", "--if-changed", "-q"]).exits_with(0);
    assert_eq!((silent.stdout, silent.stderr), (String::new(), String::new()));
    app.run(&["plan"]).exits_with(0);
}

#[test]
fn a_failed_build_shows_its_last_lines_and_changes_nothing() {
    let (repository, app) = application(BUILD);
    app.run(&["deploy"]).exits_with(0);
    let good = repository.head();
    repository.write("file", "two").commit("two");
    app.write(
        "deploykit.toml",
        &app.read("deploykit.toml").replace("cat file > built", "echo no such thing >&2; exit 7"),
    );
    let done = app.run(&["deploy"]).exits_with(1);
    for part in
        ["error: build failed: ", "exited with code 7", "  | no such thing", "deploykit show 2"]
    {
        assert!(done.stderr.contains(part), "{part} is missing:\n{}", done.stderr);
    }
    assert_eq!(app.run(&["list"]).stdout, format!("{good} (active)\n"));
    let report = app.run(&["deploy", "--json"]).exits_with(1).json_lines().pop().unwrap();
    assert_eq!(report["report"]["failure"]["step"], "build");
    assert!(app.run(&["show"]).exits_with(0).stdout.contains("no such thing"));
}

#[test]
fn an_ill_release_is_rolled_back_and_exits_with_three() {
    let health = "[health]\ninterval = \"20ms\"\ndeadline = \"200ms\"\n\
                  check = [{ type = \"exec\", name = \"probe\", command = [\"sh\", \"-c\", \"! grep -q ill file\"] }]\n\
                  [probation]\nduration = \"50ms\"\n";
    let (repository, app) = application(health);
    app.run(&["deploy"]).exits_with(0);
    let good = repository.head();
    repository.write("file", "ill").commit("ill");
    let done = app.run(&["deploy"]).exits_with(3);
    assert!(done.stderr.contains("serves again"), "{done:#?}");
    let list = app.run(&["list"]).stdout;
    assert!(list.contains(&format!("{good} (active)\n")), "{list}");
    // It is bad now: nothing deploys it again unasked.
    let refused = app.run(&["deploy"]).exits_with(1);
    assert!(refused.stderr.contains("--retry"), "{refused:#?}");
    app.run(&["deploy", "--if-changed"]).exits_with(0);
}

const SLOW_BUILD: &str = "[build]\ncommands = [[\"sh\", \"-c\", \"echo begun; while [ ! -e ../../go ]; do sleep 0.02; done\"]]\n";

/// A deployment whose build has begun.
fn building(command: &mut Command) -> (std::process::Child, impl Iterator<Item = String> + use<>) {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with("| begun")));
    (child, lines)
}

fn send(child: &std::process::Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

#[test]
fn a_signal_before_the_activation_ends_in_order_with_its_own_code() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let (_repository, app) = application(SLOW_BUILD);
        let (mut child, lines) = building(&mut app.command(&["deploy"]));
        send(&child, signal);
        let told: Vec<_> = lines.collect();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{told:#?}");
        assert!(told.iter().any(|line| line.contains("Nothing was activated")), "{told:#?}");
        assert_eq!(std::fs::read_dir(app.path().join("releases")).unwrap().count(), 0);
    }
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let (_repository, app) = application(SLOW_BUILD);
    let mut command = Command::new("sh");
    let script = "trap '' HUP; exec \"$0\" deploy";
    command.args(["-c", script, env!("CARGO_BIN_EXE_deploykit")]).current_dir(app.path());
    let (child, lines) = building(&mut command);
    send(&child, Signal::SIGHUP);
    // A signal that is to end it gets to it before this file does.
    app.write("go", "");
    let told: Vec<_> = lines.collect();
    let done = Done::of(child.wait_with_output().unwrap());
    assert_eq!(done.code, 0, "{told:#?}");
}

#[test]
fn a_second_deployment_is_refused_or_waits() {
    let (_repository, app) = application(SLOW_BUILD);
    let (mut first, lines) = building(&mut app.command(&["deploy"]));
    let refused = app.run(&["deploy"]).exits_with(4);
    assert!(refused.stderr.contains(&format!("process {}", first.id())), "{refused:#?}");
    assert!(refused.stderr.contains("--wait"), "{refused:#?}");
    assert_eq!(app.run(&["deploy", "--json"]).json_lines().pop().unwrap()["error"]["kind"], "busy");
    app.run(&["deploy", "--wait=50ms"]).exits_with(4);
    assert!(app.run(&["status"]).exits_with(0).stdout.contains("busy "));

    let mut waiting = app.command(&["deploy", "--wait"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(waiting.stderr.take().unwrap()).lines();
    assert!(told.any(|line| line.unwrap().starts_with("waiting for another deployment")));
    app.write("go", "");
    drop(lines);
    assert_eq!(first.wait().unwrap().code(), Some(0));
    drop(told);
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
}

#[test]
fn a_secret_of_the_configuration_is_in_no_output() {
    let (_repository, app) = application(
        "username = \"me\"\npassword = { env = \"DEPLOY_PASSWORD\" }\n\
         [build]\nenv = { KEY = { env = \"DEPLOY_KEY\" } }\n\
         commands = [[\"sh\", \"-c\", \"echo key $KEY; exit 1\"]]\n",
    );
    for arguments in [&["deploy"][..], &["deploy", "--json"], &["show"], &["show", "--json"]] {
        let mut command = program(&app.path());
        command
            .args(arguments)
            .env("DEPLOY_PASSWORD", "hunter2hunter2")
            .env("DEPLOY_KEY", "k3yk3yk3y");
        let done = Done::of(command.output().unwrap());
        let all = format!("{}{}", done.stdout, done.stderr);
        assert!(all.contains("key ***"), "{done:#?}");
        assert!(!all.contains("hunter2") && !all.contains("k3yk3y"), "{done:#?}");
    }
}
