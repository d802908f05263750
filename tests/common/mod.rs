//! What the whole-program tests share: an application in a directory of its own, with a real git
//! repository, a service that is a real process, and the program as Cargo has built it.
#![allow(
    dead_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "every test program uses a part of it"
)]

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use deploykit_testkit::git_repo::GitRepo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take that is waited for. Much longer than it ever should.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something is so, and fails when it never is.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < give_up, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process runs. One that has ended and that nobody has waited for does not.
pub fn runs(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}/cwd")).read_link().is_ok()
}

/// The service of the tests: a process that does nothing, in the directory of its release.
///
/// `start` waits while the file `gate/start` exists, and writes its number into
/// `gate/start.reached` then, so that a test can stop the world there.
const SERVICE: &str = r#"#!/bin/sh
app=$DEPLOYKIT_APP
pid=$(cat "$app/service.pid" 2>/dev/null)
alive() { [ -n "$pid" ] && [ -e "/proc/$pid/cwd" ]; }
case $1 in
start)
    echo "start $DEPLOYKIT_REVISION" >> "$app/service.log"
    [ ! -e unstartable ] || { echo "it cannot start" >&2; exit 1; }
    if [ -e "$app/gate/start" ]; then
        echo $$ > "$app/gate/new" && mv "$app/gate/new" "$app/gate/start.reached"
        while [ -e "$app/gate/start" ]; do sleep 0.02; done
    fi
    setsid sleep 86400 < /dev/null > /dev/null 2>&1 &
    echo $! > "$app/service.pid"
    ;;
stop)
    alive || exit 0
    kill "$pid"
    while alive; do sleep 0.01; done
    ;;
status)
    alive || { echo "it does not run"; exit 3; }
    echo "process $pid"
    ;;
esac
"#;

/// The build of the tests, below `[build]`: it makes the file `built`.
pub const BUILD: &str =
    "[build]\ncommands = [[\"sh\", \"-c\", \"cat version > built; echo building\"]]\n";

/// Runs [`SERVICE`], and looks at it quickly and often.
pub const SERVED: &str = r#"
[service]
timeout = "10s"
start = ["./service", "start"]
stop = ["./service", "stop"]
status = ["./service", "status"]
[health]
interval = "20ms"
deadline = "2s"
failures = 2
[[health.check]]
type = "exec"
name = "fit"
command = ["sh", "-c", "test ! -e ill || { echo it is ill; exit 1; }; test ! -e \"$DEPLOYKIT_APP/ill\""]
"#;

/// A probation that is over at once.
pub const SHORT: &str = "[probation]\nduration = \"100ms\"\n";

/// A probation that no test waits for.
pub const LONG: &str = "[probation]\nduration = \"1h\"\n";

