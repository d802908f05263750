//! A machine with a systemd, and applications on it.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_testkit::git_repo::GitRepo;
use deploykit_testkit::systemd::Sandbox;
use serde_json::Value;
use tempfile::TempDir;

/// Whoever deploys where the manager is theirs.
pub(crate) const USER: &str = "deploy";

/// Runs the service of `inside.rs`.
pub(crate) const GOOD: &str = "exec \"$HELPER\" -q --exact inside::serve --ignored --nocapture";

// Services that are to be quoted wait a moment after their last words: of a process that has ended
// before the journal reads what it wrote, it does not know to which of a user's units it belonged.

/// Waits until something is so, for as long as a very busy machine may take.
#[track_caller]
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < give_up, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Tells a figure to whoever reads what the tests say.
pub(crate) fn tell(figure: &str) {
    writeln!(std::io::stderr(), "{figure}").expect("standard error");
}

/// Whether the longer runs are wanted.
pub(crate) fn long() -> bool {
    std::env::var_os("DEPLOYKIT_LONG_TESTS").is_some()
}

/// How the program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in {self}");
        self
    }

    #[track_caller]
    pub(crate) fn never_says(self, text: &str) -> Self {
        assert!(!self.stderr.contains(text), "{text:?} in {self}");
        self
    }
}

impl From<std::process::Output> for Ran {
    fn from(output: std::process::Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        Self { code: output.status.code(), stdout, stderr }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr } = self;
        write!(f, "exit {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

/// A systemd, a repository, and room for applications.
pub(crate) struct Machine {
    pub(crate) sandbox: Sandbox,
    pub(crate) repo: GitRepo,
    /// Whose manager runs the units: that of this user, or the system's.
    uid: Option<u32>,
    pub(crate) base: TempDir,
}

impl Machine {
    /// One whose system manager runs the units, for root. `None` where there can be none.
    pub(crate) fn boot() -> Option<Self> {
        let (repo, base) = (GitRepo::new(), tempfile::tempdir().expect("a directory"));
        let directory = repo.path().parent().expect("its directory");
        // Others than root are to come in, too.
        for path in [directory, base.path()] {
            let open = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(path, open).expect("its mode");
        }
        let live = [directory, base.path()].map(|path| Utf8Path::from_path(path).expect("UTF-8"));
        let sandbox = Sandbox::boot(&live)?;
        Some(Self { sandbox, repo, uid: None, base })
    }

    /// One whose units are run by the manager of [`USER`], who also deploys.
    pub(crate) fn of_a_user() -> Option<Self> {
        let mut machine = Self::boot()?;
        machine.uid = Some(machine.sandbox.add_user(USER));
        Some(machine)
    }

    /// Both kinds, one after the other.
    pub(crate) fn both() -> impl Iterator<Item = Self> {
        [Self::boot, Self::of_a_user].into_iter().filter_map(|boot| boot())
    }

    /// A command inside, in the place of whoever deploys.
    pub(crate) fn command(&self, program: &str) -> Command {
        match self.uid {
            None => clean(self.sandbox.command(program)),
            Some(uid) => self.command_of(USER, uid, program),
        }
    }

    /// A command inside, in the place of a user.
    pub(crate) fn command_of(&self, user: &str, uid: u32, program: &str) -> Command {
        let mut command = clean(self.sandbox.command_as(user, program));
        command.env("HOME", format!("/home/{user}")).env("USER", user);
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{uid}"));
        command
    }

    /// Whether the manager is that of [`USER`].
    pub(crate) fn is_a_users(&self) -> bool {
        self.uid.is_some()
    }

    /// `systemctl`, as hints name it.
    pub(crate) fn systemctl_words(&self) -> &'static str {
        if self.is_a_users() { "systemctl --user" } else { "systemctl" }
    }

    /// Runs `systemctl`, for the manager, and returns what it says.
    pub(crate) fn systemctl(&self, arguments: &[&str]) -> String {
        let mut command = self.command("systemctl");
        command.args(self.uid.map(|_| "--user")).args(arguments);
        let ran = Ran::from(command.output().expect("systemctl runs"));
        format!("{}{}", ran.stdout, ran.stderr)
    }

    /// One property of a unit.
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        self.systemctl(&["show", "--value", &format!("--property={name}"), unit]).trim().to_owned()
    }

