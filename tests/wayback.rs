//! There is always a way back: whatever has changed of the services between two releases, and whatever was
//! done to the unit files meanwhile.

mod common;
#[path = "common/host.rs"]
mod host;

use host::{App, Host, QUICK};

/// Ends at once.
const BAD: (&str, &str) = ("serve", "#!/bin/sh\nexit 1\n");

/// One whose code takes a new release over when it is told to, and tells which it has.
const RELOADS: &str = "#!/bin/sh\ntold() { cat /srv/shop/active/version > /srv/shop/shared-$1; }\n\
    trap 'told $1' HUP\ntrap 'exit 0' TERM\ntold $1\nwhile :; do sleep 0.05; done\n";

fn service(name: &str, more: &str) -> String {
    format!("[[service]]\nname = {name:?}\ncommand = [\"./serve\"]\nuser = \"app\"\n{more}\n")
}

fn configure(host: &Host, app: &App, services: &[String]) {
    host.configure(app, &format!("{}{QUICK}", services.concat()));
}

fn deploy_bad(host: &Host, app: &App, code: i32) {
    host.commit(app, "bad", &[BAD]);
    host.run(app, &["deploy"]).expect(code);
    host.commit(app, "better", &[("serve", host::SERVE)]);
}

/// Whether it is started at boot.
fn enabled(host: &Host, unit: &str) -> String {
    host.property(unit, "UnitFileState")
}

#[test]
fn a_deployment_makes_the_units_that_are_missing_and_a_way_back_too() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    configure(&host, &app, &[service("old", ""), service("many", "count = 2")]);
    host.run(&app, &["deploy"]).expect(0).says("old.service was made");
    assert_eq!((host.state("old"), enabled(&host, "old")), ("active".into(), "enabled".into()));
    // Whoever installs what is to come ends nothing of what serves.
    let pids = [host.pid("old"), host.pid("many@1"), host.pid("many@2")];
    configure(&host, &app, &[service("new", "listen = [\"8101\"]"), service("many", "")]);
    let told = host.json(&app, &["unit", "install"]);
    assert_eq!(told["stopped"].as_array().unwrap().len(), 0, "{told}");
    assert_eq!([host.pid("old"), host.pid("many@1"), host.pid("many@2")], pids);
    assert_eq!(enabled(&host, "new"), "disabled", "no release has it yet");
    host.run(&app, &["check"]).expect(10).tells("old.service");

    deploy_bad(&host, &app, 3);
    for unit in ["old", "many@1", "many@2"] {
        assert_eq!((host.state(unit), enabled(&host, unit)), ("active".into(), "enabled".into()));
    }
    for unit in ["new", "new.socket", "many"] {
        assert_eq!(
            (host.state(unit), enabled(&host, unit)),
            ("inactive".into(), "disabled".into())
        );
    }
    // Over to the new ones, and back again although their files are gone.
    host.deploy(&app);
    for unit in ["old", "many@1", "many@2"] {
        assert_eq!(
            (host.state(unit), enabled(&host, unit)),
            ("inactive".into(), "disabled".into())
        );
    }
    assert_eq!(
        (host.state("new.socket"), enabled(&host, "new")),
        ("active".into(), "enabled".into())
    );
    for file in ["old.service", "many@.service"] {
        host.remove(&format!("/etc/systemd/system/{file}"));
    }
    host.run(&app, &["rollback"]).expect(0).says("old.service was made");
    assert_eq!(host.version(&app), "one");
    for unit in ["old", "many@1", "many@2"] {
        assert_eq!((host.state(unit), enabled(&host, unit)), ("active".into(), "enabled".into()));
    }
    assert_eq!(
        (host.state("new.socket"), host.state("many")),
        ("inactive".into(), "inactive".into())
    );
}

#[test]
fn what_a_changed_configuration_has_added_ends_with_its_probation() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    let with = |services: &[String], probation: &str| {
        configure(&host, &app, services);
        let path = format!("{}/deploykit.toml", app.root);
        let text = host.read(&path).replace("\"100ms\"", &format!("{probation:?}"));
        host.write(&path, &text);
    };
    with(&[service("web", "")], "100ms");
    host.deploy(&app);
    host.commit(&app, "two", &[]);
    host.deploy(&app);
    with(&[service("web", ""), service("extra", "")], "20s");
    let deploying = host.start(&app, &["deploy"]);
    host.until("it is on probation", || host.state("extra") == "active");
    host.run(&app, &["rollback"]).expect(0);
    let _ = deploying.wait();
    assert_eq!((host.version(&app), host.state("extra")), ("one".into(), "inactive".into()));
    assert_eq!(enabled(&host, "extra"), "disabled");
}

