//! The arguments.

mod deploy;
mod global;
mod service;
mod supervise;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};
use deploykit::{DeploymentId, Revision};

pub(crate) use deploy::{DeployArgs, PlanArgs, RestartArgs, RollbackArgs, WaitArg};
pub(crate) use global::{ColorWhen, Global};
pub(crate) use service::{LogsArgs, UnitCommand};
pub(crate) use supervise::{DownArgs, ImportCommand, NamesArgs, ReloadArgs, SignalArgs, UpArgs};

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
            | Self::Ps
            | Self::Unit { what: UnitCommand::Show { .. } | UnitCommand::Diff }
            | Self::Config { .. }
            | Self::Import { .. }
            | Self::Notify { .. }
            | Self::Completions { .. }
            | Self::Man { .. } => true,
            Self::Init(_)
            | Self::Deploy(_)
            | Self::Rollback(_)
            | Self::Restart(_)
            | Self::Reload(_)
            | Self::Up(_)
            | Self::Down(_)
            | Self::Start(_)
            | Self::Stop(_)
            | Self::Retry(_)
            | Self::Signal(_)
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
    #[command(after_help = deploy::DEPLOY_HELP)]
    Deploy(DeployArgs),

    /// Go back to an earlier release
    #[command(after_help = deploy::ROLLBACK_HELP)]
    Rollback(RollbackArgs),

    /// Start the service of the active release again, and verify it
    ///
    /// It runs as it is recorded with the release. The release stays active, whatever comes of it.
    Restart(RestartArgs),

    /// Bring the service to the changed configuration
    ///
    /// What is described otherwise starts anew, and nothing else, and the repository is not asked. It is watched like a deployment: what proves ill
    /// goes back to what was.
    Reload(ReloadArgs),

    /// Run the services here, and look after them
    ///
    /// It deploys first when nothing is active. It shows what they write, and ends with them: at Ctrl-C, at SIGTERM, at `deploykit down`. A second signal
    /// does not wait for them. SIGUSR1 and SIGUSR2 are passed on to them; SIGHUP reloads the configuration
    /// where there is no terminal. As the first process of a container it also looks after what they leave.
    ///
    /// Exits with 0 when it was asked to end, with 4 when they are run by another `deploykit up`, and with
    /// the code of a service that is named essential when that has ended (128 and the signal, when a signal
    /// ended it).
    #[command(after_help = supervise::UP_HELP)]
    Up(UpArgs),

    /// End what `up` runs, and `up` itself
    Down(DownArgs),

    /// Show the processes of the services
    Ps,

    /// Start services that `up` looks after
    Start(NamesArgs),

    /// Stop services that `up` looks after
    ///
    /// The next deployment, or the next `up`, starts them again.
    Stop(NamesArgs),

    /// Try again at once to start services that have failed
    ///
    /// Also those that wait for their next try.
    Retry(NamesArgs),

    /// Send a signal to the main processes of services
    #[command(after_help = supervise::SIGNAL_HELP)]
    Signal(SignalArgs),

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

    /// Send a test notice to whom [notify] names
    ///
    /// Nothing has happened then: it is to see whether notices arrive. Exits with 1 when somebody could not
    /// be told, and says why.
    #[command(after_help = NOTIFY_HELP)]
    Notify {
        /// Only to these, by the names that are shown; by default to all
        #[arg(value_name = "NAME")]
        to: Vec<String>,
    },

    /// Look at the configuration
    Config {
        #[command(subcommand)]
        what: ConfigCommand,
    },

    /// Print the configuration of another program as one of ours
    Import {
        #[command(subcommand)]
        what: ImportCommand,
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

const NOTIFY_HELP: &str = "\
Examples:
  deploykit notify                          to everybody
  deploykit notify 'mail ops@example.org'   to one";

const INIT_HELP: &str = "\
Examples:
  deploykit init https://example.org/me/app.git
  deploykit -C /srv/app init git@example.org:me/app.git
  deploykit init            takes the origin of the git repository in this directory";

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