    /// Fails when a unit is failed.
    #[track_caller]
    pub(crate) fn nothing_has_failed(&self) {
        assert_eq!(self.systemctl(&["list-units", "--failed", "--plain", "--no-legend"]), "");
    }

    /// Writes a unit file, and lets the manager read it.
    pub(crate) fn unit(&self, name: &str, text: &str) {
        self.unit_file(name, text);
        self.systemctl(&["daemon-reload"]);
    }

    /// Writes a unit file; the manager does not know of it.
    pub(crate) fn unit_file(&self, name: &str, text: &str) {
        std::fs::write(self.units().join(name), text).expect("the unit");
    }

    pub(crate) fn remove_unit(&self, name: &str) {
        std::fs::remove_file(self.units().join(name)).expect("the unit");
    }

    /// Where the unit files are.
    fn units(&self) -> Utf8PathBuf {
        let below = match self.uid {
            None => "etc/systemd/system".to_owned(),
            Some(_) => format!("home/{USER}/.config/systemd/user"),
        };
        let directory = self.sandbox.root().join(below);
        std::fs::create_dir_all(&directory).expect("a directory for units");
        if self.uid.is_some() {
            // `systemctl mask` writes there, too.
            std::os::unix::fs::chown(&directory, self.uid, self.uid).expect("its owner");
        }
        directory
    }

    /// An application in a directory of its own.
    pub(crate) fn app(&self, name: &str, port: u16) -> App<'_> {
        let base = Utf8Path::from_path(self.base.path()).expect("UTF-8");
        let root = base.canonicalize_utf8().expect("its path").join(name);
        std::fs::create_dir(&root).expect("a directory");
        if let Some(uid) = self.uid {
            std::os::unix::fs::chown(&root, Some(uid), Some(uid)).expect("its owner");
        }
        App { machine: self, name: name.to_owned(), root, port }
    }
}

/// Without the environment of whoever runs the tests.
fn clean(mut command: Command) -> Command {
    command.env_clear().stdin(Stdio::null());
    for name in ["PATH", "LLVM_PROFILE_FILE"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
}

/// An application on a machine; its unit has its name.
pub(crate) struct App<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) name: String,
    pub(crate) root: Utf8PathBuf,
    port: u16,
}

/// What is read of the configuration besides the repository and the units.
pub(crate) const QUICK: &str = "[health]\ninterval = \"50ms\"\ndeadline = \"3s\"\nfailures = 2\n";

