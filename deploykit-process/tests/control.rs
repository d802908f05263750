//! Asking a process manager over its socket.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_process::control::{Claim, Client, ClientError, Server, ServerError};
use deploykit_process::machine::Phase;
use deploykit_process::{Definition, Manager, ManagerError, Quiet};

const LONG: Duration = Duration::from_secs(20);

fn serve(manager: Arc<Manager>, path: &Utf8Path) -> Result<Server, ServerError> {
    Server::start(manager, Claim::take(path)?, |_| {})
}

fn stage() -> (tempfile::TempDir, Utf8PathBuf, Arc<Manager>) {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().join("control")).unwrap();
    (dir, path, Arc::new(Manager::start(Quiet).unwrap()))
}

#[test]
fn what_is_asked_over_the_socket_is_done() {
    let (_dir, path, manager) = stage();
    assert!(matches!(Client::connect(&path), Err(ClientError::Nobody { .. })));
    let (asked, is_asked) = std::sync::mpsc::channel();
    let on_end = move |_| asked.send(()).unwrap();
    let server = Server::start(manager, Claim::take(&path).unwrap(), on_end).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = Client::connect(&path).unwrap();
    let definitions = ["one", "two"].map(|name| Definition::new(name, ["sleep", "1000"], "/"));
    client.define(definitions.to_vec()).unwrap();
    client.up(&["one".into()]).unwrap();
    let one = client.settle(&["one".into()], LONG).unwrap().remove(0);
    assert_eq!((&one.phase, &*one.name), (&Phase::Running, "one"));
    client.restart(&["one".into()]).unwrap();
    // Another one is answered meanwhile, and one that says nothing is in nobody's way.
    let _silent = UnixStream::connect(&path).unwrap();
    let mut other = Client::connect(&path).unwrap();
    let again = other.settle(&["one".into()], LONG).unwrap().remove(0);
    assert_ne!(again.pid, one.pid);
    client.signal(nix::libc::SIGKILL, &["one".into()]).unwrap();
    client.down(&[]).unwrap();
    let all = client.settle(&[], LONG).unwrap();
    assert!(all.len() == 2 && all.iter().all(|one| one.pid.is_none()), "{all:?}");
    let error = client.up(&["three".into()]).unwrap_err();
    assert!(
        matches!(error, ClientError::Manager(ManagerError::Unknown { name }) if name == "three")
    );
    assert!(is_asked.try_recv().is_err());
    client.end().unwrap();
    is_asked.recv_timeout(LONG).unwrap();
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_socket_is_taken_over_from_the_dead_and_from_nobody_else() {
    let (_dir, path, manager) = stage();
    // What one that was killed has left.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = serve(Arc::clone(&manager), &path).unwrap();
    let taken = serve(Arc::clone(&manager), &path).unwrap_err();
    assert!(matches!(taken, ServerError::Taken { .. }), "{taken}");
    assert!(Client::connect(&path).unwrap().status().unwrap().is_empty());
    // It ends though somebody has taken its socket away.
    std::fs::remove_file(&path).unwrap();
    drop(server);
    std::fs::write(&path, "mine").unwrap();
    let error = serve(manager, &path).unwrap_err();
    assert!(matches!(error, ServerError::NoSocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn what_is_not_understood_is_said_and_the_next_request_is_answered() {
    let (_dir, path, manager) = stage();
    let _server = serve(manager, &path).unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    let lines = [
        ("nonsense", "that is no request"),
        ("{\"version\":1,\"do\":\"dance\"}", "unknown variant `dance`"),
        ("{\"version\":2,\"do\":\"dance\"}", "version 2 of the protocol is not spoken here"),
        (
            "{\"version\":1,\"do\":\"status\",\"new\":true}",
            "{\"version\":1,\"ok\":{\"instances\":[]}}",
        ),
    ];
    for (line, _) in lines {
        writeln!(stream, "{line}").unwrap();
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers.lines().count(), lines.len(), "{answers}");
    for (answer, (_, told)) in answers.lines().zip(lines) {
        assert!(answer.contains(told), "{answer}");
    }
}

#[test]
fn a_socket_may_lie_deep() {
    let (dir, _, manager) = stage();
    let deep = Utf8PathBuf::from_path_buf(dir.path().join("deep".repeat(30))).unwrap();
    std::fs::create_dir(&deep).unwrap();
    let path = deep.join("control");
    assert!(path.as_str().len() > 107);
    let _server = serve(Arc::clone(&manager), &path).unwrap();
    assert!(Client::connect(&path).unwrap().status().unwrap().is_empty());
    assert!(matches!(serve(manager, &path).unwrap_err(), ServerError::Taken { .. }));
}

#[test]
fn of_two_managers_that_start_at_once_one_answers() {
    for _ in 0..20 {
        let (_dir, path, manager) = stage();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let start = || {
            let (manager, path) = (Arc::clone(&manager), path.clone());
            std::thread::spawn(move || serve(manager, &path))
        };
        let started = [start(), start()].map(|thread| thread.join().unwrap());
        assert_eq!(started.iter().filter(|server| server.is_ok()).count(), 1, "{started:?}");
        assert!(Client::connect(&path).unwrap().status().is_ok());
    }
}

#[test]
fn no_client_keeps_a_manager_that_is_to_end() {
    let (_dir, path, manager) = stage();
    let server = serve(Arc::clone(&manager), &path).unwrap();
    let mut client = Client::connect(&path).unwrap();
    client.define(vec![Definition::new("one", ["sleep", "1000"], "/")]).unwrap();
    client.up(&[]).unwrap();
    client.settle(&[], LONG).unwrap();
    drop(server);
    assert!(matches!(client.status(), Err(ClientError::Silent { .. })));
    let manager = Arc::try_unwrap(manager).expect("nobody else has it");
    manager.end();
}
