//! Running other programs: an argument list, in a process group of its own, its output line by
//! line, with a deadline and an end that includes grandchildren.

mod awaited;
mod end;
mod error;
mod identity;
mod lines;
mod output;
pub(crate) mod poll;
mod program;
mod run;
mod spec;
mod table;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use awaited::with_awaited;
pub use end::{Ended, end_marked};
pub use error::ProcessError;
pub use identity::ProcessId;
pub(crate) use lines::Tail;
pub use program::{find, preflight};
pub use run::run;
pub use spec::{Finished, GRACE, Input, Leftovers, Outcome, Output, ProcessSpec};
pub(crate) use table::shorten;
pub use table::{ProcessInfo, in_use, marked};

/// The environment variable by which the processes of a build are found again. It is taken out of
/// the environment of everything else that deploykit starts.
pub const BUILD_MARKER: &str = "DEPLOYKIT_BUILD";

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// Whether it ended with code 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(number) => match nix::sys::signal::Signal::try_from(number) {
                Ok(signal) => write!(f, "was ended by {}", signal.as_str()),
                Err(_) => write!(f, "was ended by signal {number}"),
            },
        }
    }
}