#[test]
fn one_backend_leaves_nothing_to_the_other() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    // Both want the same thing: whoever is second fails.
    let takes = "#!/bin/sh\nmkdir /srv/shop/taken || exit 1\ntrap 'rmdir /srv/shop/taken; exit 0' TERM\n\
        sleep infinity &\nwait\n";
    host.sandbox.run("chmod", &["777", "/srv/shop"]);
    let commands = "[service]\n\
        start = [\"sh\", \"-c\", \"setsid ./serve >/dev/null 2>&1 & echo $! > $DEPLOYKIT_APP/pid\"]\n\
        stop = [\"sh\", \"-c\", \"kill $(cat $DEPLOYKIT_APP/pid); while [ -e $DEPLOYKIT_APP/taken ]; do sleep 0.05; done\"]\n\
        status = [\"test\", \"-e\", \"/srv/shop/taken\"]\n";
    host.commit(&app, "one", &[("serve", takes)]);
    let path = format!("{}/deploykit.toml", app.root);
    host.write(&path, &format!("repo.url = {:?}\n{commands}{QUICK}", app.repo));
    host.deploy(&app);
    configure(&host, &app, &[service("web", "")]);
    host.commit(&app, "two", &[]);
    host.run(&app, &["deploy"]).expect(0);
    assert_eq!(host.state("web"), "active");
    host.run(&app, &["rollback"]).expect(0);
    assert_eq!((host.state("web"), enabled(&host, "web")), ("inactive".into(), "disabled".into()));
    assert_eq!(host.version(&app), "one");
    assert!(host.exists("/srv/shop/taken"), "the commands have started it");
}

#[test]
fn a_unit_of_the_distribution_is_never_taken() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    let theirs = "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
    for name in ["theirs.service", "many@.service"] {
        host.write(&format!("/lib/systemd/system/{name}"), theirs);
    }
    host.systemctl(&["daemon-reload"]);
    host.systemctl(&["enable", "--now", "theirs", "many@eth0", "many@7"]);
    let pids = || ["theirs", "many@eth0", "many@7"].map(|unit| host.pid(unit));
    let before = pids();
    for (name, more) in [("theirs", ""), ("many", "count = 2")] {
        configure(&host, &app, &[service(name, more)]);
        for arguments in [&["deploy"][..], &["unit", "install"]] {
            host.run(&app, arguments).expect(1).says(name).says("give it another one");
        }
        host.run(&app, &["check"]).expect(10);
    }
    assert_eq!(pids(), before);
    assert!(
        !host
            .unit_files()
            .iter()
            .any(|file| file.ends_with("@.service") || file == "theirs.service")
    );
    // By one's own word it may be hidden; what is not a number is nobody's instance.
    host.run(&app, &["unit", "install", "--force"]).expect(0);
    assert_eq!((host.pid("many@eth0"), enabled(&host, "many@eth0")), (before[1], "enabled".into()));
}

#[test]
fn a_service_that_reloads_is_restarted_on_the_way_back() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    host.sandbox.run("chmod", &["777", "/srv/shop"]);
    let commit = |version: &str| host.commit(&app, version, &[("serve", RELOADS)]);
    let reload = "reload = [\"/bin/kill\", \"-HUP\", \"$MAINPID\"]\non_deploy = \"reload\"\n";
    let health =
        "[[health.check]]\ntype = \"exec\"\ncommand = [\"sh\", \"-c\", \"! grep bad version\"]\n";
    for (more, name, unit) in [("", "a", "a"), ("count = 2", "b", "b@1")] {
        let command = format!(
            "command = [\"./serve\", \"{}\"]",
            if more.is_empty() { "a" } else { "{instance}" }
        );
        let one = service(name, &format!("{reload}{more}"));
        let one = one.replace("command = [\"./serve\"]", &command);
        host.configure(&app, &format!("{one}{health}{}", QUICK.replace("5s", "2s")));
        commit(&format!("good {name}"));
        host.deploy(&app);
        let file = if more.is_empty() { "/srv/shop/shared-a" } else { "/srv/shop/shared-1" };
        let tells = |version: &str| {
            host.until("it has it", || host.exists(file) && host.read(file).trim() == version);
        };
        tells(&format!("good {name}"));
        let again = format!("good {name} again");
        commit(&again);
        let pid = host.pid(unit);
        host.deploy(&app);
        tells(&again);
        assert_eq!(host.pid(unit), pid, "it was reloaded");
        // A process that is in the release to which it goes back, and has taken over another.
        host.remove(file);
        host.systemctl(&["restart", unit]);
        tells(&again);
        let pid = host.pid(unit);
        commit("bad");
        host.run(&app, &["deploy"]).expect(3);
        tells(&again);
        assert_ne!(host.pid(unit), pid);
        let pid = host.pid(unit);
        host.run(&app, &["restart"]).expect(0);
        assert_ne!(host.pid(unit), pid, "a person wants it restarted");
    }
}

