//! Programs are run for real: shells, sleepers, and children that do not want to end.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::process::{
    self, Exit, Finished, Input, Leftovers, Outcome, Output, ProcessError, ProcessSpec,
};
use deploykit_core::{Cancelled, Cause, Context, Event, EventKind, FnSink, Masker, Secret, Stream};

/// Longer than any test may take, and what is waited for always comes earlier.
const LONG: Duration = Duration::from_secs(60);

fn shell(script: &str) -> ProcessSpec {
    let mut spec = ProcessSpec::new("test", ["sh", "-c", script], "/");
    spec.env = vec![("PATH".into(), std::env::var("PATH").unwrap())];
    spec.timeout = Some(LONG);
    spec
}

/// With a marker that no other test has.
fn marked(script: &str) -> (ProcessSpec, String) {
    let mut spec = shell(script);
    let directory = tempfile::tempdir().unwrap();
    let value = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
    spec.leftovers = Leftovers::End { name: "TEST_BUILD".into(), value: value.clone() };
    (spec, value)
}

fn run(spec: &ProcessSpec) -> (Finished, Vec<(Stream, String)>) {
    let mut lines = Vec::new();
    let finished = process::run(&Context::new().unwrap(), spec, &mut |stream, line| {
        lines.push((stream, line.to_owned()));
    });
    (finished.unwrap(), lines)
}

fn texts(spec: &ProcessSpec) -> Vec<String> {
    run(spec).1.into_iter().map(|(_, line)| line).collect()
}

fn warnings() -> (Context, Arc<Mutex<Vec<String>>>) {
    let found = Arc::new(Mutex::new(Vec::new()));
    let sink = found.clone();
    let sink = FnSink::new(move |event: &Event| {
        if let EventKind::Warning { message } = &event.kind {
            sink.lock().unwrap().push(message.clone());
        }
    });
    (Context::new().unwrap().with_sink(Arc::new(sink)), found)
}

/// Whether a process lives (a zombie does not).
fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with(['Z', 'X']))
}

