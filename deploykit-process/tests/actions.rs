//! What is done around the processes of services: actions, watches, and the ways of being ready, under a
//! supervision of an application.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deploykit_process::action::{self, Action, Actions, Watch};
use deploykit_process::angelize::Variables;
use deploykit_process::log::LogEvent;
use deploykit_process::machine::{News, Phase, Reason};
use deploykit_process::{
    Definition, InstanceStatus, Kept, LogKeeper, Manager, Readiness, Sink, Surroundings,
};

const LONG: Duration = Duration::from_secs(20);

/// Keeps what is told.
#[derive(Debug, Clone, Default)]
struct Notes(Arc<Mutex<Vec<News>>>);

impl Surroundings for Notes {
    fn tell(&self, _: &str, news: &News) {
        self.0.lock().unwrap().push(news.clone());
    }
}

impl LogKeeper for Notes {
    fn log_event(&self, _: &LogEvent) {}
}

struct Bench {
    dir: tempfile::TempDir,
    manager: Manager,
    notes: Notes,
}

impl Bench {
    fn new() -> Self {
        let (dir, notes) = (tempfile::tempdir().unwrap(), Notes::default());
        let logs = camino::Utf8PathBuf::from_path_buf(dir.path().join("logs")).unwrap();
        let manager = Manager::start(Kept::new(logs, notes.clone()).unwrap()).unwrap();
        Self { dir, manager, notes }
    }

    fn script(&self, script: &str) -> Definition {
        let dir = camino::Utf8PathBuf::from_path_buf(self.dir.path().to_owned()).unwrap();
        let mut one = Definition::new("web", ["sh", "-c", script], dir);
        one.course.stop_timeout = Duration::from_secs(5);
        one.course.rules.give_up = Some(1);
        one
    }

    fn define(&self, one: Definition) {
        self.manager.define(vec![one]).unwrap();
        self.manager.up(&[]).unwrap();
    }

    fn up(&self, one: Definition) -> InstanceStatus {
        self.define(one);
        self.manager.settle(&[], LONG).unwrap().remove(0)
    }

    fn status(&self) -> InstanceStatus {
        self.manager.status().unwrap().remove(0)
    }

