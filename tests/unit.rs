//! Unit files, through the program and in a real systemd: what they say, and what runs by them.

mod common;
#[path = "common/host.rs"]
mod host;

use std::collections::BTreeSet;

use host::{Host, QUICK};

/// Values that mean something to systemd, to a shell, or to a terminal.
const ODD: [&str; 13] = [
    "a b",
    "100%",
    "%i%n",
    "$HOME ${PATH}",
    "q\"u'o`te",
    "back\\slash",
    "end\\",
    "ünï ✓",
    "",
    "a;b",
    ";",
    "~",
    "tab\there",
];

/// Every key of a service is in one of these.
const FULL: &str = r#"
[[service]]
name = "full"
command = ["./serve", ARGUMENTS]
description = "all of it: 100% $HOME {x} \\"
user = "app"
group = "games"
umask = "0077"
env = { ENVIRONMENT }
env_files = ["secret.env", "-missing.env"]
stop_signal = "SIGHUP"
stop_timeout = "7s"
start_timeout = "9s"
restart_delay = "300ms"
restart = "on-failure"
limits = { open_files = 5000, stack = "4MiB", memory = "64MiB", tasks = 50, cpu = 150 }
stdout = "/srv/shop/out.log"
stderr = "null"
network = { deny = ["any"], allow = ["localhost", "10.0.0.0/8"] }
writable = ["my data"]
after = ["bare", "network-online.target"]
requires = ["many"]
directives.Service.Nice = "5"
directives.Unit.Documentation = "https://example.org/"

[[service]]
name = "many"
command = ["./serve", "number {instance}"]
user = "app"
count = 2
listen = ["127.0.0.1:810{instance}", "/run/many-{instance}.sock"]

[[service]]
name = "bare"
command = ["./run"]
user = "app"
dir = "sub"
hardening = "none"
on_deploy = "reload"
reload = ["kill", "-HUP", "$MAINPID"]

[[service]]
name = "stubborn"
command = ["./stubborn"]
user = "app"
stop_timeout = "200ms"

[[service]]
name = "watched"
command = ["./watched"]
user = "app"
ready = "notify"
watchdog = "1s"

[[service]]
name = "once"
command = ["./once"]
user = "app"
ready = "exit"
"#;

const STUBBORN: &str = "#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 60; done\n";

const RELOADED: &str =
    "#!/bin/sh\ntrap 'touch /tmp/reloaded' HUP\nwhile :; do sleep 60 & wait; done\n";

/// Reports that it is up, and then that it is well, until it is told to be silent.
const WATCHED: &str = "#!/bin/sh\nsystemd-notify --ready\n\
    while [ ! -e /srv/shop/silent ]; do systemd-notify WATCHDOG=1; sleep 0.2; done\nsleep 60\n";

fn full() -> String {
    let quoted = ODD.map(|odd| serde_json::Value::from(odd).to_string());
    let set: Vec<_> =
        quoted.iter().enumerate().map(|(at, odd)| format!("ODD{at} = {odd}")).collect();
    FULL.replace("ARGUMENTS", &quoted.join(", ")).replace("ENVIRONMENT", &set.join(", "))
}

/// A host on which all of [`FULL`] runs.
fn shop() -> Option<(Host, host::App)> {
    let host = Host::boot()?;
    let app = host.app("/srv/shop");
    host.commit(
        &app,
        "one",
        &[
            ("sub/run", RELOADED),
            ("stubborn", STUBBORN),
            ("watched", WATCHED),
            ("once", "#!/bin/sh\nexit 0\n"),
        ],
    );
    host.configure(&app, &format!("{}{QUICK}", full()));
    host.write("/srv/shop/secret.env", "FROM_FILE=\"in a file\"\nQUOTED='a \"b\"'\n# no\n");
    host.write("/srv/shop/my data/there", "");
    host.install(&app);
    host.deploy(&app);
    Some((host, app))
}

#[test]
fn what_a_service_says_is_what_systemd_runs() {
    let Some((host, app)) = shop() else { return };
    is_well_formed(&host);
    arguments_and_environment(&host);
    process(&host, &app);
    properties(&host);
    ends(&host, &app);
}

