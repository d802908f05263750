//! The arguments.

mod service;

use std::ffi::OsString;
use std::time::Duration;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};
use deploykit::config::{Period, ProbationConfig};
use deploykit::{DeploymentId, Revision};

pub(crate) use service::{LogsArgs, UnitCommand};

/// Turns a git revision into a running, verified service, atomically, and back again in a second
#[derive(Debug, Parser)]
#[command(
    name = "deploykit",
    version,
    max_term_width = 100,
    after_help = "`deploykit help COMMAND` tells more of a command, `deploykit --help` the exit codes.",
    after_long_help = long_help(),
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Behind the long help, and in the manual page.
fn long_help() -> String {
    format!("{EXAMPLES}\n\n{}\n\n{STREAMS}", crate::exit::TABLE)
}

const EXAMPLES: &str = "\
Examples:
  deploykit init https://example.org/me/app.git   write a configuration
  deploykit deploy                                deploy the remote's default branch
  deploykit deploy v1.2.0                         deploy a tag, a branch or a commit
  deploykit status                                what is active, and how well it is
  deploykit rollback                              go back to the release before";

const STREAMS: &str = "\
Results go to standard output, everything else to standard error. With --json an error is an object,
too: {\"error\": {\"message\", \"causes\", \"hint\", \"kind\", \"exit\"}}, the last line of standard output.
NO_COLOR and CLICOLOR_FORCE are respected.";

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

impl Command {
    /// Whether all that it does is to tell something.
    pub(crate) fn only_tells(&self) -> bool {
        match self {
            Self::Plan(_)
            | Self::Status
            | Self::Resolve { .. }
            | Self::List
            | Self::History { .. }
            | Self::Show { .. }
            | Self::Check
            | Self::Logs(_)
            | Self::Unit { what: UnitCommand::Show { .. } | UnitCommand::Diff }
            | Self::Config { .. }
            | Self::Completions { .. }
            | Self::Man { .. } => true,
            Self::Init(_)
            | Self::Deploy(_)
            | Self::Rollback(_)
            | Self::Restart(_)
            | Self::Confirm
            | Self::Hold { .. }
            | Self::Unhold
            | Self::Recover
            | Self::Prune
            | Self::Unit { .. }
            | Self::Uninstall { .. } => false,
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a configuration to begin with
    #[command(after_help = INIT_HELP)]
    Init(InitArgs),

    /// Deploy a revision: fetch it, build it, activate it, verify it
    #[command(after_help = DEPLOY_HELP)]
    Deploy(DeployArgs),

    /// Go back to an earlier release
    #[command(after_help = ROLLBACK_HELP)]
    Rollback(RollbackArgs),

    /// Start the service of the active release again, and verify it
    ///
    /// It runs as it is recorded with the release. The release stays active, whatever comes of it.
    Restart(RestartArgs),

    /// Tell what a deployment would do, and do nothing
    ///
    /// Exits with 10 when there is something to do, with 0 when there is not, and as a deployment would
    /// when that would be refused: with 1 because the commit is marked bad, say, with 4 beside a
    /// probation.
    Plan(PlanArgs),

    /// Tell what is active, how well it is, and what could be gone back to
    ///
    /// Looks once at the service and through the health checks, and only tells what they find. Exits
    /// with 5 when the active link leads to nothing.
    Status,

    /// List the releases, the newest first
    ///
    /// On a terminal, or with --verbose, a table; otherwise one line a commit: its hash, and
    /// "(active)" behind the one that is active.
    #[command(visible_alias = "ls")]
    List,

    /// List the deployments, the last first
    History {
        /// At most so many; 0 for all that are remembered
        #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 20)]
        number: usize,
    },

    /// Show a deployment with its output
    Show {
        /// The number of the deployment, as `history` shows it; the last one by default
        id: Option<DeploymentId>,
    },

    /// Print the commit that a revision means now
    Resolve {
        /// A branch, a tag, or a full or partial commit hash; by default what `deploy` would take
        #[arg(value_name = "REV", default_value = "HEAD", hide_default_value = true)]
        revision: Revision,
    },

    /// Declare the release good that is on probation, now
    ///
    /// Where a confirmation is demanded (probation.confirmation, or --confirm-within of `deploy` and
    /// `rollback`), it counts only in another login than the one that has deployed.
    Confirm,

    /// Pin the present release: nothing that nobody named is deployed until `unhold`
    Hold {
        /// Why, for the others
        #[arg(value_name = "REASON", num_args = 0..)]
        reason: Vec<String>,
    },

    /// End a hold
    Unhold,

    /// Look whether all is in order that a deployment needs
    ///
    /// Looks at the service manager and its units: are they there and can they be started, do they work in
    /// the active link, may this user handle them, can their journal be read, does somebody look after
    /// deployments that were broken off. And at what is active: is it served, and decided.
    ///
    /// Exits with 10 when something should be mended, and tells how.
    Check,

    /// Show what the services have written
    #[command(after_help = service::LOGS_HELP)]
    Logs(LogsArgs),

    /// Make systemd's unit files of the configuration
    ///
    /// Those of the services in [[service]], and timers for recovery and polling. Units that others have made
    /// are left alone.
    #[command(after_help = service::UNIT_HELP)]
    Unit {
        #[command(subcommand)]
        what: UnitCommand,
    },

    /// Put right what a killed deployment or a power cut left behind
    ///
    /// What begins next does this first (a rollback without waiting for what it leaves). It can run at any
    /// time: at boot, and from a timer, which `deploykit unit install` makes.
    Recover,

    /// Remove the releases that are not kept
    Prune,

    /// Look at the configuration
    Config {
        #[command(subcommand)]
        what: ConfigCommand,
    },

    /// Leave: remove what is deploykit's own, so that the directory works on without it
    ///
    /// The releases, the active link, the shared files and the configuration stay, and the service
    /// runs on. The history, the caches and the logs are removed.
    Uninstall {
        /// Rename the releases so that mfd takes them for its own
        #[arg(long)]
        to_mfd: bool,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },

    /// Print the completions for a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell
        shell: Shell,
    },

    /// Print the manual page, or write those of all commands
    #[command(after_help = MAN_HELP)]
    Man {
        /// Write the pages of all commands into this directory
        #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
        dir: Option<Utf8PathBuf>,
    },
}

const INIT_HELP: &str = "\
Examples:
  deploykit init https://example.org/me/app.git
  deploykit -C /srv/app init git@example.org:me/app.git
  deploykit init            takes the origin of the git repository in this directory";

const DEPLOY_HELP: &str = "\
Examples:
  deploykit deploy                  the remote's default branch, or repo.revision
  deploykit deploy v1.2.0           a tag, a branch, or a commit
  deploykit deploy main --wait=5m   wait for another deployment to end
  deploykit deploy --confirm-within=2m   go back unless it is confirmed from a new login
  deploykit deploy --if-changed -q  for timers: silent when there is nothing new";

const ROLLBACK_HELP: &str = "\
Examples:
  deploykit rollback                to the confirmed release that was active before
  deploykit rollback v1.1.0         to the release of a tag
  deploykit rollback 92965fd        to the release of a commit

The release that is left is marked bad: nothing deploys its commit again unless --retry is given.";

const COMPLETIONS_HELP: &str = "\
Examples:
  deploykit completions bash > /etc/bash_completion.d/deploykit
  deploykit completions zsh > \"${fpath[1]}/_deploykit\"
  deploykit completions fish > ~/.config/fish/completions/deploykit.fish";

const MAN_HELP: &str = "\
Examples:
  deploykit man | man -l -
  deploykit man --dir /usr/local/share/man/man1";

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The address of the repository: an https, ssh or git URL, user@host:path, or a local path
    pub(crate) url: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// A branch, a tag, or a full or partial commit hash; by default repo.revision of the
    /// configuration, or else the remote's HEAD
    #[arg(value_name = "REV", default_value = "HEAD", hide_default_value = true)]
    pub(crate) revision: Revision,

    /// Build it again, even if a release of it exists
    #[arg(long)]
    pub(crate) rebuild: bool,

    /// Deploy it although it is marked bad
    #[arg(long)]
    pub(crate) retry: bool,

    /// For timers and hooks: exit with 0 when the release is held or the commit is marked bad
    #[arg(long)]
    pub(crate) if_changed: bool,

    #[command(flatten)]
    pub(crate) confirm: ConfirmArg,

    #[command(flatten)]
    pub(crate) wait: WaitArg,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// A release or the beginning of its id, a commit, or a branch or tag as it was deployed; by
    /// default the confirmed release that was active before
    pub(crate) target: Option<String>,

    /// Go there although it is marked bad, or was never confirmed
    #[arg(long)]
    pub(crate) retry: bool,

    #[command(flatten)]
    pub(crate) confirm: ConfirmArg,

    #[command(flatten)]
    pub(crate) wait: WaitArg,
}

#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    pub(crate) wait: WaitArg,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// A branch, a tag, or a full or partial commit hash; by default what `deploy` would take
    #[arg(value_name = "REV", default_value = "HEAD", hide_default_value = true)]
    pub(crate) revision: Revision,

    /// As if it were built again
    #[arg(long)]
    pub(crate) rebuild: bool,

    /// As if it were deployed although it is marked bad
    #[arg(long)]
    pub(crate) retry: bool,

    #[command(flatten)]
    pub(crate) confirm: ConfirmArg,
}

