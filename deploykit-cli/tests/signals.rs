//! Signals: an orderly end, never by force.

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use common::{App, release};
use deploykit_testkit::git_repo::GitRepo;
use deploykit_testkit::git_server::{Behaviour, GitServer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A service whose start takes so long that a test is never too late.
const SLOW: &str = r#"
[repo]
url = "/nowhere"
[service]
restart = ["sh", "-c", "if [ -e slow ]; then sleep 60; fi"]
"#;

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
}

/// A rollback whose service is starting, and what it tells from then on.
fn starting(app: &App) -> (Child, std::io::Lines<BufReader<std::process::ChildStderr>>) {
    std::fs::write(app.path().join(release(1_700_000_100, "b")).join("slow"), "").unwrap();
    let mut child = app.command(&["rollback"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("service: started")));
    (child, lines)
}

#[test]
fn an_interrupted_rollback_stays_where_it_went_and_exits_with_five() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let app = App::taken_over(SLOW);
        let (mut child, lines) = starting(&app);
        send(&child, signal);
        let told: Vec<_> = lines.map(|line| line.unwrap()).collect();
        assert_eq!(child.wait().unwrap().code(), Some(5), "{told:#?}");
        assert!(told.iter().any(|line| line.contains("`deploykit recover` finishes")), "{told:#?}");
        let active = std::fs::read_link(app.path().join("active")).unwrap();
        assert_eq!(active.to_str(), Some(release(1_700_000_100, "b").as_str()));
    }
}

/// A search through a history that never comes: the directory for it must not stay.
#[test]
fn an_interrupted_search_through_the_history_leaves_nothing() {
    let repo = GitRepo::new();
    let first = repo.commit_file("a", "1");
    repo.commit_file("a", "2");
    let behaviour = Behaviour { stall_after: Some(0), ..Behaviour::default() };
    let server = GitServer::start(repo.path().parent().unwrap(), None, behaviour);
    for (command, signal, code) in
        [("resolve", Signal::SIGINT, 130), ("plan", Signal::SIGTERM, 143)]
    {
        let app = App::empty();
        app.write("deploykit.toml", &format!("repo.url = \"{}\"", server.url("repo")));
        let tmp = app.path().join("tmp");
        std::fs::create_dir(&tmp).unwrap();
        let left = || std::fs::read_dir(&tmp).unwrap().count();
        let mut child = app.command(&[command, &first[..10]]).env("TMPDIR", &tmp).spawn().unwrap();
        while left() == 0 {
            assert_eq!(child.try_wait().unwrap(), None, "{command} has ended");
            std::thread::yield_now();
        }
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{command}");
        assert_eq!(left(), 0, "{command}");
    }
}

#[test]
fn a_lost_terminal_does_not_stop_what_is_activated() {
    let app = App::taken_over(&SLOW.replace("sleep 60", "while [ -e slow ]; do sleep 0.02; done"));
    let (mut child, lines) = starting(&app);
    send(&child, Signal::SIGHUP);
    std::fs::remove_file(app.path().join(release(1_700_000_100, "b")).join("slow")).unwrap();
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