#[test]
fn start_limits_of_a_socket_block_no_way_back() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    let root = &app.root;
    host.write(
        "/etc/systemd/system/own.service",
        &format!(
            "[Service]\nUser=app\nRestart=on-failure\nWorkingDirectory={root}/active\n\
             ExecStart={root}/active/serve\n"
        ),
    );
    host.write("/etc/systemd/system/own.socket", "[Socket]\nListenStream=127.0.0.1:8110\n");
    host.systemctl(&["daemon-reload"]);
    let text = format!(
        "repo.url = {:?}\nsystemd.units = [\"own.socket\", \"own\"]\n{}",
        app.repo,
        QUICK.replace("[health]", "[health]\nrestarts = 20").replace("100ms", "1s")
    );
    host.write(&format!("{root}/deploykit.toml"), &text);
    host.deploy(&app);
    for round in 0..2 {
        deploy_bad(&host, &app, 3);
        assert_eq!(
            (host.state("own.socket"), host.state("own")),
            ("active".into(), "active".into())
        );
        // Somebody has started the service without its socket: it is closed, and systemd opens it for
        // no service that runs.
        if round == 0 {
            host.systemctl(&["stop", "own.socket", "own.service"]);
            host.write("/run/systemd/system/own.service.d/x.conf", "[Service]\nSockets=\n");
            host.systemctl(&["daemon-reload"]);
            host.systemctl(&["start", "own.service"]);
            host.systemctl(&["stop", "own.socket"]);
            host.run(&app, &["restart"]).expect(0);
            assert_eq!(host.state("own.socket"), "active");
        }
    }
}

/// Stops the bus, and starts it again; systemd itself is asked by its own socket meanwhile.
fn bus(host: &Host, verb: &str) {
    host.systemctl(&[verb, "dbus.socket", "dbus.service"]);
}

#[test]
fn while_the_bus_is_away_nothing_is_said_of_the_release() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    let configure = |deadline: &str| {
        let health = QUICK.replace("100ms", "4s").replace("5s", deadline);
        host.configure(&app, &format!("{}{health}", service("web", "")));
    };
    configure("20s");
    host.deploy(&app);
    host.commit(&app, "two", &[]);
    let deploying = host.start(&app, &["deploy"]);
    host.until("it is on probation", || {
        host.version(&app) == "two" && host.state("web") == "active"
    });
    let pid = host.pid("web");
    std::thread::sleep(std::time::Duration::from_millis(500));
    bus(&host, "stop");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    bus(&host, "start");
    deploying.wait().expect(0);
    assert_eq!((host.version(&app), host.pid("web")), ("two".to_owned(), pid));

    // For longer than it may take to be well: a person, or the timer, looks when it is back.
    configure("1s");
    host.commit(&app, "three", &[]);
    let deploying = host.start(&app, &["deploy"]);
    host.until("it is on probation", || {
        host.version(&app) == "three" && host.state("web") == "active"
    });
    std::thread::sleep(std::time::Duration::from_millis(500));
    bus(&host, "stop");
    deploying.wait().expect(5).says("cannot be reached");
    bus(&host, "start");
    host.run(&app, &["check"]).expect(10).tells("deploykit recover");
    host.run(&app, &["recover"]).expect(0);
    assert_eq!(host.version(&app), "three");
    assert_eq!(host.outcomes(&app)[0], "deployed");
}

