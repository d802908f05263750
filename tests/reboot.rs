//! What a deployment leaves when it is killed, or when the power goes, is put right without anybody:
//! by the timer, and at boot. And a timer deploys what is new.

mod common;
#[path = "common/host.rs"]
mod host;

use std::io::{BufRead as _, BufReader};

use common::snapshot;
use host::{App, Host, Started};
use serde_json::Value;

/// Comes up when the gate is open, and ends as soon as its version is said to be ill.
const FICKLE: &str = "#!/bin/sh\nroot=${0%/active/*}\nversion=$(cat version)\n\
    while [ -e \"$root/gate\" ]; do sleep 0.05; done\nsystemd-notify --ready\n\
    while [ ! -e \"$root/ill-$version\" ]; do sleep 0.1; done\nexit 1\n";

/// Never says that it is up.
const HANGS: &str = "#!/bin/sh\nexec sleep infinity\n";

/// A build that waits at a gate of its own.
const BUILD: &str = "[build]\ncommands = [[\"sh\", \"-c\", \"touch $DEPLOYKIT_APP/building; \
    while [ -e $DEPLOYKIT_APP/build-gate ]; do sleep 0.05; done\"]]\n";

fn configure(host: &Host, app: &App, timers: &str, probation: &str) {
    let user = if app.manager == "system" { "user = \"app\"\n" } else { "" };
    host.configure(
        app,
        &format!(
            "{BUILD}[[service]]\nname = \"web\"\ncommand = [\"./fickle\"]\n{user}ready = \"notify\"\n\
             [timers]\n{timers}\n\
             [health]\ninterval = \"50ms\"\ndeadline = \"20s\"\n\
             [probation]\nduration = {probation:?}\n"
        ),
    );
}

/// An application whose first release serves and is confirmed.
fn shop(host: &Host, app: &App, timers: &str, probation: &str) {
    host.commit(app, "one", &[("fickle", FICKLE)]);
    configure(host, app, timers, "100ms");
    host.install(app);
    host.deploy(app);
    configure(host, app, timers, probation);
}

/// Begins to deploy a new version.
fn begin(host: &Host, app: &App, version: &str) -> Started {
    host.commit(app, version, &[]);
    host.start(app, &["deploy"])
}

/// Waits until it says this.
#[track_caller]
fn hears(started: &mut Started, text: &str) {
    let mut error = BufReader::new(started.child().stderr.as_mut().unwrap());
    let (mut line, mut said) = (String::new(), String::new());
    while error.read_line(&mut line).unwrap() > 0 {
        if line.contains(text) {
            return;
        }
        said.push_str(&std::mem::take(&mut line));
    }
    panic!("it never said {text:?}, but:\n{said}");
}

/// Waits until nothing is open any more, and looks that this is active and serves, that the
/// deployments ended so, and that no unit of the application has failed.
#[track_caller]
fn settles(host: &Host, app: &App, version: &str, outcomes: &[&str]) {
    let mut status = Value::Null;
    let settled = || {
        status = host.json(app, &["status"]);
        // Who has just let one lock go holds the other.
        let open = ["unfinished", "probation", "busy", "watching"];
        open.iter().all(|key| status[key] == Value::Null) && status["service"]["state"] == "running"
    };
    host.until("nothing is open any more", settled);
    assert_eq!(host.outcomes(app)[..outcomes.len()], *outcomes, "{status:#}");
    assert_eq!(host.version(app), version, "{status:#}");
    assert_eq!(status["service"]["instances"][0]["release"], status["active"]["id"], "{status:#}");
    let failed = systemctl(host, app, &["--failed", "--no-legend", "--plain"]);
    assert!(!failed.contains("web"), "{failed}");
}

/// Of the manager that runs the application.
fn systemctl(host: &Host, app: &App, arguments: &[&str]) -> String {
    match (&app.user, app.manager) {
        (Some(user), "user") => {
            let mut command = host.sandbox.command_as(user, "systemctl");
            let output = command.arg("--user").args(arguments).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
        }
        _ => host.systemctl(arguments),
    }
}

#[test]
fn after_a_kill_the_timer_confirms_what_is_well() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    shop(&host, &app, "recover = \"1s\"", "2s");

    // Before anything is activated.
    host.write("/srv/shop/build-gate", "");
    host.remove("/srv/shop/building");
    let killed = begin(&host, &app, "two");
    host.until("it builds", || host.exists("/srv/shop/building"));
    killed.kill(&host);
    settles(&host, &app, "one", &["failed", "deployed"]);
    host.remove("/srv/shop/build-gate");

    // Behind the switch of the link.
    let mut killed = begin(&host, &app, "three");
    hears(&mut killed, "active: ");
    killed.kill(&host);
    settles(&host, &app, "three", &["deployed", "failed"]);

    // While the service starts.
    host.write("/srv/shop/gate", "");
    let killed = begin(&host, &app, "four");
    host.until("it starts", || host.state("web.service") == "activating");
    killed.kill(&host);
    host.remove("/srv/shop/gate");
    settles(&host, &app, "four", &["deployed", "deployed", "failed"]);

    // While it is watched.
    let mut killed = begin(&host, &app, "five");
    hears(&mut killed, " is well");
    killed.kill(&host);
    let pid = host.pid("web.service");
    settles(&host, &app, "five", &["deployed", "deployed", "deployed", "failed"]);
    assert_eq!(host.pid("web.service"), pid, "what is well was restarted");
}