/// Whether somebody must confirm it.
#[derive(Debug, Args)]
pub(crate) struct ConfirmArg {
    /// Go back unless `deploykit confirm` is called in time, from a new login: within this time
    /// (90s, 5m); without one, within probation.duration, but a minute at least
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        value_parser = some_time
    )]
    confirm_within: Option<Option<Period>>,
}

fn some_time(text: &str) -> Result<Period, String> {
    let period: Period = text.parse()?;
    if period.get().is_zero() {
        Err("nobody could confirm it in no time".into())
    } else {
        Ok(period)
    }
}

impl ConfirmArg {
    /// How long there is time for it, if somebody must.
    pub(crate) fn within(&self, probation: &ProbationConfig) -> Option<Period> {
        self.confirm_within.map(|within| within.unwrap_or(probation.confirmation_window()))
    }
}

/// How long to wait for another deployment.
#[derive(Debug, Args)]
pub(crate) struct WaitArg {
    /// Wait for another deployment to end: so long (30s, 5m, 1h30m), or without limit
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = WITHOUT_LIMIT
    )]
    wait: Option<Period>,
}

/// Ten years: the longest that a period can be.
const WITHOUT_LIMIT: &str = "3650d";

impl WaitArg {
    /// Whether `word`, which stands behind `--wait`, was meant to be its duration: `--wait 30s`.
    pub(crate) fn was_meant(&self, word: &str) -> bool {
        let could_be_a_hash = word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let endless: Result<Period, _> = WITHOUT_LIMIT.parse();
        self.wait.is_some()
            && self.wait == endless.ok()
            && !could_be_a_hash
            && word.parse::<Period>().is_ok()
    }

