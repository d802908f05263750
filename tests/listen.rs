//! Sockets that outlive releases: of each kind, when they open and close, and what keeps them from being handed
//! over.

mod common;

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{App, runs, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Answers each connection with its version, how many sockets it was given, and the number of its process.
const TAKER: &str = include_str!("listen/taker.py");

/// An application of one service.
struct Site {
    app: App,
    port: u16,
}

impl Site {
    fn new(more: impl Fn(&Self) -> String) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let site = Self { app: App::bare(), port };
        site.configure(&more(&site));
        site
    }

    fn listening() -> Self {
        Self::new(|site| format!("listen = [\"127.0.0.1:{}\"]", site.port))
    }

    fn configure(&self, more: &str) {
        let (port, broken, gate) = (self.port, self.app.path("broken"), self.app.path("gate"));
        self.app.configure(&format!(
            "[disk]\nmin_free = 0\nmin_free_inodes = 0\n[health]\ninterval = \"20ms\"\n\
             [probation]\nduration = \"50ms\"\n\
             [[service]]\nname = \"web\"\ncommand = [\"./web\"]\nready = \"line\"\nready_line = \"ready\"\n\
             stop_timeout = \"5s\"\nenv = {{ PORT = \"{port}\", BROKEN = {broken:?}, GATE = {gate:?} }}\n{more}\n"
        ));
    }

    fn up(&self) -> Up<'_> {
        self.app.run(&["up", "--detach", "--no-deploy"]).expect(0);
        Up(&self.app)
    }

    fn commit(&self, version: &str) {
        self.app.repo.write("web", TAKER).make_executable("web");
        self.app.repo.write("version", version).commit(version);
    }

    fn deploy(&self, version: &str) -> common::Ran {
        self.commit(version);
        self.app.run(&["deploy"])
    }

    /// What answers: its version, how many sockets it was given, and its number.
    fn answer(&self) -> io::Result<(String, usize, i32)> {
        Ok(parse(&read(TcpStream::connect(("127.0.0.1", self.port))?)?))
    }

    fn instances(&self) -> Vec<Value> {
        self.app.json(&["ps"]).as_array().unwrap().clone()
    }

    fn runs_alone(&self) -> bool {
        let all = self.instances();
        all.len() == 1 && all[0]["state"] == "running"
    }

    /// Connects again and again meanwhile; every connection is answered.
    fn while_asked<T>(&self, what: impl FnOnce() -> T) -> T {
        let port = self.port;
        asked(move || read(TcpStream::connect(("127.0.0.1", port))?), what)
    }
}

/// `up`, which ends with the test.
struct Up<'a>(&'a App);

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.run(&["down"]);
    }
}

fn read(mut from: impl Read) -> io::Result<String> {
    let mut answer = String::new();
    from.read_to_string(&mut answer)?;
    if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}

fn parse(answer: &str) -> (String, usize, i32) {
    let words: Vec<&str> = answer.split(' ').collect();
    (words[0].to_owned(), words[1].parse().unwrap(), words[2].parse().unwrap())
}

fn asked<T>(ask: impl Fn() -> io::Result<String> + Sync, what: impl FnOnce() -> T) -> T {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Whatever fails: nobody waits for who asks.
        let over = Over(&is_over);
        let asking = scope.spawn(|| {
            let mut answers = 0;
            while !is_over.load(Ordering::SeqCst) {
                ask().unwrap_or_else(|error| panic!("after {answers} answers: {error}"));
                answers += 1;
            }
            answers
        });
        let done = what();
        drop(over);
        assert!(asking.join().unwrap() > 10, "too few were asked");
        done
    })
}

#[test]
fn a_unix_socket_is_handed_over_and_stays_the_same_file() {
    let path = |site: &Site| site.app.path("web.sock");
    let site = Site::new(|site| format!("listen = [{:?}]", path(site)));
    let path = path(&site);
    {
        let _up = site.up();
        site.deploy("one").expect(0);
        let inode = std::fs::metadata(&path).unwrap().ino();
        let ask = || read(UnixStream::connect(&path)?);
        asked(ask, || {
            site.deploy("two").expect(0);
            until("the old one has ended", || site.runs_alone());
        });
        assert_eq!(parse(&ask().unwrap()).0, "two");
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    }
    assert!(!path.exists(), "it is left over");
}