#[test]
fn after_a_kill_the_timer_leaves_what_is_ill() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    shop(&host, &app, "recover = \"1s\"", "20s");
    for version in ["two", "three"] {
        host.write(&format!("/srv/shop/ill-{version}"), "");
    }
    // Behind the switch of the link.
    let mut killed = begin(&host, &app, "two");
    hears(&mut killed, "active: ");
    killed.kill(&host);
    settles(&host, &app, "one", &["rolled-back", "deployed"]);

    // While the service starts.
    host.write("/srv/shop/gate", "");
    let killed = begin(&host, &app, "three");
    host.until("it starts", || host.state("web.service") == "activating");
    killed.kill(&host);
    host.remove("/srv/shop/gate");
    settles(&host, &app, "one", &["rolled-back", "rolled-back"]);

    // While it is watched, and well so far.
    let mut killed = begin(&host, &app, "four");
    hears(&mut killed, " is well");
    killed.kill(&host);
    host.write("/srv/shop/ill-four", "");
    settles(&host, &app, "one", &["rolled-back", "rolled-back", "rolled-back"]);
    host.run(&app, &["deploy"]).expect(1).says("marked bad");

    // On the way back.
    host.remove("/srv/shop/ill-four");
    let mut killed = begin(&host, &app, "five");
    hears(&mut killed, " is well");
    host.write("/srv/shop/gate", "");
    host.write("/srv/shop/ill-five", "");
    hears(&mut killed, "revert: done");
    host.until("the previous one starts", || host.state("web.service") == "activating");
    killed.kill(&host);
    host.remove("/srv/shop/gate");
    settles(&host, &app, "one", &["rolled-back", "rolled-back", "rolled-back", "rolled-back"]);
    // What the timer does is no failure of it.
    assert_eq!(host.systemctl(&["--failed", "--no-legend"]), "");
}

/// The start itself hangs: nobody would ever be told that it has failed.
#[test]
fn after_a_kill_a_start_that_never_ends_goes_back() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    shop(&host, &app, "recover = \"1s\"", "20s");
    let text = host.read("/srv/shop/deploykit.toml").replace("\"20s\"", "\"2s\"");
    host.write("/srv/shop/deploykit.toml", &text);
    // The previous one comes up without the gate.
    host.commit(&app, "two", &[("fickle", HANGS)]);
    let killed = host.start(&app, &["deploy"]);
    host.until("it starts", || host.state("web.service") == "activating");
    killed.kill(&host);
    settles(&host, &app, "one", &["rolled-back", "deployed"]);
    host.run(&app, &["deploy"]).expect(1).says("marked bad");
}

