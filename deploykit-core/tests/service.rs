//! The supervisors `none` and `command`, with real commands.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::config::Config;
use deploykit_core::process::{Exit, ProcessError};
use deploykit_core::traits::{
    BuildState, Manner, Release, ReleaseState, ServiceState, Supervisor, SupervisorError,
    Switching, Verdict,
};
use deploykit_core::{
    BackendRequest, Context, Event, EventKind, FnSink, Layout, Masker, Registry, ReleaseId,
    SourceId, service_backend_name,
};

#[derive(Debug)]
struct One {
    id: ReleaseId,
    source: SourceId,
    root: Utf8PathBuf,
    state: ReleaseState,
}

impl Release for One {
    fn id(&self) -> &ReleaseId {
        &self.id
    }

    fn source(&self) -> &SourceId {
        &self.source
    }

    fn root(&self) -> &Utf8Path {
        &self.root
    }

    fn state(&self) -> &ReleaseState {
        &self.state
    }
}

struct Bench {
    _directory: tempfile::TempDir,
    app: Utf8PathBuf,
    release: One,
    service: Arc<dyn Supervisor>,
    context: Context,
    /// Outputs as `name> line`, warnings as `! text`, notes as `* text`.
    said: Arc<Mutex<Vec<String>>>,
}

fn configured(text: &str) -> Config {
    toml::from_str(&format!("repo.url = \"/srv/git\"\n{text}")).unwrap()
}

fn bench(text: &str) -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let app = Utf8PathBuf::from_path_buf(directory.path().canonicalize().unwrap()).unwrap();
    let root = app.join("releases/one");
    std::fs::create_dir_all(&root).unwrap();
    std::os::unix::fs::symlink("releases/one", app.join("active")).unwrap();
    let (config, layout) = (configured(text), Layout::new(app.clone()));
    let masker = Masker::default();
    let request = BackendRequest::new(&config, &layout, &masker);
    let name = service_backend_name(&config);
    let service = Registry::built_in().make_service(name, &request).unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let sink = said.clone();
    let sink = FnSink::new(move |event: &Event| {
        sink.lock().unwrap().extend(match &event.kind {
            EventKind::Output { name, line, .. } => Some(format!("{name}> {line}")),
            EventKind::Warning { message } => Some(format!("! {message}")),
            EventKind::Note { message } => Some(format!("* {message}")),
            _ => None,
        });
    });
    let release = One {
        id: "one".parse().unwrap(),
        source: SourceId::new("git", &"cd".repeat(20)).unwrap(),
        root,
        state: ReleaseState { build: BuildState::Sealed, verdict: Verdict::None },
    };
    let context = Context::new().unwrap().with_sink(Arc::new(sink));
    Bench { _directory: directory, app, release, service, context, said }
}

impl Bench {
    fn restart(&self) -> Result<(), SupervisorError> {
        self.service.restart(&self.context, &self.release, Manner::Usual)
    }

    fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.said.lock().unwrap())
    }

    fn state(&self) -> ServiceState {
        self.service.status(&self.context).unwrap().state
    }
}

fn sh(script: &str) -> String {
    format!("[\"sh\", \"-c\", {script:?}]")
}

#[test]
fn the_backend_follows_from_what_is_configured() {
    for (text, expected) in [
        ("", "none"),
        ("systemd.unit = \"app\"", "systemd"),
        ("systemd.manager = \"user\"", "systemd"),
        ("service.start = [\"./start\"]", "command"),
        ("service.backend = \"mine\"\nsystemd.unit = \"app\"", "mine"),
    ] {
        assert_eq!(service_backend_name(&configured(text)), expected, "{text}");
    }
}

#[test]
fn none_does_nothing_and_cannot_tell() {
    let bench = bench("");
    assert_eq!(bench.service.switching(), Switching::Nothing);
    bench.restart().unwrap();
    bench.service.stop(&bench.context).unwrap();
    assert_eq!(bench.state(), ServiceState::Unknown);
    assert_eq!(bench.said(), Vec::<String>::new());
}

