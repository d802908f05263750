//! The process manager with real processes: what other supervisors were seen to do wrong, it does right.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use deploykit_process::machine::{News, Phase, Reason};
use deploykit_process::policy::{Pauses, Rules, When};
use deploykit_process::{
    Definition, InstanceStatus, Manager, ManagerError, Readiness, Surroundings,
};

const LONG: Duration = Duration::from_secs(20);

/// Keeps what is told, and has everything written into files of a directory.
#[derive(Debug, Clone)]
struct Notes {
    dir: Utf8PathBuf,
    news: Arc<Mutex<Vec<(String, News)>>>,
}

impl Surroundings for Notes {
    fn outputs(&self, definition: &Definition, _: &str) -> io::Result<[Option<OwnedFd>; 2]> {
        let path = self.dir.join(format!("{}.out", definition.name()));
        let file = File::options().create(true).append(true).open(path)?;
        let other = file.try_clone()?;
        Ok([Some(file.into()), Some(other.into())])
    }

    fn tell(&self, instance: &str, news: &News) {
        self.news.lock().unwrap().push((instance.to_owned(), news.clone()));
    }
}

struct Bench {
    manager: Manager,
    notes: Notes,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
        let notes = Notes { dir: path, news: Arc::default() };
        Self { manager: Manager::start(notes.clone()).unwrap(), notes, _dir: dir }
    }

    /// A service that is a script of the shell.
    fn script(&self, name: &str, script: &str) -> Definition {
        let mut definition = Definition::new(name, ["sh", "-c", script], self.notes.dir.clone());
        definition.course.stop_timeout = Duration::from_secs(5);
        definition
    }

    fn up(&self, definitions: Vec<Definition>) -> Vec<InstanceStatus> {
        self.manager.define(definitions).unwrap();
        self.manager.up(&[]).unwrap();
        self.manager.settle(&[], LONG).unwrap()
    }

    fn status(&self, name: &str) -> InstanceStatus {
        let all = self.manager.status().unwrap();
        all.into_iter().find(|one| one.name == name).unwrap_or_else(|| panic!("no {name}"))
    }

    #[track_caller]
    fn until(&self, what: &str, so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !so() {
            assert!(begun.elapsed() < LONG, "never: {what}; {:#?}", self.manager.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn written(&self, name: &str) -> String {
        std::fs::read_to_string(self.notes.dir.join(name)).unwrap_or_default()
    }

    /// What was told of troubles.
    fn news(&self) -> Vec<(String, News)> {
        let all = self.notes.news.lock().unwrap().clone();
        all.into_iter().filter(|(_, news)| news.is_of_trouble()).collect()
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// How often the threads of this name went to sleep.
fn naps(name: &str) -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").trim() == &name[..15] {
            let status = read("status");
            let count =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            sum += count.map_or(0, |count| count.trim().parse::<u64>().unwrap());
        }
    }
    sum
}

#[test]
fn an_end_is_noticed_and_between_two_of_them_nothing_is_done() {
    let bench = Bench::new();
    let mut web = bench.script("web", "exec sleep 1000");
    web.course.rules.stable = Duration::ZERO;
    let first = bench.up(vec![web])[0].clone();
    assert_eq!((&first.phase, first.restarts), (&Phase::Running, 0));
    kill(first.pid.unwrap());
    bench.until("it runs again", || {
        let now = bench.status("web");
        now.phase == Phase::Running && now.pid != first.pid
    });
    let now = bench.status("web");
    assert_eq!(now.restarts, 1);
    assert_eq!(now.last_end.as_deref(), Some("was ended by SIGKILL"), "a signal is no exit code");
    let why = "was ended by SIGKILL".to_owned();
    let expected =
        [News::ExitedRetry { why }, News::Recovered].map(|news| ("web".to_owned(), news));
    bench.until("it is told", || bench.news() == expected);
    // Nothing is left of the first one, and nobody is woken for nothing.
    assert!(!Path::new(&format!("/proc/{}", first.pid.unwrap())).exists(), "it is a zombie");
    bench.until("nothing is done", || {
        let before = naps("deploykit-processes");
        std::thread::sleep(Duration::from_millis(300));
        before > 0 && naps("deploykit-processes") == before
    });
}

#[test]
fn whatever_a_service_has_started_ends_with_it() {
    let bench = Bench::new();
    // A child in its group, one in a session of its own, and the child of that.
    let script = "sleep 1001 & echo $! >> pids\n\
        setsid sh -c 'sleep 1002 & echo $! >> pids; echo $$ >> pids; wait' &\n\
        while [ $(wc -l < pids) -lt 3 ]; do sleep 0.01; done; echo ready\nexec sleep 1000";
    bench.up(vec![bench.script("web", script)]);
    bench.until("all run", || bench.written("web.out").contains("ready"));
    let pids: Vec<u32> = bench.written("pids").lines().map(|line| line.parse().unwrap()).collect();
    assert!(pids.len() == 3 && pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
    bench.manager.down(&[]).unwrap();
    bench.manager.settle(&[], LONG).unwrap();
    assert_eq!(bench.status("web").phase, Phase::Down(Reason::Unwanted));
    for pid in pids {
        assert!(!is_alive(pid), "{pid} is left");
    }
}

#[test]
fn what_is_left_of_one_that_has_died_is_ended_before_it_is_started_again() {
    let bench = Bench::new();
    // Whoever takes note of the end of an orphan may take its time.
    let script = "if [ -e pid ]; then\n\
        grep -qs '^State:.[RSD]' /proc/$(cat pid)/status && echo both; exec sleep 1000; fi\n\
        setsid sleep 1003 & echo $! > pid; exit 1";
    let mut web = bench.script("web", script);
    web.course.rules.stable = Duration::ZERO;
    web.course.stop_timeout = Duration::from_millis(100);
    bench.up(vec![web]);
    bench.until("it runs again", || {
        bench.status("web").restarts == 1 && bench.status("web").phase == Phase::Running
    });
    assert!(!is_alive(bench.written("pid").trim().parse().unwrap()));
    assert_eq!(bench.written("web.out"), "", "both ran at a time");
}

#[test]
fn no_descriptor_of_this_process_or_of_another_service_is_passed_on() {
    let bench = Bench::new();
    let open = File::open("/dev/null").unwrap();
    // Whoever embeds it may have opened it otherwise.
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    let services = (0..20).map(|number| {
        let script = "ls /proc/self/fd > fd-$NAME; exec sleep 1000";
        let mut one = bench.script(&format!("s{number}"), script);
        one.env.insert("NAME".into(), one.service.clone());
        one
    });
    bench.up(services.collect());
    for number in 0..20 {
        let file = format!("fd-s{number}");
        bench.until("it has looked", || bench.written(&file).lines().count() >= 4);
        // The fourth is that of the directory that is listed.
        assert_eq!(bench.written(&file), "0\n1\n2\n3\n", "{} was passed on", open.as_raw_fd());
    }
}

#[test]
fn a_program_that_cannot_be_started_says_why_and_never_runs() {
    let bench = Bench::new();
    std::fs::write(bench.notes.dir.join("text"), "no program").unwrap();
    let command = |name: &str, program: &str| {
        let mut one = Definition::new(name, [program], bench.notes.dir.clone());
        one.course.rules.give_up = Some(1);
        one
    };
    let mut nobody = command("nobody", "sleep");
    nobody.user = Some("no-such-user".into());
    let mut nowhere = command("nowhere", "/bin/true");
    nowhere.dir = "/no/such/directory".into();
    let all = [
        (command("missing", "no-such-program"), "there is no program \"no-such-program\""),
        (command("path", "./no-such-program"), "there is no program \"./no-such-program\""),
        (command("text", "./text"), "\"./text\" cannot be executed: Permission denied"),
        (nobody, "there is no user \"no-such-user\""),
        (nowhere, "/no/such/directory"),
    ];
    let (definitions, told): (Vec<_>, BTreeMap<_, _>) =
        all.into_iter().map(|(one, told)| (one.clone(), (one.service, told))).unzip();
    for status in bench.up(definitions) {
        let told = told[&status.name];
        let Phase::Down(Reason::Failed(why)) = &status.phase else { panic!("{status:?}") };
        assert!(
            why.contains("could not be started") && why.contains(told),
            "{}: {why}",
            status.name
        );
        assert_eq!((status.pid, status.up), (None, None));
    }
    let recovered = bench.news().iter().any(|(_, news)| *news == News::Recovered);
    assert!(!recovered, "none of them has run for an instant");
}

#[test]
fn each_has_its_own_directory_and_environment_when_many_start_together() {
    let bench = Bench::new();
    let services = (0..40).map(|number| {
        let dir = bench.notes.dir.join(format!("dir{number}"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("env"), format!("FROM_FILE='file {number}'\n")).unwrap();
        let script = "echo $PWD $OWN $FROM_FILE $HOME; exec sleep 1000";
        let mut one = bench.script(&format!("s{number}"), script);
        one.env_files = vec![dir.join("env").into_string(), "-/no/such/file".into()];
        one.env.insert("OWN".into(), number.to_string());
        one.clean_env = true;
        one.dir = dir;
        one
    });
    bench.up(services.collect());
    for number in 0..40 {
        let expected = format!("{}/dir{number} {number} file {number}\n", bench.notes.dir);
        bench.until("it has told", || bench.written(&format!("s{number}.out")) == expected);
    }
}

#[test]
fn those_of_a_level_end_together_and_higher_levels_before_lower_ones() {
    let bench = Bench::new();
    let script = "echo up $NAME >> order; trap 'sleep 0.3; echo down $NAME >> order; exit 0' TERM\n\
        while :; do sleep 0.01; done";
    let at = |name: &str, level| {
        let mut one = bench.script(name, script);
        one.env.insert("NAME".into(), name.into());
        (one.level, one.readiness) = (level, Readiness::Delay(Duration::from_millis(100)));
        one
    };
    let mut last = at("last", 1);
    last.needs = vec!["first".into()];
    let mut all = vec![last, at("first", 1), at("ground", 0)];
    all.extend((0..10).map(|number| at(&format!("many{number}"), 2)));
    bench.up(all);
    let begun = Instant::now();
    bench.manager.down(&[]).unwrap();
    bench.manager.settle(&[], LONG).unwrap();
    let took = begun.elapsed();
    let order = bench.written("order");
    let place = |text: &str| {
        order.lines().position(|line| line == text).unwrap_or_else(|| panic!("no {text}: {order}"))
    };
    for (before, after) in [
        ("up ground", "up first"),
        ("up first", "up last"),
        ("up last", "up many0"),
        ("down many9", "down last"),
        ("down last", "down first"),
        ("down first", "down ground"),
    ] {
        assert!(place(before) < place(after), "{before}, {after}: {order}");
    }
    // Thirteen that take three tenths each, in four steps.
    assert!(took < Duration::from_millis(300 * 12), "one after another: {took:?}");
}

#[test]
fn what_does_not_end_is_killed_when_its_time_is_over_and_what_is_stopped_hears_that_it_is_to_end() {
    let bench = Bench::new();
    let mut deaf = bench.script("deaf", "trap '' TERM; echo set; while :; do sleep 0.05; done");
    deaf.course.stop_timeout = Duration::from_millis(200);
    let script = "trap 'echo heard; exit 0' TERM; echo set; while :; do sleep 0.05; done";
    let stopped = bench.script("stopped", script);
    bench.up(vec![deaf, stopped]);
    for file in ["deaf.out", "stopped.out"] {
        bench.until("its trap is set", || bench.written(file) == "set\n");
    }
    bench.manager.signal(nix::libc::SIGSTOP, &["stopped".into()]).unwrap();
    let begun = Instant::now();
    bench.manager.down(&[]).unwrap();
    bench.manager.settle(&[], LONG).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(bench.status("deaf").last_end.as_deref(), Some("was ended by SIGKILL"));
    assert!(bench.written("stopped.out").ends_with("heard\n"));
}

#[test]
fn ready_is_what_says_so_and_what_never_does_is_started_anew() {
    let bench = Bench::new();
    let mut ready = bench.script(
        "ready",
        "while [ ! -e gate ]; do sleep 0.02; done\n\
         systemd-notify --ready --status='all is well'; exec sleep 1000",
    );
    ready.readiness = Readiness::Notify;
    let mut never = bench.script("never", "exec sleep 1000");
    never.readiness = Readiness::Notify;
    never.course.start_timeout = Duration::from_millis(100);
    never.course.rules.give_up = Some(2);
    never.course.rules.pauses =
        Pauses::Doubling { first: Duration::from_millis(10), longest: Duration::from_millis(10) };
    let mut once = bench.script("once", "echo done; exit 3");
    (once.readiness, once.course.once) = (Readiness::Exit, true);
    let mut rules = Rules::default();
    (rules.success, rules.when) = (vec![3], When::OnFailure);
    once.course.rules = rules;
    let mut after = bench.script("after", "exec sleep 1000");
    after.needs = vec!["ready".into(), "once".into()];
    bench.manager.define(vec![ready, never, once, after]).unwrap();
    bench.manager.up(&[]).unwrap();
    let given_up = bench.manager.settle(&["never".into()], LONG).unwrap().remove(0);
    assert!(matches!(given_up.phase, Phase::Down(Reason::Failed(_))), "{given_up:?}");
    assert!(bench.news().iter().any(|(name, news)| {
        name == "never" && matches!(news, News::Unwell { why } if why.contains("not ready"))
    }));
    assert_eq!(bench.status("once").phase, Phase::Down(Reason::Done));
    assert_eq!(bench.status("ready").phase, Phase::Starting);
    assert_eq!(bench.status("after").phase, Phase::Waiting);
    std::fs::write(bench.notes.dir.join("gate"), "").unwrap();
    bench.manager.settle(&["after".into()], LONG).unwrap();
    assert_eq!(bench.status("ready").text.as_deref(), Some("all is well"));
    assert_eq!(bench.status("after").phase, Phase::Running);
}

#[test]
fn a_definition_that_changes_takes_effect_with_the_next_start_and_what_is_not_named_ends() {
    let bench = Bench::new();
    let web = |text: &str| bench.script("web", &format!("echo {text}; exec sleep 1000"));
    let other = bench.script("other", "exec sleep 1000");
    bench.up(vec![web("one"), other]);
    let before = bench.status("web").pid;
    bench.until("it has started", || bench.written("web.out") == "one\n");
    bench.manager.define(vec![web("two")]).unwrap();
    bench.until("it is gone", || bench.manager.status().unwrap().len() == 1);
    assert_eq!(bench.status("web").pid, before);
    bench.manager.restart(&["web".into()]).unwrap();
    bench.until("it has started anew", || bench.written("web.out") == "one\ntwo\n");
    let unknown = bench.manager.up(&["web".into(), "other".into()]);
    assert_eq!(unknown, Err(ManagerError::Unknown { name: "other".into() }));
    let twice = bench.manager.define(vec![web("a"), web("b")]);
    assert_eq!(twice, Err(ManagerError::Twice { name: "web".into() }));
    bench.manager.settle(&[], LONG).unwrap();
    assert_eq!(bench.status("web").phase, Phase::Running);
}

#[test]
fn one_that_cannot_be_started_and_does_not_pause_keeps_nobody_waiting() {
    let bench = Bench::new();
    let mut missing = Definition::new("missing", ["./no-such-program"], bench.notes.dir.clone());
    missing.course.rules.pauses =
        Pauses::Doubling { first: Duration::ZERO, longest: Duration::ZERO };
    let other = bench.script("other", "exec sleep 1000");
    bench.manager.define(vec![missing, other]).unwrap();
    bench.manager.up(&[]).unwrap();
    let other = bench.manager.settle(&["other".into()], LONG).unwrap().remove(0);
    assert_eq!(other.phase, Phase::Running);
    // Who does not settle is waited for no longer than was asked.
    let begun = Instant::now();
    bench.manager.settle(&["missing".into()], Duration::from_millis(50)).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(50) && begun.elapsed() < LONG);
    bench.manager.down(&["missing".into()]).unwrap();
    assert_eq!(bench.manager.settle(&[], LONG).unwrap().len(), 2);
}

#[test]
fn one_that_is_defined_again_before_it_has_ended_runs_on_and_a_restart_forgets_what_was() {
    let bench = Bench::new();
    let web = || {
        let mut one = bench.script("web", "exec sleep 1000");
        one.course.rules.stable = Duration::ZERO;
        one.level = 1;
        one
    };
    let pid = bench.up(vec![web()])[0].pid;
    bench.manager.define(vec![]).unwrap();
    bench.until("it is gone", || bench.manager.status().unwrap().is_empty());
    assert!(!is_alive(pid.unwrap()));
    let pid = bench.up(vec![web()])[0].pid;
    kill(pid.unwrap());
    bench.until("it was started again", || bench.status("web").restarts == 1);
    bench.manager.restart(&[]).unwrap();
    assert_eq!(bench.status("web").restarts, 0, "while it ends, too");
}

#[test]
fn what_runs_anew_ends_in_its_order_and_begins_when_all_of_it_has_ended() {
    let bench = Bench::new();
    let script = "echo begin $NAME >> order; trap 'sleep 0.2; echo end $NAME >> order; exit 0' TERM\n\
        echo up; while :; do sleep 0.01; done";
    let of = |name: &str, needs: &[&str]| {
        let mut one = bench.script(name, script);
        one.env.insert("NAME".into(), name.into());
        one.needs = needs.iter().map(|&need| need.to_owned()).collect();
        one
    };
    let mut migrate = bench.script("migrate", "echo begin migrate >> order");
    (migrate.readiness, migrate.course.once) = (Readiness::Exit, true);
    let all = || vec![of("web", &["migrate", "db"]), of("db", &[]), migrate.clone()];
    bench.up(all());
    for file in ["web.out", "db.out"] {
        bench.until("its trap is set", || bench.written(file) == "up\n");
    }
    std::fs::remove_file(bench.notes.dir.join("order")).unwrap();
    bench.manager.restart(&[]).unwrap();
    bench.manager.settle(&[], LONG).unwrap();
    bench.until("web has begun", || bench.written("order").contains("begin web"));
    let order = bench.written("order");
    let order: Vec<&str> = order.lines().collect();
    assert_eq!(order[..2], ["end web", "end db"]);
    assert!(order.len() == 5 && order[4] == "begin web", "{order:?}");
    // Whose needs have turned round since they were started end all the same.
    bench.manager.define(vec![of("web", &[]), of("db", &["web"])]).unwrap();
    bench.manager.restart(&["db".into()]).unwrap();
    bench.manager.settle(&["db".into()], LONG).unwrap();
    bench.manager.down(&[]).unwrap();
    let down = bench.manager.settle(&[], LONG).unwrap();
    assert!(down.iter().all(|one| one.pid.is_none()), "{down:?}");
}

#[test]
fn what_has_crashed_does_not_wait_for_what_has_failed_since() {
    let bench = Bench::new();
    let mut ground = bench.script("ground", "while [ ! -e over ]; do sleep 0.01; done; exit 1");
    ground.course.rules.when = When::Never;
    let mut web = bench.script("web", "exec sleep 1000");
    (web.level, web.needs) = (1, vec!["ground".into()]);
    web.course.rules.stable = Duration::ZERO;
    bench.up(vec![ground, web]);
    std::fs::write(bench.notes.dir.join("over"), "").unwrap();
    bench.until("it has failed", || {
        matches!(bench.status("ground").phase, Phase::Down(Reason::Failed(_)))
    });
    let pid = bench.status("web").pid;
    kill(pid.unwrap());
    bench.until("it runs again", || {
        let now = bench.status("web");
        now.phase == Phase::Running && now.pid.is_some() && now.pid != pid
    });
}

#[test]
fn nothing_that_a_definition_says_keeps_the_manager_from_its_work() {
    let bench = Bench::new();
    let fifo = bench.notes.dir.join("fifo");
    nix::unistd::mkfifo(fifo.as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut waits = bench.script("waits", "exec sleep 1000");
    waits.env_files = vec![fifo.into_string()];
    waits.course.rules.give_up = Some(1);
    let mut long = bench.script("long", "exec sleep 1000");
    long.readiness = Readiness::Delay(Duration::MAX);
    long.course.start_timeout = Duration::MAX;
    let well = bench.script("well", "exec sleep 1000");
    bench.manager.define(vec![waits, long, well]).unwrap();
    bench.manager.up(&[]).unwrap();
    bench.until("it runs", || bench.status("well").phase == Phase::Running);
    let Phase::Down(Reason::Failed(why)) = bench.status("waits").phase else { panic!("it waits") };
    assert!(why.contains("fifo: it is not a file"), "{why}");
    assert_eq!(bench.status("long").phase, Phase::Starting);
    let refused = bench.manager.signal(9999, &[]);
    assert_eq!(refused, Err(ManagerError::Signal { number: 9999 }));
    assert!(!bench.manager.has_ended());
}

/// Its main process has ended, but not what that has started.
#[test]
fn what_is_dead_is_not_shown_as_running_while_its_children_end() {
    let bench = Bench::new();
    let script = "sh -c 'trap \"\" TERM; echo deaf; while :; do sleep 0.02; done' & \
        while [ ! -s web.out ]; do sleep 0.01; done; exit 1";
    let mut web = bench.script("web", script);
    web.course.stop_timeout = Duration::from_secs(2);
    bench.manager.define(vec![web]).unwrap();
    bench.manager.up(&[]).unwrap();
    bench.until("it is dead", || {
        bench.written("web.out") == "deaf\n" && bench.status("web").pid.is_none()
    });
    assert_ne!(bench.status("web").phase, Phase::Running);
    bench.until("it is started again", || bench.status("web").restarts == 1);
}

#[test]
fn what_has_failed_in_a_lower_level_keeps_no_higher_one_down_and_a_stop_of_one_no_restart_of_another()
 {
    let bench = Bench::new();
    let mut low = bench.script("low", "exit 3");
    low.course.rules.when = When::Never;
    let mut high = bench.script("high", "exec sleep 1000");
    high.level = 1;
    let mut stubborn =
        bench.script("stubborn", "trap '' TERM; echo >> up; while :; do sleep 0.1; done");
    stubborn.course.stop_timeout = Duration::from_secs(30);
    bench.manager.define(vec![low, high, stubborn]).unwrap();
    bench.manager.up(&[]).unwrap();
    bench.until("it runs", || bench.status("high").phase == Phase::Running);
    let first = bench.status("high").pid;
    bench.until("the other one, too", || std::fs::metadata(bench.notes.dir.join("up")).is_ok());
    bench.until("it has failed", || {
        matches!(bench.status("low").phase, Phase::Down(Reason::Failed(_)))
    });
    bench.manager.down(&["stubborn".into()]).unwrap();
    bench.manager.restart(&["high".into()]).unwrap();
    let again = bench.manager.settle(&["high".into()], LONG).unwrap().remove(0);
    assert_eq!(again.phase, Phase::Running);
    assert_ne!(again.pid, first);
    assert!(bench.status("stubborn").pid.is_some(), "it is still ending");
    bench.manager.kill();
    bench.until("it is killed", || bench.status("stubborn").pid.is_none());
}
