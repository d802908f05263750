//! A host of its own for a test: a real systemd, with the program, applications and their
//! repositories on its disk.
#![allow(
    dead_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    reason = "every test program uses a part of it"
)]

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use deploykit_testkit::git_repo::git;
use deploykit_testkit::systemd::Sandbox;
use serde_json::Value;

use crate::common::{Ran, until};

/// The program as Cargo has built it: it lies at the same path inside.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_deploykit");

/// A service that does nothing, keeps its arguments, and ends when it is asked to.
pub const SERVE: &str = "#!/bin/sh\ntrap 'exit 0' TERM\necho serving $(cat version)\n\
    sleep infinity &\nwait\n";

/// Quick looks and a probation that is over at once.
pub const QUICK: &str = "[health]\ninterval = \"50ms\"\ndeadline = \"5s\"\n\
    [probation]\nduration = \"100ms\"\n";

/// Where an application lies, and whose it is.
#[derive(Debug, Clone)]
pub struct App {
    pub root: String,
    pub repo: String,
    /// Who runs deploykit for it; root where none is named.
    pub user: Option<String>,
    /// `manager` in `[systemd]`.
    pub manager: &'static str,
}

impl App {
    pub fn active(&self) -> String {
        format!("{}/active", self.root)
    }
}

pub struct Host {
    pub sandbox: Sandbox,
    clock: Cell<u64>,
}

impl Host {
    /// Boots one with the user `app`; `None` where no systemd can be had.
    pub fn boot() -> Option<Self> {
        let host = Self { sandbox: Sandbox::boot(&[])?, clock: Cell::new(1_700_000_000) };
        host.sandbox.run("useradd", &["--create-home", "--shell", "/bin/sh", "app"]);
        host.sandbox.run("ln", &["-s", PROGRAM, "/usr/local/bin/deploykit"]);
        Some(host)
    }

