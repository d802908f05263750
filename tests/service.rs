//! The service of the active release, through the program: what cannot be run at all, and starting it
//! again.

mod common;

use common::{App, BUILD, SERVED, SHORT, pid_in, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The process of the service.
fn pid(app: &App) -> i32 {
    pid_in(&app.path("service.pid"))
}

#[test]
fn what_cannot_be_run_at_all_is_told_before_and_touches_nothing() {
    let app = App::served(SHORT);
    app.deploy();
    let (before, two) = (pid(&app), app.commit("two"));
    let typing_mistake = SERVED.replacen("\"./service\", \"stop\"", "\"servicectl\", \"stop\"", 1);
    app.configure(&format!("{BUILD}{typing_mistake}{SHORT}"));
    let missing = "there is no program \"servicectl\"";
    app.run(&["plan"]).expect(10).tells(missing);
    app.run(&["deploy"]).expect(1).says("warning:").says(missing).says("still active");
    app.assert_serves("one");
    assert_eq!(pid(&app), before);
    // It is built now. A timer does not even begin, and the commit is as good as it was.
    let attempts = app.history().len();
    app.run(&["deploy", "--if-changed"]).expect(1).says(missing).says("PATH");
    app.run(&["plan"]).expect(1).says(missing);
    assert_eq!(app.history().len(), attempts);
    app.configure(&format!("{BUILD}{SERVED}{SHORT}"));
    app.run(&["deploy"]).expect(0).tells(&two[..12]);
    app.assert_serves("two");
}

#[test]
fn a_release_without_what_starts_it_is_not_activated() {
    let app = App::served(SHORT);
    app.deploy();
    let before = pid(&app);
    app.repo.git(&["rm", "-q", "service"]);
    app.repo.write("version", "two\n").commit("two");
    app.run(&["deploy"]).expect(1).says("there is no program \"./service\"").says("still active");
    app.assert_serves("one");
    assert_eq!(pid(&app), before);
}

#[test]
fn a_check_that_cannot_look_keeps_a_rollback_and_a_restart_from_beginning() {
    let app = App::served(SHORT);
    let tool = app.path("look");
    app.write("look", "#!/bin/sh\nexit 0\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&tool, executable).unwrap();
    let check =
        format!("[[health.check]]\ntype = \"exec\"\nname = \"tool\"\ncommand = [{tool:?}]\n");
    app.configure(&format!("{BUILD}{SERVED}{check}{SHORT}"));
    app.deploy();
    app.deploy_version("two");
    app.remove("look");
    for command in ["rollback", "restart"] {
        let ran = app.run(&[command]).expect(1);
        ran.says("the health check tool cannot look").says("there is no program");
    }
    app.assert_serves("two");
    assert_eq!(app.outcomes(), ["deployed", "deployed"]);
}

#[test]
fn what_the_checks_of_the_old_release_miss_keeps_no_service_from_coming_back() {
    let app = App::served(SHORT);
    let executable: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    let check = |name: &str| {
        let tool = app.path(name);
        app.write(name, "#!/bin/sh\nexit 0\n");
        std::fs::set_permissions(&tool, executable.clone()).unwrap();
        let check =
            format!("[[health.check]]\ntype = \"exec\"\nname = \"c\"\ncommand = [{tool:?}]\n");
        app.configure(&format!("{BUILD}{SERVED}{check}{SHORT}"));
    };
    check("before");
    app.deploy();
    check("now");
    app.remove("before");
    app.commit_with("two", &["ill"]);
    app.run(&["deploy"]).expect(5);
    app.assert_serves("one");
}

#[test]
fn a_service_that_was_ended_is_started_again_by_restart_and_by_deploy() {
    let app = App::served(SHORT);
    app.deploy();
    for command in ["restart", "deploy"] {
        kill(Pid::from_raw(pid(&app)), Signal::SIGTERM).unwrap();
        until("the service has ended", || app.serves().is_none());
        app.run(&["plan"]).expect(10).tells("start its service again");
        app.run(&["deploy", "--if-changed"]).expect(0).tells("Nothing to do");
        app.run(&[command]).expect(0);
        app.assert_serves("one");
        app.run(&["deploy"]).expect(0).tells("Nothing to do");
    }
    let before = pid(&app);
    app.run(&["restart"]).expect(0).tells("was started again");
    assert_ne!(pid(&app), before);
    app.assert_serves("one");
    app.write("ill", "");
    app.run(&["restart"]).expect(5).says("hint:").says("deploykit restart");
    app.remove("ill");
    app.run(&["restart"]).expect(0);
    assert_eq!(app.outcomes()[..2], ["deployed", "broken"]);
    app.assert_tidy();
}

#[test]
fn a_service_that_dies_is_told_with_its_last_words_and_before_the_checks() {
    let app = App::bare();
    let check = "[[health.check]]\ntype = \"exec\"\nname = \"answers\"\ncommand = [\"false\"]\n";
    app.configure(&format!(
        "{BUILD}[service]\nstart = [\"sh\", \"-c\", \"echo port 80 is taken\"]\n\
         stop = [\"true\"]\nstatus = [\"sh\", \"-c\", \"echo it does not run; exit 3\"]\n\
         [health]\ninterval = \"20ms\"\ndeadline = \"200ms\"\n{check}{SHORT}"
    ));
    app.commit("one");
    let ran = app.run(&["deploy"]).expect(1).says("service: it does not run");
    ran.says("the last lines of its output:\n  | port 80 is taken\n");
}
