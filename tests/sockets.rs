//! Sockets that systemd opens for a service, and the directory that it works in, through the program and
//! in a real systemd.

mod common;
#[path = "common/host.rs"]
mod host;

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use host::{Host, QUICK, Started};
use serde_json::Value;

/// Answers every connection of its sockets with its version. When it is asked to end, it has
/// answered whatever it has accepted.
const SERVER: &str = r#"#!/usr/bin/python3
import os, select, signal, socket, sys
if os.path.exists("crash"):
    sys.exit(7)
ending = []
signal.signal(signal.SIGTERM, lambda *_: ending.append(1))
wake, waker = os.pipe()
os.set_blocking(waker, False)
signal.set_wakeup_fd(waker)
sockets = [socket.socket(fileno=3 + n) for n in range(int(os.environ["LISTEN_FDS"]))]
version = open("version").read().encode()
while not ending:
    for ready in select.select(sockets + [wake], [], [])[0]:
        if ready != wake:
            one, _ = ready.accept()
            one.sendall(version)
            one.close()
"#;

/// Connects again and again until the file is there, and tells what came of it.
const HAMMER: &str = r#"
import json, os, socket, sys
made = refused = unanswered = 0
seen = []
while not os.path.exists(sys.argv[2]):
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30) as one:
            text = one.recv(100).decode()
        made += 1
        if not text:
            unanswered += 1
        elif not seen or seen[-1] != text:
            seen.append(text)
    except OSError as error:
        refused += 1
print(json.dumps({"made": made, "refused": refused, "unanswered": unanswered, "seen": seen}))
"#;

fn hammer(host: &Host, port: &str, until: &str) -> Started {
    let mut command = host.sandbox.command("/usr/bin/python3");
    command.args(["-c", HAMMER, port, until]).stdin(Stdio::null()).stdout(Stdio::piped());
    Started::new(command.stderr(Stdio::piped()).spawn().unwrap())
}

fn stop(host: &Host, hammer: Started, until: &str) -> Value {
    host.write(until, "");
    let ran = hammer.wait().expect(0);
    host.remove(until);
    ran.value()
}

/// What a service says to whoever connects.
fn answer(host: &Host, port: u16) -> String {
    let script = "import socket,sys\nprint(socket.create_connection(('127.0.0.1', int(sys.argv[1])))\
        .recv(100).decode(), end='')";
    host.sandbox.run("/usr/bin/python3", &["-c", script, &port.to_string()])
}

fn web(more: &str) -> String {
    format!(
        "[[service]]\nname = \"web\"\ncommand = [\"./server\"]\nuser = \"app\"\n{more}\n{QUICK}"
    )
}

#[test]
fn no_connection_is_refused_while_releases_come_and_go() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    host.commit(&app, "v0", &[("server", SERVER)]);
    host.configure(&app, &web("listen = [\"127.0.0.1:8101\", \"/run/web/web.sock\"]"));
    host.install(&app);
    host.deploy(&app);
    assert_eq!(host.sandbox.run("stat", &["-c", "%U %a", "/run/web/web.sock"]), "app 660\n");
    let hammering = hammer(&host, "8101", "/srv/enough");
    for version in ["v1", "v2", "v3", "v4", "v5"] {
        host.commit(&app, version, &[("server", SERVER)]);
        host.deploy(&app);
    }
    // Nor while one crashes again and again, and is left.
    host.commit(&app, "ill", &[("crash", "")]);
    host.run(&app, &["deploy"]).expect(3);
    let told = stop(&host, hammering, "/srv/enough");
    assert_eq!((&told["refused"], &told["unanswered"]), (&0.into(), &0.into()), "{told}");
    let expected = ["v0", "v1", "v2", "v3", "v4", "v5"];
    assert_eq!(told["seen"], Value::from(expected.to_vec()), "{told}");

    // A changed address: the old one is closed, the new one open.
    host.git(&app, &["rm", "-q", "crash"]);
    host.configure(&app, &web("listen = [\"8102\", \"/run/web/web.sock\"]"));
    host.commit(&app, "v6", &[]);
    host.deploy(&app);
    assert_eq!(answer(&host, 8102), "v6");
    let mut text = String::new();
    let path = host.path("/run/web/web.sock");
    UnixStream::connect(path).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "v6");
    let listening = host.systemctl(&["show", "--value", "-p", "Listen", "web.socket"]);
    assert!(!listening.contains("8101"), "{listening}");
    host.run(&app, &["unit", "remove", "-y"]).expect(0);
    assert!(!host.exists("/run/web/web.sock"));
}

