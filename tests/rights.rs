//! What users other than root may, and what a deployment does where they may not: it says so before
//! anything is activated.

mod common;
#[path = "common/host.rs"]
mod host;

use std::time::{SystemTime, UNIX_EPOCH};

use host::{App, Host, QUICK};

fn service(name: &str, more: &str) -> String {
    format!("[[service]]\nname = {name:?}\ncommand = [\"./serve\"]\nuser = \"app\"\n{more}\n")
}

/// Lets a user handle these units.
fn allow(host: &Host, user: &str, units: &[&str]) {
    let rule = format!(
        "polkit.addRule(function(action, subject) {{\n\
         if (action.id == \"org.freedesktop.systemd1.manage-units\" && subject.user == {user:?} &&\n\
         {units:?}.indexOf(action.lookup(\"unit\")) >= 0) {{ return polkit.Result.YES; }} }});\n"
    );
    host.write("/etc/polkit-1/rules.d/50-test.rules", &rule);
    host.systemctl(&["restart", "polkit"]);
}

/// An application of an ordinary user, whose units root has installed; nothing if there is no polkit.
fn shop(services: &str) -> Option<(Host, App)> {
    let host = Host::boot()?;
    if !host.sandbox.has_polkit() {
        return None;
    }
    host.sandbox.run("useradd", &["--create-home", "bob"]);
    let app = host.app_of("bob", "/srv/shop", "system");
    host.configure(&app, &format!("{services}{QUICK}"));
    host.run_as_root(&app, &["unit", "install"]).expect(0);
    Some((host, app))
}

#[test]
fn a_unit_that_a_user_may_not_handle_is_known_before_anything_is_activated() {
    let services = format!("{}{}", service("one", ""), service("two", "count = 2"));
    let Some((host, app)) = shop(&services) else { return };
    // None of them runs, or is even loaded.
    let told = host.run(&app, &["deploy"]).expect(1).says("bob may not restart one.service");
    assert!(!host.exists("/srv/shop/active"), "{}", told.stderr);
    for (units, missing) in [
        (&["one.service"][..], "two@1.service"),
        (&["one.service", "two@1.service"], "two@2.service"),
    ] {
        allow(&host, "bob", units);
        host.run(&app, &["check"]).expect(10).tells(&format!("bob may not restart {missing}"));
        host.run(&app, &["deploy"]).expect(1).says(&format!("bob may not restart {missing}"));
        assert!(!host.exists("/srv/shop/active"));
    }
    allow(&host, "bob", &["one.service", "two@1.service", "two@2.service"]);
    host.run(&app, &["deploy"]).expect(0);
    assert_eq!(host.state("two@2"), "active");
    // What he may not write he is told of, and that nothing was lost by it.
    host.configure(&app, &format!("{services}{}{QUICK}", service("three", "")));
    host.commit(&app, "two", &[]);
    let ran = host.run(&app, &["deploy"]).expect(1).says("there is no unit three.service");
    ran.says("sudo deploykit unit install");
    assert_eq!(host.version(&app), "one");
}

#[test]
fn a_directory_that_the_user_of_a_service_cannot_enter_is_known_before_anything_is_activated() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/closed/shop");
    host.configure(&app, &format!("{}{QUICK}", service("web", "")));
    host.install(&app);
    host.deploy(&app);
    let pid = host.pid("web");
    host.sandbox.run("chmod", &["700", "/srv/closed"]);
    let told = "web.service runs as app, who may not enter /srv/closed (mode 700)";
    host.run(&app, &["check"]).expect(10).tells(told);
    host.commit(&app, "two", &[]);
    host.run(&app, &["deploy"]).expect(1).says(told).says("chmod o+x");
    host.sandbox.run("chmod", &["755", "/srv/closed"]);
    host.commit(&app, "three", &[]);
    // A release that only its maker may enter.
    let mut command = host.sandbox.command("sh");
    let run = format!("umask 077 && exec deploykit --directory {} deploy", app.root);
    let output = command.args(["-c", &run]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("may not enter /srv/closed/shop/releases/"), "{error}");
    assert!(error.contains("umask 022"), "{error}");
    assert_eq!((host.pid("web"), host.version(&app)), (pid, "one".to_owned()));
    // It is nobody's fault.
    host.run(&app, &["deploy", "--rebuild"]).expect(0);
    assert_eq!(host.version(&app), "three");
}

