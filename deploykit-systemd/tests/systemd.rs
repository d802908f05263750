//! The supervisor itself, inside of a sandbox, where its environment is that of a host: this very
//! test program runs there again, with one of the tests named that are ignored otherwise.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use camino::Utf8Path;
use deploykit_core::config::Config;
use deploykit_core::traits::{LogLine, LogRequest, ServiceState, Supervisor};
use deploykit_core::{BackendRequest, Cause, Context, Layout, Masker};
use deploykit_systemd::Systemd;
use deploykit_testkit::conformance;
use deploykit_testkit::systemd::Sandbox;

/// Says that this program runs inside.
const INSIDE: &str = "DEPLOYKIT_TEST_INSIDE";

/// Runs a test of this program inside: as root, and as a user with a manager of their own.
fn run_inside(test: &str) {
    let Some(sandbox) = Sandbox::boot(&[]) else { return };
    sandbox.add_user("deploy");
    let program = std::env::current_exe().unwrap();
    let root = (sandbox.command(&program), "system");
    let user = (sandbox.command_as("deploy", &program), "user");
    for (mut command, manager) in [root, user] {
        command.args(["--exact", test, "--ignored", "--nocapture"]).current_dir("/");
        let output = command.env(INSIDE, manager).env_remove("TMPDIR").output().unwrap();
        let text = [output.stdout, output.stderr].map(|t| String::from_utf8_lossy(&t).into_owned());
        assert!(output.status.success() && text[0].contains("1 passed"), "{manager}: {text:#?}");
    }
}

/// Whose manager it is, in the words of the configuration, when this is the inside.
fn manager() -> Option<String> {
    std::env::var(INSIDE).ok()
}

fn systemctl(arguments: &[&str]) {
    let mut command = Command::new("systemctl");
    command.args((manager().as_deref() == Some("user")).then_some("--user")).args(arguments);
    assert!(command.status().unwrap().success(), "{arguments:?}");
}

fn write_unit(name: &str, text: &str) {
    let directory = match manager().as_deref() {
        Some("user") => format!("{}/.config/systemd/user", std::env::var("HOME").unwrap()),
        _ => "/etc/systemd/system".to_owned(),
    };
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(Utf8Path::new(&directory).join(name), text).unwrap();
    systemctl(&["daemon-reload"]);
}

fn config(units: &str) -> Config {
    let manager = manager().unwrap();
    let text =
        format!("repo.url = \"/srv/git\"\n[systemd]\nmanager = \"{manager}\"\nunits = [{units}]\n");
    deploykit_core::config::parse(&text, Utf8Path::new("deploykit.toml")).unwrap()
}

fn supervisor(config: &Config, layout: &Layout) -> Arc<dyn Supervisor> {
    Systemd::construct(&BackendRequest::new(config, layout, &Masker::default())).unwrap()
}

#[test]
fn it_keeps_what_a_supervisor_promises() {
    run_inside("promises_inside");
}

#[test]
#[ignore = "run inside of a sandbox by another test"]
fn promises_inside() {
    if manager().is_none() {
        return;
    }
    for kind in ["simple", "exec", "forking"] {
        let written = Mutex::new(BTreeSet::new());
        let config = config("\"one\", \"two@1\"");
        conformance::supervisor(|layout| {
            if written.lock().unwrap().insert(layout.root().to_owned()) {
                let program = match kind {
                    "forking" => "sh -c 'sleep infinity & exit 0'",
                    _ => "sleep infinity",
                };
                let link = layout.active_link();
                let unit = format!(
                    "[Service]\nType={kind}\nWorkingDirectory={link}\nExecStart={program}\n"
                );
                write_unit("one.service", &unit);
                write_unit("two@.service", &unit);
            }
            supervisor(&config, layout)
        });
    }
}

#[test]
fn lines_are_read_however_long_they_are_and_whatever_is_in_them() {
    run_inside("lines_inside");
}

