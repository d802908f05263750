//! Repositories to deploy from.

use std::io::{BufWriter, Write};
use std::process::Stdio;

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_testkit::git_repo::git;

use crate::Result;

/// The name of a repository below the directory of its input.
pub(crate) const NAME: &str = "repo.git";
/// The branch that is deployed.
pub(crate) const BRANCH: &str = "main";

/// How large a generated repository is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    /// Text files of the last commit.
    files: u64,
    /// Words of a text file, on average.
    words: u64,
    /// Commits of the history.
    commits: u64,
    /// What each commit adds to the history beside text, in bytes. It does not compress.
    asset: usize,
}

/// 200 files, and a history of about 1 MB.
pub(crate) const SMALL: Size =
    Size { name: "small", files: 200, words: 250, commits: 20, asset: 40_000 };

/// 15,000 files, and a history of about 100 MB.
pub(crate) const LARGE: Size =
    Size { name: "large", files: 15_000, words: 300, commits: 300, asset: 180_000 };

/// A bare repository whose branch can be moved.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) name: String,
    /// The directory that a server hands out.
    pub(crate) root: Utf8PathBuf,
    /// What is deployed first.
    pub(crate) first: String,
    /// What is deployed next.
    pub(crate) next: String,
    /// What it is, for people.
    pub(crate) about: String,
}

impl Input {
    /// A repository that is always the same, commit by commit.
    pub(crate) fn generate(root: &Utf8Path, size: Size) -> Result<Self> {
        let path = root.join(NAME);
        std::fs::create_dir_all(&path)?;
        run(git(path.as_ref()).args(["init", "--quiet", "--bare", "--initial-branch=main"]))?;
        let mut import = git(path.as_ref())
            .args(["fast-import", "--quiet", "--done"])
            .stdin(Stdio::piped())
            .spawn()?;
        let stdin = import.stdin.take().ok_or("no standard input")?;
        write_history(&mut BufWriter::new(stdin), size)?;
        if !import.wait()?.success() {
            return Err("git fast-import failed".into());
        }
        Self::of(size.name, root, BRANCH)
    }

    /// A copy of a repository that is there, since its branch is moved.
    pub(crate) fn copy(root: &Utf8Path, of: &Utf8Path, branch: &str) -> Result<Self> {
        std::fs::create_dir_all(root)?;
        let (of, path) = (of.canonicalize_utf8()?, root.join(NAME));
        run(git(root.as_ref())
            .args(["-c", "safe.directory=*", "clone", "--quiet", "--bare"])
            .args(["--branch", branch, of.as_str(), path.as_str()]))?;
        if branch != BRANCH {
            run(git(path.as_ref()).args(["branch", "--force", BRANCH, branch]))?;
        }
        Self::of(of.file_name().unwrap_or("given"), root, branch)
    }

    fn of(name: &str, root: &Utf8Path, branch: &str) -> Result<Self> {
        let path = root.join(NAME);
        let next = run(git(path.as_ref()).args(["rev-parse", branch]))?;
        let first = run(git(path.as_ref()).args(["rev-parse", &format!("{branch}~1")]))?;
        let files = run(git(path.as_ref()).args(["ls-tree", "-r", "--name-only", branch]))?;
        let counts = run(git(path.as_ref()).args(["count-objects", "-v"]))?;
        let packed = counts.lines().find_map(|line| line.strip_prefix("size-pack: "));
        let packed = packed.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() * 1024;
        let megabytes = packed.div_ceil(100_000);
        let about = format!(
            "{} files; a history of {}.{} MB",
            files.lines().count(),
            megabytes / 10,
            megabytes % 10
        );
        Ok(Self { name: name.to_owned(), root: root.to_owned(), first, next, about })
    }

    /// Moves the branch.
    pub(crate) fn set(&self, commit: &str) -> Result<()> {
        let reference = format!("refs/heads/{BRANCH}");
        run(git(self.path().as_ref()).args(["update-ref", &reference, commit])).map(drop)
    }

    /// The repository.
    pub(crate) fn path(&self) -> Utf8PathBuf {
        self.root.join(NAME)
    }
}

fn run(command: &mut std::process::Command) -> Result<String> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("git: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn write_history(out: &mut impl Write, size: Size) -> Result<()> {
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    for commit in 1..=size.commits {
        writeln!(out, "commit refs/heads/{BRANCH}")?;
        writeln!(out, "committer Bench <bench@example.org> {} +0000", 1_700_000_000 + commit)?;
        writeln!(out, "data 2\n{}", commit % 10)?;
        if commit == 1 {
            (0..size.files).try_for_each(|file| write_text(out, size, file, &mut random))?;
            write_odd_ones(out)?;
        } else {
            // One in a hundred files changes from commit to commit.
            for _ in 0..(size.files / 100).max(1) {
                let file = random.next() % size.files;
                write_text(out, size, file, &mut random)?;
            }
        }
        let asset: Vec<u8> = (0..size.asset).map(|_| random.next().to_le_bytes()[3]).collect();
        write_file(out, "100644", &format!("assets/{}.bin", commit % 10), &asset)?;
    }
    writeln!(out, "done")?;
    Ok(out.flush()?)
}

/// What a tree can hold beside plain files.
fn write_odd_ones(out: &mut impl Write) -> Result<()> {
    write_file(out, "100755", "bin/start", b"#!/bin/sh\nexec sleep 1\n")?;
    write_file(out, "120000", "current", b"src/0/0")?;
    write_file(out, "100644", "empty", b"")
}

fn write_text(out: &mut impl Write, size: Size, file: u64, random: &mut Random) -> Result<()> {
    let words = size.words / 2 + random.next() % size.words;
    let mut text = String::new();
    for number in 0..words {
        // Words repeat as they do in sources, so that they compress as sources do.
        let word = random.next() % 64 * (random.next() % 64);
        text.push_str(&format!("w{word:x}{}", if number % 12 == 11 { '\n' } else { ' ' }));
    }
    write_file(
        out,
        "100644",
        &format!("src/{}/{}/{file}.txt", file % 10, file % 173),
        text.as_bytes(),
    )
}

fn write_file(out: &mut impl Write, mode: &str, path: &str, content: &[u8]) -> Result<()> {
    writeln!(out, "M {mode} inline {path}\ndata {}", content.len())?;
    out.write_all(content)?;
    Ok(writeln!(out)?)
}

/// Numbers that look random and are always the same (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
