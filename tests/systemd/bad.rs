//! Releases that are no good: the previous one serves again, and the report tells why.

use crate::machine::{GOOD, Machine};

#[test]
fn a_release_that_dies_is_rolled_back_and_its_end_is_told() {
    for machine in Machine::both() {
        let app = machine.app("web", 8080);
        app.served("notify", "Restart=always");
        app.deploy_good("one");
        for (service, ends) in [
            ("echo last words; sleep 0.2; exit 7", "exited with code 7 (result exit-code)"),
            (
                "systemd-notify --ready; echo last words; sleep 0.2; exit 7",
                "exited with code 7 (result exit-code)",
            ),
            (
                "echo last words; sleep 0.2; systemd-notify --ready; kill -9 $$",
                "was killed by SIGKILL (result signal)",
            ),
            ("echo last words; sleep 0.2; exit 0", "it never said that it is ready"),
        ] {
            let ran = app.deploy_bad(service, "one").says(ends).says("  | last words\n");
            // What the release before wrote while it ended tells nothing of this one.
            ran.never_says("Stopping").never_says("test result");
        }
        app.deploy_good("two");
        machine.nothing_has_failed();
    }
}

#[test]
fn a_release_that_hangs_is_rolled_back_and_told() {
    for machine in Machine::both() {
        let app = machine.app("web", 8080);
        app.served("notify", "TimeoutStartSec=2s\nWatchdogSec=1s");
        app.deploy_good("one");
        let ran = app.deploy_bad("echo I hang; exec sleep 1000", "one");
        ran.says("it took longer than it may").says("(result timeout)").says("  | I hang\n");

        app.configure_with_check("[systemd]\nunit = \"web\"\n", "5s");
        let hash = app.commit_with("bad", GOOD, &[("mute-watchdog", "")]);
        let ran = app.run(&["deploy", &hash]).expect(3);
        ran.says("its watchdog did not hear from it in time").says("(result watchdog)");
        app.assert_serves("one");
        machine.nothing_has_failed();
    }
}

#[test]
fn a_release_that_never_answers_is_rolled_back_at_the_deadline() {
    let Some(machine) = Machine::boot() else { return };
    let app = machine.app("web", 8080);
    app.served("simple", "");
    app.deploy_good("one");
    let ran = app.deploy_bad("echo I am here; exec sleep 1000", "one");
    ran.says("not well within 3 s: http://127.0.0.1:8080/").says("  | I am here\n");
}

#[test]
fn a_release_that_ends_in_order_is_not_waited_for() {
    let Some(machine) = Machine::boot() else { return };
    let app = machine.app("web", 8080);
    app.served("simple", "");
    app.deploy_good("one");
    for service in ["echo last words; exit 0", "echo last words; sleep 0.2; exit 0"] {
        let ran = app.deploy_bad(service, "one").says("  | last words\n");
        ran.never_says("not well within");
    }
}

#[test]
fn a_release_that_needs_too_much_memory_is_rolled_back() {
    let Some(machine) = Machine::boot() else { return };
    let app = machine.app("web", 8080);
    app.served("simple", "MemoryMax=64M\nMemorySwapMax=0");
    app.deploy_good("one");
    // Hosts with the first version of control groups cannot tell who has killed it.
    let ran = app.deploy_bad("echo I am hungry; tail /dev/zero; exit $?", "one");
    let told = ["(result oom-kill)", "(result signal)", "exited with code 137"];
    assert!(told.iter().any(|told| ran.stderr.contains(told)), "{ran}");
}

#[test]
fn a_bad_first_release_leaves_nothing_behind() {
    for machine in Machine::both() {
        let app = machine.app("web", 8080);
        app.served("notify", "Restart=always");
        let hash = app.commit("bad", "echo last words; sleep 0.2; exit 7");
        app.run(&["deploy", &hash]).expect(1).says("exited with code 7");
        assert!(!app.root.join("active").is_symlink());
        assert_eq!(machine.property("web", "ActiveState"), "inactive");
        machine.nothing_has_failed();
    }
}