#[test]
#[ignore = "run inside of a sandbox by another test"]
fn lines_inside() {
    if manager().is_none() {
        return;
    }
    let ctx = Context::new().unwrap();
    let config = config("\"talker\"");
    let layout = Layout::new("/tmp".into());
    // 16 KiB in one line, a byte that is no UTF-8, and a word that comes later. All by the shell itself:
    // of a child that has ended by then, the journal does not know to which of a user's units it belonged.
    let script =
        r#"printf "%%016384d\\\\n" 0; printf "a\\\\377b\\\\n"; echo done; exec sleep 3600"#;
    write_unit("talker.service", &format!("[Service]\nExecStart=sh -c '{script}'\n"));
    let talker = supervisor(&config, &layout);
    let before = ctx.now();
    systemctl(&["start", "talker"]);
    let read = |request: &LogRequest| {
        let mut lines: Vec<LogLine> = Vec::new();
        talker.logs(&ctx, request, &mut |line| lines.push(line)).unwrap();
        lines
            .into_iter()
            .filter(|line| line.by == "talker")
            .map(|line| line.line)
            .collect::<Vec<_>>()
    };
    let all = LogRequest::default();
    let give_up = std::time::Instant::now() + Duration::from_secs(30);
    while !read(&all).iter().any(|line| line == "done") {
        assert!(std::time::Instant::now() < give_up, "{:?}", read(&all));
    }
    let lines = read(&all);
    assert_eq!(lines, ["0".repeat(16384), "a\u{fffd}b".to_owned(), "done".to_owned()]);
    let mut last = talker.last_lines(&ctx, before);
    last.retain(|line| !line.starts_with("systemd: "));
    assert_eq!(last, lines);

    // One of them may be systemd's own.
    let mut some = LogRequest::default();
    some.lines = Some(2);
    let read = read(&some);
    assert!(!read.is_empty() && lines.ends_with(&read), "{read:?}");
    some.of = vec!["talkre".to_owned()];
    let error = talker.logs(&ctx, &some, &mut |_| {}).unwrap_err();
    assert_eq!(error.hint().unwrap(), "there are: talker");

    // Who follows hears of what is written later, until that is broken off.
    let following = Context::new().unwrap().with_timeout(Duration::from_secs(30));
    let mut follow = LogRequest::default();
    (follow.follow, follow.since) = (true, Some(ctx.now()));
    let mut heard = Vec::new();
    systemctl(&["restart", "--no-block", "talker"]);
    let ended = talker.logs(&following, &follow, &mut |line| {
        heard.push(line.line);
        if heard.last().is_some_and(|line| line == "done") {
            following.cancellation().cancel(Cause::Terminate);
        }
    });
    assert!(ended.is_err() && heard.contains(&lines[1]), "{ended:?} {heard:?}");
    systemctl(&["stop", "talker"]);
}

#[test]
fn what_is_started_on_demand_is_as_well_as_what_waits_to_start_it() {
    run_inside("on_demand_inside");
}

#[test]
#[ignore = "run inside of a sandbox by another test"]
fn on_demand_inside() {
    if manager().is_none() {
        return;
    }
    let ctx = Context::new().unwrap();
    let layout = Layout::new("/tmp".into());
    let socket = format!("/tmp/demand-{}.sock", manager().unwrap());
    write_unit("demand.service", "[Service]\nExecStart=sleep infinity\n");
    write_unit("demand.socket", &format!("[Socket]\nListenStream={socket}\n"));
    let config = config("\"demand\"");
    let demand = supervisor(&config, &layout);
    let state = || demand.status(&ctx).unwrap().state;
    assert_eq!(state(), ServiceState::Stopped);
    systemctl(&["start", "demand.socket"]);
    assert_eq!(state(), ServiceState::Running);
    systemctl(&["start", "demand.service"]);
    assert_eq!(state(), ServiceState::Running);
    systemctl(&["stop", "demand.socket", "demand.service"]);
    assert_eq!(state(), ServiceState::Stopped);
}
