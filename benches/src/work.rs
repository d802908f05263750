//! What all measurements share: a place, inputs, servers, and the order of things.

use std::process::ExitCode;

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_testkit::git_server::GitDaemon;
use nix::sys::statfs::statfs;

use crate::input::{self, Input};
use crate::options::{Options, Part};
use crate::{
    Result, child, goals, hand_over, machine, report, steps, supervise, sync, toolkit, whole,
};

/// Where things are measured, and with what.
#[derive(Debug)]
pub(crate) struct Work {
    root: Utf8PathBuf,
    pub(crate) binary: Utf8PathBuf,
    pub(crate) quick: bool,
    rounds: Option<usize>,
    number: std::cell::Cell<u32>,
}

/// How an input is reached.
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) name: &'static str,
    pub(crate) url: String,
    /// Ends with this.
    _daemon: Option<GitDaemon>,
}

impl Work {
    /// A directory that has not been used: this file system gets slow at making files where many
    /// have been deleted, so nothing is, until the end.
    pub(crate) fn fresh(&self, what: &str) -> Utf8PathBuf {
        self.number.set(self.number.get() + 1);
        self.root.join(format!("{:04}-{what}", self.number.get()))
    }

    /// How often something is measured with this input.
    pub(crate) fn rounds(&self, input: &Input) -> usize {
        let usual = if input.name == input::SMALL.name { 11 } else { 5 };
        if self.quick { 1 } else { self.rounds.unwrap_or(usual) }
    }

    /// Waits until nothing is left to be written, so that no side writes for the other.
    pub(crate) fn settle(&self) -> Result<()> {
        Ok(nix::unistd::syncfs(std::fs::File::open(&self.root)?)?)
    }
}

impl Transport {
    /// The way to a server that somebody else has started.
    pub(crate) fn of(name: &'static str, url: String) -> Self {
        Self { name, url, _daemon: None }
    }
}

/// How this input can be reached.
pub(crate) fn transports(input: &Input) -> Vec<Transport> {
    let daemon = GitDaemon::start(input.root.as_std_path());
    let url = daemon.url(input::NAME);
    vec![
        Transport::of("path", input.path().into_string()),
        Transport { name: "git://", url, _daemon: Some(daemon) },
    ]
}

/// Measures what was asked for.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if !options.child.is_empty() {
        return child::be_helper(&options.child);
    }
    let binary = match &options.deploykit {
        Some(binary) => binary.canonicalize_utf8()?,
        None => toolkit::build()?,
    };
    let parent = options.directory.clone().map_or_else(temporary, |dir| dir.canonicalize_utf8())?;
    let guard = tempfile::Builder::new().prefix("deploykit-bench.").tempdir_in(&parent)?;
    let root = Utf8PathBuf::from_path_buf(guard.path().canonicalize()?)
        .map_err(|path| format!("{} is not UTF-8", path.display()))?;
    let work =
        Work { root, binary, quick: options.quick, rounds: options.rounds, number: 0.into() };
    report::say(&machine::describe(&work.root, &work.binary)?);
    if options.wants(Part::Supervise) {
        let rounds = if work.quick { 2 } else { options.rounds.unwrap_or(50) };
        let directory = work.fresh("supervise");
        supervise::run(work.binary.as_std_path(), directory.as_std_path(), rounds, work.quick)?;
    }
    if options.wants(Part::HandOver) {
        let rounds = if work.quick { 1 } else { options.rounds.unwrap_or(20) };
        let directory = work.fresh("hand-over");
        let sample = match &options.deploykit {
            Some(_) => toolkit::beside(&work.binary)?,
            None => toolkit::build_sample()?,
        };
        hand_over::run(
            work.binary.as_std_path(),
            sample.as_std_path(),
            directory.as_std_path(),
            rounds,
        )?;
    }
    if options.only.iter().all(|part| matches!(part, Part::Supervise | Part::HandOver))
        && !options.only.is_empty()
    {
        return Ok(ExitCode::SUCCESS);
    }
    let inputs = inputs(&work, options)?;
    for (wanted, measure) in PARTS {
        if options.wants(wanted) {
            measure(&work, &inputs)?;
        }
    }
    if options.quick {
        report::say("Both sides made the same of everything.");
    }
    Ok(ExitCode::SUCCESS)
}

type Measure = fn(&Work, &[Input]) -> Result<()>;

const PARTS: [(Part, Measure); 4] = [
    (Part::Steps, steps::measure),
    (Part::Whole, whole::measure),
    (Part::Goals, goals::measure),
    (Part::Sync, sync::measure),
];

fn temporary() -> std::io::Result<Utf8PathBuf> {
    let path = std::env::temp_dir();
    Utf8PathBuf::from_path_buf(path).map_err(|_| std::io::ErrorKind::InvalidFilename.into())
}

fn inputs(work: &Work, options: &Options) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for size in [input::SMALL, input::LARGE] {
        if !options.quick || size.name == input::SMALL.name {
            inputs.push(Input::generate(&work.root.join("inputs").join(size.name), size)?);
        }
    }
    if let Some(repository) = &options.repository {
        let root = work.root.join("inputs/given");
        inputs.push(Input::copy(&root, repository, &options.branch)?);
    }
    for input in &inputs {
        report::say(&format!("Input `{}`: {}.", input.name, input.about));
    }
    Ok(inputs)
}

/// The name of the file system at `path`, as far as it is one of the usual ones.
pub(crate) fn file_system(path: &Utf8Path) -> Result<String> {
    let kind = statfs(path.as_std_path())?.filesystem_type().0;
    Ok(match kind {
        0xEF53 => "ext4".into(),
        0x0102_1994 => "tmpfs".into(),
        0x5846_5342 => "xfs".into(),
        0x9123_683E => "btrfs".into(),
        0x794c_7630 => "overlayfs".into(),
        other => format!("file system {other:#x}"),
    })
}
