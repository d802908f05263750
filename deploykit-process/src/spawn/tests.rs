use std::fs::File;
use std::io::Read as _;
use std::net::TcpListener;

use rustix::process::{Pid, WaitOptions, waitpid};

use super::*;

fn launch(script: &str, out: Option<OwnedFd>) -> Launch {
    Launch {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        dir: "/".into(),
        env: vec![("A".into(), "1".into()), ("A".into(), "2".into())],
        identity: None,
        umask: 0o027,
        limits: Limits::default(),
        stdout: out,
        stderr: None,
        groups: Vec::new(),
        sockets: Vec::new(),
        held: Vec::new(),
        is_bound: false,
    }
}

fn said(mut launch: Launch) -> String {
    let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    launch.stdout = Some(to);
    let spawned = spawn(&launch).unwrap();
    drop(launch);
    let mut text = String::new();
    File::from(from).read_to_string(&mut text).unwrap();
    let pid = Pid::from_raw(spawned.pid.cast_signed());
    waitpid(pid, WaitOptions::empty()).unwrap();
    text.replace(&spawned.pid.to_string(), "PID")
}

#[test]
fn sockets_come_in_their_order_and_nothing_else_does() {
    let mut with = launch(
        "echo $LISTEN_FDS $LISTEN_FDNAMES $LISTEN_PID $$ $A; cd /proc/$$/fd && echo *; \
         for n in 3 4; do test -S $n && echo $n is a socket; done",
        None,
    );
    let sockets = ["a.socket", "b"].map(|name| {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap().into();
        Passed { name: name.into(), socket }
    });
    with.sockets = sockets.into();
    with.env.push(("LISTEN_PID".into(), "7".into()));
    let text = said(with);
    assert!(text.starts_with("2 a.socket:b PID PID 2\n0 1 2 3 4"), "{text}");
    assert!(text.ends_with("3 is a socket\n4 is a socket\n"), "{text}");
    let without = said(launch("echo $LISTEN_FDS; cd /proc/$$/fd; echo *", None));
    assert!(without.starts_with("\n0 1 2") && !without.contains('4'), "{without}");
}

#[test]
fn a_descriptor_that_lies_where_another_one_goes_is_moved() {
    // Those of this process may be any: the first ones that are free are made use of.
    let held: Vec<File> = (0..8).map(|_| File::open("/dev/null").unwrap()).collect();
    drop(held);
    let mut with =
        launch("cd /proc/$$/fd; for n in 3 4 5 6 7 8 9 10; do test -S $n && printf s; done", None);
    let one = || TcpListener::bind("127.0.0.1:0").unwrap().into();
    with.sockets = (0..8).map(|_| Passed { name: "s".into(), socket: one() }).rev().collect();
    assert_eq!(said(with), "ssssssss");
}

#[test]
fn nothing_runs_that_nobody_was_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ran");
    let mut was_told = false;
    let mut pid = 0;
    spawn_known(&launch(&format!("echo > {}", file.display()), None), &mut |one| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        pid = one.pid;
        was_told = one.pid > 0 && !file.exists();
    })
    .unwrap();
    assert!(was_told);
    waitpid(Pid::from_raw(pid.cast_signed()), WaitOptions::empty()).unwrap();
    assert!(file.exists());
}

#[test]
fn what_cannot_be_started_says_why_and_leaves_nothing() {
    let mut wrong = launch("", None);
    wrong.program = "/no/such".into();
    let mut pid = 0;
    let error = spawn_known(&wrong, &mut |one| pid = one.pid).unwrap_err();
    assert!(deploykit_core::chain(&error).contains("No such file"), "{error:?}");
    assert!(crate::table::row(pid).is_none());
    wrong = launch("", None);
    wrong.dir = "/no/such".into();
    assert!(spawn(&wrong).is_err());
    wrong = launch("a\0b", None);
    assert!(spawn(&wrong).is_err());
}
