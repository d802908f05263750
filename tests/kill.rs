//! What a kill leaves behind at each phase, and that the next command puts it right; and signals
//! that ask for an end.

mod common;

use common::{App, BUILD, LONG, Running, SERVED, SHORT, build_with, gate, pid_in, runs, until};
use deploykit_testkit::git_server::{Behaviour, GitServer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A build that leaves a grandchild in a session of its own and then waits at the gate `build`.
fn building() -> String {
    let left = "setsid sleep 86400 & echo $! > \"$DEPLOYKIT_APP/left\"";
    build_with(&format!("{left}; {}", gate("build")))
}

/// An application with one release that serves, and a second one whose build waits at the gate.
fn stuck_in_a_build() -> (App, Running, [i32; 2]) {
    let app = App::served(SHORT);
    app.deploy();
    app.configure(&format!("{}{SERVED}{SHORT}", building()));
    app.commit("two");
    app.close_gate("build");
    let deploying = app.start(&["deploy"]);
    let at_gate = app.wait_at_gate("build");
    let pids = [at_gate, pid_in(&app.path("left"))];
    (app, deploying, pids)
}

/// An application with one release that serves, and a second one that is active and whose service
/// is being started.
fn stuck_in_the_service(probation: &str) -> (App, Running) {
    let app = App::served(probation);
    app.deploy();
    app.commit("two");
    app.close_gate("start");
    let deploying = app.start(&["deploy"]);
    let starting = app.wait_at_gate("start");
    assert_eq!(app.active_version(), "two");
    // It would go on when the gate opens, beside the one that the next command starts.
    app.write("starting", &starting.to_string());
    (app, deploying)
}

/// Kills it in the command that starts the service, and that command with it.
fn kill_in_the_service(app: &App, deploying: Running) {
    deploying.kill();
    let starting = pid_in(&app.path("starting"));
    let _ = kill(Pid::from_raw(starting), Signal::SIGKILL);
    until("the command that starts the service has ended", || !runs(starting));
    app.open_gate("start");
}

#[test]
fn killed_while_it_fetches() {
    let app = App::bare();
    // Larger than what the server answers before it falls silent; the list of references is not.
    let noise = (0..20_000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let noise: Vec<u8> = noise.flat_map(u64::to_le_bytes).collect();
    app.repo.write("noise", noise);
    app.commit("one");
    let root = app.repo.path().parent().expect("its parent");
    let stall = Behaviour { stall_after: Some(20_000), ..Behaviour::default() };
    let server = GitServer::start(root, None, stall);
    let url = server.url("repo/.git");
    app.write("deploykit.toml", &format!("[repo]\nurl = {url:?}\n{BUILD}{SHORT}"));
    let deploying = app.start(&["deploy"]);
    until("the server has fallen silent", || {
        server.take_seen().iter().any(|seen| seen.answered > 20_000)
    });
    deploying.kill();
    app.run(&["status"]).expect(0).tells("deployment 1 was broken off");
    app.run(&["recover"]).expect(0).tells("Deployment 1 ended: failed");
    app.assert_tidy();
    assert!(!app.is_active());
    server.behave(|behaviour| *behaviour = Behaviour::default());
    app.deploy();
    assert_eq!(app.active_version(), "one");
}

#[test]
fn killed_while_it_builds_then_recover() {
    let (app, deploying, pids) = stuck_in_a_build();
    let before = app.json(&["status"]);
    assert!(before["busy"]["doing"].as_str().unwrap().starts_with("deploy: build"), "{before}");
    deploying.kill();
    assert!(pids.iter().all(|pid| runs(*pid)), "a kill ends nobody else");
    let status = app.json(&["status"]);
    assert_eq!((&status["unfinished"], &status["busy"]), (&2.into(), &Value::Null));
    app.run(&["status"]).expect(0).tells("deployment 2 was broken off");
    app.assert_serves("one");

    let ran = app.run(&["recover"]).expect(0).tells("processes of the build");
    ran.tells("removed what was left of release").tells("Deployment 2 ended: failed");
    assert!(!pids.iter().any(|pid| runs(*pid)), "the build goes on");
    app.assert_serves("one");
    assert_eq!(app.outcomes(), ["failed", "deployed"]);
    assert_eq!(app.releases().len(), 1);
    app.assert_tidy();
    app.run(&["recover"]).expect(0).tells("Nothing to put right.");
    app.open_gate("build");
    app.deploy();
    app.assert_serves("two");
}

#[test]
fn killed_while_it_builds_then_deploy() {
    let (app, deploying, pids) = stuck_in_a_build();
    deploying.kill();
    app.open_gate("build");
    app.deploy();
    assert!(!pids.iter().any(|pid| runs(*pid)), "the killed build goes on");
    app.assert_serves("two");
    assert_eq!(app.outcomes(), ["deployed", "failed", "deployed"]);
    app.assert_tidy();
}

#[test]
fn killed_while_it_builds_then_rollback() {
    let app = App::served(SHORT);
    app.deploy();
    app.deploy_version("two");
    app.configure(&format!("{}{SERVED}{SHORT}", building()));
    app.commit("three");
    app.close_gate("build");
    let deploying = app.start(&["deploy"]);
    let pid = app.wait_at_gate("build");
    deploying.kill();
    app.run(&["rollback"]).expect(0);
    assert!(!runs(pid));
    app.assert_serves("one");
    assert_eq!(app.outcomes(), ["deployed", "failed", "deployed", "deployed"]);
    app.assert_tidy();
}

#[test]
fn killed_while_the_service_restarts_then_recover() {
    let (app, deploying) = stuck_in_the_service(SHORT);
    kill_in_the_service(&app, deploying);
    assert_eq!(app.serves(), None);
    app.run(&["recover"]).expect(0).tells("Deployment 2 ended: deployed");
    app.assert_serves("two");
    assert_eq!(app.outcomes(), ["deployed", "deployed"]);
    app.assert_tidy();
}

#[test]
fn a_rollback_killed_while_the_service_restarts_is_told_as_what_the_next_one_finishes() {
    let app = App::served(SHORT);
    app.deploy();
    let first = app.active_release();
    for version in ["two", "three"] {
        app.deploy_version(version);
    }
    app.run(&["rollback", &first]).expect(0);
    app.run(&["deploy", "--retry"]).expect(0);
    app.close_gate("start");
    let going_back = app.start(&["rollback", &first]);
    let starting = app.wait_at_gate("start");
    app.write("starting", &starting.to_string());
    kill_in_the_service(&app, going_back);
    let status = app.json(&["status"]);
    let broken = &status["broken_off"][0];
    assert_eq!((&broken["stage"], &broken["failure"]), (&"activated".into(), &Value::Null));
    assert_eq!((&broken["to"], &broken["finished_by_rollback"]), (&first.into(), &true.into()));
    let told = app.run(&["status"]).expect(0).tells("did not get to its end").tells("would finish");
    assert!(!told.stdout.contains("would go to"), "{told}");
    app.run(&["rollback"]).expect(0);
    app.assert_serves("one");
    assert_eq!(app.json(&["status"])["broken_off"], Value::Array(Vec::new()));
}

/// What failed is in the log of what was ended in order, and not in that of what was killed.
#[test]
fn what_is_stuck_tells_why_and_is_not_told_as_broken_off() {
    let app = App::served(SHORT);
    app.deploy();
    app.write("active/unstartable", "");
    app.commit_with("two", &["ill"]);
    app.run(&["deploy"]).expect(5);
    let status = app.json(&["status"]);
    let broken = &status["broken_off"][0];
    assert_eq!(broken["stage"], "going-back");
    assert!(broken["reason"].as_str().unwrap().contains("it is ill"), "{broken}");
    let failure = broken["failure"].as_str().unwrap();
    assert!(failure.starts_with("service failed: ") && failure.contains("start"), "{failure}");
    let told = app.run(&["status"]).expect(0).tells("could be brought neither to its end nor back");
    assert!(told.stdout.contains("it was to go back: not well within 2 s: fit"), "{told}");
    assert!(!told.stdout.contains("broken off"), "{told}");
    let told = told.tells("would finish the way back of deployment 2");
    assert_eq!(broken["finished_by_rollback"], true, "{told}");
    app.remove("active/unstartable");
    app.run(&["rollback"]).expect(0);
    app.assert_serves("one");
}

#[test]
fn killed_while_the_service_restarts_then_rollback() {
    let (app, deploying) = stuck_in_the_service(SHORT);
    kill_in_the_service(&app, deploying);
    app.run(&["rollback"]).expect(0);
    app.assert_serves("one");
    app.assert_tidy();
    assert!(app.outcomes().iter().all(|outcome| outcome != "none"), "{:?}", app.outcomes());
}

#[test]
fn killed_while_the_service_restarts_then_status_and_deploy() {
    let (app, deploying) = stuck_in_the_service(SHORT);
    kill_in_the_service(&app, deploying);
    app.run(&["status"]).expect(0).tells("stopped").tells("deployment 2 was broken off");
    app.run(&["deploy"]).expect(0).tells("is active already");
    app.assert_serves("two");
    assert_eq!(app.outcomes(), ["deployed", "deployed"]);
    app.assert_tidy();
}

/// An application whose second release is on a probation that goes on for long, unwatched.
fn killed_on_probation(probation: &str) -> App {
    let app = App::served(SHORT);
    app.deploy();
    app.configure(&format!("{BUILD}{SERVED}{probation}"));
    app.commit("two");
    let deploying = app.start(&["deploy"]);
    until("somebody watches", || app.json(&["status"])["watching"].is_object());
    deploying.kill();
    app.run(&["status"]).expect(0).tells("nobody is watching it");
    app
}

#[test]
fn killed_on_probation_then_confirmed_by_an_operator() {
    let app = killed_on_probation(LONG);
    app.run(&["confirm"]).expect(0);
    app.assert_serves("two");
    assert_eq!(app.outcomes(), ["deployed", "deployed"]);
    app.assert_tidy();
}

#[test]
fn killed_on_probation_then_rolled_back_by_an_operator() {
    let app = killed_on_probation(LONG);
    app.run(&["rollback"]).expect(0);
    app.assert_serves("one");
    assert_eq!(app.outcomes(), ["deployed", "rolled-back", "deployed"]);
    app.assert_tidy();
}

#[test]
fn killed_on_probation_and_recovered_before_its_end_is_watched_to_its_end() {
    let app = killed_on_probation(LONG);
    let recovering = app.start(&["recover"]);
    until("somebody watches", || app.json(&["status"])["watching"].is_object());
    app.run(&["confirm"]).expect(0);
    recovering.wait().expect(0).tells("Deployment 2 ended: deployed");
    app.assert_serves("two");
}

#[test]
fn who_watches_says_that_the_rollback_was_broken_off() {
    let app = App::served(SHORT);
    app.deploy();
    app.configure(&format!("{BUILD}{SERVED}{LONG}"));
    app.commit("two");
    let watching = app.start(&["deploy"]);
    until("somebody watches", || app.json(&["status"])["watching"].is_object());
    // It sees nothing of what happens until it is let go on.
    watching.signal(Signal::SIGSTOP);
    app.close_gate("start");
    let going_back = app.start(&["rollback"]);
    app.write("starting", &app.wait_at_gate("start").to_string());
    kill_in_the_service(&app, going_back);
    watching.signal(Signal::SIGCONT);
    watching.wait().expect(5).says("was broken off").says("deploykit recover");
    app.run(&["recover"]).expect(0);
    app.assert_serves("one");
    app.assert_tidy();
}

#[test]
fn a_rollback_that_is_watched_is_not_taken_for_broken_off_because_another_watcher_is_stopped() {
    let app = App::served(LONG);
    let first = app.start(&["deploy"]);
    until("somebody watches", || app.json(&["status"])["watching"].is_object());
    app.run(&["confirm"]).expect(0);
    first.wait().expect(0);
    app.commit("two");
    let stopped = app.start(&["deploy"]);
    until("somebody watches", || app.json(&["status"])["watching"].is_object());
    stopped.signal(Signal::SIGSTOP);
    let going_back = app.start(&["rollback"]);
    until("the rollback is watched", || app.json(&["status"])["watching"]["watches"] == 3);
    app.run(&["recover"]).expect(0).tells("Nothing to put right");
    assert_eq!(app.json(&["status"])["unfinished"], Value::Null);
    stopped.signal(Signal::SIGCONT);
    app.run(&["confirm"]).expect(0);
    going_back.wait().expect(0);
    stopped.wait().expect(3);
    app.assert_serves("one");
    app.assert_tidy();
}

/// Waits until the probation is past its deadline, by what is recorded.
fn pass_the_deadline(app: &App) {
    until("its deadline has passed", || {
        let status = app.run(&["status"]).expect(0);
        status.stdout.contains("nobody is watching it")
            && (status.stdout.contains("decided now") || !status.stdout.contains("decided in"))
    });
}

#[test]
fn a_probation_whose_deadline_passed_while_nobody_watched_is_confirmed_when_it_is_well() {
    let app = killed_on_probation("[probation]\nduration = \"1s\"\n");
    pass_the_deadline(&app);
    app.run(&["recover"]).expect(0).tells("Deployment 2 ended: deployed");
    app.assert_serves("two");
    assert_eq!(app.outcomes(), ["deployed", "deployed"]);
    app.assert_tidy();
}

#[test]
fn a_probation_whose_deadline_passed_while_nobody_watched_is_rolled_back_when_it_is_ill() {
    let app = killed_on_probation("[probation]\nduration = \"1s\"\n");
    app.write("active/ill", "");
    pass_the_deadline(&app);
    app.run(&["recover"]).expect(0).tells("Deployment 2 ended: rolled back");
    app.assert_serves("one");
    assert_eq!(app.outcomes(), ["rolled-back", "deployed"]);
    app.run(&["deploy"]).expect(1).says("is marked bad");
    app.assert_tidy();
}

#[test]
fn killed_while_it_goes_back() {
    for command in ["recover", "deploy"] {
        let app = App::served(SHORT);
        app.deploy();
        app.commit_with("two", &["unstartable"]);
        app.close_gate("start");
        let deploying = app.start(&["deploy"]);
        // The new release fails before it comes to the gate: it is the old one that stands there.
        let starting = app.wait_at_gate("start");
        assert_eq!(app.active_version(), "one");
        app.write("starting", &starting.to_string());
        kill_in_the_service(&app, deploying);
        let ran = app.run(&[command]);
        match command {
            "recover" => ran.expect(0).tells("Deployment 2 ended: rolled back"),
            _ => ran.expect(1).says("is marked bad"),
        };
        app.assert_serves("one");
        assert_eq!(app.outcomes(), ["rolled-back", "deployed"], "{command}");
        app.assert_tidy();
    }
}

#[test]
fn killed_at_its_first_deployment_while_the_service_starts() {
    let app = App::served(SHORT);
    app.commit_with("one", &["ill"]);
    app.close_gate("start");
    let deploying = app.start(&["deploy"]);
    let starting = app.wait_at_gate("start");
    app.write("starting", &starting.to_string());
    kill_in_the_service(&app, deploying);
    app.run(&["recover"]).expect(0).tells("Deployment 1 ended: failed");
    assert!(!app.is_active());
    assert_eq!(app.serves(), None);
    app.assert_tidy();
}

#[test]
fn a_signal_before_the_activation_ends_everything_in_order() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let (app, deploying, pids) = stuck_in_a_build();
        deploying.signal(signal);
        let ran = deploying.wait().expect(code);
        ran.says(&format!("{signal})")).says("is still active");
        assert!(!pids.iter().any(|pid| runs(*pid)), "{signal}: the build goes on");
        app.assert_serves("one");
        assert_eq!(app.outcomes(), ["interrupted", "deployed"], "{signal}");
        assert_eq!(app.releases().len(), 1);
        app.assert_tidy();
        app.open_gate("build");
        app.deploy();
    }
}

