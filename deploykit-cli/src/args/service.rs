//! The arguments of what is about the services themselves: `logs` and `unit`.

use clap::{Args, Subcommand};
use deploykit::Timestamp;
use deploykit::config::Period;

pub(super) const LOGS_HELP: &str = "\
Examples:
  deploykit logs                       the last 100 lines of all services
  deploykit logs -f web                follow what web writes
  deploykit logs --since 10m -n 0      all of the last ten minutes";

pub(super) const UNIT_HELP: &str = "\
Examples:
  deploykit unit show                  print the unit files
  deploykit unit diff                  how they differ from those that are there
  sudo deploykit unit install          put them in their place, started at boot
  sudo deploykit unit remove           end the units and remove their files";

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Only of these services or instances: web, web@1
    #[arg(value_name = "SERVICE")]
    pub(crate) of: Vec<String>,

    /// Go on with what is written from now on
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// At most so many of the lines that are there; 0 for all
    #[arg(
        short = 'n',
        long = "lines",
        visible_alias = "tail",
        value_name = "N",
        default_value_t = 100
    )]
    pub(crate) lines: usize,

    /// Only what was written since then: so long ago (10m, 2h), or a time (2026-11-21T09:15:30Z)
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<When>,
}

/// A time, or how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Ago(Period),
    At(Timestamp),
}

impl std::str::FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(period) = text.parse() {
            return Ok(Self::Ago(period));
        }
        let at = Timestamp::try_from(text.to_owned());
        at.map(Self::At).map_err(|_| {
            "it is neither a length of time (10m) nor a time (2026-11-21T09:15:30Z)".into()
        })
    }
}

impl When {
    /// The time that it means.
    pub(crate) fn time(self) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(period) => {
                let ago = i64::try_from(period.get().as_millis()).unwrap_or(i64::MAX);
                Timestamp::from_millis(Timestamp::now().as_millis().saturating_sub(ago))
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum UnitCommand {
    /// Print the unit files
    Show {
        /// Only the file of this name
        name: Option<String>,
    },
    /// Tell how they differ from those that are there
    ///
    /// Exits with 10 when they do.
    Diff,
    /// Put them in their place, let systemd read them, and start them at boot
    ///
    /// The services themselves are started by the next deployment, which makes the unit files that are
    /// missing by itself if it may. Nothing is ended that the active release is run by.
    Install {
        /// Replace files that others have made or changed; each is kept as NAME.before-deploykit
        #[arg(long)]
        force: bool,
    },
    /// End the units of this application, and remove their files
    Remove {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_one_or_so_long_ago() {
        let at: When = "2026-11-21T09:15:30Z".parse().unwrap();
        assert_eq!(at.time().to_string(), "2026-11-21T09:15:30.000Z");
        let ago: When = "10m".parse().unwrap();
        let millis = Timestamp::now().since(ago.time()).as_millis();
        assert!((600_000..660_000).contains(&millis), "{millis}");
        assert!("yesterday".parse::<When>().is_err());
    }
}
