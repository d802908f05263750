//! An application whose services are handed over: one of the samples, under a supervisor that the test kills.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::common::{App, Ran, Running, deploykit, until};

/// A service of `examples/drain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    Rust,
    Node,
    Python,
}

impl Sample {
    /// The command that runs it.
    fn command(self) -> String {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/drain");
        match self {
            // Cargo builds the examples together with all tests of the workspace.
            Self::Rust => {
                let own = std::env::current_exe().unwrap();
                let path = own.ancestors().nth(2).unwrap().join("examples/drain");
                assert!(path.exists(), "`cargo build --examples` builds {}", path.display());
                path.display().to_string()
            }
            Self::Node => format!("node {}", examples.join("node/server.js").display()),
            Self::Python => format!("python3 {}", examples.join("python/server.py").display()),
        }
    }

    pub(crate) fn is_here(self) -> bool {
        let found = Command::new("node").arg("--version").output();
        self != Self::Node || found.is_ok_and(|output| output.status.success())
    }

    fn ready(self) -> &'static str {
        match self {
            Self::Node => "ready = \"line\"\nready_line = \"ready\"",
            Self::Rust | Self::Python => "ready = \"notify\"",
        }
    }
}

/// A program beside this file.
fn program(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/handover");
    dir.join(name).display().to_string()
}

pub(crate) struct Site {
    pub(crate) app: App,
    port: u16,
    command: String,
}

/// Says what it is, beside being it.
const SERVE: &str = "#!/bin/sh
[ ! -e broken ] || { echo it is broken >&2; exit 7; }
echo \"$$ $(cat VERSION)\" >> \"$STARTS\"
exec COMMAND
";

/// Writes numbered lines.
const CHATTER: &str = "#!/bin/sh
echo \"$$ $(cat VERSION)\" >> \"$STARTS\"
exec python3 CHATTER
";

impl Site {
    pub(crate) fn new(sample: Sample, more: &str) -> Self {
        let site = Self::of(sample.command());
        let port = site.port;
        site.configure(&format!("listen = [\"127.0.0.1:{port}\"]\n{}\n{more}", sample.ready()));
        site
    }

    /// One that is no sample: it opens its socket itself, and ends at once.
    pub(crate) fn plain() -> Self {
        let site = Self::of(format!("python3 {}", program("plain.py")));
        let port = site.port;
        site.configure(&format!("env.PORT = \"{port}\"\nready = \"line\"\nready_line = \"ready\""));
        site
    }

    /// Several that are no samples, each with a port of its own, and a proxy before them that tries another one
    /// when one is away. Nothing where there is no proxy.
    pub(crate) fn proxied(count: u16) -> Option<(Self, Proxy)> {
        let mut site = Self::of(format!("python3 {}", program("plain.py")));
        let ports = free_ports(count);
        let first = *ports.start();
        // `{instance}` counts from 1, and what stands before it is the same for all.
        let prefix = first / 10;
        site.configure(&format!(
            "count = {count}\nenv.PORT = \"{prefix}{{instance}}\"\nenv.FINISHES = \"1\"\nready = \"check\"\n\
             ready_check = \"http://127.0.0.1:{prefix}{{instance}}/\"\n\
             [[health.check]]\ntype = \"http\"\nurl = \"http://127.0.0.1:{prefix}{{instance}}/\""
        ));
        let proxy = Proxy::begin(site.app.root(), site.port, ports)?;
        site.port = proxy.port;
        Some((site, proxy))
    }