#[test]
fn a_signal_after_the_activation_rolls_back_and_blames_nobody() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let app = App::served(SHORT);
        app.deploy();
        app.configure(&format!("{BUILD}{SERVED}{LONG}"));
        app.commit("two");
        let deploying = app.start(&["deploy"]);
        until("somebody watches", || app.json(&["status"])["watching"].is_object());
        deploying.signal(signal);
        let ran = deploying.wait().expect(3).says("was activated and rolled back");
        let ran = ran.says(&format!("{signal})"));
        assert!(!ran.stderr.contains("failed") && !ran.stderr.contains("not well"), "{ran}");
        let log = app.read(".deploykit/logs/2.log");
        assert!(log.contains("-- verify interrupted after ") && !log.contains("failed"), "{log}");
        app.assert_serves("one");
        assert_eq!(app.outcomes(), ["rolled-back", "deployed"], "{signal}");
        app.assert_tidy();
        app.configure(&format!("{BUILD}{SERVED}{SHORT}"));
        app.deploy();
        app.assert_serves("two");
    }
}

#[test]
fn a_signal_in_the_middle_of_a_look_is_no_finding_of_it() {
    let app = App::new();
    app.deploy();
    let health = format!(
        "[health]\ninterval = \"20ms\"\ntimeout = \"60s\"\nfailures = 1\n[[health.check]]\ntype = \"exec\"\n\
         name = \"fit\"\ncommand = [\"sh\", \"-c\", {:?}]\n",
        gate("look")
    );
    app.configure(&format!("{BUILD}{health}{LONG}"));
    app.commit("two");
    let deploying = app.start(&["deploy"]);
    until("it was well", || app.json(&["show"])["log"].to_string().contains("fit is well"));
    app.close_gate("look");
    app.wait_at_gate("look");
    deploying.signal(Signal::SIGINT);
    let ran = deploying.wait().expect(3).says("was interrupted (Ctrl-C, SIGINT)");
    assert!(!ran.stderr.contains("not well") && !ran.stderr.contains("failed"), "{ran}");
    app.open_gate("look");
    app.configure(&format!("{BUILD}{SHORT}"));
    app.deploy();
    assert_eq!(app.active_version(), "two", "it is not to blame");
}

#[test]
fn a_lost_terminal_after_the_activation_stops_nothing() {
    let app = App::served(SHORT);
    app.deploy();
    app.configure(&format!("{BUILD}{SERVED}{LONG}"));
    app.commit("two");
    let deploying = app.start(&["deploy"]);
    until("somebody watches", || app.json(&["status"])["watching"].is_object());
    deploying.signal(Signal::SIGHUP);
    app.run(&["confirm"]).expect(0);
    deploying.wait().expect(0);
    app.assert_serves("two");
    assert_eq!(app.outcomes(), ["deployed", "deployed"]);
}