impl App<'_> {
    /// One with a unit of this type, and a health check at its port.
    pub(crate) fn served(&self, kind: &str, more: &str) -> &Self {
        self.machine.unit(&format!("{}.service", self.name), &self.unit_text(kind, more));
        self.configure_with_check(&format!("[systemd]\nunit = \"{}\"\n", self.name), "300ms");
        self
    }

    /// The text of a unit that runs `./service` of the active release.
    pub(crate) fn unit_text(&self, kind: &str, more: &str) -> String {
        let helper = std::env::current_exe().expect("this program");
        let (root, port, helper) = (&self.root, self.port, helper.display());
        format!(
            "[Service]\nType={kind}\nWorkingDirectory={root}/active\nExecStart=/bin/sh ./service\n\
             NotifyAccess=all\nRestartSec=100ms\nTimeoutStopSec=5s\n\
             Environment=APP={root} PORT={port} HELPER={helper}\n{more}\n"
        )
    }

    pub(crate) fn configure_with_check(&self, systemd: &str, probation: &str) {
        let port = self.port;
        self.configure(&format!(
            "{systemd}{QUICK}[[health.check]]\ntype = \"http\"\nurl = \"http://127.0.0.1:{port}/\"\n\
             [probation]\nduration = \"{probation}\"\n"
        ));
    }

    /// Writes the configuration: the repository, whose manager, and what else is said.
    pub(crate) fn configure(&self, text: &str) {
        let url = self.machine.repo.url();
        let mut text = format!("[repo]\nurl = {url:?}\n{text}");
        if self.machine.uid.is_some() {
            text = text.replace("[systemd]", "[systemd]\nmanager = \"user\"");
        }
        std::fs::write(self.root.join("deploykit.toml"), text).expect("the configuration");
    }

    /// Commits a release whose service is this script; returns its hash.
    pub(crate) fn commit(&self, version: &str, service: &str) -> String {
        self.commit_with(version, service, &[])
    }

    pub(crate) fn commit_with(
        &self,
        version: &str,
        service: &str,
        files: &[(&str, &str)],
    ) -> String {
        let repo = &self.machine.repo;
        for name in ["slow", "mute-watchdog"] {
            let _ = std::fs::remove_file(repo.path().join(name));
        }
        for (name, text) in files {
            repo.write(name, text);
        }
        repo.write("service", format!("{service}\n")).write("version", format!("{version}\n"));
        repo.commit(version)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.machine.command(env!("CARGO_BIN_EXE_deploykit"));
        command.current_dir(&self.root).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().expect("deploykit runs").into()
    }

    /// Commits a good release, deploys it, and sees it serve.
    #[track_caller]
    pub(crate) fn deploy_good(&self, version: &str) {
        let hash = self.commit(version, GOOD);
        self.run(&["deploy", &hash]).expect(0);
        self.assert_serves(version);
    }

    /// Commits a release with this service, deploys it, and sees it rolled back.
    #[track_caller]
    pub(crate) fn deploy_bad(&self, service: &str, serving: &str) -> Ran {
        let hash = self.commit("bad", service);
        let ran = self.run(&["deploy", &hash]).expect(3);
        self.assert_serves(serving);
        ran
    }

    /// What the service answers now, if it does.
    pub(crate) fn answer(&self) -> Option<String> {
        self.answer_of(self.port)
    }

    pub(crate) fn answer_of(&self, port: u16) -> Option<String> {
        let mut stream = UnixStream::connect(self.root.join(format!("{port}.sock"))).ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split_once("\r\n\r\n").map(|(_, version)| version.to_owned())
    }

    #[track_caller]
    pub(crate) fn assert_serves(&self, version: &str) {
        assert_eq!(self.answer().as_deref(), Some(version));
    }

    /// The events that a command printed with `--json`, and its result as the last.
    pub(crate) fn events(ran: &Ran) -> Vec<Value> {
        let line =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {ran}"));
        ran.stdout.lines().map(line).collect()
    }
}

/// Clients inside that ask without an end.
pub(crate) struct Load {
    child: Child,
    result: Utf8PathBuf,
}

/// What they have seen: how many requests were answered, refused, or broken off, and how long the
/// slowest took, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    pub(crate) broken: u64,
    pub(crate) slowest: u64,
}

impl Load {
    pub(crate) fn start(app: &App<'_>, ports: &[u16], clients: u64, rate: Option<u64>) -> Self {
        Self::start_with(app, ports, clients, rate, &[])
    }

    fn start_with(
        app: &App<'_>,
        ports: &[u16],
        clients: u64,
        rate: Option<u64>,
        env: &[(&str, &str)],
    ) -> Self {
        let program = std::env::current_exe().expect("this program");
        let result = app.root.join("load");
        let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",");
        let mut command = clean(app.machine.sandbox.command(program));
        command.args(["-q", "--exact", "inside::load", "--ignored", "--nocapture"]);
        command.env("PORTS", ports).env("CLIENTS", clients.to_string()).env("RESULT", &result);
        command.envs(env.iter().copied());
        command.envs(rate.map(|rate| ("RATE", rate.to_string())));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it runs");
        Self { child, result }
    }

    /// One client who asks at both ports at every time, and counts as refused what neither answers.
    pub(crate) fn pairs(app: &App<'_>, one: u16, other: u16) -> Self {
        Self::start_with(app, &[one, other], 1, None, &[("EITHER", "yes")])
    }

    pub(crate) fn end(mut self) -> Seen {
        drop(self.child.stdin.take());
        assert!(self.child.wait().expect("its end").success());
        let text = std::fs::read_to_string(&self.result).expect("the result");
        let numbers: Vec<u64> = text.split(' ').map(|n| n.parse().expect("a number")).collect();
        let [answered, refused, broken, slowest] = numbers[..] else { panic!("{text}") };
        Seen { answered, refused, broken, slowest }
    }
}
