//! Several units, instances of a template, and applications beside each other.

use crate::machine::{App, GOOD, Load, Machine, QUICK};

/// Runs the service at the port of its instance: 8081 for 1.
fn instances<'a>(machine: &'a Machine, name: &str) -> App<'a> {
    let app = machine.app(name, 8081);
    let unit = app.unit_text("notify", "Restart=always").replace("PORT=8081", "PORT=808%i");
    machine.unit("app@.service", &unit);
    let quick = QUICK.replace("\"3s\"", "\"1500ms\"");
    app.configure(&format!(
        "[systemd]\nunits = [\"app@1\", \"app@2\"]\n{quick}[[health.check]]\ntype = \"http\"\n\
         url = \"http://127.0.0.1:808{{instance}}/\"\n[probation]\nduration = \"300ms\"\n"
    ));
    app
}

#[test]
fn units_are_brought_over_in_their_order_and_stopped_in_the_other() {
    for machine in Machine::both() {
        let app = machine.app("app", 8080);
        for name in ["web", "worker", "clock"] {
            let log = format!(
                "ExecStartPre=/bin/sh -c 'echo +{name} >> $APP/order'\nExecStopPost=/bin/sh -c 'echo -{name} >> $APP/order'"
            );
            let unit = app
                .unit_text("exec", &log)
                .replace("sh ./service", &format!("sh ./service {name}"));
            machine.unit(&format!("{name}.service"), &unit);
        }
        app.configure(&format!(
            "[systemd]\nunits = [\"worker\", \"web\", \"clock\"]\n{QUICK}[probation]\nduration = \"300ms\"\n"
        ));
        let order = || {
            let path = app.root.join("order");
            let order = std::fs::read_to_string(&path).unwrap().replace('\n', " ");
            std::fs::remove_file(path).unwrap();
            order
        };
        let service = "exec sleep 1000";
        let hash = app.commit("one", service);
        app.run(&["deploy", &hash]).expect(0);
        assert_eq!(order(), "+worker +web +clock ");
        let hash = app.commit("two", service);
        app.run(&["deploy", &hash]).expect(0);
        assert_eq!(order(), "-worker +worker -web +web -clock +clock ");
        // Those after the one that fails are left alone on the way there.
        let hash = app.commit(
            "bad",
            "if [ $1 = web ]; then echo last words; sleep 0.2; exit 7; fi; exec sleep 1000",
        );
        let ran = app.run(&["deploy", &hash]).expect(3).says("web.service");
        ran.says("exited with code 7").says("last words");
        for name in ["worker", "web", "clock"] {
            assert_eq!(machine.property(name, "ActiveState"), "active");
        }
        machine.nothing_has_failed();
    }
}

#[test]
fn a_bad_first_release_of_several_units_is_stopped_in_the_opposite_order() {
    let Some(machine) = Machine::boot() else { return };
    let app = machine.app("app", 8080);
    for name in ["web", "worker"] {
        let log = format!("ExecStopPost=/bin/sh -c 'echo -{name} >> $APP/order'");
        machine.unit(&format!("{name}.service"), &app.unit_text("exec", &log));
    }
    app.configure_with_check("[systemd]\nunits = [\"worker\", \"web\"]\n", "300ms");
    let hash = app.commit("bad", "exec sleep 1000");
    app.run(&["deploy", &hash]).expect(1).says("not well within");
    assert_eq!(std::fs::read_to_string(app.root.join("order")).unwrap(), "-web\n-worker\n");
}

#[test]
fn instances_are_brought_over_one_by_one_and_one_of_them_always_answers() {
    for machine in Machine::both() {
        let app = instances(&machine, "app");
        let hash = app.commit("one", GOOD);
        app.run(&["deploy", &hash]).expect(0).says("bringing app@1 over");
        let clients = Load::pairs(&app, 8081, 8082);
        for version in ["two", "three", "four"] {
            // So slow that both would be seen down, if both were.
            let hash = app.commit_with(version, GOOD, &[("slow", "150")]);
            app.run(&["deploy", &hash]).expect(0);
            for port in [8081, 8082] {
                assert_eq!(app.answer_of(port).as_deref(), Some(version));
            }
        }
        let seen = clients.end();
        assert!(seen.answered > 50, "{seen:?}");
        assert_eq!(seen.refused + seen.broken, 0, "{seen:?}");
    }
}

#[test]
fn a_bad_release_stops_at_the_first_instance_and_the_others_are_never_touched() {
    for machine in Machine::both() {
        let app = instances(&machine, "app");
        let hash = app.commit("one", GOOD);
        app.run(&["deploy", &hash]).expect(0);
        let second = machine.property("app@2", "MainPID");
        for service in [
            "echo last words; sleep 0.2; exit 7",
            "systemd-notify --ready; echo last words; exec sleep 1000",
        ] {
            let hash = app.commit("bad", service);
            let ran = app.run(&["deploy", &hash]).expect(3).says("app@1").says("last words");
            ran.says("app@2 runs from").never_says("bringing app@2 over");
            for port in [8081, 8082] {
                assert_eq!(app.answer_of(port).as_deref(), Some("one"));
            }
            assert_eq!(machine.property("app@2", "MainPID"), second);
        }
        machine.nothing_has_failed();
    }
}

#[test]
fn two_applications_are_deployed_at_once() {
    let Some(machine) = Machine::boot() else { return };
    let apps = [machine.app("left", 8080), machine.app("right", 8090)];
    for app in &apps {
        app.served("notify", "Restart=always");
        app.deploy_good("one");
    }
    let good = apps[0].commit_with("two", GOOD, &[("slow", "300")]);
    let bad = apps[0].commit("bad", "sleep 0.3; exit 7");
    for (left, right) in [(&good, &bad), (&bad, &good)] {
        let started = [(&apps[0], left), (&apps[1], right)]
            .map(|(app, hash)| (app.command(&["deploy", hash]).spawn().unwrap(), *hash == good));
        for (mut child, is_good) in started {
            let code = child.wait().unwrap().code();
            assert_eq!(code, Some(if is_good { 0 } else { 3 }));
        }
    }
    for app in &apps {
        app.assert_serves("two");
    }
    machine.nothing_has_failed();
}
