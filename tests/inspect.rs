//! `check` and `logs`, through the program and in a real systemd.

mod common;
#[path = "common/host.rs"]
mod host;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;

use host::{App, Host, QUICK};
use nix::sys::signal::Signal;
use serde_json::Value;

const WEB: &str = "[[service]]\nname = \"web\"\ncommand = [\"./serve\"]\nuser = \"app\"\n";

/// A unit as a person writes it.
fn written_by_hand(directory: &str) -> String {
    format!(
        "[Service]\nType=exec\nUser=app\n{directory}\nExecStart=/srv/hand/active/serve\n\
         [Install]\nWantedBy=multi-user.target\n"
    )
}

/// What `check` has found under a name: how bad it is, what, why, and what mends it.
#[track_caller]
fn finding(host: &Host, app: &App, name: &str) -> (String, String) {
    let ran = host.run(app, &["check", "--json"]);
    let all = ran.value();
    let found = all.as_array().unwrap().iter().find(|finding| finding["name"] == *name);
    let found = found.unwrap_or_else(|| panic!("nothing of {name:?} in {all:#}"));
    let severity = found["severity"].as_str().unwrap().to_owned();
    let is_fine = |finding: &Value| finding["severity"] == "fine";
    let expected = if all.as_array().unwrap().iter().all(is_fine) { 0 } else { 10 };
    assert_eq!(ran.code, Some(expected), "{ran}");
    let texts = ["found", "why", "mend"].map(|key| found[key].as_str().unwrap_or_default());
    (severity, texts.join("\n"))
}

#[track_caller]
fn finds(host: &Host, app: &App, name: &str, severity: &str, texts: &[&str]) {
    let (found, told) = finding(host, app, name);
    assert_eq!(found, severity, "{name}: {told}");
    for text in texts {
        assert!(told.contains(text), "no {text:?} in {name}: {told}");
    }
}

#[test]
fn a_check_of_units_from_the_configuration_tells_what_is_to_be_mended_and_how() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    host.configure(&app, &format!("{WEB}{QUICK}"));
    let unit = "unit web.service";
    finds(&host, &app, "unit files", "warning", &["web.service is missing", "next deployment"]);
    finds(&host, &app, "recovery", "warning", &["is not active", "unit install"]);
    host.install(&app);
    host.deploy(&app);
    let fine = host.run(&app, &["check"]).expect(0).tells("All is in order.");
    fine.tells("systemd 2").tells("active (running)").tells("recover@srv-shop.timer is active");

    host.systemctl(&["disable", "web"]);
    finds(&host, &app, unit, "warning", &["disabled", "boots", "`systemctl enable web.service`"]);
    host.systemctl(&["enable", "web"]);
    host.systemctl(&["stop", "deploykit-recover@srv-shop.timer"]);
    finds(&host, &app, "recovery", "warning", &["is not active", "loss of power"]);
    host.systemctl(&["start", "deploykit-recover@srv-shop.timer"]);

    let path = "/etc/systemd/system/web.service";
    let text = host.read(path);
    host.write(path, &text.replace("UMask=0027", "UMask=0022"));
    finds(&host, &app, "unit files", "warning", &["changed by hand", "`deploykit unit diff`"]);
    host.write(path, &text);
    host.configure(&app, &format!("{}{QUICK}", WEB.replace("web", "new")));
    finds(&host, &app, "unit files", "warning", &["new.service is missing", "next deployment"]);
    finds(&host, &app, unit, "warning", &["no service of the configuration", "runs"]);
    host.configure(&app, &format!("{WEB}{QUICK}[timers]\npoll = \"1h\"\n"));
    finds(&host, &app, "polling", "warning", &["is not active", "unit install"]);
    host.install(&app);
    finds(&host, &app, "polling", "fine", &["deploykit-poll@srv-shop.timer is active"]);
    host.configure(&app, &format!("{WEB}{QUICK}"));
    finds(&host, &app, "polling", "warning", &["is active, though", "unit install"]);
    host.install(&app);
    host.configure(&app, &format!("{WEB}umask = \"0022\"\n{QUICK}"));
    finds(&host, &app, "unit files", "warning", &["says something else", "unit install"]);
    host.configure(&app, &format!("{WEB}{QUICK}"));

    host.remove(path);
    symlink("/dev/null", host.path(path)).unwrap();
    host.systemctl(&["daemon-reload"]);
    finds(&host, &app, unit, "error", &["is masked", "`systemctl unmask web.service`"]);
    host.write("/etc/systemd/system/no.service", "");
    host.remove(path);
    host.write(path, &text.replace("Type=exec", "Type=wrong"));
    host.write(path, &text.replace("[Service]", "[Service]\nExecStart=no/path"));
    host.write(path, "[Service]\nExecStart=no/path\n");
    host.systemctl(&["daemon-reload"]);
    finds(&host, &app, unit, "error", &["cannot load", "systemd-analyze verify"]);

    let mut command = host.command(&app, &["check"]);
    let output = command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(10), "{told}");
    assert!(
        told.contains("error    bus") && told.contains("is this host run by systemd"),
        "{told}"
    );
}