    fn down(&self) -> InstanceStatus {
        self.manager.down(&[]).unwrap();
        self.manager.settle(&[], LONG).unwrap().remove(0)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    #[track_caller]
    fn until(&self, what: &str, so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !so() {
            assert!(begun.elapsed() < LONG, "never: {what}; {:#?}", self.manager.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn actions(start: &[&str], stop: &[&str]) -> Actions {
    let mut variables = Variables::new();
    variables.set("run", "sh");
    let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let mut actions = Actions::default();
    action::of_start(&texts(start), &variables, &mut actions).unwrap();
    action::of_stop(&texts(stop), &variables, &mut actions).unwrap();
    actions
}

fn asks(text: &str) -> Action {
    action::of_watch(text, &Variables::new()).unwrap()
}

/// A shell that appends a word to the file `order`.
fn says(word: &str) -> String {
    format!("wait:sh -c 'echo {word} >> order'")
}

#[test]
fn what_stands_around_start_and_stop_is_done_in_its_order() {
    let bench = Bench::new();
    let mut web = bench.script(
        "echo runs >> order; trap 'echo ends >> order; exit' TERM; while :; do sleep 0.02; done",
    );
    web.actions = actions(
        &[
            &says("before"),
            "start",
            "wait:sh -c 'while [ ! -e go ]; do sleep 0.01; done'",
            &says("after"),
        ],
        &[&says("asked"), "stop", &says("gone")],
    );
    bench.define(web);
    bench.until("its process runs", || bench.read("order") == "before\nruns\n");
    assert_eq!(bench.status().phase, Phase::Starting, "what comes after its start is not done yet");
    std::fs::write(bench.path("go"), "").unwrap();
    let up = bench.manager.settle(&[], LONG).unwrap().remove(0);
    assert_eq!(up.phase, Phase::Running);
    let down = bench.down();
    assert_eq!(down.phase, Phase::Down(Reason::Unwanted));
    assert_eq!(bench.read("order"), "before\nruns\nafter\nasked\nends\ngone\n");
}

#[test]
fn an_action_that_fails_breaks_a_start_and_no_stop() {
    let bench = Bench::new();
    let mut web = bench.script("echo runs >> order; exec sleep 1000");
    web.actions = actions(&["wait:sh -c 'exit 3'", "start"], &[]);
    let status = bench.up(web.clone());
    let Phase::Down(Reason::Failed(why)) = &status.phase else { panic!("{status:?}") };
    assert!(why.contains("`wait:sh -c 'exit 3'`: exited with code 3"), "{why}");
    assert_eq!(bench.read("order"), "");
    // What is expected is no failure; and what fails behind the start ends what was started.
    web.actions = actions(&["wait:sh -c 'exit 3'=3", "start", "wait:./no-such-program"], &[]);
    let status = bench.up(web.clone());
    let Phase::Down(Reason::Failed(_)) = &status.phase else { panic!("{status:?}") };
    let told = bench.notes.0.lock().unwrap().clone();
    assert!(
        told.iter().any(|news| matches!(news, News::Unwell { why } if why.contains("no program")))
    );
    assert_eq!(status.pid, None);
    web.actions = actions(&[], &["wait:sh -c 'exit 1'", "stop", "wait:sh -c 'exit 1'"]);
    assert_eq!(bench.up(web).phase, Phase::Running);
    assert_eq!(bench.down().phase, Phase::Down(Reason::Unwanted));
}

#[test]
fn what_is_done_before_a_start_ends_when_the_start_is_not_wanted_any_more() {
    let bench = Bench::new();
    let mut web = bench.script("echo runs >> order; exec sleep 1000");
    web.actions = actions(&["wait:sh -c 'echo $$ > pid; exec sleep 1000'", "start"], &[]);
    bench.define(web);
    bench.until("it is at it", || bench.read("pid").ends_with('\n'));
    assert_eq!((bench.status().phase, bench.status().pid), (Phase::Starting, None));
    let begun = Instant::now();
    assert_eq!(bench.down().phase, Phase::Down(Reason::Unwanted));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(!Path::new(&format!("/proc/{}", bench.read("pid").trim())).exists());
    assert_eq!(bench.read("order"), "");
}

#[test]
fn what_was_started_before_a_start_that_fails_ends_with_it() {
    let bench = Bench::new();
    let mut web = bench.script("exec sleep 1000");
    web.actions = actions(
        &[
            "exec:sh -c 'echo $$ > left; exec sleep 1000'",
            "wait:sh -c 'while [ ! -s left ]; do sleep 0.01; done; exit 1'",
            "start",
        ],
        &[],
    );
    let status = bench.up(web);
    let Phase::Down(Reason::Failed(_)) = &status.phase else { panic!("{status:?}") };
    let left = bench.read("left");
    bench.until("it has ended", || !Path::new(&format!("/proc/{}/cwd", left.trim())).exists());
}

#[test]
fn what_comes_after_a_start_waits_until_it_is_ready() {
    let bench = Bench::new();
    let mut web = bench.script("sleep 0.3; echo ready >> order; echo ready; exec sleep 1000");
    web.readiness = Readiness::Line("ready".into());
    web.actions = actions(&["start", &says("after")], &[]);
    assert_eq!(bench.up(web).phase, Phase::Running);
    assert_eq!(bench.read("order"), "ready\nafter\n");
}

#[test]
fn what_hangs_before_a_stop_leaves_the_process_its_time() {
    let bench = Bench::new();
    let mut web = bench
        .script("trap 'echo asked >> order; exit' TERM; echo >> up; while :; do sleep 0.02; done");
    web.course.stop_timeout = Duration::from_secs(2);
    web.actions = actions(&[], &["wait:sleep 1000", "stop"]);
    bench.up(web);
    bench.until("it runs", || !bench.read("up").is_empty());
    bench.down();
    assert_eq!(bench.read("order"), "asked\n");
}

#[test]
fn a_line_or_a_check_makes_ready_and_what_does_not_come_in_time_is_started_anew() {
    let bench = Bench::new();
    let mut web = bench.script(
        "echo starting; while [ ! -e go ]; do sleep 0.01; done; echo now listening on 80 >&2; exec sleep 1000",
    );
    web.readiness = Readiness::Line("listening on".into());
    bench.define(web.clone());
    bench.until("it runs", || bench.status().pid.is_some());
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(bench.status().phase, Phase::Starting);
    std::fs::write(bench.path("go"), "").unwrap();
    assert_eq!(bench.manager.settle(&[], LONG).unwrap()[0].phase, Phase::Running);
    bench.down();
    std::fs::remove_file(bench.path("go")).unwrap();
    web.readiness = Readiness::Check(asks("exec:sh -c 'test -e go'"));
    bench.define(web.clone());
    bench.until("it runs", || bench.status().pid.is_some());
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(bench.status().phase, Phase::Starting);
    std::fs::write(bench.path("go"), "").unwrap();
    assert_eq!(bench.manager.settle(&[], LONG).unwrap()[0].phase, Phase::Running);
    bench.down();
    web.readiness = Readiness::Line("never".into());
    web.course.start_timeout = Duration::from_millis(300);
    let status = bench.up(web);
    let Phase::Down(Reason::Failed(_)) = &status.phase else { panic!("{status:?}") };
}

fn watched(bench: &Bench, text: &str) -> Definition {
    let mut web = bench.script("exec sleep 1000");
    web.course.rules.stable = Duration::ZERO;
    let watch = serde_json::json!({
        "action": asks(text), "interval": { "secs": 0, "nanos": 30_000_000 },
        "timeout": { "secs": 1, "nanos": 0 }, "failures": 3
    });
    web.watches = vec![serde_json::from_value::<Watch>(watch).unwrap()];
    web
}

#[test]
fn several_failures_in_a_row_start_it_anew_and_that_it_is_well_again_is_told() {
    let bench = Bench::new();
    std::fs::write(bench.path("well"), "").unwrap();
    let first = bench.up(watched(&bench, "exec:sh -c 'echo x >> asked; test -e well'"));
    bench.until("it was asked", || bench.read("asked").len() >= 6);
    assert_eq!((bench.status().pid, bench.status().restarts), (first.pid, 0));
    for outage in 1..=2 {
        std::fs::remove_file(bench.path("well")).unwrap();
        bench.until("it is started anew", || bench.status().restarts >= outage);
        std::fs::write(bench.path("well"), "").unwrap();
        // Each outage is told, and its end.
        bench.until("it is told", || {
            let told = bench.notes.0.lock().unwrap().clone();
            let count = |so: fn(&News) -> bool| told.iter().filter(|news| so(news)).count() as u64;
            let failed = count(|news| matches!(news, News::WatchFailed { .. }));
            let recovered = count(|news| matches!(news, News::WatchRecovered { .. }));
            failed >= outage && recovered >= outage
        });
    }
    assert_ne!(bench.status().pid, first.pid);
}

#[test]
fn a_watch_that_hangs_delays_no_other_and_what_cannot_look_blames_nobody() {
    let bench = Bench::new();
    let mut web = watched(&bench, "exec:sh -c 'echo x >> asked'");
    let mut slow = watched(&bench, "exec:sleep 1000").watches.remove(0);
    slow.timeout = Duration::from_secs(1000);
    let blind = watched(&bench, "http://127.0.0.1:1/").watches.remove(0);
    web.watches.extend([slow, blind]);
    let first = bench.up(web);
    bench.until("it was asked often", || bench.read("asked").len() >= 20);
    assert_eq!((bench.status().pid, bench.status().restarts), (first.pid, 0));
    // What is asked just now is not waited for.
    let begun = Instant::now();
    bench.down();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn output_goes_where_it_is_to_go() {
    let bench = Bench::new();
    let mut web = bench.script("echo out; echo err >&2; exec sleep 1000");
    let path = camino::Utf8PathBuf::from_path_buf(bench.path("errors")).unwrap();
    (web.logs.stdout, web.logs.stderr) = (Sink::Null, Sink::File(path));
    bench.up(web);
    bench.until("it has written", || bench.read("errors") == "err\n");
    assert!(!bench.path("logs/web.log").exists());
}
