//! The arguments.

use camino::Utf8PathBuf;
use clap::Parser;

/// Measures deploykit beside the shell script that a careful person writes with git
#[derive(Debug, Parser)]
#[command(name = "deploykit-bench")]
pub(crate) struct Options {
    /// A git repository to measure with, beside the generated ones; its branch is `--branch`
    pub(crate) repository: Option<Utf8PathBuf>,

    /// The branch of REPOSITORY: its last commit is the next one, and that one's parent the first
    #[arg(long, default_value = "main")]
    pub(crate) branch: String,

    /// Do everything once, on the small input, and compare what both sides have made
    #[arg(long)]
    pub(crate) quick: bool,

    /// How often each is measured; by default 11 times on the small input and 5 times on others
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<usize>,

    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    pub(crate) only: Vec<Part>,

    /// Where to work; by default in a new directory among the system's temporary ones
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<Utf8PathBuf>,

    /// The binary to measure, instead of one that is built now
    #[arg(long, value_name = "FILE")]
    pub(crate) deploykit: Option<Utf8PathBuf>,

    /// Internal: run the rest as a command and print what it used
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) child: Vec<String>,
}

/// A part of the measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// The steps of a deployment, one by one.
    Steps,
    /// Whole deployments.
    Whole,
    /// The figures that deploykit promises.
    Goals,
    /// Ways of syncing a tree, by its size.
    Sync,
    /// The supervisor, beside those that are installed: runit, s6, supervisord.
    Supervise,
    /// Hand-over under load, beside what is installed: systemd, nginx, HAProxy.
    HandOver,
}

impl Options {
    /// Whether a part is to be measured. Ways of syncing are measured when asked for: they are for
    /// choosing a constant, not for watching.
    pub(crate) fn wants(&self, part: Part) -> bool {
        let is_asked_for = matches!(part, Part::Sync | Part::Supervise | Part::HandOver);
        if self.only.is_empty() { !is_asked_for } else { self.only.contains(&part) }
    }
}