#[test]
fn a_check_of_a_unit_written_by_hand_knows_where_it_works() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/hand");
    host.configure(&app, &format!("systemd.unit = \"hand\"\n{QUICK}"));
    let unit = "unit hand.service";
    finds(
        &host,
        &app,
        unit,
        "error",
        &["no unit", "/etc/systemd/system/hand.service", "[[service]]"],
    );
    let write = |directory: &str| {
        host.sandbox.write_unit("hand.service", &written_by_hand(directory));
    };
    write("WorkingDirectory=/srv/hand/active");
    host.systemctl(&["enable", "hand"]);
    host.deploy(&app);
    finds(&host, &app, unit, "fine", &["active (running)"]);
    write("");
    finds(
        &host,
        &app,
        unit,
        "warning",
        &["no WorkingDirectory", "WorkingDirectory=/srv/hand/active"],
    );
    write(&format!("WorkingDirectory={}", host.release(&app)));
    finds(&host, &app, unit, "error", &["which is one release", "whatever is deployed"]);
    write("WorkingDirectory=/home/app");
    finds(&host, &app, unit, "warning", &["it works in /home/app, not in /srv/hand/active"]);
    // Another name of the same place.
    symlink("/srv/hand", host.path("/srv/alias")).unwrap();
    write("WorkingDirectory=-/srv/alias/active");
    finds(&host, &app, unit, "fine", &["active (running)"]);
    host.write(
        "/etc/systemd/system/hand.service",
        &written_by_hand("WorkingDirectory=/srv/hand/active"),
    );
    finds(&host, &app, unit, "error", &["changed since", "`systemctl daemon-reload`"]);
    host.sandbox.write_unit(
        "hand.socket",
        "[Socket]\nListenStream=8301\n[Install]\nWantedBy=sockets.target\n",
    );
    host.systemctl(&["stop", "hand.service"]);
    host.systemctl(&["start", "hand.socket"]);
    finds(
        &host,
        &app,
        unit,
        "warning",
        &["hand.socket", "units = [\"hand.socket\", \"hand.service\"]"],
    );
}

#[test]
fn a_check_and_the_logs_tell_what_an_ordinary_user_may_not() {
    let Some(host) = Host::boot() else { return };
    host.sandbox.run("useradd", &["--create-home", "bob"]);
    let app = host.app_of("bob", "/srv/shop", "system");
    host.configure(&app, &format!("{WEB}{QUICK}"));
    host.install(&app);
    host.run_as_root(&app, &["deploy"]).expect(0);
    host.sandbox.run("chown", &["-R", "bob:bob", "/srv/shop"]);
    finds(
        &host,
        &app,
        "permission",
        "error",
        &["bob may not", "polkit.addRule", "\"web.service\""],
    );
    let mend = "usermod --append --groups systemd-journal bob";
    finds(&host, &app, "journal", "warning", &["bob may not read the journal", mend]);
    host.run(&app, &["logs"]).expect(1).says("bob may not read the journal").says(mend);
    host.sandbox.run("usermod", &["--append", "--groups", "systemd-journal", "bob"]);
    finds(&host, &app, "journal", "fine", &["can be read"]);
    host.run(&app, &["logs"]).expect(0).tells("web: serving one");
}