#[test]
fn after_a_loss_of_power_the_boot_decides() {
    let Some(mut host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    // The timer alone would not come to it within this test.
    shop(&host, &app, "recover = \"1h\"", "2s");

    // On probation, and well.
    let mut lost = begin(&host, &app, "two");
    hears(&mut lost, " is well");
    host.sandbox.power_off();
    drop(lost);
    host.sandbox.boot_again();
    assert_eq!(host.state("web.service"), "active");
    settles(&host, &app, "two", &["deployed", "deployed"]);

    // On probation, and ill since the boot.
    configure(&host, &app, "recover = \"1h\"", "20s");
    let mut lost = begin(&host, &app, "three");
    hears(&mut lost, " is well");
    host.sandbox.power_off();
    drop(lost);
    host.write("/srv/shop/ill-three", "");
    host.sandbox.boot_again();
    settles(&host, &app, "two", &["rolled-back", "deployed", "deployed"]);

    // The link is switched, and the service never came up.
    configure(&host, &app, "recover = \"1h\"", "100ms");
    host.write("/srv/shop/gate", "");
    let lost = begin(&host, &app, "four");
    host.until("it starts", || host.state("web.service") == "activating");
    host.sandbox.power_off();
    drop(lost);
    host.remove("/srv/shop/gate");
    host.sandbox.boot_again();
    settles(&host, &app, "four", &["deployed", "rolled-back", "deployed", "deployed"]);

    // Before the activation: nothing has changed but that somebody knows.
    host.write("/srv/shop/build-gate", "");
    host.remove("/srv/shop/building");
    let lost = begin(&host, &app, "five");
    host.until("it builds", || host.exists("/srv/shop/building"));
    host.sandbox.power_off();
    drop(lost);
    host.sandbox.boot_again();
    host.until("recover has ended", || {
        host.property("deploykit-recover@srv-shop.service", "ActiveState") == "inactive"
    });
    settles(&host, &app, "four", &["failed", "deployed"]);

    // Where nothing is open, a boot changes nothing.
    let before = (snapshot(&host.path("/srv/shop")).len(), host.json(&app, &["history"]));
    let journal = host.read("/srv/shop/.deploykit/journal");
    host.sandbox.boot_again();
    let unit = "deploykit-recover@srv-shop.service";
    host.until("recover has ended", || host.state(unit) == "inactive");
    assert_eq!(host.property(unit, "Result"), "success");
    assert_ne!(host.property(unit, "ExecMainExitTimestampMonotonic"), "0");
    assert_eq!(host.state("web.service"), "active");
    let after = (snapshot(&host.path("/srv/shop")).len(), host.json(&app, &["history"]));
    assert_eq!(before, after);
    assert_eq!(host.read("/srv/shop/.deploykit/journal"), journal);
}

#[test]
fn the_manager_of_a_user_decides_after_a_boot_too() {
    let Some(mut host) = Host::boot() else { return };
    host.sandbox.add_user("ann");
    let app = host.app_of("ann", "/home/ann/shop", "user");
    shop(&host, &app, "recover = \"1s\"", "20s");
    let mut lost = begin(&host, &app, "two");
    hears(&mut lost, " is well");
    host.sandbox.power_off();
    drop(lost);
    host.write("/home/ann/shop/ill-two", "");
    host.sandbox.boot_again();
    settles(&host, &app, "one", &["rolled-back", "deployed"]);
    // And after a kill.
    configure(&host, &app, "recover = \"1s\"", "1s");
    let mut killed = begin(&host, &app, "three");
    hears(&mut killed, " is well");
    killed.kill(&host);
    settles(&host, &app, "three", &["deployed", "rolled-back", "deployed"]);
}

#[test]
fn a_user_with_the_rule_that_the_check_gives_is_helped_by_timers_too() {
    let Some(host) = Host::boot() else { return };
    if !host.sandbox.has_polkit() {
        return;
    }
    let app = host.app_of("app", "/srv/shop", "system");
    host.commit(&app, "one", &[("fickle", FICKLE)]);
    configure(&host, &app, "recover = \"1s\"", "100ms");
    host.install(&app);
    let findings = host.json(&app, &["check"]);
    let of_rights = |finding: &&Value| finding["name"] == "permission";
    let hint =
        findings.as_array().unwrap().iter().find(of_rights).unwrap()["mend"].as_str().unwrap();
    let (told, rule) = hint.split_once(":\n").unwrap();
    let path = told.split(' ').find(|word| word.starts_with("/etc/")).unwrap();
    host.write(path, rule);
    host.sandbox.run("systemctl", &["restart", "polkit"]);
    host.sandbox.run("usermod", &["--append", "--groups", "systemd-journal", "app"]);
    host.run(&app, &["check"]).expect(0);
    host.deploy(&app);
    configure(&host, &app, "recover = \"1s\"", "20s");
    let mut killed = begin(&host, &app, "two");
    hears(&mut killed, " is well");
    killed.kill(&host);
    host.write("/srv/shop/ill-two", "");
    settles(&host, &app, "one", &["rolled-back", "deployed"]);
}

#[test]
fn a_timer_deploys_what_is_new_and_leaves_what_is_bad() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    shop(&host, &app, "poll = \"1s\"\njitter = \"0s\"", "100ms");
    let unit = "deploykit-poll@srv-shop.service";
    let looks_again = |times: usize| {
        for _ in 0..times {
            let last = host.property(unit, "ExecMainStartTimestampMonotonic");
            host.until("it looks again", || {
                host.property(unit, "ExecMainStartTimestampMonotonic") != last
                    && host.state(unit) != "active"
            });
        }
    };
    looks_again(1);
    assert_eq!(host.outcomes(&app), ["deployed"]);
    host.commit(&app, "two", &[]);
    host.until("it is deployed", || host.version(&app) == "two");
    settles(&host, &app, "two", &["deployed", "deployed"]);
    host.write("/srv/shop/ill-three", "");
    host.commit(&app, "three", &[]);
    host.until("it is left", || host.outcomes(&app).len() == 3);
    settles(&host, &app, "two", &["rolled-back", "deployed", "deployed"]);
    let pid = host.pid("web.service");
    looks_again(2);
    assert_eq!(host.outcomes(&app).len(), 3);
    assert_eq!(host.pid("web.service"), pid);
    host.commit(&app, "four", &[]);
    host.until("it is deployed", || host.version(&app) == "four");
    settles(&host, &app, "four", &["deployed", "rolled-back"]);
    // What it has done is told once, and nothing of looks that find nothing.
    let told = host.sandbox.run("journalctl", &["--output=cat", "-u", unit]);
    let count = |text: &str| told.matches(text).count();
    let deployed = (count("Deployed "), count("and rolled back:"));
    assert_eq!((deployed, count("Started deploykit")), ((2, 1), 0), "{told}");
    assert!(!told.contains("repeated too quickly"), "{told}");
}
