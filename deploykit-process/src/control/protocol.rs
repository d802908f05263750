//! What is said over the socket.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::definition::Definition;
use crate::manager::{InstanceStatus, ManagerError, Preparation};

/// The version of the protocol that is spoken here. One that is added to keeps its number: what is not
/// known is passed over. One that means something else gets another.
pub const VERSION: u32 = 1;

/// No line is longer, in bytes: the descriptions of thousands of services are shorter.
pub(super) const LONGEST_LINE: u64 = 64 << 20;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Request {
    /// The version of the protocol.
    pub version: u32,
    /// What is to be done.
    #[serde(flatten)]
    pub task: Task,
}

impl Request {
    /// In the version that is spoken here.
    pub fn new(task: Task) -> Self {
        Self { version: VERSION, task }
    }
}

/// What is to be done; each as the method of [`Manager`](crate::Manager) that is called so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
#[non_exhaustive]
pub enum Task {
    /// Say what there is to run.
    Define {
        /// All of it.
        definitions: Vec<Definition>,
    },
    /// Run.
    Up {
        /// Services or instances; all, where none is named.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Do not run.
    Down {
        /// Services or instances; all, where none is named.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Run anew.
    Restart {
        /// Services or instances; all, where none is named.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Run as it is defined now.
    Renew {
        /// Services or instances; all, where none is named.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Send a signal.
    Signal {
        /// Its number.
        signal: i32,
        /// Services or instances; all, where none is named.
        #[serde(default)]
        names: Vec<String>,
    },
    /// How all instances are.
    Status,
    /// The same, when these have settled.
    Settle {
        /// Services or instances; all, where none is named.
        #[serde(default)]
        names: Vec<String>,
        /// For how long to wait for that, in milliseconds.
        within: u64,
    },
    /// Start instances beside those that run.
    Prepare(Preparation),
    /// How those are that were prepared under a token, when they have settled.
    SettlePrepared {
        /// The token.
        token: String,
        /// For how long to wait for that, in milliseconds.
        within: u64,
    },
    /// Let them take the places of the others.
    Commit {
        /// The token.
        token: String,
    },
    /// End them.
    Abort {
        /// The token.
        token: String,
    },
    /// Have another program take the place of the one that runs the manager.
    Replace {
        /// Its path.
        program: Utf8PathBuf,
    },
    /// End everything, and the manager too.
    End,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Answer {
    /// The version of the protocol.
    pub version: u32,
    /// What came of it.
    #[serde(flatten)]
    pub result: Outcome,
}

impl Answer {
    pub(super) fn new(result: Outcome) -> Self {
        Self { version: VERSION, result }
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// It was done.
    Ok(Done),
    /// The manager does not do it.
    Error(ManagerError),
    /// It was not understood; why, in words.
    Refused(String),
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Done {
    /// What was asked for.
    Done,
    /// How they are.
    Instances(Vec<InstanceStatus>),
}
