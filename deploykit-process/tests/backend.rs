//! The backend keeps what every supervisor promises.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deploykit_core::traits::{LogRequest, Manner, ServiceState, Supervisor, SupervisorError};
use deploykit_core::{BackendRequest, Cause, Context, Layout, Masker, config};
use deploykit_process::control::{Claim, Server};
use deploykit_process::log::LogEvent;
use deploykit_process::{
    Kept, LogKeeper, Manager, Processes, Quiet, Surroundings, log_dir, socket,
};
use deploykit_testkit::conformance::{self, Scene};

fn supervisor(layout: &Layout, services: &str) -> Arc<dyn Supervisor> {
    let text = format!("repo.url = \"/r\"\n{services}");
    let config = config::parse(&text, "deploykit.toml".into()).unwrap();
    let masker = Masker::default();
    Processes::construct(&BackendRequest::new(&config, layout, &masker)).unwrap()
}

fn serve(manager: Manager, layout: &Layout) -> Server {
    let claim = Claim::take(&socket(layout)).unwrap();
    Server::start(Arc::new(manager), claim, |_| {}).unwrap()
}

#[test]
fn it_keeps_what_a_supervisor_promises() {
    let of = |name: &str, more: &str| {
        format!("[[service]]\nname = {name:?}\ncommand = [\"sleep\", \"1000\"]\n{more}\n")
    };
    let beside = "ready = \"delay\"\nready_delay = \"50ms\"\ncount = 2\non_deploy";
    let once = "[[service]]\nname = \"once\"\ncommand = [\"true\"]\nready = \"exit\"\n";
    for services in [
        of("web", ""),
        format!("{}{}", of("web", "count = 2"), of("worker", "after = [\"web\"]")),
        of("web", &format!("{beside} = \"hand-over\"")),
        of("web", &format!("{beside} = \"rolling\"")),
        // Beside one that is restarted, and behind what is done once.
        format!(
            "{once}{}{}",
            of("web", &format!("{beside} = \"hand-over\"\nrequires = [\"once\", \"db\"]")),
            of("db", "")
        ),
    ] {
        let server: Mutex<Option<Server>> = Mutex::new(None);
        conformance::supervisor(|layout| {
            server.lock().unwrap().get_or_insert_with(|| {
                std::fs::create_dir_all(layout.private()).unwrap();
                serve(Manager::start(Quiet).unwrap(), layout)
            });
            supervisor(layout, &services)
        });
    }
}

/// Nobody is told anything.
#[derive(Debug)]
struct Nobody;

impl Surroundings for Nobody {}

impl LogKeeper for Nobody {
    fn log_event(&self, _: &LogEvent) {}
}

#[test]
fn what_the_services_have_written_is_kept_and_tells_why_one_does_not_start() {
    let scene = Scene::new();
    let layout = scene.layout();
    std::fs::create_dir_all(layout.private()).unwrap();
    let manager = Manager::start(Kept::new(log_dir(layout), Nobody).unwrap()).unwrap();
    let _server = serve(manager, layout);
    let ctx = Context::new().unwrap();
    let release = scene.release(1);
    let script = |name: &str, script: &str| {
        format!("[[service]]\nname = {name:?}\ncommand = [\"sh\", \"-c\", {script:?}]\n")
    };
    let well = format!(
        "{}count = 2\n{}",
        script("web", "echo hello; echo trouble >&2; exec sleep 1000"),
        script("worker", "echo working; exec sleep 1000")
    );
    let well = supervisor(layout, &well);
    well.restart(&ctx, &release, Manner::Usual).unwrap();
    let read = |request: &LogRequest| {
        let mut lines = Vec::new();
        well.logs(&ctx, request, &mut |line| lines.push(format!("{}: {}", line.by, line.line)))?;
        Ok::<_, SupervisorError>(lines)
    };
    let mut lines = Vec::new();
    for _ in 0..500 {
        lines = read(&LogRequest::default()).unwrap();
        if lines.len() >= 5 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    lines.sort();
    let expected =
        ["web@1: hello", "web@1: trouble", "web@2: hello", "web@2: trouble", "worker: working"];
    assert_eq!(lines, expected);
    let mut of_one = LogRequest::default();
    (of_one.of, of_one.lines) = (vec!["web".into()], Some(3));
    assert_eq!(read(&of_one).unwrap().len(), 3);
    of_one.of = vec!["wbe".into()];
    let error = read(&of_one).unwrap_err();
    assert!(error.hint().unwrap().contains("web@1, web@2, worker"), "{error}");
    let mode = std::fs::metadata(log_dir(layout).join("worker.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // Whoever follows hears until it is cancelled.
    let following = Context::new().unwrap();
    let mut follow = LogRequest::default();
    follow.follow = true;
    let mut heard = 0;
    let result = well.logs(&following, &follow, &mut |_| {
        heard += 1;
        if heard == 5 {
            following.cancellation().cancel(Cause::Interrupt);
        }
    });
    assert!(matches!(result, Err(SupervisorError::Cancelled(_))), "{result:?}");

    // It is not up before it says so.
    let ill = script("web", "echo no such database >&2; exit 7") + "ready = \"notify\"\n";
    let ill = supervisor(layout, &ill);
    let error = ill.restart(&ctx, &release, Manner::Usual).unwrap_err();
    assert!(error.to_string().contains("web has failed: web exited with code 7"), "{error}");
    assert!(error.tail().iter().any(|line| line == "no such database"), "{:?}", error.tail());
}

#[test]
fn a_release_that_mends_a_crash_loop_is_brought_up_and_each_behind_what_it_needs() {
    let scene = Scene::new();
    let layout = scene.layout();
    std::fs::create_dir_all(layout.private()).unwrap();
    let server = serve(Manager::start(Quiet).unwrap(), layout);
    let ctx = Context::new().unwrap();
    let of = |name: &str, script: &str, more: &str| {
        format!("[[service]]\nname = {name:?}\ncommand = [\"sh\", \"-c\", {script:?}]\n{more}\n")
    };
    let ill = supervisor(layout, &of("web", "exit 1", ""));
    let _ = ill.restart(&ctx, &scene.release(1), Manner::Usual);
    let well = supervisor(layout, &of("web", "exec sleep 1000", ""));
    for _ in 0..500 {
        if well.status(&ctx).unwrap().instances[0].restarts > 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    well.restart(&ctx, &scene.release(2), Manner::Usual).unwrap();
    let status = well.status(&ctx).unwrap();
    assert_eq!((status.state, status.instances[0].restarts), (ServiceState::Running, 0));
    drop(server);

    // One by one, where nothing runs yet.
    let _server = serve(Manager::start(Quiet).unwrap(), layout);
    let services = of("web", "exec sleep 1000", "requires = [\"db\"]");
    let all = supervisor(layout, &format!("{services}{}", of("db", "exec sleep 1000", "")));
    let release = scene.release(1);
    for instance in all.instances() {
        all.restart_instance(&ctx, &release, &instance, Manner::Usual).unwrap();
    }
    assert_eq!(all.status(&ctx).unwrap().state, ServiceState::Running);
}
