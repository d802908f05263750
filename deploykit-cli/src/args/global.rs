//! Options that every command takes.

use std::ffi::OsString;

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The application's directory
    #[arg(
        short = 'C',
        long = "directory",
        global = true,
        value_name = "DIR",
        default_value = ".",
        hide_default_value = true,
        help = "The application's directory, if it is not the present one",
        value_hint = clap::ValueHint::DirPath
    )]
    pub(crate) directory: Utf8PathBuf,

    /// The configuration file, if it is not deploykit.toml (or mfd.toml) of the application's
    /// directory
    #[arg(
        short = 'c',
        long = "config",
        global = true,
        value_name = "FILE",
        value_hint = clap::ValueHint::FilePath
    )]
    pub(crate) config: Option<Utf8PathBuf>,

    /// Write JSON: one value, or JSON Lines from deploy, rollback, restart, recover and
    /// logs
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Tell only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,

    /// Tell details: the whole output of the build, absolute times, full names
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,

    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorWhen,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorWhen {
    /// What arguments say that cannot be parsed as a whole.
    pub(crate) fn asked_in(arguments: &[OsString]) -> Self {
        let texts = || arguments.iter().map(|argument| argument.to_str().unwrap_or_default());
        let apart = texts().zip(texts().skip(1)).filter(|(name, _)| *name == "--color");
        let joined = texts().filter_map(|argument| argument.strip_prefix("--color="));
        let mut asked = apart.map(|(_, when)| when).chain(joined);
        asked.find_map(|when| Self::from_str(when, true).ok()).unwrap_or(Self::Auto)
    }
}
