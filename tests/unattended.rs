//! Deploying without a person: who is told of what, and the book about that.

mod common;

use std::net::TcpListener;
use std::path::Path;

use common::{App, BUILD, SERVED, SHORT, until};
use deploykit::state::Notice;
use nix::sys::signal::Signal;
use serde_json::Value;

/// Keeps what is told, a line each; waits at the gate `tell` before that.
const NOTIFY: &str = r#"
[notify]
on_failure = ["sh", "-c", "if [ -e gate/tell ]; then echo $$ > gate/new; mv gate/new gate/tell.reached; while [ -e gate/tell ]; do sleep 0.02; done; fi; cat >> told"]
on_recovery = ["sh", "-c", "cat >> told; env | grep ^DEPLOYKIT_ | sort > environment"]
"#;

fn told_of() -> App {
    let app = App::served(SHORT);
    app.configure(&format!("{BUILD}{SERVED}{SHORT}{NOTIFY}"));
    app.deploy();
    app
}

fn told(app: &App) -> Vec<Value> {
    let text = std::fs::read_to_string(app.path("told")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

#[test]
fn a_timer_that_deploys_something_ill_tells_of_it_and_of_the_next_good_one() {
    let app = told_of();
    let ill = app.commit_with("two", &["ill"]);
    app.run(&["deploy", "--if-changed", "-q"]).expect(3);
    app.assert_serves("one");
    app.run(&["deploy", "--if-changed", "-q"]).expect(0);
    let notices = told(&app);
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!((&notice["event"], &notice["to"]["commit"]), (&"failure".into(), &ill.into()));
    assert_eq!(notice["now"]["service"]["state"], "running");
    assert!(notice["log_end"].to_string().contains("it is ill"), "{notice}");

    let good = app.commit("three");
    app.run(&["deploy", "--if-changed", "-q"]).expect(0);
    assert_eq!(told(&app)[1]["event"], "recovery");
    let environment = app.read("environment");
    for line in [
        "DEPLOYKIT_EVENT=recovery",
        "DEPLOYKIT_DEPLOYMENT=3",
        &format!("DEPLOYKIT_REVISION={good}"),
    ] {
        assert!(environment.contains(line), "{line} is not in {environment}");
    }
}

#[test]
fn a_notice_that_was_being_sent_when_deploykit_was_killed_is_sent_by_the_next_command() {
    let app = told_of();
    app.commit_with("two", &["ill"]);
    app.close_gate("tell");
    let deploying = app.start(&["deploy"]);
    app.wait_at_gate("tell");
    // Others are not kept from working meanwhile.
    assert_eq!(app.json(&["status"])["busy"], Value::Null);
    deploying.kill();
    app.remove("gate/tell");
    until("the one that was killed has told it, too", || told(&app).len() == 1);
    app.run(&["recover"]).expect(0);
    let notices = told(&app);
    assert_eq!(notices.len(), 2);
    assert_eq!(notices[0]["number"], notices[1]["number"]);
    app.run(&["recover"]).expect(0);
    assert_eq!(told(&app).len(), 2);
}

#[test]
fn a_command_that_fails_changes_no_exit_code_and_is_warned_of() {
    let app = told_of();
    let failing =
        "[notify]\non_failure = [\"sh\", \"-c\", \"echo no route to the mail server; exit 3\"]\n";
    app.configure(&format!("{BUILD}{SERVED}{SHORT}{failing}"));
    app.commit_with("two", &["ill"]);
    let ran = app.run(&["deploy"]).expect(3);
    ran.says("warning:").says("no route to the mail server").says("1 of 5");
    let slow = "[notify]\non_failure = [\"sleep\", \"60\"]\ntimeout = \"50ms\"\n";
    app.configure(&format!("{BUILD}{SERVED}{SHORT}{slow}"));
    app.run(&["recover"]).expect(0).says("took longer than 0.05 s").says("2 of 5");
}

#[test]
fn who_ends_a_deployment_with_ctrl_c_is_not_told_of_it() {
    let app = told_of();
    app.commit("two");
    app.close_gate("start");
    let deploying = app.start(&["deploy"]);
    app.wait_at_gate("start");
    deploying.signal(Signal::SIGINT);
    app.open_gate("start");
    assert_eq!(deploying.wait().code, Some(3));
    assert!(told(&app).is_empty());
    app.assert_serves("one");
}

#[test]
fn a_repository_that_cannot_be_reached_is_left_alone_for_a_while() {
    // Nobody listens there yet.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let app = told_of();
    let here = app.read("deploykit.toml");
    let away = here.replace(app.repo.url(), &format!("http://{address}/app.git"));
    app.write("deploykit.toml", &away);
    let timer = ["deploy", "--if-changed", "-q"];
    app.run(&timer).expect(1).says("cannot reach").says("looks less often");
    let listener = TcpListener::bind(address).expect("the same port");
    listener.set_nonblocking(true).unwrap();
    for _ in 0..2 {
        let ran = app.run(&timer).expect(0);
        assert!(ran.stdout.is_empty() && ran.stderr.is_empty(), "{ran}");
    }
    app.run(&["deploy", "--if-changed"]).expect(0).tells("cannot reach").tells("looked again in");
    assert!(listener.accept().is_err(), "there was a connection");
    assert_eq!((app.history().len(), told(&app).len()), (1, 1));

    // The configuration was mended: that is another repository.
    drop(listener);
    app.write("deploykit.toml", &here);
    app.run(&timer).expect(0);
    assert_eq!(told(&app)[1]["event"], "recovery");

    // A person is not held back, and ends it.
    app.write("deploykit.toml", &away);
    app.run(&timer).expect(1);
    app.run(&["deploy"]).expect(1).says("cannot reach");
    app.run(&timer).expect(0);
    let kept = app.read(".deploykit/backoff");
    app.write(".deploykit/backoff", &kept[..kept.len() / 2]);
    app.run(&timer).expect(1).says("looks less often");
}

/// The block of JSON in the book, and its text.
fn book() -> (String, Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/use/notices.md");
    let text = std::fs::read_to_string(path).expect("the page");
    let json = text.split_once("```json\n").expect("an example").1;
    let json = json.split_once("```").expect("its end").0;
    let value = serde_json::from_str(json).expect("JSON");
    (text, value)
}

/// The paths of all fields of a value: `from.commit`.
fn fields(value: &Value, path: &str, found: &mut Vec<String>) {
    let Value::Object(map) = value else { return };
    for (name, below) in map {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        found.push(path.clone());
        fields(below, &path, found);
    }
}

#[test]
fn the_notice_of_the_book_is_a_real_one_and_each_of_its_fields_is_explained() {
    let (text, example) = book();
    let read: Notice = serde_json::from_value(example.clone()).expect("a notice");
    let mut written = serde_json::to_value(&read).unwrap();
    written["topic"] = read.topic().as_str().into();
    assert_eq!(written, example, "a field is unknown or missing");
    let app = told_of();
    app.commit_with("two", &["ill"]);
    app.run(&["deploy"]).expect(3);
    let paths = |value: &Value| {
        let mut found = Vec::new();
        fields(value, "", &mut found);
        found
    };
    assert_eq!(paths(&told(&app)[0]), paths(&example), "the real one has other fields");
    for path in paths(&example) {
        assert!(text.contains(&format!("| `{path}` | ")), "{path} is not explained");
    }
}