    /// A file inside, as the test reaches it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.sandbox.root().join(path.trim_start_matches('/')).into()
    }

    pub fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        let text = std::fs::read(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        String::from_utf8(text).expect("UTF-8")
    }

    /// Writes a file, with its directories.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        let file = self.path(path);
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("its directories");
        std::fs::write(&file, text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    pub fn remove(&self, path: &str) {
        std::fs::remove_file(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// An application of root's, by the manager of the host.
    pub fn app(&self, root: &str) -> App {
        let name = root.rsplit('/').next().expect("a name");
        let app = App {
            root: root.to_owned(),
            repo: format!("/srv/git/{name}"),
            user: None,
            manager: "system",
        };
        std::fs::create_dir_all(self.path(root)).expect("its directory");
        std::fs::create_dir_all(self.path(&app.repo)).expect("its repository");
        self.git(&app, &["init", "--quiet", "--initial-branch=main"]);
        self.commit(&app, "one", &[]);
        app
    }

    /// An application that a user has made, by the manager of the host or by that user's own.
    pub fn app_of(&self, user: &str, root: &str, manager: &'static str) -> App {
        let app = App { user: Some(user.to_owned()), manager, ..self.app(root) };
        self.sandbox.run("chown", &["-R", &format!("{user}:{user}"), root, &app.repo]);
        app
    }

    pub fn git(&self, app: &App, arguments: &[&str]) -> String {
        let time = self.clock.get() + 1;
        self.clock.set(time);
        let time = format!("{time} +0000");
        let mut command = self.sandbox.command("git");
        let outside = git(Path::new("/"));
        command.envs(outside.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // It may be another user's.
        command.args(["-c", "safe.directory=*", "-C", &app.repo]).args(arguments);
        command.env("GIT_AUTHOR_DATE", &time).env("GIT_COMMITTER_DATE", &time);
        let output = command.output().expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
    }

    /// Commits a version of the application: [`SERVE`], and these files in place of it or beside it.
    pub fn commit(&self, app: &App, version: &str, files: &[(&str, &str)]) -> String {
        let standard = [("serve", SERVE), ("version", version)];
        for (name, text) in standard.iter().chain(files) {
            let path = format!("{}/{name}", app.repo);
            self.write(&path, text);
            if text.starts_with("#!") {
                let mode = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(self.path(&path), mode).expect("its mode");
            }
        }
        self.git(app, &["add", "--all"]);
        self.git(app, &["commit", "--quiet", "--allow-empty", "--message", version]);
        self.git(app, &["rev-parse", "HEAD"])
    }

    /// Writes the configuration: the repository, the manager, and what else is said.
    pub fn configure(&self, app: &App, text: &str) {
        let head = format!("repo.url = {:?}\nsystemd.manager = {:?}\n", app.repo, app.manager);
        self.write(&format!("{}/deploykit.toml", app.root), &format!("{head}{text}"));
    }

    pub fn command(&self, app: &App, arguments: &[&str]) -> Command {
        let mut command = match &app.user {
            Some(user) => self.sandbox.command_as(user, PROGRAM),
            None => self.sandbox.command(PROGRAM),
        };
        command.args(["--directory", &app.root]).args(arguments).stdin(Stdio::null());
        command
    }

    pub fn run(&self, app: &App, arguments: &[&str]) -> Ran {
        ran(self.command(app, arguments).output().expect("deploykit runs"))
    }

    /// As root, whosever it is.
    pub fn run_as_root(&self, app: &App, arguments: &[&str]) -> Ran {
        self.run(&App { user: None, ..app.clone() }, arguments)
    }

    /// Runs it with `--json` and returns what it answers.
    #[track_caller]
    pub fn json(&self, app: &App, arguments: &[&str]) -> Value {
        self.run(app, &[arguments, &["--json"]].concat()).value()
    }

    /// Starts it and does not wait for it.
    pub fn start(&self, app: &App, arguments: &[&str]) -> Started {
        let mut command = self.command(app, arguments);
        Started(Some(
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs"),
        ))
    }

    /// Installs the unit files and deploys.
    #[track_caller]
    pub fn install(&self, app: &App) {
        let by =
            if app.manager == "user" { app.clone() } else { App { user: None, ..app.clone() } };
        self.run(&by, &["unit", "install"]).expect(0);
    }

    #[track_caller]
    pub fn deploy(&self, app: &App) -> Ran {
        self.run(app, &["deploy"]).expect(0)
    }

    /// What `systemctl` says; its exit code does not matter.
    pub fn systemctl(&self, arguments: &[&str]) -> String {
        let output = self.sandbox.command("systemctl").args(arguments).output().expect("it runs");
        String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&["show", "--value", "--property", name, "--", unit])
    }

    pub fn state(&self, unit: &str) -> String {
        self.property(unit, "ActiveState")
    }

    /// The number of a unit's main process, as it is known inside.
    #[track_caller]
    pub fn pid(&self, unit: &str) -> u32 {
        let pid = self.property(unit, "MainPID").parse().expect("a number");
        assert_ne!(pid, 0, "{unit} does not run: {}", self.systemctl(&["status", "--", unit]));
        pid
    }

    /// A file below `/proc` of a unit's main process.
    #[track_caller]
    pub fn of_process(&self, unit: &str, file: &str) -> String {
        self.sandbox.run("cat", &[&format!("/proc/{}/{file}", self.pid(unit))])
    }

    /// The directory that a unit's main process works in.
    #[track_caller]
    pub fn directory(&self, unit: &str) -> String {
        let link = format!("/proc/{}/cwd", self.pid(unit));
        self.sandbox.run("readlink", &[&link]).trim_end().to_owned()
    }

    /// The directory of the active release.
    pub fn release(&self, app: &App) -> String {
        self.sandbox.run("readlink", &["-f", &app.active()]).trim_end().to_owned()
    }

    /// The version that is active.
    #[track_caller]
    pub fn version(&self, app: &App) -> String {
        let release = std::fs::read_link(self.path(&app.active())).expect("the active link");
        self.read(&format!("{}/{}/version", app.root, release.display()))
    }

    /// The deployments, the last first: how each ended.
    #[track_caller]
    pub fn outcomes(&self, app: &App) -> Vec<String> {
        let value = self.json(app, &["history", "-n", "0"]);
        let deployments = value.as_array().expect("a list").iter();
        let text = |value: &Value| value.as_str().unwrap_or("open").to_owned();
        deployments.map(|deployment| text(&deployment["outcome"]["outcome"])).collect()
    }

    /// The unit files and links that are there, below the directory of the host's.
    pub fn unit_files(&self) -> Vec<String> {
        let root = self.path("/etc/systemd/system");
        let mut found: Vec<String> = files(&root)
            .into_iter()
            .filter(|path| {
                path.read_link().is_ok_and(|to| to != Path::new("/dev/null")) || is_file(path)
            })
            .map(|path| path.strip_prefix(&root).expect("it is below").display().to_string())
            .filter(|name| name != "default.target")
            .collect();
        found.sort();
        found
    }

    pub fn until(&self, what: &str, so: impl FnMut() -> bool) {
        until(what, so);
    }
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let below = |path: PathBuf| match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => files(&path),
        _ => vec![path],
    };
    entries.flat_map(|entry| below(entry.path())).collect()
}

fn ran(output: std::process::Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The program while it runs. Killed when it is dropped.
pub struct Started(Option<Child>);

impl Started {
    pub fn new(child: Child) -> Self {
        Self(Some(child))
    }

    pub fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it was not waited for")
    }

    /// Sends a signal to the program inside.
    pub fn signal(&mut self, host: &Host, signal: nix::sys::signal::Signal) {
        let child = self.0.as_ref().expect("it was not waited for");
        let pid = host.sandbox.pid_of(child).expect("it runs inside");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a small number"));
        nix::sys::signal::kill(pid, signal).expect("it runs");
    }

    pub fn wait(mut self) -> Ran {
        let child = self.0.take().expect("it was not waited for");
        ran(child.wait_with_output().expect("its output"))
    }

    /// Kills it as a loss of power would: what it has started goes on.
    pub fn kill(mut self, host: &Host) {
        self.signal(host, nix::sys::signal::Signal::SIGKILL);
        self.wait();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
