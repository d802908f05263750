//! Services behind a socket unit: nobody who connects while they are restarted is refused.

use crate::machine::{App, Load, Machine, QUICK, Seen, long, tell};

fn listening<'a>(machine: &'a Machine, more: &str) -> App<'a> {
    let app = machine.app("web", 8080);
    let unit = app.unit_text("notify", more);
    let unit = format!("{unit}Environment=SOCKET=yes\nStandardInput=socket\n");
    let unit = format!("{unit}StandardOutput=journal\nStandardError=journal\n");
    machine.unit_file("web.service", &format!("{unit}[Unit]\nRequires=web.socket\n"));
    machine.unit("web.socket", "[Socket]\nListenStream=127.0.0.1:8080\n");
    app.configure(&format!(
        "[systemd]\nunits = [\"web.socket\", \"web\"]\n{QUICK}[[health.check]]\ntype = \"http\"\n\
         url = \"http://127.0.0.1:8080/\"\n[probation]\nduration = \"100ms\"\n"
    ));
    app
}

#[track_caller]
fn all_were_answered(seen: Seen, at_least: u64) {
    assert!(seen.answered > at_least, "{seen:?}");
    assert_eq!((seen.refused, seen.broken), (0, 0), "{seen:?}");
}

#[test]
fn nobody_is_refused_while_releases_change() {
    for machine in Machine::both() {
        let app = listening(&machine, "Restart=always");
        app.deploy_good("0");
        let clients = Load::start(&app, &[8080], 2, None);
        let last = if machine.is_a_users() { 3 } else { 5 };
        for version in 1..=last {
            app.deploy_good(&version.to_string());
        }
        let seen = clients.end();
        tell(&format!("{seen:?}, the slowest after {} ms", seen.slowest));
        all_were_answered(seen, 100);
    }
}

#[test]
fn nobody_is_refused_while_a_bad_release_is_rolled_back() {
    let Some(machine) = Machine::boot() else { return };
    // With its limits systemd closes a socket soon whose service dies whenever somebody connects.
    let app = listening(&machine, "Restart=always\n[Unit]\nStartLimitIntervalSec=0\n[Service]");
    let socket = "[Socket]\nListenStream=127.0.0.1:8080\nTriggerLimitIntervalSec=0\n";
    machine.unit("web.socket", socket);
    app.deploy_good("one");
    let clients = Load::start(&app, &[8080], 2, None);
    for service in ["exit 7", "systemd-notify --ready; sleep 0.2; exit 7"] {
        app.deploy_bad(service, "one");
    }
    app.deploy_good("two");
    // Of those who reached the bad release some were answered by nobody.
    let seen = clients.end();
    assert_eq!(seen.refused, 0, "{seen:?}");
    machine.nothing_has_failed();
}

/// 1,000 requests a second across 50 deployments: `DEPLOYKIT_LONG_TESTS=1`.
#[test]
fn a_thousand_requests_a_second_are_answered_across_fifty_deployments() {
    if !long() {
        return;
    }
    let Some(machine) = Machine::boot() else { return };
    let app = listening(&machine, "Restart=always");
    app.deploy_good("0");
    let (begun, clients) = (std::time::Instant::now(), Load::start(&app, &[8080], 64, Some(1000)));
    for version in 1..=50 {
        app.deploy_good(&version.to_string());
    }
    let (seen, seconds) = (clients.end(), begun.elapsed().as_secs_f64());
    tell(&format!("50 deployments in {seconds:.1} s: {seen:?}"));
    all_were_answered(seen, 10_000);
}

#[test]
fn a_socket_that_has_given_up_is_opened_again() {
    let Some(machine) = Machine::boot() else { return };
    let app = listening(
        &machine,
        "Restart=no\n[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=1\n[Service]",
    );
    app.deploy_good("one");
    machine.systemctl(&["kill", "--signal=KILL", "web"]);
    let client = Load::start(&app, &[8080], 1, None);
    crate::machine::until("the socket has given up", || {
        machine.property("web.socket", "ActiveState") == "failed"
    });
    client.end();
    app.deploy_good("two");
    assert_eq!(machine.property("web.socket", "ActiveState"), "active");
    machine.nothing_has_failed();
}