#[test]
fn no_release_is_removed_in_which_a_process_may_work_that_cannot_be_looked_at() {
    let reload = "reload = [\"/bin/kill\", \"-USR1\", \"$MAINPID\"]\non_deploy = \"reload\"";
    let keep = "[releases]\nkeep = 1\n";
    let Some((host, app)) = shop(&format!("{}{keep}", service("web", reload))) else { return };
    allow(&host, "bob", &["web.service"]);
    let serve = "#!/bin/sh\ntrap : USR1\ntrap 'exit 0' TERM\nwhile :; do sleep 0.1; done\n";
    for version in ["one", "two", "three", "four", "five"] {
        host.commit(&app, version, &[("serve", serve)]);
        host.deploy(&app);
        // One moment for the traps.
        host.until("it takes signals", || {
            host.of_process("web", "status").lines().any(|line| {
                let caught = line.strip_prefix("SigCgt:").map(str::trim);
                caught
                    .and_then(|mask| u64::from_str_radix(mask, 16).ok())
                    .is_some_and(|mask| mask & 0x200 != 0)
            })
        });
        // What was made in the second in which the process began may be what it works in.
        if version == "one" {
            let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let begun = second();
            host.until("another second", || second() > begun);
        }
    }
    let works = host.directory("web");
    assert!(host.exists(&works), "{works} is gone");
    let left = std::fs::read_dir(host.path("/srv/shop/releases")).unwrap().count();
    assert!(left < 5, "what was made since is removed: {left}");
}

#[test]
fn the_timers_are_not_given_a_program_that_their_user_cannot_run() {
    let Some(host) = Host::boot() else { return };
    let app = host.app_of("app", "/srv/shop", "system");
    host.configure(&app, &format!("{}{QUICK}", service("web", "")));
    host.sandbox.run("cp", &[host::PROGRAM, "/root/deploykit"]);
    let mut command = host.sandbox.command("/root/deploykit");
    let output = command.args(["--directory", &app.root, "unit", "install"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("/root/deploykit as app, who may not: /root"), "{error}");
    assert!(error.contains("/usr/local/bin/deploykit unit install"), "{error}");
    assert_eq!(host.unit_files(), [""; 0]);
}

#[test]
fn what_root_installs_for_an_ordinary_user_starts_at_boot_and_what_that_user_leaves_does_not() {
    let services = |more: &str, count: u32| {
        format!("{}{more}{QUICK}", service("web", &format!("count = {count}")))
    };
    let Some((host, app)) = shop(&service("web", "count = 2")) else { return };
    allow(&host, "bob", &["web@1.service", "web@2.service", "new.service"]);
    host.run(&app, &["deploy"]).expect(0);
    host.configure(&app, &services(&service("new", ""), 1));
    host.run_as_root(&app, &["unit", "install"]).expect(0);
    assert_eq!(host.state("web@2"), "active", "the active release has it");
    host.commit(&app, "two", &[]);
    host.run(&app, &["deploy"]).expect(0);
    let state = |unit: &str| (host.state(unit), host.property(unit, "UnitFileState"));
    assert_eq!(state("new"), ("active".into(), "enabled".into()));
    assert_eq!(state("web@2"), ("inactive".into(), "enabled".into()));
    host.run(&app, &["check"]).expect(10).tells("unit web@2.service");
    host.run_as_root(&app, &["unit", "install"]).expect(0);
    assert_eq!(state("web@2"), ("inactive".into(), "disabled".into()));
    assert_eq!(state("web@1"), ("active".into(), "enabled".into()));
}

#[test]
fn whoever_gets_into_a_directory_in_another_way_is_not_refused() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/closed/shop");
    host.sandbox.run("groupadd", &["shopdata"]);
    host.sandbox.run("chgrp", &["shopdata", "/srv/closed"]);
    host.sandbox.run("chmod", &["750", "/srv/closed"]);
    let own = format!(
        "[Service]\nUser=app\nSupplementaryGroups=shopdata\nWorkingDirectory={0}/active\n\
         ExecStart={0}/active/serve\n",
        app.root
    );
    host.write("/etc/systemd/system/own.service", &own);
    host.systemctl(&["daemon-reload"]);
    host.write(
        &format!("{}/deploykit.toml", app.root),
        &format!("repo.url = {:?}\nsystemd.unit = \"own\"\n{QUICK}", app.repo),
    );
    host.run(&app, &["deploy"]).expect(0);
    let directives = "directives.Service.SupplementaryGroups = \"shopdata\"";
    host.configure(&app, &format!("{}{QUICK}", service("web", directives)));
    host.commit(&app, "two", &[]);
    host.run(&app, &["deploy"]).expect(0);
    assert_eq!((host.state("web"), host.state("own")), ("active".into(), "inactive".into()));
}
