//! Deployments that somebody must confirm from a new login, through the program. A new login is played
//! by `setsid`: a process session of its own.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use common::{App, BUILD, SERVED, SHORT, until};
use nix::sys::signal::Signal;

/// Whether the kernel counts what these tests start as one login: then no other can be played.
fn one_login() -> bool {
    let session = std::fs::read_to_string("/proc/self/sessionid").unwrap_or_default();
    session.trim().parse::<u32>().is_ok_and(|session| session != u32::MAX)
}

/// As from a new login.
fn anew(app: &App, arguments: &[&str]) -> Command {
    let plain = app.command(arguments);
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(plain.get_program()).args(plain.get_args()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(app.root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn on_probation(app: &App) {
    until("it is on probation", || app.json(&["status"])["probation"]["confirmation"] == true);
}

#[test]
fn what_is_confirmed_from_a_new_login_stays_and_this_shell_proves_nothing() {
    if one_login() {
        return;
    }
    let app = App::served(SHORT);
    app.deploy();
    app.commit("two");
    let mut deploying = app.start(&["deploy", "--confirm-within=1h"]);
    deploying.hears("confirm it from a new login within");
    let command = format!("deploykit -C {} confirm", app.root().display());
    app.run(&["status"]).expect(0).tells("confirm it from a new login within").tells(&command);
    app.run(&["confirm"]).expect(1).says("over a new connection").says("hint:").says(&command);
    app.run(&["deploy"]).expect(4);
    let confirmed = anew(&app, &["confirm"]).output().expect("setsid");
    assert!(confirmed.status.success(), "{confirmed:?}");
    assert_eq!(deploying.wait().code, Some(0));
    app.assert_serves("two");
    app.assert_tidy();
}

#[test]
fn what_nobody_confirms_goes_back_and_a_timer_leaves_it_alone() {
    let app = App::served(SHORT);
    app.deploy();
    app.commit("two");
    let ran = app.run(&["deploy", "--confirm-within=300ms"]).expect(3);
    ran.says("nobody confirmed it").says("serves again").says("--retry");
    app.assert_serves("one");
    app.run(&["deploy", "--if-changed"]).expect(0).tells("nobody confirmed it");
    let plan = app.run(&["plan", "--retry", "--confirm-within"]).expect(10);
    plan.tells("confirm").tells("within 1m");
    app.assert_tidy();
}

#[test]
fn a_word_that_comes_while_the_service_is_still_brought_over_is_not_lost() {
    if one_login() {
        return;
    }
    let app = App::served(SHORT);
    app.deploy();
    app.commit("two");
    app.close_gate("start");
    let deploying = app.start(&["deploy", "--confirm-within=1h"]);
    app.wait_at_gate("start");
    let mut confirming = anew(&app, &["confirm"]).spawn().expect("setsid");
    let mut said = BufReader::new(confirming.stderr.take().expect("its standard error")).lines();
    let waits = said.next().expect("a line").expect("text");
    assert!(waits.contains("waiting for another deployment"), "{waits}");
    app.run(&["deploy"]).expect(4);
    app.open_gate("start");
    assert!(confirming.wait().expect("its end").success(), "{:?}", said.collect::<Vec<_>>());
    assert_eq!(deploying.wait().code, Some(0));
    app.assert_serves("two");
}

#[test]
fn the_deadline_survives_a_kill_and_a_lost_terminal_ends_nothing() {
    let app = App::served(SHORT);
    app.deploy();
    app.commit("two");
    let deploying = app.start(&["deploy", "--confirm-within=2s"]);
    on_probation(&app);
    deploying.signal(Signal::SIGHUP);
    deploying.kill();
    app.assert_serves("two");
    app.run(&["recover"]).expect(0).tells("nobody confirmed it");
    app.assert_serves("one");
    app.assert_tidy();
}

#[test]
fn the_configuration_can_demand_it() {
    let required = "[probation]\nduration = \"100ms\"\nconfirmation = \"required\"\n";
    let app = App::served(SHORT);
    app.deploy();
    app.commit("two");
    app.configure(&format!("{BUILD}{SERVED}{required}"));
    app.run(&["plan"]).expect(10).tells("from a new login within 1m");
    let deploying = app.start(&["deploy"]);
    on_probation(&app);
    deploying.signal(Signal::SIGINT);
    assert_eq!(deploying.wait().code, Some(3));
    app.assert_serves("one");
    app.configure(&format!("{BUILD}{SERVED}[probation]\nconfirmation = \"perhaps\"\n"));
    app.run(&["config", "check"]).expect(2).says("none").says("required");
}