#[test]
fn several_that_start_slowly_are_each_given_their_time_after_a_kill() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    let slow = "#!/bin/sh\nsleep 0.8\nsystemd-notify --ready\nexec sleep infinity\n";
    for (name, count) in [("several", "count = 3"), ("a", "")] {
        let others = ["b", "c"].map(|name| service(name, "ready = \"notify\""));
        let others = if count.is_empty() { others.concat() } else { String::new() };
        let of_all = service(name, &format!("ready = \"notify\"\n{count}"));
        let health = QUICK.replace("5s", "2s");
        host.configure(&app, &format!("{of_all}{others}{health}"));
        host.commit(&app, &format!("{name} one"), &[("serve", slow)]);
        host.deploy(&app);
        host.commit(&app, &format!("{name} two"), &[("serve", slow)]);
        let killed = host.start(&app, &["deploy"]);
        let first = if count.is_empty() { "a" } else { "several@1" };
        host.until("it starts", || {
            host.version(&app).ends_with("two") && host.state(first) == "activating"
        });
        killed.kill(&host);
        host.run(&app, &["recover"]).expect(0);
        assert_eq!(host.version(&app), format!("{name} two"));
    }
}

#[test]
fn what_reloads_is_restarted_when_it_is_to_run_otherwise() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    let of = |mode: &str| {
        let reload = "reload = [\"/bin/true\"]\non_deploy = \"reload\"\n";
        service("web", &format!("{reload}env = {{ MODE = {mode:?} }}"))
    };
    configure(&host, &app, &[of("old")]);
    host.deploy(&app);
    let mode = || host.of_process("web", "environ").split('\0').any(|one| one == "MODE=old");
    assert!(mode());
    // A new release by another description, which ends at once: no reload would show it.
    configure(&host, &app, &[of("new")]);
    deploy_bad(&host, &app, 3);
    assert!(mode(), "it is back, description and all");
    host.deploy(&app);
    assert!(!mode());
    // The same release by another description.
    configure(&host, &app, &[of("old")]);
    host.deploy(&app);
    assert!(mode());
}

#[test]
fn an_installation_ends_nothing_that_serves_and_breaks_nothing_that_it_needs() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    let (plain, listening) = (service("web", ""), service("web", "listen = [\"8121\"]"));
    configure(&host, &app, std::slice::from_ref(&plain));
    host.install(&app);
    host.deploy(&app);
    let file = host.read("/etc/systemd/system/web.service");
    let install = |service: &String| {
        configure(&host, &app, std::slice::from_ref(service));
        let told = host.json(&app, &["unit", "install"]);
        assert_eq!(told["stopped"].as_array().unwrap().len(), 0, "{told}");
    };
    install(&listening);
    let pid = host.pid("web");
    host.systemctl(&["kill", "--signal=KILL", "web"]);
    host.until("it runs again", || host.state("web") == "active" && host.pid("web") != pid);
    install(&service("other", ""));
    install(&plain);
    assert_eq!(host.state("web"), "active");
    assert_eq!(host.read("/etc/systemd/system/web.service"), file, "what serves is as it was");
    let pid = host.pid("web");
    host.systemctl(&["kill", "--signal=KILL", "web"]);
    host.until("it runs again", || host.state("web") == "active" && host.pid("web") != pid);
    // What somebody has changed is not lost with what nobody needs.
    configure(&host, &app, &[service("extra", "")]);
    host.run(&app, &["unit", "install"]).expect(0);
    let extra = "/etc/systemd/system/extra.service";
    let edited = host.read(extra).replace("UMask=0027", "UMask=0022");
    host.write(extra, &edited);
    install(&plain);
    assert_eq!(host.read(&format!("{extra}.before-deploykit")), edited);
    assert!(!host.exists(extra));
}

#[test]
fn a_previous_release_that_ends_again_and_again_does_not_count_as_back() {
    let Some(host) = Host::boot() else { return };
    let app = host.app("/srv/shop");
    let text = format!("{}{}", service("web", ""), QUICK.replace("100ms", "1s"));
    host.configure(&app, &text);
    // It runs well once.
    let serve =
        "#!/bin/sh\n[ ! -e /srv/shop/ill ] || { sleep 0.2; exit 1; }\nexec sleep infinity\n";
    host.commit(&app, "one", &[("serve", serve)]);
    host.deploy(&app);
    host.write("/srv/shop/ill", "");
    host.commit(&app, "bad", &[BAD]);
    host.run(&app, &["deploy"]).expect(5).says("is not well either");
    host.run(&app, &["check"]).expect(10).tells("is not served");
}
