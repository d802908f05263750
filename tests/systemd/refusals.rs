//! What keeps a deployment from beginning: each with its own words, and nothing is touched.

use crate::machine::{App, GOOD, Machine, Ran, USER, until};

/// Deploys, and sees that the one before is left alone.
#[track_caller]
fn refused(app: &App<'_>, hash: &str, why: &str, hint: &str) -> Ran {
    let pid = app.machine.property("web", "MainPID");
    let ran = app.run(&["deploy", hash]).expect(1).says(why).says(hint);
    app.assert_serves("one");
    assert_eq!(app.machine.property("web", "MainPID"), pid);
    ran
}

#[test]
fn a_unit_that_cannot_be_started_as_it_is_is_told_before_anything_is_touched() {
    for machine in Machine::both() {
        let app = machine.app("web", 8080);
        app.served("notify", "Restart=always");
        app.deploy_good("one");
        let two = app.commit("two", GOOD);
        let ctl = machine.systemctl_words();

        let good = app.unit_text("notify", "Restart=always");
        machine.unit_file("web.service", &format!("{good}# changed\n"));
        let why = "the file of the unit web.service was changed since systemd has read it";
        refused(&app, &two, why, &format!("`{ctl} daemon-reload`"));

        machine.unit("web.service", "[Service]\nType=notify\nExecStart=not/absolute\n");
        let why = "systemd cannot load the unit web.service";
        refused(&app, &two, why, "`systemd-analyze verify web.service`");

        // A file of that name would be in the way.
        machine.remove_unit("web.service");
        machine.systemctl(&["mask", "web"]);
        let why = "the unit web.service is masked";
        refused(&app, &two, why, &format!("`{ctl} unmask web.service`"));
        machine.systemctl(&["unmask", "web"]);

        machine.systemctl(&["daemon-reload"]);
        let missing = "there is no unit web.service";
        refused(&app, &two, missing, &format!("run `{ctl} daemon-reload`"));

        machine.unit("web.service", &good);
        let name = match machine.is_a_users() {
            false => "DBUS_SYSTEM_BUS_ADDRESS",
            true => "DBUS_SESSION_BUS_ADDRESS",
        };
        let mut command = app.command(&["deploy", &two]);
        let ran = Ran::from(command.env(name, "unix:path=/nowhere").output().unwrap());
        ran.expect(1).says("bus cannot be reached at unix:path=/nowhere").says("hint:");
        app.assert_serves("one");
        app.run(&["deploy", &two]).expect(0);
        app.assert_serves("two");
    }
}

#[test]
fn a_unit_file_that_changes_meanwhile_keeps_nothing_from_going_back() {
    let Some(machine) = Machine::boot() else { return };
    let app = machine.app("web", 8080);
    app.served("notify", "Restart=always");
    app.deploy_good("one");
    let ran = app.deploy_bad("echo '# x' >> /etc/systemd/system/web.service; exit 7", "one");
    ran.says("it runs as it was before");
}

#[test]
fn a_user_without_the_right_to_is_shown_the_rule_that_gives_it() {
    let Some(machine) = Machine::boot() else { return };
    let uid = machine.sandbox.add_user(USER);
    let app = machine.app("web", 8080);
    app.served("notify", "Restart=always");
    app.deploy_good("one");
    // From now on it is the user's, but for the unit.
    machine.sandbox.run("chown", &["-R", USER, app.root.as_str()]);
    let two = app.commit("two", GOOD);
    let deploy = || -> Ran {
        let mut command = machine.command_of(USER, uid, env!("CARGO_BIN_EXE_deploykit"));
        command.current_dir(&app.root).args(["deploy", &two]).output().unwrap().into()
    };
    let rule = |ran: &Ran| {
        let rule = ran.stderr.split_once("polkit.addRule(").expect("a rule").1;
        let end = rule.find("});").expect("its end") + 3;
        let lines = rule[..end].lines().map(str::trim_start).collect::<Vec<_>>();
        let path = ran.stderr.split_once("write this rule to ").expect("where to").1;
        let path = path.split_once(' ').expect("a path").0.trim_start_matches('/').to_owned();
        (path, format!("polkit.addRule({}\n", lines.join("\n")))
    };
    let ran = deploy().expect(1).says("deploy may not").says("web.service");
    app.assert_serves("one");
    let (path, text) = rule(&ran);
    assert!(path.starts_with("etc/polkit-1/rules.d/"), "{path}");
    if machine.sandbox.has_polkit() {
        std::fs::write(machine.sandbox.root().join(&path), text).unwrap();
        // It notices new rules by itself, some time.
        machine.systemctl(&["restart", "polkit"]);
        until("the rule holds", || deploy().code == Some(0));
        app.assert_serves("two");
    }
    machine.sandbox.remove_polkit();
    let three = app.commit("three", GOOD);
    let mut command = machine.command_of(USER, uid, env!("CARGO_BIN_EXE_deploykit"));
    let ran = command.current_dir(&app.root).args(["deploy", &three]).output().unwrap();
    Ran::from(ran).expect(1).says("deploy may not").says("polkit.addRule").never_says("masked");
}