#[test]
fn a_daemon_that_start_leaves_behind_goes_on_and_keeps_its_output() {
    let script =
        "while [ ! -e gate ]; do sleep 0.01; done; echo later; touch done; exec sleep 1000";
    let start =
        sh(&format!("(cd $DEPLOYKIT_ROOT; {script}) & echo pid $!; pwd; echo $DEPLOYKIT_RELEASE"));
    let bench = bench(&format!("service.start = {start}"));
    bench.restart().unwrap();
    let said = bench.said();
    let pid = said[0].strip_prefix("start> pid ").unwrap();
    assert_eq!(said[1..], [format!("start> {}", bench.release.root), "start> one".to_owned()]);
    std::fs::write(bench.release.root.join("gate"), "").unwrap();
    let (begun, log) = (Instant::now(), bench.app.join(".deploykit/service.log"));
    while !bench.release.root.join("done").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the daemon is gone");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(std::fs::read_to_string(&log).unwrap().ends_with("later\n"));
    assert_eq!(
        bench.service.releases_in_use(&bench.context).unwrap(),
        std::slice::from_ref(&bench.release.id)
    );
    // The daemon has no mark of a build by which something would end it.
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(!environment.contains("DEPLOYKIT_BUILD="));
    let pid = nix::unistd::Pid::from_raw(pid.parse().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn restart_is_used_when_there_is_one_and_stop_and_start_otherwise() {
    let (stop, start) = (sh("echo down"), sh("echo up"));
    let both = format!("[service]\nstop = {stop}\nstart = {start}\n");
    let made = bench(&both);
    made.restart().unwrap();
    assert_eq!(made.said(), ["stop> down", "start> up"]);
    let made = bench(&format!("{both}restart = {}", sh("echo around")));
    made.restart().unwrap();
    assert_eq!(made.said(), ["restart> around"]);
    made.service.stop(&made.context).unwrap();
    assert_eq!(made.said(), ["stop> down"]);
}

#[test]
fn a_stop_that_fails_matters_only_if_the_service_still_runs() {
    let service = |status: &str| {
        let (stop, start, status) = (sh("exit 1"), sh("echo up"), sh(status));
        bench(&format!("[service]\nstop = {stop}\nstart = {start}\nstatus = {status}"))
    };
    let down = service("exit 3");
    down.restart().unwrap();
    let said = down.said();
    assert!(said[0].starts_with("! ") && said[0].contains("exited with code 1"), "{said:?}");
    assert_eq!(said[1], "start> up");
    let up = service("exit 0");
    let error = up.restart().unwrap_err();
    assert!(matches!(error, SupervisorError::Failed { exit: Exit::Code(1), .. }), "{error}");
    assert_eq!(up.said(), Vec::<String>::new());
}

#[test]
fn a_deployment_reloads_what_runs_and_starts_what_does_not() {
    let (restart, reload) = (sh("echo around"), sh("echo anew"));
    let status = sh("test -e $DEPLOYKIT_ROOT/up || exit 3");
    let made = bench(&format!(
        "[service]\nrestart = {restart}\nreload = {reload}\nstatus = {status}\n\
         on_deploy = \"reload\""
    ));
    made.restart().unwrap();
    let said = made.said();
    assert!(said[0].starts_with("* "), "{said:?}");
    assert_eq!(said[1], "restart> around");
    std::fs::write(made.release.root.join("up"), "").unwrap();
    made.restart().unwrap();
    assert_eq!(made.said(), ["reload> anew"]);
}

#[test]
fn the_exit_of_status_tells_the_state() {
    for (script, expected) in [
        ("echo fine", ServiceState::Running),
        ("exit 3", ServiceState::Stopped),
        ("exit 1", ServiceState::Stopped),
        ("kill -9 $$", ServiceState::Stopped),
    ] {
        let made = bench(&format!("[service]\nstart = [\"true\"]\nstatus = {}", sh(script)));
        assert_eq!(made.state(), expected, "{script}");
        assert_eq!(made.said(), Vec::<String>::new());
    }
    let made = bench("service.start = [\"true\"]");
    assert_eq!(made.state(), ServiceState::Unknown);
    let made = bench(&format!("[service]\nstart = [\"true\"]\nstatus = {}", sh("echo 3 of 4")));
    assert_eq!(made.service.status(&made.context).unwrap().detail, "3 of 4");
}

#[test]
fn a_command_that_fails_or_is_missing_or_takes_too_long_is_an_error() {
    let made = bench(&format!("service.restart = {}", sh("echo no; exit 5")));
    let error = made.restart().unwrap_err();
    assert!(matches!(error, SupervisorError::Failed { exit: Exit::Code(5), .. }), "{error}");
    assert_eq!(error.tail(), ["no"]);
    let made = bench("service.restart = [\"./bin/restart\"]");
    let error = made.restart().unwrap_err();
    let SupervisorError::Process { command, source: ProcessError::NotFound { .. } } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(command, "./bin/restart");
    let made = bench("[service]\ntimeout = \"100ms\"\nrestart = [\"sleep\", \"1000\"]");
    assert!(matches!(made.restart(), Err(SupervisorError::TimedOut { .. })));
}

#[test]
fn releases_are_in_use_while_something_runs_from_them() {
    let made = bench("");
    let adopted = made.app.join("mfd_1625079600_a94a8fe5ccb19ba61c4c0873d391e987982fbbd3");
    let shared = made.app.join("shared/data");
    for dir in [&adopted, &shared] {
        std::fs::create_dir_all(dir).unwrap();
    }
    let dirs = [&adopted, &shared, &made.release.root];
    let mut children: Vec<_> = dirs
        .iter()
        .map(|dir| Command::new("sleep").arg("1000").current_dir(dir).spawn().unwrap())
        .collect();
    let used = made.service.releases_in_use(&made.context).unwrap();
    let used: Vec<&str> = used.iter().map(ReleaseId::as_str).collect();
    assert_eq!(used, [adopted.file_name().unwrap(), "one"]);
    for child in &mut children {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(made.service.releases_in_use(&made.context).unwrap(), []);
}

#[test]
fn a_log_that_cannot_be_written_keeps_no_service_from_starting() {
    let bench = bench("service.start = [\"touch\", \"started\"]");
    std::fs::create_dir_all(bench.app.join(".deploykit/service.log")).unwrap();
    bench.service.restart(&bench.context, &bench.release, Manner::Usual).unwrap();
    assert!(bench.release.root.join("started").exists());
    let said = bench.said.lock().unwrap();
    assert!(
        said.iter().any(|line| line.contains("the output of the service is not kept")),
        "{said:?}"
    );
}

#[test]
fn what_is_missing_is_seen_before_anything_is_run() {
    let preflight = |text: &str, made: bool| {
        let bench = bench(text);
        std::fs::write(bench.release.root.join("bad"), "#!/no/such/shell\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(bench.release.root.join("bad"), mode).unwrap();
        let release = made.then_some(&bench.release as &dyn Release);
        bench.service.preflight(&bench.context, release).map_err(|error| match error {
            SupervisorError::Process { command, source } => format!("{command}: {source}"),
            error => panic!("{error:?}"),
        })
    };
    let none = |program: &str| Err(format!("{program}: there is no program {program:?}"));
    let start = "service.start = [\"true\"]\n";
    for (text, made, missing) in [
        (start.to_owned(), Ok(()), Ok(())),
        (format!("{start}service.stop = [\"no-such\"]"), none("no-such"), none("no-such")),
        (format!("{start}service.status = [\"/no/such\"]"), none("/no/such"), none("/no/such")),
        ("service.restart = [\"./no-such\"]".into(), none("./no-such"), Ok(())),
        (format!("{start}service.reload = [\"no-such\"]"), Ok(()), Ok(())),
        (
            format!("{start}service.reload = [\"no-such\"]\nservice.on_deploy = \"reload\""),
            none("no-such"),
            none("no-such"),
        ),
    ] {
        assert_eq!(preflight(&text, true), made, "{text}");
        assert_eq!(preflight(&text, false), missing, "{text}");
    }
    let error = preflight("service.start = [\"./bad\"]", true).unwrap_err();
    assert!(error.contains("needs the interpreter \"/no/such/shell\""), "{error}");
}
