//! The arguments of what brings a release over: `deploy`, `rollback`, `restart`, `plan`.

use std::time::Duration;

use clap::Args;
use deploykit::Revision;
use deploykit::config::{Period, ProbationConfig};

pub(super) const DEPLOY_HELP: &str = "\
Examples:
  deploykit deploy                  the remote's default branch, or repo.revision
  deploykit deploy v1.2.0           a tag, a branch, or a commit
  deploykit deploy main --wait=5m   wait for another deployment to end
  deploykit deploy --confirm-within=2m   go back unless it is confirmed from a new login
  deploykit deploy --if-changed -q  for timers: silent when there is nothing new";

pub(super) const ROLLBACK_HELP: &str = "\
Examples:
  deploykit rollback                to the confirmed release that was active before
  deploykit rollback v1.1.0         to the release of a tag
  deploykit rollback 92965fd        to the release of a commit

The release that is left is marked bad: nothing deploys its commit again unless --retry is given.";

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
    /// Only these services or instances (web, web@1), and without a look whether they are well
    #[arg(value_name = "SERVICE", conflicts_with = "wait")]
    pub(crate) of: Vec<String>,

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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;

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
}