#[test]
fn every_instance_of_a_template_has_a_socket_of_its_own() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    host.commit(&app, "v0", &[("server", SERVER)]);
    let of =
        |count: u32| web(&format!("count = {count}\nlisten = [\"127.0.0.1:811{{instance}}\"]"));
    host.configure(&app, &of(1));
    host.install(&app);
    // Before anything is deployed, there is nothing to connect to: nobody is left waiting.
    host.systemctl(&["start", "web@1.socket"]);
    assert_eq!(host.state("web@1.socket"), "inactive");
    host.deploy(&app);
    let hammering = hammer(&host, "8111", "/srv/enough");
    host.configure(&app, &of(2));
    host.commit(&app, "v1", &[]);
    host.deploy(&app);
    assert_eq!((answer(&host, 8111), answer(&host, 8112)), ("v1".into(), "v1".into()));
    host.configure(&app, &of(1));
    host.commit(&app, "v2", &[]);
    host.deploy(&app);
    let told = stop(&host, hammering, "/srv/enough");
    assert_eq!((&told["refused"], &told["unanswered"]), (&0.into(), &0.into()), "{told}");
    assert_eq!(host.state("web@2.socket"), "inactive");
    assert_eq!(host.state("web@2.service"), "inactive");
}

#[test]
fn a_crash_loop_does_not_close_the_socket_for_good() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    // Far more often than systemd would take it of a socket without being told.
    let crashing = "#!/bin/sh\nif [ -e /srv/shop/crash ]; then exit 7; fi\nexec ./answer\n";
    host.commit(&app, "v0", &[("server", crashing), ("answer", SERVER)]);
    host.configure(&app, &web("listen = [\"127.0.0.1:8101\"]\nrestart_delay = \"0s\""));
    host.install(&app);
    host.deploy(&app);
    host.write("/srv/shop/crash", "");
    host.systemctl(&["kill", "--signal=KILL", "web.service"]);
    let hammering = hammer(&host, "8101", "/srv/enough");
    host.until("it has crashed many times", || {
        host.property("web.service", "NRestarts").parse::<u32>().unwrap() > 50
            || host.state("web.socket") == "failed"
    });
    host.remove("/srv/shop/crash");
    assert_eq!(host.state("web.socket"), "active");
    host.until("it answers again", || host.property("web.service", "SubState") == "running");
    let told = stop(&host, hammering, "/srv/enough");
    assert_eq!((&told["refused"], &told["unanswered"]), (&0.into(), &0.into()), "{told}");
}

#[test]
fn a_process_stays_where_it_was_started_and_the_next_one_starts_where_the_link_leads() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    let service = "[[service]]\nname = \"web\"\ncommand = [\"./serve\"]\nuser = \"app\"\n\
        restart_delay = \"0s\"\n";
    host.configure(&app, &format!("{service}{QUICK}"));
    host.install(&app);
    host.deploy(&app);
    let one = host.release(&app);
    assert_eq!(host.property("web.service", "WorkingDirectory"), "/srv/shop/active");
    assert_eq!(host.directory("web.service"), one);
    host.commit(&app, "two", &[]);
    host.deploy(&app);
    let two = host.release(&app);
    assert_eq!(host.directory("web.service"), two);
    // The link alone moves: the process knows nothing of it, and keeps its directory.
    let link = host.path("/srv/shop/active");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(one.strip_prefix("/srv/shop/").unwrap(), &link).unwrap();
    let pid = host.pid("web.service");
    assert_eq!((host.release(&app), host.directory("web.service")), (one.clone(), two));
    // systemd resolves it anew at every start, that after a crash included.
    host.systemctl(&["kill", "--signal=KILL", "web.service"]);
    host.until("it runs again", || {
        let now = host.property("web.service", "MainPID");
        now != "0" && now != pid.to_string()
    });
    assert_eq!(host.directory("web.service"), one);
}