/// Waits for what another process does, looking again and again.
fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn end(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

fn script(directory: &Utf8Path, name: &str, text: &str, mode: u32) -> Utf8PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn directory() -> (tempfile::TempDir, Utf8PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
    (directory, path)
}

#[test]
fn the_exit_code_and_the_signal_are_told_apart() {
    assert_eq!(run(&shell("exit 7")).0.outcome, Outcome::Exited(Exit::Code(7)));
    assert_eq!(run(&shell("kill -9 $$")).0.outcome, Outcome::Exited(Exit::Signal(9)));
    assert!(run(&shell("true")).0.success());
}

#[test]
fn lines_come_with_their_stream_and_the_last_needs_no_newline() {
    let (finished, lines) = run(&shell("echo one; printf two; echo three >&2; printf four >&2"));
    let of = |wanted| lines.iter().filter(move |(s, _)| *s == wanted).map(|(_, l)| l.as_str());
    assert_eq!(of(Stream::Stdout).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(of(Stream::Stderr).collect::<Vec<_>>(), ["three", "four"]);
    assert_eq!(finished.tail.len(), 4);
}

#[test]
fn the_tail_has_the_last_twenty_lines_masked() {
    let masker = Masker::default();
    masker.learn(&Secret::new("hunter2-hunter2"));
    let context = Context::new().unwrap().with_masker(masker);
    let spec = shell("seq 1 500; echo pw=hunter2-hunter2");
    let mut last = String::new();
    let finished = process::run(&context, &spec, &mut |_, line| last = line.to_owned()).unwrap();
    assert_eq!((finished.tail.len(), finished.tail[0].as_str()), (20, "482"));
    assert_eq!((finished.tail[19].as_str(), last.as_str()), ("pw=***", "pw=***"));
}

#[test]
fn the_child_has_exactly_the_given_environment() {
    let mut spec = shell("");
    spec.argv = vec!["env".into()];
    spec.env.push(("WORD".into(), "a b".into()));
    spec.env.retain(|(name, _)| name != "HOME");
    let mut names: Vec<String> = texts(&spec);
    names.sort();
    assert_eq!(names, [format!("PATH={}", std::env::var("PATH").unwrap()), "WORD=a b".into()]);
}

#[test]
fn standard_input_is_empty_or_what_was_given() {
    assert_eq!(texts(&shell("wc -c")), ["0"]);
    let mut spec = shell("wc -c");
    spec.stdin = Input::Bytes(vec![b'x'; 1 << 20]);
    assert_eq!(texts(&spec), ["1048576"]);
    // It does not read it, and that is no error.
    spec.argv[2] = "exit 3".into();
    assert_eq!(run(&spec).0.outcome, Outcome::Exited(Exit::Code(3)));
}

#[test]
fn the_child_inherits_none_of_our_descriptors() {
    let (_directory, path) = directory();
    let _open = std::fs::File::create(path.join("held-open")).unwrap();
    let listed = texts(&shell("ls -l /proc/$$/fd")).join("\n");
    assert!(listed.contains("0 -> /dev/null"), "{listed}");
    assert!(!listed.contains("held-open"), "{listed}");
}

#[test]
fn a_flood_of_output_needs_no_memory() {
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = peak();
    // 100 MB of lines, and 100 MB without a single newline.
    let script = "yes 0123456789012345678901234567890123456789 | head -c 100000000; \
                  head -c 100000000 /dev/zero | tr '\\0' x";
    let (mut bytes, mut longest) = (0_u64, 0);
    let finished = process::run(&Context::new().unwrap(), &shell(script), &mut |_, line| {
        bytes += line.len() as u64;
        longest = longest.max(line.len());
    })
    .unwrap();
    assert!(finished.success());
    assert!(bytes > 197_000_000, "{bytes}");
    assert_eq!(longest, 16 * 1024);
    assert!(peak() - before < 24 * 1024, "{} KiB more", peak() - before);
}

#[test]
fn a_cancellation_ends_what_ignores_sigterm_and_what_left_the_group() {
    let script = "trap '' TERM
        sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' &
        setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' &
        setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' >/dev/null 2>&1 &
        setsid env -i sh -c 'trap \"\" TERM; echo $$; sleep 1000; :' &
        env -i sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' &
        wait; sleep 1000";
    let (mut spec, marker) = marked(script);
    spec.grace = Duration::from_millis(200);
    let context = Context::new().unwrap();
    let mut pids = Vec::new();
    let finished = process::run(&context, &spec, &mut |_, line| {
        pids.push(line.parse::<u32>().unwrap());
        if pids.len() == 4 {
            // The fifth does not tell its number: it is known by its mark.
            until("the start of the silent one", || {
                process::marked("TEST_BUILD", &marker)
                    .unwrap()
                    .iter()
                    .filter(|p| p.command.contains("sleep 1000"))
                    .count()
                    >= 3
            });
            context.cancellation().cancel(Cause::Interrupt);
        }
    })
    .unwrap();
    assert_eq!(finished.outcome, Outcome::Cancelled(Cancelled(Cause::Interrupt)));
    assert_eq!(pids.len(), 4);
    assert!(!pids.iter().any(|&pid| lives(pid)), "one of {pids:?} lives");
    assert_eq!(process::marked("TEST_BUILD", &marker).unwrap(), []);
}

#[test]
fn what_ends_in_order_on_sigterm_can_still_say_so() {
    let mut spec = shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    spec.grace = LONG;
    let context = Context::new().unwrap();
    let finished = process::run(&context, &spec, &mut |_, line| {
        if line == "ready" {
            context.cancellation().cancel(Cause::Terminate);
        }
    })
    .unwrap();
    assert_eq!(finished.outcome, Outcome::Cancelled(Cancelled(Cause::Terminate)));
    // The shell may also say that its sleep was terminated.
    assert!(finished.tail.contains(&"bye".to_owned()), "{:?}", finished.tail);
    assert!(finished.elapsed < LONG);
}

#[test]
fn a_stopped_process_is_ended_too() {
    let mut spec = shell("trap 'echo bye; exit' TERM; echo ready; kill -STOP $$; sleep 1000");
    spec.grace = LONG;
    spec.timeout = Some(Duration::from_millis(300));
    let (finished, _) = run(&spec);
    assert_eq!(finished.outcome, Outcome::TimedOut(Duration::from_millis(300)));
    assert!(finished.elapsed < LONG);
}

#[test]
fn nothing_is_started_when_it_is_cancelled_already() {
    let context = Context::new().unwrap();
    context.cancellation().cancel(Cause::HangUp);
    let spec = ProcessSpec::new("test", ["/nonexistent"], "/");
    let finished = process::run(&context, &spec, &mut |_, _| {}).unwrap();
    assert_eq!(finished.outcome, Outcome::Cancelled(Cancelled(Cause::HangUp)));
}

#[test]
fn the_time_limit_and_the_deadline_of_the_context_end_it() {
    let mut spec = shell("sleep 1000 & sleep 1000");
    spec.timeout = Some(Duration::from_millis(100));
    let (finished, _) = run(&spec);
    assert_eq!(finished.outcome, Outcome::TimedOut(Duration::from_millis(100)));
    spec.timeout = Some(LONG);
    let context = Context::new().unwrap().with_timeout(Duration::from_millis(100));
    let finished = process::run(&context, &spec, &mut |_, _| {}).unwrap();
    assert!(
        matches!(finished.outcome, Outcome::TimedOut(limit) if limit <= Duration::from_millis(100))
    );
}

#[test]
fn a_background_child_with_the_pipe_is_ended_with_a_warning() {
    // With its mark, in a session of its own; without its mark, in the group of the dead parent.
    for detach in ["", "setsid ", "env -i "] {
        let (spec, _) = marked(&format!("{detach}sleep 1000 & echo $!; echo last"));
        let (context, warnings) = warnings();
        let finished = process::run(&context, &spec, &mut |_, _| {}).unwrap();
        assert!(finished.success());
        assert!(finished.elapsed < LONG);
        assert_eq!(finished.tail[1], "last");
        let warnings = warnings.lock().unwrap();
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("left processes behind"), "{warnings:?}");
        assert!(warnings[0].contains("sleep 1000"), "{warnings:?}");
    }
}

#[test]
fn a_background_child_without_the_pipe_is_ended_too_and_one_that_is_ending_is_not_reported() {
    let (spec, marker) = marked("setsid sleep 1000 </dev/null >/dev/null 2>&1 &");
    assert!(run(&spec).0.success());
    assert_eq!(process::marked("TEST_BUILD", &marker).unwrap(), []);
    let (spec, _) = marked("sleep 0.05 >/dev/null 2>&1 &");
    let (context, warnings) = warnings();
    assert!(process::run(&context, &spec, &mut |_, _| {}).unwrap().success());
    assert_eq!(*warnings.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn a_background_child_may_stay_when_that_is_wanted() {
    let spec = shell("sleep 1000 & echo $!");
    let (finished, _) = run(&spec);
    assert!(finished.success());
    assert!(finished.elapsed < LONG);
    let pid = finished.tail[0].parse().unwrap();
    assert!(lives(pid));
    end(pid);
}

#[test]
fn processes_of_a_dead_parent_are_found_by_their_mark_and_ended() {
    let (_directory, path) = directory();
    let value = path.file_name().unwrap().to_owned();
    // The parent is killed; its two children go on, one in a session of its own.
    let mut parent = Command::new("sh")
        .args([
            "-c",
            "setsid sleep 1000 & sh -c 'trap \"\" TERM; echo ready; sleep 1000; :' & wait",
        ])
        .env("TEST_BUILD", &value)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(parent.stdout.as_mut().unwrap(), &mut ready).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    let found = process::marked("TEST_BUILD", &value).unwrap();
    assert!(found.len() >= 2, "{found:?}");
    assert_eq!(process::marked("TEST_BUILD", &value[1..]).unwrap(), []);
    let context = Context::new().unwrap();
    let grace = Duration::from_millis(100);
    let report = process::end_marked(&context, "TEST_BUILD", &value, grace).unwrap();
    assert!(report.ended.len() >= 2, "{report:?}");
    assert_eq!(report.left, []);
    assert_eq!(process::marked("TEST_BUILD", &value).unwrap(), []);
}

#[test]
fn ending_keeps_up_with_new_processes() {
    let (_directory, path) = directory();
    let value = path.file_name().unwrap().to_owned();
    let mut parent = Command::new("sh")
        .args(["-c", "trap '' TERM; while :; do sleep 0.02 & sleep 0.01; done"])
        .env("TEST_BUILD", &value)
        .spawn()
        .unwrap();
    until("the start", || !process::marked("TEST_BUILD", &value).unwrap().is_empty());
    let context = Context::new().unwrap();
    let report = process::end_marked(&context, "TEST_BUILD", &value, Duration::ZERO).unwrap();
    assert_eq!(report.left, []);
    parent.wait().unwrap();
    assert_eq!(process::marked("TEST_BUILD", &value).unwrap(), []);
}

#[test]
fn a_directory_in_use_is_found_by_working_directory_and_by_program() {
    let (_directory, path) = directory();
    let (below, beside) = (path.join("releases/one"), path.join("releases-not"));
    std::fs::create_dir_all(&below).unwrap();
    std::fs::create_dir_all(&beside).unwrap();
    let program = below.join("program");
    std::fs::copy("/bin/sleep", &program).unwrap();
    let spawn = |program: &str, dir: &Utf8Path| {
        Command::new(program).arg("1000").current_dir(dir).spawn().unwrap()
    };
    let mut children = [
        spawn("sleep", &below),
        spawn(program.as_str(), Utf8Path::new("/")),
        spawn("sleep", &beside),
    ];
    std::fs::remove_file(&program).unwrap();
    let found = process::in_use(&path.join("releases")).unwrap();
    assert!(found.contains(&(children[0].id(), below)), "{found:?}");
    assert!(found.contains(&(children[1].id(), program)), "{found:?}");
    assert_eq!(found.len(), 2, "{found:?}");
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(process::in_use(&path.join("releases")).unwrap(), []);
}

fn failure(spec: &ProcessSpec) -> ProcessError {
    process::run(&Context::new().unwrap(), spec, &mut |_, _| {}).unwrap_err()
}

fn words(error: &ProcessError) -> String {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        write!(text, ": {source}").unwrap();
    }
    if let Some(hint) = error.hint() {
        write!(text, " ({hint})").unwrap();
    }
    text
}

#[test]
fn a_program_that_cannot_be_run_is_explained() {
    let (_directory, path) = directory();
    let spec = |program: &str| {
        let mut spec = ProcessSpec::new("test", [program], path.clone());
        spec.env = vec![("PATH".into(), format!("/nowhere:{path}/bin"))];
        spec
    };
    std::fs::create_dir(path.join("bin")).unwrap();
    let missing = failure(&spec("no-such-program"));
    assert!(
        matches!(&missing, ProcessError::NotFound { path: Some(p), .. } if p.contains("/nowhere"))
    );
    assert!(words(&missing).contains("/nowhere"), "{}", words(&missing));
    assert!(matches!(failure(&spec("./gone")), ProcessError::NotFound { path: None, .. }));

    script(&path.join("bin"), "plain", "#!/bin/sh\n", 0o644);
    script(&path, "crlf", "#!/bin/sh\r\necho\r\n", 0o755);
    script(&path, "perl", "#! /opt/nowhere/perl -w\n", 0o755);
    script(&path, "text", "just a text\n", 0o755);
    for (program, expected) in [
        ("plain", "bin/plain\" cannot be executed: Permission denied"),
        ("bin/plain", "\"bin/plain\" cannot be executed: Permission denied"),
        ("./bin", "\"./bin\" cannot be executed: is a directory"),
        ("./perl", "\"./perl\" needs the interpreter \"/opt/nowhere/perl\", which does not exist"),
        (
            "./crlf",
            "needs the interpreter \"/bin/sh\\r\", which does not exist (the script has Windows line ends)",
        ),
        ("./text", "\"./text\" cannot be executed: Exec format error"),
    ] {
        let text = words(&failure(&spec(program)));
        assert!(text.contains(expected), "{program}: {text}");
    }
}

#[test]
fn a_directory_that_is_missing_or_none_is_explained() {
    for (dir, expected) in
        [("/nonexistent/dir", "No such file"), ("/etc/passwd", "not a directory")]
    {
        let mut spec = shell("true");
        spec.dir = dir.into();
        let text = words(&failure(&spec));
        assert!(
            text.contains(&format!("cannot work in the directory {dir}: {expected}")),
            "{text}"
        );
    }
}

#[test]
fn a_program_is_found_in_its_own_path_and_relative_to_its_directory() {
    let (_directory, path) = directory();
    std::fs::create_dir_all(path.join("tools")).unwrap();
    script(&path.join("tools"), "greet", "#!/bin/sh\necho \"$0 $1 $(pwd)\"\n", 0o755);
    let mut spec = ProcessSpec::new("test", ["./tools/greet", "x"], path.clone());
    spec.env = vec![("PATH".into(), "/usr/bin:/bin:tools".into())];
    assert_eq!(texts(&spec), [format!("{path}/./tools/greet x {path}")]);
    spec.argv[0] = "greet".into();
    assert_eq!(texts(&spec), [format!("{path}/tools/greet x {path}")]);
}

#[test]
fn a_program_that_is_just_being_written_is_waited_for() {
    let (_directory, path) = directory();
    let program = script(&path, "busy", "", 0o755);
    std::fs::copy("/bin/true", &program).unwrap();
    let writer = std::fs::OpenOptions::new().append(true).open(&program).unwrap();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(60));
        drop(writer);
    });
    let spec = ProcessSpec::new("test", [program.as_str()], path);
    assert!(run(&spec).0.success());
    thread.join().unwrap();
}

