//! Running the program in a temporary directory.

// Each test binary uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What the program did.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The only value on standard output.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Every line of standard output as a value.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[track_caller]
    pub fn exits_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

/// An application's directory.
#[derive(Debug)]
pub struct App {
    directory: tempfile::TempDir,
}

impl App {
    /// An empty directory.
    pub fn empty() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// A directory that mfd has used: three releases of two commits, the last one active; one
    /// command of deploykit has taken it over.
    pub fn taken_over(configuration: &str) -> Self {
        let app = Self::empty();
        app.write("deploykit.toml", configuration);
        for (seconds, digit) in [(1_700_000_000, "a"), (1_700_000_100, "b"), (1_700_000_200, "a")] {
            std::fs::create_dir(app.path().join(release(seconds, digit))).unwrap();
            app.write(&format!("{}/built", release(seconds, digit)), "");
        }
        symlink(release(1_700_000_200, "a"), app.path().join("active")).unwrap();
        app.run(&["recover"]).exits_with(0);
        app
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// The program with these arguments, its streams piped.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(&self.path());
        command.args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).output().unwrap())
    }
}

/// The name that mfd gives to a release.
pub fn release(seconds: u64, digit: &str) -> String {
    format!("mfd_{seconds}_{}", digit.repeat(40))
}

/// The program in this directory, with nothing in its environment that changes what it prints.
pub fn program(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deploykit"));
    command.current_dir(directory).stdin(Stdio::null());
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "CI"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    command
}

/// A configuration that can do everything but fetch.
pub const CONFIGURATION: &str = "[repo]\nurl = \"/nowhere\"\n";