/// systemd has nothing to say against the files, and rates those with the default hardening at
/// least as OK.
fn is_well_formed(host: &Host) {
    for file in host.unit_files().iter().filter(|file| !file.contains('/')) {
        // Of a template, an instance: the one that systemd would take has no number.
        let instance = if file.starts_with("many@") { "@2." } else { "@srv-shop." };
        let path = format!("/etc/systemd/system/{}", file.replace("@.", instance));
        let output =
            host.sandbox.command("systemd-analyze").args(["verify", &path]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(String::from_utf8_lossy(&said), "", "{file}");
    }
    let rating = |unit: &str| {
        let text = host.sandbox.run("systemd-analyze", &["--no-pager", "security", unit]);
        text.lines().last().unwrap_or_default().to_owned()
    };
    for unit in ["full", "many@1", "watched"] {
        let line = rating(&format!("{unit}.service"));
        assert!(line.contains(" OK ") || line.contains(" SAFE "), "{line}");
    }
    assert!(rating("bare.service").contains("UNSAFE"));
}

fn arguments_and_environment(host: &Host) {
    let arguments = host.of_process("full.service", "cmdline");
    let arguments: Vec<&str> = arguments.split('\0').collect();
    assert_eq!(arguments[2..2 + ODD.len()], ODD);
    let environment = host.of_process("full.service", "environ");
    let is_set = |set: &str| environment.split('\0').any(|one| one == set);
    for (at, odd) in ODD.iter().enumerate() {
        let set = format!("ODD{at}={odd}");
        assert!(is_set(&set), "{set:?} in {environment:?}");
    }
    for set in ["FROM_FILE=in a file", "QUOTED=a \"b\"", "USER=app", "HOME=/home/app"] {
        assert!(is_set(set), "{set} in {environment:?}");
    }
    let of_instance = host.of_process("many@2.service", "cmdline");
    assert_eq!(of_instance.split('\0').nth(2), Some("number 2"));
    assert_eq!(
        host.property("full.service", "Description"),
        "all of it: 100% $HOME {x} \\",
        "{}",
        host.read("/etc/systemd/system/full.service")
    );
}

/// What the kernel says of the processes.
fn process(host: &Host, app: &host::App) {
    let of = |unit: &str, file: &str, key: &str| {
        let text = host.of_process(unit, file);
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    let uid = host.sandbox.run("id", &["-u", "app"]).trim().to_owned();
    let games = host.sandbox.run("getent", &["group", "games"]);
    let games = games.split(':').nth(2).unwrap();
    assert_eq!(of("full.service", "status", "Uid:"), format!("Uid: {uid} {uid} {uid} {uid}"));
    assert!(of("full.service", "status", "Gid:").starts_with(&format!("Gid: {games} ")));
    assert_eq!(of("full.service", "status", "Umask:"), "Umask: 0077");
    assert_eq!(of("bare.service", "status", "Umask:"), "Umask: 0027");
    assert_eq!(of("full.service", "status", "NoNewPrivs:"), "NoNewPrivs: 1");
    assert_eq!(of("bare.service", "status", "NoNewPrivs:"), "NoNewPrivs: 0");
    assert_eq!(of("full.service", "status", "Seccomp:"), "Seccomp: 2");
    assert_eq!(of("full.service", "limits", "Max open files"), "Max open files 5000 5000 files");
    // The host may allow less, and then systemd takes that.
    assert_eq!(host.property("many@1.service", "LimitNOFILE"), "65536");
    let stack = 4 << 20;
    assert_eq!(
        of("full.service", "limits", "Max stack size"),
        format!("Max stack size {stack} {stack} bytes")
    );
    assert_eq!(host.directory("full.service"), host.release(app));
    assert_eq!(host.directory("bare.service"), format!("{}/sub", host.release(app)));
    assert_eq!(versions(host), ["serving one"]);
    assert!(host.path("/run/many-2.sock").exists());
}

/// What `full` has written into its file. What it requires restarts it, too: once a release is a must.
fn versions(host: &Host) -> Vec<String> {
    let mut lines: Vec<_> = host.read("/srv/shop/out.log").lines().map(str::to_owned).collect();
    lines.dedup();
    lines
}

/// What systemd says of the units.
fn properties(host: &Host) {
    for (unit, name, value) in [
        ("full", "MemoryMax", "67108864"),
        ("full", "TasksMax", "50"),
        ("full", "CPUQuotaPerSecUSec", "1.500000s"),
        ("full", "IPAddressDeny", "0.0.0.0/0 ::/0"),
        ("full", "IPAddressAllow", "10.0.0.0/8 127.0.0.0/8 ::1/128"),
        ("full", "ReadWritePaths", "\"-/srv/shop/my data\""),
        ("full", "TimeoutStopUSec", "7s"),
        ("full", "TimeoutStartUSec", "9s"),
        ("full", "RestartUSec", "300ms"),
        ("full", "Restart", "on-failure"),
        ("full", "KillSignal", "1"),
        ("full", "Nice", "5"),
        ("full", "Documentation", "https://example.org/"),
        ("full", "UnitFileState", "enabled"),
        ("watched", "WatchdogUSec", "1s"),
        ("watched", "Type", "notify"),
        ("once", "Type", "oneshot"),
        ("many@1", "Restart", "always"),
        ("bare", "CanReload", "yes"),
    ] {
        let told = host.property(&format!("{unit}.service"), name);
        // Of several, systemd keeps no order.
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(words(&told), words(value), "{name} of {unit}");
    }
    for (list, expected) in [
        ("After", &["bare.service", "many@1.service", "network-online.target"][..]),
        ("Requires", &["many@1.service", "many@2.service"]),
    ] {
        let units = host.property("full.service", list);
        for unit in expected {
            assert!(units.split(' ').any(|one| one == *unit), "{list}: {units}");
        }
    }
}

/// How the services end, and what becomes of them then.
fn ends(host: &Host, app: &host::App) {
    // A reload keeps the process; one that does not want to end is killed after its time.
    let (bare, stubborn) = (host.pid("bare.service"), host.pid("stubborn.service"));
    host.commit(app, "two", &[]);
    host.deploy(app);
    assert_ne!(host.pid("stubborn.service"), stubborn);
    assert_eq!(versions(host), ["serving one", "serving two"]);
    assert_eq!(host.pid("bare.service"), bare);
    host.until("it has been told", || host.exists("/tmp/reloaded"));

    let watched = host.pid("watched.service");
    host.write("/srv/shop/silent", "");
    host.until("the watchdog bites", || host.property("watched.service", "NRestarts") != "0");
    host.remove("/srv/shop/silent");
    host.until("it runs again", || host.property("watched.service", "SubState") == "running");
    assert_ne!(host.pid("watched.service"), watched);
    let said = host.sandbox.run("journalctl", &["-u", "watched", "--output=cat"]);
    assert!(said.contains("Watchdog timeout"), "{said}");
}

/// One server for each common runtime, and what uses git.
const RUNTIMES: &str = r#"
[[service]]
name = "py"
command = ["/usr/bin/python3", "-m", "http.server", "8201"]
user = "app"

[[service]]
name = "js"
command = ["node", "server.js"]
user = "app"

[[service]]
name = "jvm"
command = ["java", "Main.java"]
user = "app"

[[service]]
name = "vcs"
command = ["sh", "-c", "cd /tmp && git init -q a && git -C a commit -qm x --allow-empty && git clone -q a b"]
user = "app"
env = { GIT_AUTHOR_NAME = "a", GIT_AUTHOR_EMAIL = "a", GIT_COMMITTER_NAME = "a", GIT_COMMITTER_EMAIL = "a" }
ready = "exit"

[health]
deadline = "60s"
interval = "100ms"
start_delay = "0s"
[[health.check]]
type = "http"
url = "http://localhost:8201/version"
[[health.check]]
type = "http"
url = "http://localhost:8202/"
body = "6765"
[[health.check]]
type = "http"
url = "http://localhost:8203/"
body = "6765"
[probation]
duration = "1s"
"#;

/// Computes on another thread, often enough for it to be compiled.
const NODE: &str = r#"
const { Worker, isMainThread, parentPort } = require("worker_threads");
if (!isMainThread) {
  const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2));
  for (let i = 0; i < 200; i++) fib(20);
  parentPort.postMessage(fib(20));
} else {
  require("os").networkInterfaces();
  require("http").createServer((_, answer) => {
    new Worker(__filename).on("message", (n) => answer.end(String(n)));
  }).listen(8202);
}
"#;

