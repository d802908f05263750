//! What is done for a service beside starting and ending its process: the actions of `start`, `stop`
//! and `watch`, made of their texts.

mod compile;
mod perform;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use compile::{NoAction, of_start, of_stop, of_watch};
pub(crate) use perform::{Around, Trouble, perform};

/// One action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Action {
    /// As it is written.
    pub text: String,
    /// What it does.
    pub does: Does,
}

/// What an action does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Does {
    /// Waits.
    Sleep(Duration),
    /// Starts a program, and does not wait for its end.
    Exec(Vec<String>),
    /// Runs a program, and expects that exit code.
    Wait {
        /// The program and its arguments.
        command: Vec<String>,
        /// The exit code.
        code: i32,
    },
    /// Asks an address by http or https, and expects that status.
    Http {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// Expects that somebody accepts connections at `host:port`.
    Tcp(String),
    /// Expects that somebody accepts connections on a unix socket.
    Unix(String),
    /// Brings a unit of systemd into a state, or expects it to be in one.
    Unit {
        /// Its name.
        name: String,
        /// What to do with it.
        verb: UnitVerb,
    },
}

/// What is done with a unit of systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UnitVerb {
    /// It is started.
    Start,
    /// It is stopped.
    Stop,
    /// It is expected to run, or not to.
    Expect {
        /// Whether it is to run.
        running: bool,
    },
}

/// What stands around the process of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Actions {
    /// Done before its program is started. The first that fails keeps it from being started.
    pub before_start: Vec<Action>,
    /// Done when its program runs; it is ready when they are done. One that fails is a failed start.
    pub after_start: Vec<Action>,
    /// Done before it is asked to end. One that fails keeps nothing from going on.
    pub before_stop: Vec<Action>,
    /// Done when it has ended.
    pub after_stop: Vec<Action>,
}

/// What is asked from time to time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Watch {
    /// What is asked.
    pub action: Action,
    /// How often.
    pub interval: Duration,
    /// How long one answer may take.
    pub timeout: Duration,
    /// After so many failures in a row the service is started anew.
    pub failures: u32,
}