#[test]
fn a_socket_is_closed_when_its_service_is_stopped_and_open_again_when_it_starts() {
    let site = Site::listening();
    let _up = site.up();
    site.deploy("one").expect(0);
    assert_eq!(site.answer().unwrap().0, "one");
    site.app.run(&["stop", "web"]).expect(0);
    assert_eq!(site.answer().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    site.app.run(&["start", "web"]).expect(0);
    assert_eq!(site.answer().unwrap().1, 1);
}

#[test]
fn a_restart_by_hand_loses_no_connection_and_one_that_fails_changes_nothing() {
    let site = Site::listening();
    let _up = site.up();
    site.deploy("one").expect(0);
    let first = site.answer().unwrap().2;
    site.while_asked(|| {
        site.app.run(&["restart", "web"]).expect(0);
        until("the old one has ended", || site.runs_alone());
    });
    let second = site.answer().unwrap().2;
    assert!(second != first && !runs(first));
    site.app.write("broken", "");
    site.while_asked(|| site.app.run(&["restart", "web"]).expect(1).says("serves on"));
    assert_eq!(site.answer().unwrap().2, second);
    assert!(site.runs_alone());
}

#[test]
fn one_that_has_opened_its_socket_itself_is_restarted_once_and_then_handed_over() {
    let site = Site::new(|_| String::new());
    let _up = site.up();
    site.deploy("one").expect(0);
    assert_eq!(site.answer().unwrap().1, 0);
    // The address is its own still when the new release wants to have it passed.
    site.configure(&format!("listen = [\"127.0.0.1:{}\"]", site.port));
    site.deploy("two").expect(0);
    let (version, given, _) = site.answer().unwrap();
    assert_eq!((&*version, given), ("two", 1));
    site.while_asked(|| site.deploy("three").expect(0));
    assert_eq!(site.answer().unwrap().0, "three");
}

#[test]
fn an_address_that_somebody_else_has_is_told_and_nothing_changes() {
    let site = Site::listening();
    let _up = site.up();
    site.deploy("one").expect(0);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    site.configure(&format!("listen = [\"127.0.0.1:{}\", \"127.0.0.1:{port}\"]", site.port));
    let told = site.deploy("two").expect(1);
    let other_one = format!("cannot listen on 127.0.0.1:{port}: ");
    told.says(&other_one).says(&format!("(process {}) listens there", std::process::id()));
    assert_eq!(site.answer().unwrap().0, "one");
    drop(other);
    site.app.run(&["deploy", "--retry"]).expect(0);
    let (version, given, _) = site.answer().unwrap();
    assert_eq!((&*version, given), ("two", 2));
}

#[test]
fn a_deployment_that_is_killed_before_it_has_switched_leaves_the_old_one_alone() {
    let site = Site::listening();
    let _up = site.up();
    site.deploy("one").expect(0);
    let old = site.answer().unwrap().2;
    // It does not get ready.
    site.app.write("gate", "");
    site.commit("two");
    let deploying = site.app.start(&["deploy"]);
    until("the new one is there", || site.instances().len() == 2);
    deploying.kill();
    assert_eq!(site.answer().unwrap().2, old);
    site.app.remove("gate");
    site.app.run(&["recover"]).expect(0);
    until("nothing is left beside it", || site.runs_alone());
    assert_eq!(site.answer().unwrap().2, old);
    site.while_asked(|| site.app.run(&["deploy", "--retry"]).expect(0));
    until("the old one has ended", || site.runs_alone());
    assert_eq!(site.answer().unwrap().0, "two");
}

#[test]
fn a_service_that_dies_has_its_connections_wait_for_the_next_one() {
    let site = Site::listening();
    let _up = site.up();
    site.deploy("one").expect(0);
    let pid = site.answer().unwrap().2;
    // It is stopped, so that nobody has answered those that come now.
    let stopped = Pid::from_raw(pid);
    kill(stopped, Signal::SIGSTOP).unwrap();
    let waiting = TcpStream::connect(("127.0.0.1", site.port)).unwrap();
    waiting.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    kill(stopped, Signal::SIGKILL).unwrap();
    let (_, _, next) = parse(&read(waiting).unwrap());
    assert_ne!(next, pid);
}

/// Gives everything below a directory to an ordinary user.
fn give(dir: &Path, user: u32) {
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        std::os::unix::fs::lchown(&path, Some(user), Some(user)).unwrap();
        if path.symlink_metadata().unwrap().is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[test]
fn an_ordinary_user_hands_over_and_takes_over_what_was_left() {
    const USER: u32 = 65534;
    if !nix::unistd::geteuid().is_root() {
        // Nobody else can become another user.
        return;
    }
    let site = Site::listening();
    let as_user = |arguments: &[&str]| {
        let mut command = site.app.command(arguments);
        common::ran(command.uid(USER).gid(USER).stdout(Stdio::piped()).output().unwrap())
    };
    let deploy = |version: &str| {
        site.commit(version);
        as_user(&["deploy"]).expect(0);
    };
    site.commit("one");
    for of in [site.app.root(), site.app.repo.path()] {
        let readable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(of.parent().unwrap(), readable).unwrap();
    }
    give(site.app.root(), USER);
    as_user(&["up", "--detach", "--no-deploy"]).expect(0);
    let _up = Up(&site.app);
    deploy("one");
    let (_, given, first) = site.answer().unwrap();
    assert_eq!(given, 1);
    assert_eq!(std::fs::metadata(format!("/proc/{first}")).unwrap().uid(), USER);
    let up = parent(first);
    kill(up, Signal::SIGKILL).unwrap();
    until("it is gone", || !runs(up.as_raw()));
    site.while_asked(|| {
        as_user(&["up", "--detach", "--no-deploy"]).expect(0);
        assert_eq!(site.answer().unwrap().2, first, "it was started again");
        deploy("two");
    });
    assert_eq!(site.answer().unwrap().0, "two");
}

fn parent(pid: i32) -> Pid {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    Pid::from_raw(line.trim().parse().unwrap())
}
