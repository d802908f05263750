//! The arguments of what is about `deploykit up`, and what it runs.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use nix::sys::signal::Signal;

use super::deploy::WaitArg;

pub(super) const UP_HELP: &str = "\
Examples:
  deploykit up                         here, until Ctrl-C
  deploykit up --detach                in the background, until `deploykit down`
  deploykit up --no-prefix             what one service writes, as it writes it
  deploykit up --replace               run on under a newer deploykit, nothing is restarted";

pub(super) const ANGELIZE_HELP: &str = "\
Examples:
  deploykit import angelize agl.settings services/*.service >> deploykit.toml";

pub(super) const SIGNAL_HELP: &str = "\
Examples:
  deploykit signal HUP web             to all instances of web
  deploykit signal USR1                to all services";

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// In the background: return when the services are up
    #[arg(short, long)]
    pub(crate) detach: bool,

    /// Do not deploy when nothing is active
    #[arg(long)]
    pub(crate) no_deploy: bool,

    /// Deploy, when nothing is active, although the commit is marked bad
    #[arg(long, conflicts_with = "no_deploy")]
    pub(crate) retry: bool,

    /// Do not name the service before each line that it writes
    #[arg(long)]
    pub(crate) no_prefix: bool,

    /// Have this program take the place of the one that runs the services, which run on: after an update
    #[arg(long, conflicts_with_all = ["detach", "no_deploy", "retry", "no_prefix"])]
    pub(crate) replace: bool,

    /// What `--detach` starts
    #[arg(long, hide = true)]
    pub(crate) apart: bool,

    /// What runs beside it, and holds sockets and pipes
    #[arg(long, hide = true)]
    pub(crate) hold: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// Do not wait until everything has ended
    #[arg(long)]
    pub(crate) no_wait: bool,
}

/// Which services.
#[derive(Debug, Args)]
pub(crate) struct NamesArgs {
    /// Services or instances: web, web@1; all by default
    #[arg(value_name = "SERVICE")]
    pub(crate) of: Vec<String>,
}

/// From which program.
#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Angelize, the process manager of mORMot 2: [[service]] tables of its settings
    ///
    /// Standard output is the configuration. Standard error is a line for each setting that becomes
    /// something else or nothing. Nothing is started or stopped.
    #[command(after_help = ANGELIZE_HELP)]
    Angelize {
        /// The file of global settings, the files of services, or both
        #[arg(value_name = "FILE", required = true, value_hint = clap::ValueHint::FilePath)]
        files: Vec<Utf8PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    pub(crate) wait: WaitArg,
}

#[derive(Debug, Args)]
pub(crate) struct SignalArgs {
    /// The name of the signal, or its number: HUP, SIGHUP, 1
    #[arg(value_parser = number)]
    pub(crate) signal: i32,

    /// Services or instances: web, web@1; all by default
    #[arg(value_name = "SERVICE")]
    pub(crate) of: Vec<String>,
}

fn number(text: &str) -> Result<i32, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let by_name = || format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32);
    let by_number = || text.parse().ok().filter(|number| (1..=64).contains(number));
    by_number().or_else(by_name).ok_or_else(|| "there is no such signal".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_name_or_a_number() {
        for text in ["HUP", "SIGHUP", "hup", "1"] {
            assert_eq!(number(text), Ok(1), "{text}");
        }
        for text in ["0", "65", "-1", "FOO", ""] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
