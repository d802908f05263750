//! Notices, of services and of deployments, by the whole program.

mod common;

use common::{App, Running, until};
use deploykit_testkit::certificates::Authority;
use deploykit_testkit::mail_server::{MailServer, PASSWORD, USER};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Ends as long as the file `well` is not there, which a directory up tells it.
const WEB: &str = "#!/bin/sh\n[ -e ../../well ] && exec sleep 86400\n\
    echo 'out of paper' >&2\nexit 3\n";

const SERVICE: &str = "[[service]]\nname = \"web\"\ncommand = [\"./web\"]\nrestart_delay = \"10ms\"\n\
    give_up_after = 3\n[probation]\nduration = \"0s\"\n";

const FILE: &str = "[[notify.to]]\ntype = \"file\"\npath = \"told\"\n";

/// Fails until the file `open` is there.
const GATE: &str = "[[notify.to]]\nname = \"gate\"\ntype = \"command\"\n\
    command = [\"sh\", \"-c\", \"test -e open && cat >> passed\"]\n";

fn app(notify: &str) -> App {
    let app = App::bare();
    app.configure(&format!("{SERVICE}{notify}"));
    app.repo.write("web", WEB).make_executable("web").commit("one");
    app
}

fn lines(app: &App, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(app.path(file)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn topics(app: &App, file: &str) -> Vec<String> {
    lines(app, file)
        .iter()
        .map(|line| line["topic"].as_str().unwrap_or_default().to_owned())
        .collect()
}

fn end(up: Running) -> common::Ran {
    up.signal(Signal::SIGTERM);
    up.wait().expect(0)
}

#[test]
fn that_a_service_ends_and_stays_down_and_runs_again_is_told_with_its_last_lines() {
    let app = app(FILE);
    app.write("well", "");
    let up = app.start(&["up"]);
    until("it has deployed", || app.outcomes() == ["deployed"]);
    app.remove("well");
    let pid = app.json(&["ps"])[0]["pid"].as_i64().expect("it runs");
    let pid = nix::unistd::Pid::from_raw(pid.try_into().expect("a number"));
    nix::sys::signal::kill(pid, Signal::SIGKILL).expect("it runs");
    until("it stays down", || topics(&app, "told").contains(&"exited-no-retry".to_owned()));
    let told = lines(&app, "told");
    assert_eq!(
        (&told[0]["topic"], &told[0]["last_lines"]),
        (&"exited-retry".into(), &Value::Array(vec![]))
    );
    assert!(told[0]["why"].as_str().unwrap().contains("SIGKILL"), "{}", told[0]);
    let down = told.last().unwrap();
    assert_eq!((&down["instance"], &down["service"]), (&"web".into(), &"web".into()));
    assert_eq!(down["last_lines"], serde_json::json!(["out of paper"]));
    assert_eq!(down["release"], app.active_release());
    assert!(
        down["what"].as_str().unwrap().starts_with("stays down: it exited with code 3"),
        "{down}"
    );
    app.write("well", "");
    app.run(&["retry"]).expect(0);
    end(up);
    assert_eq!(std::fs::read_dir(app.path(".deploykit/notices")).unwrap().count(), 0);
}

#[test]
fn who_cannot_be_told_is_told_by_the_next_up_and_a_changed_configuration_counts_at_once() {
    let hold = "[notify]\nhold = \"0s\"\n";
    let app = app(&format!("{hold}{GATE}"));
    app.write("well", "");
    let up = app.start(&["up"]);
    until("it has deployed", || app.outcomes() == ["deployed"]);
    app.remove("well");
    app.run(&["restart", "web"]);
    until("it is kept", || app.path(".deploykit/notices").exists());
    app.configure(&format!("{SERVICE}{hold}{GATE}{FILE}"));
    until("somebody else is told of the next", || {
        app.run(&["retry"]);
        !lines(&app, "told").is_empty()
    });
    up.kill();
    let kept = || std::fs::read_dir(app.path(".deploykit/notices")).unwrap().count();
    assert!(kept() > 0 && lines(&app, "passed").is_empty());
    app.write("open", "");
    app.write("well", "");
    let up = app.start(&["up"]);
    until("all are told", || kept() == 0);
    assert!(!lines(&app, "passed").is_empty());
    end(up);
    app.run(&["down"]);
}

#[test]
fn of_a_deployment_each_is_told_once_whoever_else_cannot_be() {
    let app = app("");
    let watched = SERVICE.replace("duration = \"0s\"", "duration = \"500ms\"");
    app.configure(&format!("{watched}{GATE}{FILE}"));
    app.write("well", "");
    let up = app.start(&["up"]);
    until("it has deployed", || app.outcomes() == ["deployed"]);
    app.repo.write("web", "#!/bin/sh\nexit 1\n").commit("ill");
    app.run(&["deploy"]).expect(3).says("gate: ").says("1 of 5");
    let of_deployments = |file: &str| {
        let mut told = topics(&app, file);
        told.retain(|topic| topic.contains("deployment") || topic == "rolled-back");
        told
    };
    assert_eq!(of_deployments("told"), ["rolled-back"]);
    app.run(&["recover"]).expect(0).says("2 of 5");
    assert_eq!(of_deployments("told"), ["rolled-back"], "nobody is told twice");
    app.write("open", "");
    app.run(&["recover"]).expect(0);
    assert_eq!(of_deployments("passed"), ["rolled-back"]);
    app.repo.write("web", WEB).commit("well again");
    app.run(&["deploy"]).expect(0);
    assert_eq!(of_deployments("told"), ["rolled-back", "deployment-recovered"]);
    assert_eq!(of_deployments("passed"), ["rolled-back", "deployment-recovered"]);
    end(up);
}

#[test]
fn a_test_tells_everybody_and_says_who_could_not_be_told() {
    let app = app(&format!("{GATE}{FILE}"));
    let ran = app.run(&["notify"]).expect(1);
    ran.tells("not told gate: sh -c").tells("told file told\n");
    let told = app.run(&["--json", "notify", "file told"]).expect(0).value();
    assert_eq!(told, serde_json::json!([{ "to": "file told", "told": true, "error": null }]));
    assert_eq!(topics(&app, "told"), ["test", "test"]);
    app.run(&["notify", "nobody"]).expect(2).says("nobody is called").says("gate; file told");
    app.configure(SERVICE);
    app.run(&["notify"]).expect(2).says("there is nobody to tell").says("[[notify.to]]");
}

#[test]
fn a_mail_tells_of_a_service_and_no_secret_is_anywhere() {
    let authority = Authority::new();
    let Some(server) = MailServer::start(&authority) else { return };
    let app = app("");
    app.write("ca.pem", authority.pem());
    app.write("password", PASSWORD);
    let port = server.port;
    app.configure(&format!(
        "{SERVICE}[notify.smtp]\nhost = \"localhost\"\nport = {port}\nuser = {USER:?}\n\
         password = {{ file = \"password\" }}\nca_file = \"ca.pem\"\nfrom = \"a@example.org\"\n\
         [[notify.to]]\ntype = \"mail\"\nto = [\"ops@example.org\"]\non = [\"exited-no-retry\"]\n"
    ));
    app.run(&["notify"]).expect(0).tells("told mail ops@example.org");
    let up = app.start(&["up", "--no-deploy"]);
    until("it is up", || app.run(&["ps"]).code == Some(0));
    // It fails at once: nobody looks at its health before that.
    app.write("well", "");
    app.run(&["deploy"]).expect(0);
    app.remove("well");
    app.run(&["restart", "web"]);
    until("the mail has come", || server.mails().len() == 2);
    let (headers, body) = &server.mails()[1];
    assert!(headers.contains("web stays down: it exited with"), "{headers}");
    assert!(body.contains("  out of paper"), "{body}");
    assert!(!format!("{headers}{body}").contains(PASSWORD));
    end(up);
}

#[test]
fn the_end_of_up_lets_a_command_finish_and_no_service_gets_what_is_meant_for_notices() {
    let slow = "[[notify.to]]\ntype = \"command\"\nname = \"slow\"\n\
        command = [\"sh\", \"-c\", \"echo begin >> log; sleep 1; echo end >> log\"]\n\
        [[notify.to]]\ntype = \"http\"\nurl = { env = \"HOOK\" }\non = [\"rolled-back\"]\n";
    let mut app = app(slow);
    app.env("HOOK", "http://127.0.0.1:9/S3CRET-HOOK").env("OTHER", "passed on");
    app.repo
        .write(
            "web",
            "#!/bin/sh\nenv > ../../environment\n[ -e ../../well ] && exec sleep 86400\nexit 3\n",
        )
        .commit("tells");
    app.write("well", "");
    let up = app.start(&["up"]);
    until("it has deployed", || app.outcomes() == ["deployed"]);
    app.remove("well");
    app.run(&["restart", "web"]);
    until("it is told", || std::fs::read_to_string(app.path("log")).is_ok());
    let ran = end(up);
    let log = app.read("log");
    assert_eq!(log.matches("begin").count(), log.matches("end").count(), "{log}\n{ran}");
    assert!(!ran.stderr.contains("SIGKILL") && !ran.stderr.contains("could not be told"), "{ran}");
    let environment = app.read("environment");
    assert!(
        environment.contains("OTHER=passed on") && !environment.contains("HOOK"),
        "{environment}"
    );
}

#[test]
fn whatever_lies_among_the_notices_keeps_no_service_from_starting() {
    let app = app(FILE);
    app.write("well", "");
    std::fs::create_dir_all(app.path(".deploykit/notices/old.json")).unwrap();
    app.write(".deploykit/notices/000000000007.json", "{");
    let up = app.start(&["up"]);
    until("it has deployed", || app.outcomes() == ["deployed"]);
    end(up).says("what was to be told cannot be read");
}
