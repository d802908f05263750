//! The exit codes of `deploykit`. They are part of its interface.

use deploykit::{ErrorKind, Outcome, Report};

/// How the program ends: its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(u8);

impl Exit {
    /// Done; also when nothing had to be done.
    pub const DONE: Self = Self(0);
    /// Failed, and what was active still is (or, the first time, nothing is).
    pub const FAILED: Self = Self(1);
    /// Wrong usage or configuration.
    pub const USAGE: Self = Self(2);
    /// Activated, then rolled back: the previous release serves.
    pub const ROLLED_BACK: Self = Self(3);
    /// Another deployment holds the lock, or is on probation.
    pub const BUSY: Self = Self(4);
    /// Not in a good state: a person must look.
    pub const BROKEN: Self = Self(5);
    /// `plan`, `check`, `unit diff`: there is something to do.
    pub const WORK: Self = Self(10);

    /// Ended by the signal of that number before anything was activated, and cleaned up.
    pub fn signal(number: u8) -> Self {
        Self(128_u8.saturating_add(number))
    }

    /// The code of a service whose end is the end of all.
    pub fn of_service(code: u8) -> Self {
        Self(code)
    }

    /// The exit code.
    pub fn code(self) -> u8 {
        self.0
    }

    /// What a report means.
    pub fn of_report(report: &Report) -> Self {
        match &report.outcome {
            Some(_) if report.unsettled => Self::BROKEN,
            Some(outcome) => Self::of_outcome(outcome),
            None => Self::DONE,
        }
    }

    /// What an outcome means.
    pub fn of_outcome(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Deployed { .. } => Self::DONE,
            Outcome::Failed { .. } => Self::FAILED,
            Outcome::RolledBack { .. } => Self::ROLLED_BACK,
            Outcome::Broken { .. } => Self::BROKEN,
            Outcome::Interrupted { signal } => Self::signal(*signal),
            // An outcome that this program does not know is nothing to be calm about.
            _ => Self::BROKEN,
        }
    }

    /// What an error means.
    pub fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Usage | ErrorKind::Config => Self::USAGE,
            ErrorKind::Busy => Self::BUSY,
            ErrorKind::Cancelled(cause) => Self::signal(cause.signal()),
            ErrorKind::Failed => Self::FAILED,
            ErrorKind::Broken => Self::BROKEN,
            _ => Self::FAILED,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

/// The table that `--help` and the manual page show.
pub(crate) const TABLE: &str = "\
Exit codes:
  0      done; also when nothing had to be done
  1      failed, and what was active still is (or, the first time, nothing is)
  2      wrong usage or configuration
  3      activated, then rolled back: the previous release serves
  4      another deployment holds the lock, or is on probation
  5      not in a good state: a person must look
  10     plan, check, unit diff: there is something to do
  128+n  ended by signal n before anything was activated, and cleaned up";

#[cfg(test)]
mod tests {
    use super::*;
    use deploykit::Cause;

    #[test]
    fn every_outcome_has_its_code() {
        let reason = || "x".to_owned();
        let codes = [
            (Outcome::Deployed { verified: true }, 0),
            (Outcome::Deployed { verified: false }, 0),
            (Outcome::Failed { reason: reason() }, 1),
            (Outcome::RolledBack { reason: reason() }, 3),
            (Outcome::Broken { reason: reason() }, 5),
            (Outcome::Interrupted { signal: 2 }, 130),
            (Outcome::Interrupted { signal: 15 }, 143),
            (Outcome::Interrupted { signal: 1 }, 129),
        ];
        for (outcome, code) in codes {
            assert_eq!(Exit::of_outcome(&outcome).code(), code, "{outcome:?}");
        }
    }

    #[test]
    fn every_kind_of_error_has_its_code() {
        let codes = [
            (ErrorKind::Usage, 2),
            (ErrorKind::Config, 2),
            (ErrorKind::Busy, 4),
            (ErrorKind::Cancelled(Cause::Interrupt), 130),
            (ErrorKind::Cancelled(Cause::Terminate), 143),
            (ErrorKind::Failed, 1),
            (ErrorKind::Broken, 5),
        ];
        for (kind, code) in codes {
            assert_eq!(Exit::of_kind(kind).code(), code, "{kind:?}");
        }
    }

    #[test]
    fn the_table_tells_every_code() {
        let codes = [
            Exit::DONE,
            Exit::FAILED,
            Exit::USAGE,
            Exit::ROLLED_BACK,
            Exit::BUSY,
            Exit::BROKEN,
            Exit::WORK,
        ];
        for exit in codes {
            let start = format!("  {} ", exit.code());
            assert!(TABLE.lines().any(|line| line.starts_with(&start)), "{start:?} is missing");
        }
    }
}
