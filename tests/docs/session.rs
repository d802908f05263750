//! Running what a markdown file shows.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use deploykit_testkit::git_repo::{GitRepo, git};
use deploykit_testkit::systemd::Sandbox;

use crate::markdown::{Block, commands, fits, root};

/// The configuration of the application in which the chapters of the book are run.
const CONFIGURATION: &str = "[repo]
url = \"../repo\"

[build]
step = [{ name = \"compile\", command = [\"sh\", \"build.sh\"] }]

[[health.check]]
type = \"exec\"
name = \"runs\"
command = [\"./app\"]

[health]
interval = \"50ms\"
deadline = \"300ms\"

[probation]
duration = \"0s\"
";

/// Where the demonstration listens.
const PORT: &str = "47831";

/// What the commands of the chapter about systemd are run in: an application that can be run.
const ON_A_HOST: &str = "[repo]
url = \"../repo\"

[probation]
duration = \"0s\"
";

/// A directory in which a file's commands are run.
#[derive(Debug)]
pub(crate) struct Session {
    _directory: tempfile::TempDir,
    _repository: Option<GitRepo>,
    path: PathBuf,
    /// The host in which they are run, where they need one of their own.
    host: Option<Sandbox>,
    /// Where the demonstration listens here.
    port: Option<String>,
}

impl Session {
    /// An application whose repository has the branch `main` and the tags `v1.0`, `v1.1` and
    /// `broken`, the last of which builds but does not run.
    pub(crate) fn of_an_application() -> Self {
        let repository = GitRepo::new();
        repository.write(".gitignore", "app\n");
        repository.write("build.sh", "echo compiling\ncp main.sh app && chmod +x app\n");
        for (tag, text) in [("v1.0", "echo 1.0"), ("broken", "exit 1"), ("v1.1", "echo 1.1")] {
            repository.commit_file("main.sh", format!("#!/bin/sh\n{text}\n"));
            repository.git(&["tag", "-a", "-m", tag, tag]);
        }
        let directory = tempfile::tempdir().expect("a directory");
        let base = directory.path().canonicalize().expect("its path");
        std::os::unix::fs::symlink(repository.path(), base.join("repo")).expect("a link");
        let path = base.join("app");
        std::fs::create_dir(&path).expect("the application's directory");
        std::fs::write(path.join("deploykit.toml"), CONFIGURATION).expect("a configuration");
        Self { _directory: directory, _repository: Some(repository), path, host: None, port: None }
    }

    /// The same, of a program that goes on running, on a host of its own that systemd runs. Nothing
    /// where there is no systemd.
    pub(crate) fn on_a_host() -> Option<Self> {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let base = directory.path().canonicalize().expect("its path");
        let program = Path::new(env!("CARGO_BIN_EXE_deploykit"));
        let live = [&*base, program.parent().expect("its directory")];
        let live = live.map(|path| camino::Utf8Path::from_path(path).expect("a path of UTF-8"));
        let host = Sandbox::boot(&live)?;
        let repository = base.join("repo");
        std::fs::create_dir(&repository).expect("a directory");
        let git = |arguments: &[&str]| {
            let done = git(&repository).args(arguments).output().expect("git runs");
            assert!(done.status.success(), "{done:?}");
        };
        git(&["init", "--quiet", "--initial-branch", "main"]);
        for tag in ["v1.0", "v1.1"] {
            let text = format!("#!/bin/sh\necho serving {}\nexec sleep infinity\n", &tag[1..]);
            let server = repository.join("server");
            std::fs::write(&server, text).expect("a program");
            std::fs::set_permissions(&server, PermissionsExt::from_mode(0o755)).expect("its mode");
            git(&["add", "--all"]);
            git(&["commit", "--quiet", "--message", tag]);
            git(&["tag", "-a", "-m", tag, tag]);
        }
        let path = base.join("app");
        std::fs::create_dir(&path).expect("the application's directory");
        std::fs::write(path.join("deploykit.toml"), ON_A_HOST).expect("a configuration");
        Some(Self { _directory: directory, _repository: None, path, host: Some(host), port: None })
    }

    /// A fresh clone of this repository, with another port in the demonstration: that one may be
    /// running. Nothing where this is no clone itself.
    pub(crate) fn of_a_clone() -> Option<Self> {
        if !root().join(".git").exists() {
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().canonicalize().expect("its path").join("deploykit");
        let run = |command: &mut Command| {
            let output = command.output().expect("git runs");
            assert!(output.status.success(), "{output:?}");
        };
        run(git(directory.path()).args(["clone", "--quiet"]).arg(root()).arg(&path));
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let port = port.expect("a free port").port().to_string();
        for file in ["examples/web/main.rs", "examples/demo/deploykit.toml"] {
            let file = path.join(file);
            let text = std::fs::read_to_string(&file).expect("the demonstration");
            assert!(text.contains(PORT), "{} has another port", file.display());
            std::fs::write(&file, text.replace(PORT, &port)).expect("another port");
        }
        run(git(&path).args(["commit", "--quiet", "--all", "--message", "another port"]));
        Some(Self { _directory: directory, _repository: None, path, host: None, port: Some(port) })
    }

    /// Runs the commands of a block. Returns what is not as shown.
    pub(crate) fn run(&self, block: &Block) -> Result<(), String> {
        if block.kind != "console" {
            return self.expect(&format!("set -e\n{}", block.text), 0, None);
        }
        let shown = commands(block);
        for (index, shown) in shown.iter().enumerate() {
            let last = index + 1 == commands(block).len();
            let exit = if last { block.exit() } else { 0 };
            self.expect(&shown.command, exit, shown.output.as_deref())?;
        }
        Ok(())
    }

    fn expect(&self, script: &str, exit: i32, output: Option<&str>) -> Result<(), String> {
        let binary = Path::new(env!("CARGO_BIN_EXE_deploykit"));
        // The binary that cargo would build is there already.
        let script = script.replace("cargo run --release -- ", "deploykit ");
        let script = match &self.port {
            Some(port) => script.replace(PORT, port),
            None => script,
        };
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = match &self.host {
            Some(host) => host.command("sh"),
            None => Command::new("sh"),
        };
        command.args(["-c", &format!("exec 2>&1\n{script}")]);
        command.current_dir(&self.path).stdin(Stdio::null());
        command.env("PATH", format!("{}:{path}", binary.parent().expect("a directory").display()));
        command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("GIT_TOKEN", "s3cret-token");
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
            command.env_remove(name);
        }
        let done = command.output().expect("sh runs");
        let found = String::from_utf8_lossy(&done.stdout).into_owned();
        if done.status.code() != Some(exit) {
            return Err(format!("$ {script}\n{found}({}, not {exit})", done.status));
        }
        match output {
            Some(shown) if !fits(shown, &found) => {
                Err(format!("$ {script}\n--- shown\n{shown}--- found\n{found}"))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Session {
    /// Ends what `up` runs here.
    fn drop(&mut self) {
        for directory in [self.path.clone(), self.path.join("examples/demo")] {
            if self.host.is_none() && directory.join(".deploykit/control").exists() {
                let mut down = Command::new(env!("CARGO_BIN_EXE_deploykit"));
                let _ = down.arg("down").current_dir(directory).output();
            }
        }
    }
}