#[test]
fn a_daemon_that_keeps_the_output_file_survives_and_goes_on_writing() {
    let (_directory, path) = directory();
    let log = path.join("service.log");
    std::fs::write(&log, "of an earlier run\n").unwrap();
    let gate = path.join("gate");
    let script = format!(
        "(while [ ! -e {gate} ]; do sleep 0.01; done; echo later; sleep 1000) & echo $!; echo err >&2"
    );
    let mut spec = shell(&script);
    spec.output = Output::File(log.clone());
    let (finished, lines) = run(&spec);
    assert!(finished.success());
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[1], (Stream::Stdout, "err".into()));
    let pid: u32 = lines[0].1.parse().unwrap();
    std::fs::write(&gate, "").unwrap();
    until("the later line", || std::fs::read_to_string(&log).unwrap().ends_with("err\nlater\n"));
    assert!(lives(pid));
    end(pid);
}

#[test]
fn what_goes_to_a_file_is_passed_on_while_it_runs() {
    let (_directory, path) = directory();
    let gate = path.join("gate");
    let mut spec = shell(&format!("echo first; while [ ! -e {gate} ]; do sleep 0.01; done"));
    spec.output = Output::File(path.join("log"));
    let context = Context::new().unwrap();
    let finished = process::run(&context, &spec, &mut |_, line| {
        assert_eq!(line, "first");
        std::fs::write(&gate, "").unwrap();
    });
    assert!(finished.unwrap().success());
    let mode = std::fs::metadata(path.join("log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_panic_of_the_reader_leaves_no_process_behind() {
    let spec = shell("echo $$; exec sleep 1000");
    let pid = Mutex::new(0);
    let context = Context::new().unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        process::run(&context, &spec, &mut |_, line| {
            *pid.lock().unwrap() = line.parse().unwrap();
            std::panic::resume_unwind(Box::new("stop"));
        })
    }));
    assert!(result.is_err());
    assert!(!lives(*pid.lock().unwrap()));
}