const JAVA: &str = r#"
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;

public class Main {
    static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

    public static void main(String[] args) throws Exception {
        for (int i = 0; i < 2000; i++) fib(20);
        HttpServer server = HttpServer.create(new InetSocketAddress(8203), 0);
        server.createContext("/", exchange -> {
            byte[] text = String.valueOf(fib(20)).getBytes();
            exchange.sendResponseHeaders(200, text.length);
            exchange.getResponseBody().write(text);
            exchange.close();
        });
        server.start();
    }
}
"#;

#[test]
fn common_runtimes_work_as_they_are_hardened() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    host.commit(&app, "one", &[("server.js", NODE), ("Main.java", JAVA)]);
    host.configure(&app, RUNTIMES);
    host.install(&app);
    host.deploy(&app);
    for (unit, state) in [("py", "running"), ("js", "running"), ("jvm", "running"), ("vcs", "dead")]
    {
        let unit = format!("{unit}.service");
        assert_eq!(host.property(&unit, "SubState"), state, "{unit}");
        assert_eq!(host.property(&unit, "Result"), "success", "{unit}");
        assert_eq!(host.property(&unit, "NRestarts"), "0", "{unit}");
    }
}

/// Writes where it may, and where it may not.
const WRITER: &str = "#!/bin/sh\ncat /home/app/shop/config && echo data >/home/app/shop/shared/data || exit 1\n\
    ! echo x >/home/app/other || exit 2\n! echo x >/etc/other || exit 3\n\
    sleep infinity & wait\n";

