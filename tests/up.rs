//! `up` and what is asked of it: the services run under deploykit itself.

mod common;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use common::{App, Running, runs, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Says its version, and what it is told by signals; ends in order.
const WEB: &str = r#"#!/bin/sh
trap 'echo "bye $(cat version)"; exit 0' TERM
trap 'echo "told"' USR1
echo "web $1 serves $(cat version)"
[ ! -e broken ] || { echo "it is broken" >&2; exit 7; }
while :; do sleep 0.05; done
"#;

const SERVICES: &str = r#"
[[service]]
name = "web"
command = ["./web", "{instance}"]
count = 2
stop_timeout = "5s"
[[service]]
name = "worker"
command = ["sleep", "86400"]
[health]
interval = "20ms"
deadline = "3s"
[probation]
duration = "100ms"
"#;

/// An application of two instances of `web` and a `worker`.
fn app() -> App {
    let app = App::bare();
    app.configure(SERVICES);
    commit(&app, "one");
    app
}

fn commit(app: &App, version: &str) -> String {
    app.repo.write("web", WEB).make_executable("web");
    app.repo.write("version", format!("{version}\n")).commit(version)
}

/// `up`, which ends with the test.
struct Up<'a>(&'a App);

impl<'a> Up<'a> {
    fn detached(app: &'a App) -> Self {
        app.run(&["up", "--detach"]).expect(0);
        Self(app)
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.run(&["down"]);
    }
}

/// The instances, by their names.
fn instances(app: &App) -> Vec<Value> {
    app.json(&["ps"]).as_array().expect("a list").clone()
}

fn one(app: &App, name: &str) -> Value {
    let all = instances(app);
    all.iter().find(|one| one["name"] == name).cloned().unwrap_or_else(|| panic!("{all:?}"))
}

fn pid(app: &App, name: &str) -> i32 {
    i32::try_from(one(app, name)["pid"].as_i64().unwrap_or_else(|| panic!("{name} runs"))).unwrap()
}

fn pids(app: &App) -> Vec<i32> {
    ["web@1", "web@2", "worker"].map(|name| pid(app, name)).to_vec()
}

#[test]
fn the_first_up_deploys_shows_what_they_write_and_ends_with_them() {
    let app = app();
    let up = app.start(&["up"]);
    until("it has deployed", || app.outcomes() == ["deployed"]);
    let running = pids(&app);
    assert!(running.iter().all(|pid| runs(*pid)));
    let table = app.run(&["ps"]).expect(0).tells("web@1").tells("running").tells("MiB");
    assert_eq!(table.stdout.lines().count(), 4, "{table}");
    let web = one(&app, "web@2");
    assert_eq!((&web["state"], &web["restarts"]), (&"running".into(), &0.into()));
    assert!(web["memory_bytes"].as_u64().unwrap() > 0 && web["release"].is_string(), "{web}");
    app.run(&["logs"]).expect(0).tells("web@1: web 1 serves one");
    up.signal(Signal::SIGTERM);
    let ran = up.wait().expect(0).tells("web@1: web 1 serves one").tells("web@2: bye one");
    let ran = ran.says("Ending the services.");
    assert!(ran.stdout.contains("Deployed"), "{ran}");
    assert!(!running.iter().any(|pid| runs(*pid)));
    app.run(&["ps"]).expect(1).says("`deploykit up` runs the services");
    // What is active is started again, and nothing is deployed.
    commit(&app, "two");
    let _up = Up::detached(&app);
    app.run(&["logs", "-n", "1", "web@1"]).expect(0).tells("web 1 serves one");
    assert_eq!(app.outcomes(), ["deployed"]);
}

#[test]
fn deployments_talk_to_it_and_what_is_ill_goes_back() {
    let app = app();
    let up = Up::detached(&app);
    app.run(&["up"]).expect(4).says("another process manager answers").says("deploykit ps");
    let before = pids(&app);
    app.run(&["up", "-d"]).expect(0).says("It is up already.");
    assert_eq!(pids(&app), before);
    commit(&app, "two");
    app.run(&["deploy"]).expect(0);
    assert!(pids(&app).iter().all(|pid| !before.contains(pid)));
    app.run(&["logs", "-n", "0", "web"]).expect(0).tells("web 2 serves two").tells("bye one");
    app.repo.write("broken", "");
    commit(&app, "three");
    app.run(&["deploy"]).expect(3).says("it is broken").says("exited with code 7");
    app.run(&["rollback"]).expect(0);
    app.run(&["logs", "-n", "1", "web@1"]).expect(0).tells("web 1 serves one");
    assert_eq!(instances(&app).len(), 3);
    let running = pids(&app);
    drop(up);
    assert!(!running.iter().any(|pid| runs(*pid)));
    app.run(&["down"]).expect(0).tells("Nothing was up.");
}