    fn of(command: String) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { app: App::bare(), port, command }
    }

    fn configure(&self, more: &str) {
        let starts = self.starts();
        self.app.configure(&format!(
            "[disk]\nmin_free = 0\nmin_free_inodes = 0\n[health]\ninterval = \"20ms\"\n\
             [probation]\nduration = \"50ms\"\n\
             [[service]]\nname = \"web\"\ncommand = [\"./serve\"]\nstart_timeout = \"20s\"\n\
             stop_timeout = \"20s\"\nenv.STARTS = {starts:?}\n{more}\n"
        ));
    }

    /// Where it is told what was started.
    fn starts(&self) -> PathBuf {
        self.app.root().join("starts")
    }

    /// Another service, which writes much.
    pub(crate) fn with_chatter(&self) {
        let text = self.app.read("deploykit.toml");
        let starts = self.starts();
        self.app.write(
            "deploykit.toml",
            &format!(
                "{text}\n[[service]]\nname = \"chatter\"\ncommand = [\"./chatter\"]\nready = \"delay\"\n\
                 ready_delay = \"50ms\"\non_deploy = \"hand-over\"\nenv.STARTS = {starts:?}\n"
            ),
        );
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    fn commit(&self, version: &str) {
        let repo = &self.app.repo;
        repo.write("serve", SERVE.replace("COMMAND", &self.command)).make_executable("serve");
        let chatter = CHATTER.replace("CHATTER", &program("chatter.py"));
        repo.write("chatter", chatter).make_executable("chatter");
        repo.write("VERSION", version).commit(version);
    }

    /// Commits a version and deploys it.
    pub(crate) fn deploy(&self, version: &str) -> Ran {
        let _ = std::fs::remove_file(self.app.repo.path().join("broken"));
        self.commit(version);
        self.app.run(&["deploy", "--wait=30s"])
    }

    /// The same, but it does not get ready.
    pub(crate) fn deploy_broken(&self, version: &str) -> Ran {
        self.app.repo.write("broken", "");
        self.commit(version);
        self.app.run(&["deploy"])
    }

    fn instances(&self) -> Option<Vec<Value>> {
        let ran = self.app.run(&["ps", "--json"]);
        (ran.code == Some(0)).then(|| ran.value().as_array().cloned()).flatten()
    }

    /// Waits until nothing drains any more.
    pub(crate) fn drained(&self) {
        until("the old ones have ended", || self.runs());
    }

    /// Whether everything runs, and nothing drains.
    pub(crate) fn runs(&self) -> bool {
        self.instances().is_some_and(|all| all.iter().all(|one| one["state"] == "running"))
    }

    pub(crate) fn pids(&self) -> Vec<i32> {
        let all = self.instances().expect("somebody answers");
        all.iter().map(|one| i32::try_from(one["pid"].as_i64().unwrap()).unwrap()).collect()
    }

    /// What runs the services.
    pub(crate) fn up(&self) -> Up {
        let root = self.app.root().to_owned();
        let up = Up { running: Some(begin(&root)), root };
        up.answers();
        up
    }

    /// Each service of each version was started once for each of its instances.
    pub(crate) fn assert_started_once(&self) {
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for line in self.app.read("starts").lines() {
            let (_, version) = line.split_once(' ').unwrap();
            *count.entry(version.to_owned()).or_default() += 1;
        }
        // Two of `web`, and one of `chatter`.
        for (version, count) in &count {
            assert_eq!(*count, 3, "{version} was started {count} times, and not thrice");
        }
    }

    /// Every line is there that was written, and once; how many they are.
    pub(crate) fn assert_no_line_is_lost(&self) -> usize {
        let log = std::fs::read_to_string(self.app.root().join(".deploykit/services/chatter.log"));
        let (mut seen, mut ends) = (BTreeMap::<&str, Vec<u64>>::new(), BTreeMap::new());
        let log = log.unwrap();
        for line in log.lines().filter(|line| !line.starts_with("deploykit: ")) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                [pid, "end", number] => drop(ends.insert(pid, number.parse::<u64>().unwrap())),
                [pid, number] => {
                    let number = number.parse().unwrap_or_else(|_| panic!("a torn line: {line:?}"));
                    seen.entry(pid).or_default().push(number);
                }
                _ => panic!("a torn line: {line:?}"),
            }
        }
        for (pid, numbers) in &seen {
            let last = ends.get(pid).unwrap_or_else(|| panic!("{pid} never ended"));
            let unique: BTreeSet<u64> = numbers.iter().copied().collect();
            let missing: Vec<u64> = (1..=*last).filter(|number| !unique.contains(number)).collect();
            assert_eq!(missing, [0_u64; 0], "lines of {pid} are lost");
            assert_eq!(numbers.len(), unique.len(), "lines of {pid} are there twice");
        }
        seen.values().map(Vec::len).sum()
    }
}

fn begin(root: &Path) -> Running {
    let mut command = deploykit(root);
    let mut log = std::fs::File::options();
    let log = log.create(true).append(true).open(root.join("up.out")).unwrap();
    command.args(["up", "--no-deploy", "-q"]).stdout(log.try_clone().unwrap()).stderr(log);
    Running::of(command.spawn().unwrap())
}

/// A supervisor, which ends with the test.
pub(crate) struct Up {
    root: PathBuf,
    running: Option<Running>,
}

impl Up {
    pub(crate) fn die(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    pub(crate) fn kill_and_begin_again(&mut self) {
        self.die();
        self.running = Some(begin(&self.root));
    }

    /// Waits until it does.
    pub(crate) fn answers(&self) {
        let begun = Instant::now();
        let ask = || deploykit(&self.root).arg("ps").output();
        while !ask().is_ok_and(|ran| ran.status.success()) {
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody answers: {}", self.seen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What there is to see of one that does not answer: what it has said, and what its threads do.
    fn seen(&self) -> String {
        let said = std::fs::read_to_string(self.root.join("up.out")).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(10).collect();
        let pid = self.running.as_ref().map_or(0, Running::pid);
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let of = |task: std::fs::DirEntry| {
            let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
            format!("\n{} {} {}", read("comm").trim(), read("wchan"), read("syscall").trim())
        };
        format!("process {pid}{}\n{}", tasks.map(of).collect::<String>(), last.join("\n"))
    }

    pub(crate) fn kill(mut self) {
        self.die();
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.running.is_some() {
            let _ = deploykit(&self.root).arg("down").output();
        }
    }
}

/// Ports that are free, of which the last digits are 1 and what follows.
fn free_ports(count: u16) -> RangeInclusive<u16> {
    let are_free = |first: &u16| {
        (*first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
    };
    let tens = (2000..3200).map(|tens| tens * 10 + 1);
    // Not the same as those of another test that runs just now.
    let begin = std::process::id() as usize % 1200;
    let first = tens.clone().skip(begin).chain(tens).find(are_free).expect("there are free ones");
    first..=first + count - 1
}

/// nginx before several ports, as the documentation has it.
pub(crate) struct Proxy {
    port: u16,
    child: Child,
}

impl Proxy {
    fn begin(directory: &Path, port: u16, to: RangeInclusive<u16>) -> Option<Self> {
        let servers: String =
            to.map(|port| format!("server 127.0.0.1:{port} max_fails=0;\n")).collect();
        let dir = directory.join("nginx");
        std::fs::create_dir(&dir).unwrap();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|of| format!("{of}_temp_path {};\n", dir.join(of).display()))
            .concat();
        let text = format!(
            "daemon off; pid {0}/pid; error_log {0}/error.log; events {{}}\n\
             http {{ access_log off; keepalive_requests 1000000; {temporary}\n\
             upstream web {{ {servers} }}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://web; \
             proxy_next_upstream error timeout; }} }} }}",
            dir.display()
        );
        std::fs::write(dir.join("nginx.conf"), text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&dir).arg("-c").arg(dir.join("nginx.conf"));
        let child = command.stderr(Stdio::null()).spawn().ok()?;
        until("the proxy listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(Self { port, child })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = kill(pid, Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