/// How the program ended, and what it said.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Fails when it ended otherwise.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Fails when the error output does not say this.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in {self}");
        self
    }

    /// Fails when the result does not say this.
    #[track_caller]
    pub fn tells(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no {text:?} in {self}");
        self
    }

    /// The JSON values that it printed, a line each.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        let line = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line} in {self}"))
        };
        self.stdout.lines().map(line).collect()
    }

    /// The last JSON value that it printed: the result.
    #[track_caller]
    pub fn value(&self) -> Value {
        self.lines().pop().unwrap_or_else(|| panic!("nothing printed: {self}"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr } = self;
        write!(f, "exit {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

/// The program while it runs. Killed when it is dropped.
#[derive(Debug)]
pub struct Running(Option<Child>);

impl Running {
    /// Of a process that was started otherwise.
    pub fn of(child: Child) -> Self {
        Self(Some(child))
    }

    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it was not waited for")
    }

    pub fn pid(&self) -> i32 {
        let id = self.0.as_ref().expect("it was not waited for").id();
        i32::try_from(id).expect("a small number")
    }

    pub fn signal(&self, signal: Signal) -> &Self {
        kill(Pid::from_raw(self.pid()), signal).expect("it runs");
        self
    }

    pub fn has_ended(&mut self) -> bool {
        self.child().try_wait().expect("its state").is_some()
    }

    /// Waits until it says this on standard error. What it has said by then is not kept.
    #[track_caller]
    pub fn hears(&mut self, text: &str) {
        let mut error = BufReader::new(self.child().stderr.as_mut().expect("its standard error"));
        let (mut line, mut said) = (String::new(), String::new());
        while error.read_line(&mut line).expect("a line") > 0 {
            if line.contains(text) {
                return;
            }
            said.push_str(&std::mem::take(&mut line));
        }
        panic!("it never said {text:?}, but:\n{said}");
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ran {
        let output = self.0.take().expect("it was not waited for").wait_with_output();
        ran(output.expect("its output"))
    }

    /// Kills it as a loss of power would.
    pub fn kill(self) {
        self.signal(Signal::SIGKILL);
        assert_eq!(self.wait().code, None);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What became of a command.
pub fn ran(output: std::process::Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The program, without the environment of whoever runs the tests.
pub fn deploykit(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deploykit"));
    command.env_clear().current_dir(directory).stdin(Stdio::null());
    for name in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// An application.
pub struct App {
    root: PathBuf,
    pub repo: GitRepo,
    env: Vec<(String, String)>,
    // Last: the processes in it end first.
    _directory: TempDir,
}

impl App {
    /// An application of a repository with one commit, without a service.
    pub fn new() -> Self {
        let app = Self::bare();
        app.configure(&format!("{BUILD}{SHORT}"));
        app.commit("one");
        app
    }

    /// The same, with a service.
    pub fn served(probation: &str) -> Self {
        let app = Self::bare();
        app.configure(&format!("{BUILD}{SERVED}{probation}"));
        app.commit("one");
        app
    }

    /// An application without a configuration and without a commit.
    pub fn bare() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("its path").join("app");
        std::fs::create_dir(&root).expect("a directory in it");
        Self { root, repo: GitRepo::new(), env: Vec::new(), _directory: directory }
    }

    /// From now on the program has this variable in its environment.
    pub fn env(&mut self, name: &str, value: &str) -> &mut Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("its directories");
        std::fs::write(path, text).expect("the file");
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).expect("the file");
    }

    /// Writes the configuration: the repository, and what else is said.
    pub fn configure(&self, text: &str) {
        self.write("deploykit.toml", &format!("[repo]\nurl = {:?}\n{text}", self.repo.url()));
    }

    /// Commits a version of the application and returns its hash.
    pub fn commit(&self, version: &str) -> String {
        self.commit_with(version, &[])
    }

    /// The same, with empty files beside it: `ill`, `unstartable`.
    pub fn commit_with(&self, version: &str, files: &[&str]) -> String {
        for name in ["ill", "unstartable"] {
            let _ = std::fs::remove_file(self.repo.path().join(name));
        }
        for name in files {
            self.repo.write(name, "");
        }
        self.repo.write("service", SERVICE).make_executable("service");
        self.repo.write("version", format!("{version}\n")).commit(version)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = deploykit(&self.root);
        command.envs(self.env.iter().map(|(name, value)| (name, value))).args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).output().expect("deploykit runs"))
    }

    /// Runs it with `--json` and returns what it answers.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).value()
    }

    /// Starts it and does not wait for it.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(Some(command.spawn().expect("deploykit runs")))
    }

    /// Deploys, and fails when that does.
    #[track_caller]
    pub fn deploy(&self) -> Ran {
        self.run(&["deploy"]).expect(0)
    }

    /// Commits a version and deploys it.
    #[track_caller]
    pub fn deploy_version(&self, version: &str) -> String {
        let hash = self.commit(version);
        self.deploy();
        hash
    }

    /// The version of the active release, by what its build has made.
    #[track_caller]
    pub fn active_version(&self) -> String {
        self.read("active/built").trim().to_owned()
    }

    /// The name of the active release. Names of one second are not in the order of their making,
    /// so this is how a test gets hold of the release that it has just deployed.
    #[track_caller]
    pub fn active_release(&self) -> String {
        let target = self.path("active").read_link().expect("the active link");
        target.file_name().and_then(|name| name.to_str()).expect("a name").to_owned()
    }

    pub fn is_active(&self) -> bool {
        self.path("active").symlink_metadata().is_ok()
    }

    /// The directory that the service runs in, if it runs.
    pub fn serves(&self) -> Option<PathBuf> {
        let pid = std::fs::read_to_string(self.path("service.pid")).ok()?;
        Path::new(&format!("/proc/{}/cwd", pid.trim())).read_link().ok()
    }

    /// Fails when another version is active, or when the service runs from another release.
    #[track_caller]
    pub fn assert_serves(&self, version: &str) {
        assert_eq!(self.active_version(), version);
        let active = self.path("active").canonicalize().expect("the active release");
        assert_eq!(self.serves(), Some(active), "the service runs from another release");
    }

    /// The names in `releases/`.
    pub fn releases(&self) -> Vec<String> {
        names(&self.path("releases"))
    }

    /// The deployments, the last first: what was asked for and how it ended.
    #[track_caller]
    pub fn history(&self) -> Vec<(String, String)> {
        let value = self.json(&["history", "-n", "0"]);
        let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
        let deployments = value.as_array().expect("a list").iter();
        deployments.map(|d| (text(&d["request"]["verb"]), text(&d["outcome"]["outcome"]))).collect()
    }

    /// How the deployments ended, the last first.
    #[track_caller]
    pub fn outcomes(&self) -> Vec<String> {
        self.history().into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Fails when something is left that is no release that the program knows of.
    #[track_caller]
    pub fn assert_tidy(&self) {
        let list = self.json(&["list"]);
        let known = list.as_array().expect("a list").iter();
        let mut known: Vec<_> =
            known.map(|r| r["id"].as_str().expect("an id").to_owned()).collect();
        known.sort();
        assert_eq!(self.releases(), known, "releases/ holds what is no release");
        for name in ["tmp", "trash", "active.new"] {
            let path = self.path(".deploykit").join(name);
            assert_eq!(names(&path), [""; 0], "{name} is not empty");
        }
        let status = self.json(&["status"]);
        assert_eq!(status["unfinished"], Value::Null, "{status}");
        assert_eq!(status["busy"], Value::Null, "{status}");
    }

    /// Closes a gate: the world stops there, once it comes to it.
    pub fn close_gate(&self, name: &str) {
        self.write(&format!("gate/{name}"), "");
    }

    /// Waits until somebody stands at the gate, and returns the number of that process.
    pub fn wait_at_gate(&self, name: &str) -> i32 {
        let path = self.path(&format!("gate/{name}.reached"));
        until(&format!("somebody is at the gate {name}"), || path.exists());
        let pid = std::fs::read_to_string(&path).expect("the number").trim().parse();
        std::fs::remove_file(path).expect("it is there");
        pid.expect("a number")
    }

    pub fn open_gate(&self, name: &str) {
        self.remove(&format!("gate/{name}"));
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // Everything that runs in this directory was started by this test.
        let Ok(processes) = std::fs::read_dir("/proc") else { return };
        for entry in processes.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
            let (Some(pid), Ok(cwd)) = (pid, entry.path().join("cwd").read_link()) else {
                continue;
            };
            if cwd.starts_with(&self.root) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// The names in a directory, sorted; none when it is not there.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> =
        entries.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// The permissions of a file.
pub fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

/// A build step that waits at a gate: it writes its number, and goes on when the gate is open.
pub fn gate(name: &str) -> String {
    format!(
        "cd \"$DEPLOYKIT_APP\"; if [ -e gate/{name} ]; then echo $$ > gate/new; \
         mv gate/new gate/{name}.reached; while [ -e gate/{name} ]; do sleep 0.02; done; fi"
    )
}

/// `[build]` with one command of the shell, after [`BUILD`]'s.
pub fn build_with(script: &str) -> String {
    let script = format!("cat version > built; {script}");
    format!("[build]\ncommands = [[\"sh\", \"-c\", {script:?}]]\n")
}

/// A process's number from a file.
#[track_caller]
pub fn pid_in(path: &Path) -> i32 {
    let text = std::fs::read_to_string(path).expect("the file");
    text.trim().parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// Every file below a directory with its time and size, but not those of the locks, which say who
/// holds them.
pub fn snapshot(directory: &Path) -> Vec<(String, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for name in names(directory) {
        let path = directory.join(&name);
        let metadata = path.symlink_metadata().unwrap();
        if name.ends_with("lock") {
            continue;
        }
        found.push((path.display().to_string(), metadata.len(), metadata.modified().unwrap()));
        if metadata.is_dir() {
            found.extend(snapshot(&path));
        }
    }
    found
}
