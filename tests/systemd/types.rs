//! What a restart waits for: each type of service says in its own way that it is up.

use crate::machine::{App, GOOD, Machine};

/// How long these services take to be up.
const SLOW: u64 = 400;

/// How long it took to bring the service over, in milliseconds, and that is has worked.
#[track_caller]
fn step(app: &App<'_>, hash: &str) -> u64 {
    let ran = app.run(&["deploy", hash, "--json"]).expect(0);
    let events = App::events(&ran);
    let done = events.iter().find(|e| e["event"] == "step-finished" && e["step"] == "service");
    done.and_then(|event| event["millis"].as_u64()).unwrap_or_else(|| panic!("{ran}"))
}

#[test]
fn a_restart_waits_until_the_service_says_that_it_is_ready() {
    for machine in Machine::both() {
        let slow = SLOW.to_string();
        let app = machine.app("web", 8080);
        for kind in ["notify", "forking"] {
            let unit = match kind {
                "forking" => format!("PIDFile={}/pid", app.root),
                _ => String::new(),
            };
            app.served(kind, &unit);
            let service = match kind {
                "forking" => format!(
                    "setsid sh -c '{GOOD}' & echo $! > \"$APP/pid\"; sleep 0.{}",
                    SLOW / 100
                ),
                _ => GOOD.to_owned(),
            };
            let hash = app.commit_with(kind, &service, &[("slow", &slow)]);
            assert!(step(&app, &hash) >= SLOW, "{kind}");
            app.assert_serves(kind);
            machine.systemctl(&["stop", "web"]);
        }
        machine.nothing_has_failed();
    }
}

#[test]
fn a_program_that_is_not_there_fails_the_start_itself_where_the_type_says_so() {
    let Some(machine) = Machine::boot() else { return };
    let app = machine.app("web", 8080);
    for kind in ["exec", "simple"] {
        app.served(kind, "");
        let unit = app
            .unit_text(kind, "")
            .replace("/bin/sh ./service", &format!("{}/active/run", app.root));
        machine.unit("web.service", &unit);
        let program = format!("#!/bin/sh\n{GOOD}\n");
        machine.repo.write("run", &program).make_executable("run");
        app.deploy_good(kind);
        machine.repo.git(&["rm", "-q", "run"]);
        let hash = app.commit("bad", "none");
        // That is seen before the service is touched.
        let ran = app.run(&["deploy", &hash]).expect(1);
        ran.says("activate: failed after").says("there is no program");
        app.assert_serves(kind);
        let strange = machine.repo.write("run", "#!/no/such/interpreter\n");
        strange.make_executable("run");
        let hash = app.commit("strange", "none");
        app.run(&["deploy", &hash]).expect(1).says("/no/such/interpreter");
        app.assert_serves(kind);
        // That a directory is to be entered that is not there is seen by systemd alone.
        let text = format!("{unit}WorkingDirectory={}/active/none\n", app.root);
        let text = text.replace("[Install]", "[Service]");
        machine.unit("web.service", &text.replace("[Install]", ""));
        machine.repo.write("run", &program).make_executable("run");
        let hash = app.commit("elsewhere", "none");
        let ran = app.run(&["deploy", &hash]).expect(5).says("its working directory cannot be");
        if kind == "exec" {
            ran.says("service: failed after");
        }
        machine.unit("web.service", &unit);
        app.run(&["restart"]).expect(0);
        app.assert_serves(kind);
    }
}

#[test]
fn work_that_is_done_once_is_waited_for_and_counts_as_well() {
    for machine in Machine::both() {
        for (name, more) in [("stays", "RemainAfterExit=yes"), ("goes", "")] {
            let app = machine.app(name, 8080);
            machine.unit(&format!("{name}.service"), &app.unit_text("oneshot", more));
            app.configure(&format!(
                "[systemd]\nunit = \"{name}\"\n[health]\ndeadline = \"2s\"\ninterval = \"50ms\"\n\
                 [probation]\nduration = \"300ms\"\n"
            ));
            let work = format!("sleep 0.{}; cat version >> \"$APP/done\"", SLOW / 100);
            let hash = app.commit("one", &work);
            assert!(step(&app, &hash) >= SLOW, "{name}");
            let hash = app.commit("two", &work);
            assert!(step(&app, &hash) >= SLOW, "{name}");
            let done = || std::fs::read_to_string(app.root.join("done")).unwrap();
            assert_eq!(done(), "one\ntwo\n", "{name}");
            // What is done is not done again because somebody looks.
            app.run(&["deploy", &hash]).expect(0);
            assert_eq!(done(), "one\ntwo\n", "{name}");

            let hash = app.commit("bad", "echo last words; sleep 0.2; exit 7");
            app.run(&["deploy", &hash]).expect(3).says("exited with code 7").says("| last words");
            assert_eq!(done(), "one\ntwo\ntwo\n", "{name}");
        }
        machine.nothing_has_failed();
    }
}

#[test]
fn a_unit_that_reloads_is_not_restarted_and_one_that_cannot_is() {
    for machine in Machine::both() {
        let app = machine.app("web", 8080);
        let reloads = "ExecReload=kill -HUP $MAINPID";
        app.served("notify", reloads);
        let systemd = "[systemd]\nunit = \"web\"\n[service]\non_deploy = \"reload\"\n";
        app.configure_with_check(systemd, "300ms");
        app.deploy_good("one");
        let pid = machine.property("web", "MainPID");
        let hash = app.commit("two", GOOD);
        app.run(&["deploy", &hash]).expect(0);
        crate::machine::until("it has read the new release", || {
            app.answer().as_deref() == Some("two")
        });
        assert_eq!(machine.property("web", "MainPID"), pid);

        machine.unit("web.service", &app.unit_text("notify", ""));
        let hash = app.commit("three", GOOD);
        app.run(&["deploy", &hash]).expect(0).says("cannot reload");
        app.assert_serves("three");
        assert_ne!(machine.property("web", "MainPID"), pid);
    }
}