    /// How long; not at all by default.
    pub(crate) fn duration(&self) -> Duration {
        self.wait.map_or(Duration::ZERO, Period::get)
    }
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the configuration with all defaults, secrets masked
    Show,
    /// Read the configuration and tell what is wrong with it
    Check,
    /// Print the path of the configuration file
    Path,
    /// Print the JSON schema of deploykit.toml, for editors
    Schema,
}

/// The shells for which there are completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// Bash
    Bash,
    /// Zsh
    Zsh,
    /// Fish
    Fish,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    fn wait(arguments: &[&str]) -> Result<Duration, clap::Error> {
        let cli = Cli::try_parse_from(["deploykit", "deploy"].iter().chain(arguments))?;
        match cli.command {
            Command::Deploy(arguments) => Ok(arguments.wait.duration()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn waiting_is_off_without_limit_or_for_a_time() {
        assert_eq!(wait(&[]).unwrap(), Duration::ZERO);
        assert!(wait(&["--wait"]).unwrap() > Duration::from_secs(365 * 86_400));
        assert_eq!(wait(&["--wait=5m"]).unwrap(), Duration::from_secs(300));
        assert!(wait(&["--wait=soon"]).is_err());
        // The revision is not taken for a duration.
        assert!(wait(&["--wait", "main"]).unwrap() > Duration::from_secs(300));
        let meant = |arguments: &[&str], word| match Cli::try_parse_from(arguments).unwrap().command
        {
            Command::Rollback(arguments) => arguments.wait.was_meant(word),
            other => panic!("{other:?}"),
        };
        assert!(meant(&["deploykit", "rollback", "--wait", "30s"], "30s"));
        assert!(!meant(&["deploykit", "rollback", "--wait=1h", "30s"], "30s"));
        assert!(!meant(&["deploykit", "rollback", "30s"], "30s"));
        for word in ["main", "1234d", "v1"] {
            assert!(!meant(&["deploykit", "rollback", "--wait", word], word), "{word}");
        }
    }

    #[test]
    fn a_confirmation_is_demanded_for_a_time_or_for_as_long_as_it_is_watched() {
        let within = |argument: &[&str], duration: &str| {
            let words = ["deploykit", "deploy"].iter().chain(argument);
            let mut probation = ProbationConfig::default();
            probation.duration = duration.parse().unwrap();
            match Cli::try_parse_from(words)?.command {
                Command::Deploy(arguments) => Ok(arguments.confirm.within(&probation)),
                other => panic!("{other:?}"),
            }
        };
        let seconds = |seconds| Some(Period::from_secs(seconds));
        assert_eq!(within(&[], "2m").map_err(|_: clap::Error| ()), Ok(None));
        assert_eq!(within(&["--confirm-within"], "10s").unwrap(), seconds(60));
        assert_eq!(within(&["--confirm-within"], "2m").unwrap(), seconds(120));
        assert_eq!(within(&["--confirm-within=5s"], "2m").unwrap(), seconds(5));
        assert!(within(&["--confirm-within=0s"], "2m").is_err());
    }

    #[test]
    fn every_argument_of_every_command_has_a_help_text() {
        fn look(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
            for argument in command.get_arguments() {
                let (name, command) = (argument.get_id(), command.get_name());
                assert!(argument.get_help().is_some(), "{name} of {command} has no help");
            }
            command.get_subcommands().for_each(look);
        }
        let mut command = Cli::command();
        command.build();
        look(&command);
    }

    #[test]
    fn options_before_and_behind_the_command_mean_the_same() {
        for arguments in [["deploykit", "--json", "list"], ["deploykit", "ls", "--json"]] {
            assert!(Cli::try_parse_from(arguments).unwrap().global.json);
        }
    }
}