/// Says what it is told to, line by line.
const TALKER: &str = "#!/bin/sh\necho \"$1 up\"\necho \"$1 err\" >&2\nmkfifo \"/run/say/$1\"\n\
    while :; do cat \"/run/say/$1\"; done\n";

#[test]
fn logs_tell_who_has_said_what_and_follow_until_they_are_ended() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    host.sandbox.run("install", &["-d", "-o", "app", "/run/say"]);
    host.commit(&app, "one", &[("talk", TALKER)]);
    host.configure(
        &app,
        &format!(
            "[[service]]\nname = \"web\"\ncommand = [\"./talk\", \"web{{instance}}\"]\nuser = \"app\"\ncount = 2\n\
             [[service]]\nname = \"worker\"\ncommand = [\"./talk\", \"worker\"]\nuser = \"app\"\n{QUICK}"
        ),
    );
    host.install(&app);
    host.deploy(&app);
    let say = |whom: &str, text: &str| {
        host.until("it listens", || host.exists(&format!("/run/say/{whom}")));
        let script = "printf '%s' \"$2\" >\"/run/say/$1\"";
        host.sandbox.run("sh", &["-c", script, "sh", whom, text]);
    };
    for number in 1..=5 {
        say("web1", &format!("line {number}\n"));
    }
    say("worker", "something else\n");
    say("web2", &format!("bad \u{1b}[31mred and {}\n", "long".repeat(20_000)));
    host.sandbox.run("journalctl", &["--sync"]);
    let said = |arguments: &[&str]| {
        let ran = host.run(&app, &[&["logs", "--json"], arguments].concat()).expect(0);
        let lines = ran.lines().into_iter().filter(|line| line["by"] != "systemd");
        lines.map(|line| line["line"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let all = said(&[]);
    for line in ["web1 up", "web1 err", "web2 up", "worker up", "line 5", "something else"] {
        assert!(all.iter().any(|one| one == line), "{line}: {all:?}");
    }
    // The journal cuts it at 48 KiB.
    assert!(all.iter().any(|line| line.len() > 40_000));
    assert_eq!(said(&["-n", "2", "web@1"]), ["line 4", "line 5"]);
    assert_eq!(said(&["-n", "1", "worker"]), ["something else"]);
    assert!(said(&["web"]).iter().any(|line| line == "web2 up"));
    assert_eq!(said(&["--since", "1h", "-n", "0", "worker"]).last().unwrap(), "something else");
    assert_eq!(said(&["--since", "2099-01-01T00:00:00Z"]), [""; 0]);
    let text = host.run(&app, &["logs", "-n", "3", "web@2"]).expect(0);
    assert!(text.stdout.contains("web@2: bad ") && !text.stdout.contains('\u{1b}'));
    let unknown = host.run(&app, &["logs", "nobody"]).expect(1);
    unknown.says("no service nobody").says("web@1, web@2, worker");

    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut following = host.start(&app, &["logs", "-f", "-n", "1", "worker"]);
        let mut lines = BufReader::new(following.child().stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("worker: "));
        for number in 1..=3 {
            say("worker", &format!("new {number}\n"));
            let line = lines.next().unwrap().unwrap();
            assert!(line.ends_with(&format!("worker: new {number}")), "{line}");
        }
        following.signal(&host, signal);
        let ended = following.wait();
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(code), ""), "{signal}");
        assert!(lines.next().is_none());
    }
}