#[test]
fn a_procfile_is_run_where_there_is_no_configuration() {
    let app = App::bare();
    app.write("Procfile", "# of foreman\nweb: echo \"$GREETING on $PORT\" && exec sleep 86400\nworker: exec sleep 86400\n");
    app.write(".env", "GREETING=hello\n");
    app.run(&["up", "--detach"]).expect(0).tells("web runs").tells("worker runs");
    app.run(&["logs", "web"]).expect(0).tells("web: hello on 5000");
    app.run(&["stop", "worker"]).expect(0);
    app.run(&["deploy"]).expect(2).says("there is no deploykit.toml");
    let web = pid(&app, "web");
    app.run(&["down"]).expect(0);
    assert!(!runs(web));
    app.write("Procfile", "web\n");
    app.run(&["up"]).expect(2).says("line 1 of the Procfile").says("web: ./server");
    // A configuration goes first.
    app.configure(SERVICES);
    commit(&app, "one");
    app.run(&["up", "--detach"]).expect(0);
    assert_eq!(instances(&app).len(), 3);
    app.run(&["down"]).expect(0);
}

#[test]
fn an_action_that_cannot_be_done_is_shown_in_its_place() {
    let app = app();
    for (line, why) in [
        ("watch = [\"tcp:127.0.0.1:1\", \"ftp://x\"]", "service[0].watch[1]"),
        ("watch = [\"exec:\"]", "does not say what is asked"),
        ("start = [\"wait:./a=999\", \"start\"]", "no program exits with 999"),
        ("stop = [\"sleep:5\"]", "without `stop`"),
        ("ready = \"check\"\nready_check = \"http:///x\"", "service[0].ready_check"),
    ] {
        app.configure(&format!("[[service]]\nname = \"web\"\ncommand = [\"./web\"]\n{line}\n"));
        app.run(&["config", "check"]).expect(2).says(why).says("deploykit.toml:");
    }
    app.configure(SERVICES);
    app.run(&["reload"]).expect(1).says("nothing is active");
}

#[test]
fn without_it_a_deployment_says_what_to_type_and_begins_nothing() {
    let app = app();
    app.run(&["deploy"]).expect(1).says("`deploykit up`");
    assert!(!app.path("active").exists() && app.history().is_empty());
    app.run(&["check"]).expect(10).tells("`deploykit up`");
    for command in
        [&["start"][..], &["stop", "web"], &["retry"], &["signal", "HUP"], &["restart", "web"]]
    {
        app.run(command).expect(1).says("`deploykit up` runs the services");
    }
}

#[test]
fn what_a_killed_one_has_left_goes_on_and_is_taken_over() {
    let app = app();
    let up = app.start(&["up"]);
    until("it has deployed", || app.outcomes() == ["deployed"]);
    let before = pids(&app);
    up.kill();
    assert!(before.iter().all(|pid| runs(*pid)), "they go on without it");
    // What ends meanwhile is started again by the next one.
    kill(Pid::from_raw(before[2]), Signal::SIGKILL).unwrap();
    until("it has ended", || !runs(before[2]));
    let up = app.start(&["up"]);
    until("they run", || app.run(&["ps"]).code == Some(0) && instances(&app).len() == 3);
    until("all run", || instances(&app).iter().all(|one| one["pid"].is_number()));
    let after = pids(&app);
    assert_eq!((after[0], after[1]), (before[0], before[1]));
    assert!(after[2] != before[2] && one(&app, "web@1")["restarts"] == 0, "{after:?}");
    // It sees them end, though they are no children of its own, and with which code.
    app.run(&["signal", "TERM", "web@1"]).expect(0);
    until("it is started again", || one(&app, "web@1")["restarts"] == 1);
    until("it runs", || one(&app, "web@1")["pid"].is_number());
    up.signal(Signal::SIGINT);
    let ran = up
        .wait()
        .expect(0)
        .says("took over what an earlier `up` had left running: web@1")
        .tells("web@2: bye one");
    ran.says("exited with code 0");
    assert!(!runs(before[1]));
    // Whoever does not want it up again ends what is left.
    let up = app.start(&["up"]);
    until("they run", || app.run(&["ps"]).code == Some(0) && instances(&app).len() == 3);
    until("all run", || instances(&app).iter().all(|one| one["pid"].is_number()));
    let before = pids(&app);
    up.kill();
    app.run(&["down"]).expect(0).tells("Ended web@1, which a killed `up` had left.");
    assert!(!before.iter().any(|pid| runs(*pid)));
    app.run(&["down"]).expect(0).tells("Nothing was up.");
}

