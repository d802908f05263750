//! Git repositories, made with the git program.

use std::io::{Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The git program, cut off from the configuration of whoever runs the tests, with fixed authors.
pub fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(directory).stdin(Stdio::null());
    for (name, value) in [
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_SYSTEM", "/dev/null"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_AUTHOR_NAME", "Test"),
        ("GIT_AUTHOR_EMAIL", "test@example.org"),
        ("GIT_COMMITTER_NAME", "Test"),
        ("GIT_COMMITTER_EMAIL", "test@example.org"),
    ] {
        command.env(name, value);
    }
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    command
}

/// A repository with a work tree, in a directory that goes when it is dropped.
#[derive(Debug)]
pub struct GitRepo {
    // Held for its destructor.
    _directory: TempDir,
    path: PathBuf,
    clock: std::cell::Cell<u64>,
}

impl Default for GitRepo {
    fn default() -> Self {
        Self::new()
    }
}

impl GitRepo {
    /// An empty repository whose branch is `main`.
    pub fn new() -> Self {
        Self::with_options(&[])
    }

    /// An empty repository that is made with further options of `git init`.
    pub fn with_options(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().canonicalize().expect("its path").join("repo");
        std::fs::create_dir(&path).expect("a directory in it");
        let repo = Self { _directory: directory, path, clock: 1_700_000_000.into() };
        let mut arguments = vec!["init", "--quiet", "--initial-branch=main"];
        arguments.extend(options);
        repo.git(&arguments);
        repo
    }

    /// The work tree.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The work tree, as text.
    pub fn url(&self) -> &str {
        self.path.to_str().expect("a path of UTF-8")
    }

    /// Runs git in the work tree, and returns what it wrote, without the line's end.
    pub fn git(&self, arguments: &[&str]) -> String {
        self.git_with(arguments, b"")
    }

    /// The same, with this on its standard input.
    pub fn git_with(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(input).and_then(|()| file.rewind()).expect("the input");
        // Each commit has a time of its own, so that no two hashes are the same by chance.
        let time = self.clock.get() + 1;
        self.clock.set(time);
        let time = format!("{time} +0000");
        let mut command = git(&self.path);
        command.env("GIT_AUTHOR_DATE", &time).env("GIT_COMMITTER_DATE", &time).args(arguments);
        command.stdin(file);
        let Output { status, stdout, stderr } = command.output().expect("git runs");
        assert!(status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("git writes UTF-8").trim_end().to_owned()
    }

    /// Writes a file of the work tree, with its directories.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("its directories");
        std::fs::write(path, content).expect("the file");
        self
    }

    /// Makes a file of the work tree executable.
    pub fn make_executable(&self, name: &str) -> &Self {
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.path.join(name), mode).expect("its mode");
        self
    }

    /// Makes a symbolic link in the work tree.
    pub fn link(&self, name: &str, target: &str) -> &Self {
        std::os::unix::fs::symlink(target, self.path.join(name)).expect("the link");
        self
    }

    /// Commits all of the work tree and returns the hash.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", message]);
        self.head()
    }

    /// Commits one file and returns the hash.
    pub fn commit_file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        self.write(name, content).commit(&format!("write {name}"))
    }

    /// The hash of the commit that is checked out.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }
}