#[test]
fn an_application_in_a_home_reads_the_home_and_writes_its_own_directory() {
    let Some(host) = Host::boot() else { return };
    let app = host.app_of("app", "/home/app/shop", "system");
    host.commit(&app, "one", &[("writer", WRITER)]);
    host.configure(
        &app,
        &format!("[[service]]\nname = \"web\"\ncommand = [\"./writer\"]\n{QUICK}"),
    );
    host.write("/home/app/shop/config", "configured\n");
    host.sandbox.run("install", &["-d", "-o", "app", "/home/app/shop/shared"]);
    host.install(&app);
    host.run_as_root(&app, &["deploy"]).expect(0);
    assert_eq!(host.property("web.service", "User"), "app");
    assert_eq!(host.read("/home/app/shop/shared/data"), "data\n");
    let said = host.sandbox.run("journalctl", &["-u", "web", "--output=cat"]);
    assert!(said.contains("configured"), "{said}");
}

#[test]
fn the_manager_of_a_user_runs_services_in_the_same_way() {
    let Some(host) = Host::boot() else { return };
    let uid = host.sandbox.add_user("ann");
    let app = host.app_of("ann", "/home/ann/my shop", "user");
    let service = "command = [\"./serve\", \"a b\"]\nlisten = [\"/home/ann/web.sock\"]\n";
    host.configure(&app, &format!("[[service]]\nname = \"web\"\n{service}{QUICK}"));
    host.install(&app);
    let verify = "cd ~/.config/systemd/user && for unit in web.service web.socket deploykit-recover@*.d; do \
        systemd-analyze verify --user \"${unit%.d}\" 2>&1; done; systemctl --user is-enabled web.socket";
    let user = |script: &str| {
        let output = host.sandbox.command_as("ann", "sh").args(["-c", script]).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    host.deploy(&app);
    assert_eq!(user(verify), "enabled\n");
    host.run(&app, &["unit", "diff"]).expect(0);
    let pid = user("systemctl --user show --value -p MainPID web");
    let pid = pid.trim();
    let told =
        host.sandbox.run("cat", &[&format!("/proc/{pid}/cmdline"), &format!("/proc/{pid}/status")]);
    assert!(told.contains("serve\0a b\0") && told.contains("NoNewPrivs:\t1"), "{told:?}");
    let directory = host.sandbox.run("readlink", &[&format!("/proc/{pid}/cwd")]);
    assert_eq!(directory.trim_end(), host.release(&app));
    host.run(&app, &["logs"]).expect(0).tells("web: serving one");
    host.run(&app, &["check"]).expect(0).tells("the manager of ann always runs");
    host.sandbox.run("loginctl", &["disable-linger", "ann"]);
    host.run(&app, &["check"]).expect(10).tells("`loginctl enable-linger ann`");
    host.sandbox.run("loginctl", &["enable-linger", "ann"]);
    host.sandbox.run("systemctl", &["start", &format!("user@{uid}")]);
    host.run(&app, &["unit", "remove", "--yes"]).expect(0);
    assert_eq!(user("systemctl --user is-active web.service web.socket"), "inactive\ninactive\n");
}