#[test]
fn what_is_left_of_a_killed_one_for_a_moment_is_waited_for() {
    let app = app();
    std::fs::create_dir(app.path(".deploykit")).unwrap();
    // As a process has it that was just being made when it was killed.
    let socket = UnixListener::bind(app.path(".deploykit/control")).unwrap();
    let up = app.start(&["up"]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    drop(socket);
    until("it has deployed", || app.outcomes() == ["deployed"]);
    up.signal(Signal::SIGTERM);
    up.wait().expect(0);
}

#[test]
fn everything_ends_with_it_where_that_is_wanted() {
    let app = app();
    app.configure(&format!("{SERVICES}[up]\nwhen_killed = \"end\"\n"));
    let up = app.start(&["up"]);
    until("it has deployed", || app.outcomes() == ["deployed"]);
    let before = pids(&app);
    up.kill();
    until("they have ended", || !before.iter().any(|pid| runs(*pid)));
    let _up = Up::detached(&app);
    assert!(pids(&app).iter().all(|pid| runs(*pid) && !before.contains(pid)));
}

#[test]
fn another_program_takes_its_place() {
    let app = app();
    let up = app.start(&["up"]);
    until("it has deployed", || app.outcomes() == ["deployed"]);
    let before = pids(&app);
    let newer = app.path("newer");
    std::fs::copy(env!("CARGO_BIN_EXE_deploykit"), &newer).unwrap();
    let told = Command::new(&newer).arg("-C").arg(app.root()).args(["up", "--replace"]).output();
    let told = told.unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert_eq!(
        String::from_utf8_lossy(&told.stdout),
        format!("{} runs the services now.\n", newer.display())
    );
    assert_eq!(pids(&app), before);
    // Its exit codes are known as before, since they are its children still.
    app.run(&["signal", "TERM", "web@1"]).expect(0);
    until("it is started again", || one(&app, "web@1")["restarts"] == 1);
    commit(&app, "two");
    app.run(&["deploy"]).expect(0);
    up.signal(Signal::SIGTERM);
    up.wait().expect(0).tells("web@2: bye two").says("exited with code 0");
    app.run(&["up", "--replace"]).expect(1).says("`deploykit up` runs the services");
}

#[test]
fn single_services_are_stopped_started_and_signalled() {
    let app = app();
    let _up = Up::detached(&app);
    let before = pids(&app);
    app.run(&["stop", "worker", "web@1"]).expect(0).tells("worker is down");
    assert!(!runs(before[0]) && runs(before[1]) && !runs(before[2]));
    assert_eq!(one(&app, "worker")["state"], "stopped");
    app.run(&["start"]).expect(0).tells("worker runs");
    assert_eq!(pid(&app, "web@2"), before[1]);
    app.run(&["restart", "web"]).expect(0).tells("web@2 runs");
    assert_ne!(pid(&app, "web@2"), before[1]);
    app.run(&["signal", "usr1", "web@2"]).expect(0);
    until("it was told", || {
        app.run(&["logs", "web@2"]).stdout.lines().any(|line| line.ends_with("web@2: told"))
    });
    app.run(&["signal", "KILL", "worker"]).expect(0);
    until("it is started again", || one(&app, "worker")["restarts"] == 1);
    app.run(&["stop", "wbe"]).expect(1).says("there is no service \"wbe\"").says("deploykit ps");
    app.run(&["retry"]).expect(0);
    // A configuration that is wrong is in nobody's way.
    app.configure("nonsense = 1");
    app.run(&["stop", "worker"]).expect(0);
    app.run(&["ps"]).expect(0);
    app.run(&["down"]).expect(0).tells("Ended: 2 processes.");
}

#[test]
fn a_reload_starts_anew_exactly_what_is_described_otherwise() {
    let app = app();
    let _up = Up::detached(&app);
    let before = pids(&app);
    app.run(&["reload"]).expect(0).tells("Nothing to do");
    app.configure(&SERVICES.replace("\"86400\"", "\"86401\""));
    app.run(&["reload"]).expect(0).tells("brought to the changed configuration");
    let after = pids(&app);
    assert_eq!((after[0], after[1]), (before[0], before[1]));
    assert_ne!(after[2], before[2]);
    // One more, and one less.
    app.configure(&SERVICES.replace("worker", "helper").replace("count = 2", "count = 3"));
    app.run(&["reload"]).expect(0);
    let names: Vec<_> = instances(&app).iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
    assert!(names.contains(&"helper".into()) && names.contains(&"web@3".into()), "{names:?}");
    assert_eq!(pid(&app, "web@1"), before[0]);
    assert!(!runs(after[2]));
    // What has done its work does not do it again because of another one; nor does what is well run
    // anew when that goes back.
    let once = "[[service]]\nname = \"once\"\ncommand = [\"sh\", \"-c\", \"echo x >> $DEPLOYKIT_APPLICATION/times\"]\nready = \"exit\"\n";
    let others = SERVICES.replace("worker", "helper").replace("count = 2", "count = 3");
    app.configure(&format!("{once}{others}"));
    app.run(&["reload"]).expect(0);
    assert_eq!(app.read("times"), "x\n");
    app.configure(&format!("{once}{}", others.replace("\"86400\"", "\"86402\"")));
    app.run(&["reload"]).expect(0);
    app.configure(&format!("{once}{}", others.replace("\"sleep\"", "\"false\"")));
    app.run(&["reload"]).expect(3).says("exited with code 1");
    assert_eq!((app.read("times"), pid(&app, "web@1")), ("x\n".to_owned(), before[0]));
    app.run(&["ps"]).expect(0).tells("done");
    app.configure(&others);
    app.run(&["reload"]).expect(0);
    // What cannot be run changes nothing, and what proves ill goes back to what was.
    app.configure(&SERVICES.replace("worker", "helper").replace("\"./web\"", "\"./wbe\""));
    app.run(&["reload"]).expect(1).says("there is no program");
    assert_eq!(pid(&app, "web@1"), before[0]);
    app.configure(&SERVICES.replace("\"sleep\"", "\"false\""));
    app.run(&["reload"]).expect(3).says("exited with code 1");
    assert_eq!(instances(&app).len(), 4);
    app.run(&["status"]).expect(0).tells("web@3: running");
}

#[test]
fn signals_are_passed_on_and_without_a_terminal_one_reloads() {
    let app = app();
    let command = app.command(&["up"]);
    let output = std::fs::File::create(app.path("output")).unwrap();
    // A session of its own has no terminal.
    let mut apart = Command::new("setsid");
    apart.arg("--wait").arg(command.get_program()).args(command.get_args());
    apart.current_dir(app.root()).stdout(output.try_clone().unwrap()).stderr(output);
    let mut child = apart.spawn().unwrap();
    until("it has deployed", || app.outcomes() == ["deployed"]);
    let before = pids(&app);
    let own = parent(before[0]);
    kill(Pid::from_raw(own), Signal::SIGUSR1).unwrap();
    until("both were told", || app.read("output").matches(": told\n").count() == 2);
    app.configure(&SERVICES.replace("\"86400\"", "\"86401\""));
    kill(Pid::from_raw(own), Signal::SIGHUP).unwrap();
    until("it has reloaded", || pid_of(&app, "worker").is_some_and(|pid| pid != before[2]));
    assert_eq!(pid(&app, "web@1"), before[0]);
    // `sleep` has died of the first signal, and was started again.
    app.run(&["down"]).expect(0);
    assert!(child.wait().unwrap().success());
}

fn pid_of(app: &App, name: &str) -> Option<i32> {
    one(app, name)["pid"].as_i64().and_then(|pid| pid.try_into().ok())
}

fn parent(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let rest = stat.rsplit_once(") ").expect("its name").1;
    rest.split(' ').nth(1).expect("its parent").parse().expect("a number")
}

#[test]
fn what_waits_for_what_has_failed_is_not_waited_for() {
    let app = app();
    let script = "echo no database >&2; test -e \\\"$DEPLOYKIT_APPLICATION/database\\\"";
    app.configure(&format!(
        "[[service]]\nname = \"migrate\"\ncommand = [\"sh\", \"-c\", \"{script}\"]\nready = \"exit\"\nrestart = \"never\"\n\
         {}",
        SERVICES.replace("[[service]]", "[[service]]\nrequires = [\"migrate\"]")
    ));
    app.write("database", "");
    app.run(&["up", "--detach"]).expect(0).tells("Deployed");
    app.run(&["down"]).expect(0);
    app.remove("database");
    let begun = std::time::Instant::now();
    let ran = app
        .run(&["up", "--detach"])
        .expect(1)
        .says("| no database")
        .says("deploykit retry migrate");
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{ran}");
    app.write("database", "");
    app.run(&["retry", "migrate"]).expect(0);
    until("what has waited runs", || instances(&app).iter().all(|one| one["state"] == "running"));
    app.run(&["down"]).expect(0);
}

#[test]
fn a_first_deployment_that_fails_leaves_nothing_running() {
    let app = app();
    app.repo.write("broken", "");
    commit(&app, "ill");
    let ran = app.run(&["up"]).expect(1).says("it is broken");
    assert!(!app.path("active").exists(), "{ran}");
    app.run(&["down"]).expect(0).tells("Nothing was up.");
    app.run(&["up", "--detach"]).expect(1).says("is marked bad");
    until("what was begun for it has ended", || {
        app.run(&["down"]).stdout.contains("Nothing was up.")
    });
}

/// A service that takes its time to end.
fn slow(app: &App, seconds: &str) {
    let script = format!("trap 'sleep {seconds}; exit 0' TERM; while :; do sleep 0.1; done");
    app.configure(&format!(
        "{SERVICES}[[service]]\nname = \"slow\"\ncommand = [\"sh\", \"-c\", {script:?}]\n"
    ));
}

#[test]
fn what_is_not_described_any_more_may_take_its_time_to_end() {
    let app = app();
    // Those that are brought over at once, and not one by one.
    let others = SERVICES.replace("count = 2\n", "").replace("{instance}", "1");
    let script = "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done";
    app.configure(&format!(
        "{others}[[service]]\nname = \"slow\"\ncommand = [\"sh\", \"-c\", {script:?}]\n"
    ));
    let _up = Up::detached(&app);
    let old = pid(&app, "slow");
    app.configure(&others);
    app.run(&["reload"]).expect(0);
    until("it has ended", || !runs(old));
    assert_eq!(instances(&app).len(), 2);
}

#[test]
fn who_comes_while_another_one_ends_waits_for_that() {
    let app = app();
    slow(&app, "1");
    app.run(&["up", "--detach"]).expect(0);
    let before = pid(&app, "slow");
    let first = app.start(&["down"]);
    until("it is at it", || !app.path(".deploykit/control").exists());
    app.run(&["down"]).expect(0);
    assert!(!runs(before), "the second one has not waited");
    first.wait().expect(0);
    // One that begins anew meanwhile does so as soon as it can.
    app.run(&["up", "--detach"]).expect(0);
    let first = app.start(&["down"]);
    until("it is at it", || !app.path(".deploykit/control").exists());
    app.run(&["up", "--detach"]).expect(0).tells("slow runs");
    first.wait().expect(0);
    app.run(&["down"]).expect(0);
    // A directory that is no application is none that was not up.
    let empty = app.path("empty");
    std::fs::create_dir(&empty).unwrap();
    app.run(&["-C", empty.to_str().unwrap(), "down"]).expect(2).says("there is no deploykit.toml");
}

#[test]
fn a_second_signal_waits_for_nobody_and_a_reader_that_does_not_read_is_in_nobodys_way() {
    let app = app();
    let stubborn = "trap '' TERM; (trap '' TERM; sleep 500) & while :; do sleep 1; done";
    let talks = "yes a long line of text | head -c 20000000; exec sleep 1000";
    app.configure(&format!(
        "[[service]]\nname = \"stubborn\"\ncommand = [\"sh\", \"-c\", {stubborn:?}]\n\
         stop_timeout = \"40s\"\n[[service]]\nname = \"talks\"\ncommand = [\"sh\", \"-c\", {talks:?}]\n\
         [probation]\nduration = \"10ms\"\n"
    ));
    let up = app.start(&["up"]);
    until("it has deployed", || app.outcomes() == ["deployed"]);
    // Its output is a pipe that nobody reads.
    let log = app.path(".deploykit/services/talks.log");
    until("it has talked", || log.metadata().is_ok_and(|file| file.len() == 20_000_000));
    let (one, two) = (pid(&app, "stubborn"), pid(&app, "talks"));
    up.signal(Signal::SIGTERM);
    until("it is ending", || !runs(two));
    assert!(runs(one));
    let begun = std::time::Instant::now();
    up.signal(Signal::SIGTERM);
    until("all has ended", || !runs(one) && !runs(up.pid()));
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    up.wait().expect(0);
}

#[test]
fn what_a_build_leaves_is_taken_note_of() {
    let app = app();
    let build = "(sleep 0.2; sleep 0.3) >/dev/null 2>&1 & exit 0";
    app.configure(&format!("{SERVICES}[build]\ncommands = [[\"sh\", \"-c\", {build:?}]]\n"));
    let up = app.start(&["up"]);
    until("it has deployed", || app.outcomes() == ["deployed"]);
    let dead = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    };
    until("nobody is left", || !children(up.pid()).iter().any(dead));
    up.signal(Signal::SIGTERM);
    up.wait().expect(0);
}

