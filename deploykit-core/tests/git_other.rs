//! The git source over git:// and ssh.
#![cfg(feature = "git")]
#![allow(clippy::print_stderr, reason = "one process tells the other by its output")]

mod git_common;

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use deploykit_core::traits::{Source as _, SourceError};
use deploykit_testkit::git_repo::GitRepo;
use deploykit_testkit::git_server::GitDaemon;
use git_common::{Scene, chain};

#[test]
fn a_daemon_serves_releases_one_after_the_other() {
    let repo = GitRepo::new();
    let first = repo.commit_file("a", "1");
    repo.git(&["tag", "--annotate", "--message", "x", "v1"]);
    let daemon = GitDaemon::start(repo.path().parent().unwrap());
    let scene = Scene::new(&daemon.url("repo"));
    scene.deploy("v1").unwrap();
    assert_eq!(scene.read("a"), "1");
    let second = repo.commit_file("a", "2");
    scene.deploy("HEAD").unwrap();
    assert_eq!(scene.read("a"), "2");
    assert_eq!(scene.resolve(&first[..8]).unwrap().id.digest(), first);
    assert_eq!(scene.resolve(&second[..8]).unwrap().id.digest(), second);
    let error = scene.resolve("mian").unwrap_err();
    assert!(matches!(&error, SourceError::NotFound { similar, .. } if similar[..] == ["main"]));
    let error = Scene::new(&daemon.url("nothing")).resolve("main").unwrap_err();
    assert!(matches!(error, SourceError::Transport { .. } | SourceError::Access { .. }));
}

#[test]
fn a_daemon_that_is_silent_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://{}/x", listener.local_addr().unwrap());
    let scene = Scene::with(&url, |options| options.timeout = Duration::from_secs(1));
    let error = chain(&scene.resolve("main").unwrap_err());
    assert!(error.contains("no answer for 1 s"), "{error}");
    let scene = Scene::new(&url);
    let ctx = scene.context().with_timeout(Duration::from_millis(200));
    let error = scene.source().resolve(&ctx, &git_common::revision("main")).unwrap_err();
    assert!(chain(&error).contains("ran out"), "{}", chain(&error));
}

/// The environment belongs to the whole process, so what needs another runs in a process of its
/// own: this test again, with a variable that tells it which part it plays.
fn in_a_process_with(test: &str, directory: &std::path::Path, script: &str, url: &str) -> String {
    let program = directory.join("ssh");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("PATH", format!("{}:{path}", directory.display()))
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("DEPLOYKIT_TEST_URL", url)
        .env_remove("GIT_SSH_COMMAND")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap()
}

/// What the process with the other environment does: it writes what it found.
fn play(url: &str) {
    let scene = Scene::new(url);
    match scene.deploy("main") {
        Ok(_) => eprintln!("deployed {}", scene.read("a")),
        Err(error) => eprintln!("failed: {} hint: {:?}", chain(&error), error.hint()),
    }
}

#[test]
fn ssh_is_the_hosts_and_is_told_never_to_ask() {
    if let Ok(url) = std::env::var("DEPLOYKIT_TEST_URL") {
        return play(&url);
    }
    let repo = GitRepo::new();
    repo.commit_file("a", "over ssh");
    let directory = tempfile::tempdir().unwrap();
    // In the place of ssh: notes its arguments, and runs what stands behind the host here.
    let log = directory.path().join("log");
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\nwhile [ \"$1\" != me@host.invalid ]; do shift; done\nshift\nexec sh -c \"$*\"\n",
        log.display()
    );
    let url = format!("ssh://me@host.invalid:2222{}", repo.url());
    let test = "ssh_is_the_hosts_and_is_told_never_to_ask";
    let output = in_a_process_with(test, directory.path(), &script, &url);
    assert!(output.contains("deployed over ssh"), "{output}");
    let log = std::fs::read_to_string(&log).unwrap();
    for part in
        ["BatchMode=yes", "ConnectTimeout=30", "ServerAliveInterval=20", "2222", "me@host.invalid"]
    {
        assert!(log.contains(part), "{part} is missing in {log}");
    }
}

#[test]
fn ssh_that_hangs_is_ended_with_the_deadline() {
    if let Ok(url) = std::env::var("DEPLOYKIT_TEST_URL") {
        let scene = Scene::new(&url);
        let ctx = scene.context().with_timeout(Duration::from_millis(200));
        let error = scene.source().resolve(&ctx, &git_common::revision("main")).unwrap_err();
        return eprintln!("failed: {}", chain(&error));
    }
    let directory = tempfile::tempdir().unwrap();
    let script = "#!/bin/sh\nexec sleep 600\n";
    let test = "ssh_that_hangs_is_ended_with_the_deadline";
    let output = in_a_process_with(test, directory.path(), script, "me@host.invalid:repo");
    assert!(output.contains("the time for it ran out"), "{output}");
}

#[test]
fn ssh_that_is_silent_is_given_up_after_the_timeout() {
    if let Ok(url) = std::env::var("DEPLOYKIT_TEST_URL") {
        let scene = Scene::with(&url, |options| options.timeout = Duration::from_secs(1));
        let error = scene.deploy("main").unwrap_err();
        return eprintln!("failed: {} hint: {:?}", chain(&error), error.hint());
    }
    let repo = GitRepo::new();
    repo.commit_file("a", "over ssh");
    let directory = tempfile::tempdir().unwrap();
    let test = "ssh_that_is_silent_is_given_up_after_the_timeout";
    // From the beginning, and in the second conversation, which is the fetch.
    let second = format!(
        "#!/bin/sh\nmkdir {0}/first && exec sh -c \"git-upload-pack '{1}'\"\nexec sleep 600\n",
        directory.path().display(),
        repo.url()
    );
    for script in ["#!/bin/sh\nexec sleep 600\n", &second] {
        let output = in_a_process_with(test, directory.path(), script, "me@host.invalid:repo");
        assert!(output.contains("no answer for 1 s"), "{output}");
        assert!(output.contains("repo.timeout"), "{output}");
    }
    assert!(directory.path().join("first").exists());
}

#[test]
fn ssh_that_does_not_get_in_says_what_to_look_at() {
    if let Ok(url) = std::env::var("DEPLOYKIT_TEST_URL") {
        return play(&url);
    }
    let directory = tempfile::tempdir().unwrap();
    let script =
        "#!/bin/sh\necho 'me@host.invalid: Permission denied (publickey).' >&2\nexit 255\n";
    let test = "ssh_that_does_not_get_in_says_what_to_look_at";
    let output = in_a_process_with(test, directory.path(), script, "me@host.invalid:repo");
    assert!(output.contains("failed: "), "{output}");
    assert!(output.contains("ssh failed: me@host.invalid: Permission denied"), "{output}");
    assert!(output.contains("BatchMode"), "{output}");
}