#[test]
fn when_an_essential_one_has_ended_all_end_with_its_code() {
    let app = app();
    let essential = |script: &str| {
        app.configure(&format!(
            "{SERVICES}[[service]]\nname = \"job\"\ncommand = [\"sh\", \"-c\", {script:?}]\n\
             restart = \"never\"\nessential = true\n"
        ));
    };
    essential("sleep 1; exit 42");
    let ran =
        app.start(&["up"]).wait().expect(42).says("job is essential, and exited with code 42");
    assert!(ran.stdout.contains("web@1: bye one"), "{ran}");
    // It runs as is recorded with the release, until that is changed.
    app.run(&["up"]).expect(42);
    // Within a deployment its end is that of the new release: it goes back, and `up` stays.
    essential("test ! -e broken || exit 7; exec sleep 86400");
    let _up = {
        let up = app.start(&["up"]);
        until("it is up", || app.run(&["ps"]).code == Some(0));
        app.run(&["reload"]).expect(0);
        up
    };
    app.repo.write("broken", "");
    commit(&app, "two");
    app.run(&["deploy"]).expect(3).says("exited with code 7");
    assert_eq!(one(&app, "job")["state"], "running");
    app.run(&["down"]).expect(0);
}

/// `up` as the first process of a namespace.
fn first_process(app: &App) -> Running {
    let command = app.command(&["up"]);
    let mut inside = Command::new("unshare");
    inside.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
    inside.arg(command.get_program()).args(command.get_args()).current_dir(app.root());
    inside.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Running::of(inside.spawn().expect("unshare"))
}

#[test]
fn as_the_first_process_of_a_container_it_looks_after_orphans() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let app = App::bare();
    let leaves = "while :; do (setsid sh -c 'sleep 0.1' &) ; sleep 0.2; done";
    app.configure(&format!(
        "[[service]]\nname = \"web\"\ncommand = [\"sh\", \"-c\", {leaves:?}]\n\
         [probation]\nduration = \"10ms\"\n"
    ));
    commit(&app, "one");
    let up = first_process(&app);
    until("it has deployed", || app.outcomes() == ["deployed"]);
    let own = children(up.pid())[0];
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let dead = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    };
    // One may have ended just now.
    until("none is left dead", || !children(own).iter().any(dead));
    kill(Pid::from_raw(own), Signal::SIGTERM).unwrap();
    up.wait().expect(0);
}

fn children(pid: i32) -> Vec<i32> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    text.split_whitespace().map(|word| word.parse().expect("a number")).collect()
}

#[test]
fn what_has_left_its_session_and_its_environment_ends_with_up() {
    let app = App::bare();
    let script =
        "env -i setsid sleep 86399 & echo $! > \"$DEPLOYKIT_APPLICATION/left\"; exec sleep 86400";
    app.configure(&format!(
        "[[service]]\nname = \"web\"\ncommand = [\"sh\", \"-c\", {script:?}]\n\
         [probation]\nduration = \"10ms\"\n"
    ));
    commit(&app, "one");
    let _up = Up::detached(&app);
    until("it has written its number", || app.path("left").exists());
    let left: i32 = app.read("left").trim().parse().unwrap();
    assert!(Path::new(&format!("/proc/{left}")).exists());
    app.run(&["signal", "KILL", "web"]).expect(0);
    app.run(&["down"]).expect(0);
    until("it has ended", || !runs(left));
}
