//! What is to run, down to the last detail: one instance of a service of one release.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Actions, Watch};
use crate::cgroup::Amounts;
use crate::kept::LogPolicy;
use crate::machine::Course;
use crate::policy::Rules;
use crate::spawn::Limits;

/// One instance of a service, as it is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Definition {
    /// The service.
    pub service: String,
    /// Which of several instances it is, if there are several.
    pub instance: Option<String>,
    /// The program and its arguments. A program with a slash in its name lies below `dir`, unless its path
    /// is absolute; another one is looked for in `PATH`.
    pub command: Vec<String>,
    /// Where it works.
    pub dir: Utf8PathBuf,
    /// What is added to its environment.
    pub env: BTreeMap<String, String>,
    /// Files of lines `NAME=value` that are added, too, when it is started. One that begins with a dash
    /// may be missing.
    pub env_files: Vec<String>,
    /// It is given nothing of the environment of this process.
    pub clean_env: bool,
    /// As whom it runs.
    pub user: Option<String>,
    /// The group that it runs as.
    pub group: Option<String>,
    /// What others may not do with the files that it makes.
    pub umask: u32,
    /// How much each of its processes may use.
    pub limits: Limits,
    /// How much all its processes may use together, where there are control groups. Memory is also looked
    /// at where there are none: one that uses more is started anew.
    #[serde(default)]
    pub amounts: Amounts,
    /// The sockets that it is given: ports, `address:port`, or paths. They are opened once, and shared by
    /// all that listen there.
    #[serde(default)]
    pub listen: Vec<String>,
    /// It is started anew beside the one that runs, which ends when the new one is ready.
    #[serde(default)]
    pub hands_over: bool,
    /// It ends when its manager does, however that comes about.
    #[serde(default)]
    pub is_bound: bool,
    /// It starts when everything of a lower level is up, and ends before that.
    pub level: u32,
    /// It starts when these services are up, and ends before them.
    pub needs: Vec<String>,
    /// It starts when these services are up or have failed, and ends before them.
    pub after: Vec<String>,
    /// When it counts as ready.
    pub readiness: Readiness,
    /// What is done for it beside starting and ending its process.
    #[serde(default)]
    pub actions: Actions,
    /// What is asked from time to time while it runs; at most 250.
    #[serde(default)]
    pub watches: Vec<Watch>,
    /// How what it writes is kept.
    #[serde(default)]
    pub logs: LogPolicy,
    /// The number of the signal that asks it to end.
    pub stop_signal: i32,
    /// What decides when something happens to it.
    pub course: Course,
    /// The release that it runs from, for whoever asks.
    pub release: String,
    /// When it ends, and is not started again, the manager has no business any more. That is for whoever
    /// has the manager to find out.
    #[serde(default)]
    pub essential: bool,
}

/// When an instance counts as ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Readiness {
    /// As soon as its program runs.
    Started,
    /// When it says so by sd_notify (`READY=1`).
    Notify,
    /// After this time.
    Delay(Duration),
    /// When it writes a line that contains this.
    Line(String),
    /// When this finds it well.
    Check(Action),
    /// When it has ended well: it does its work once.
    Exit,
}

impl Definition {
    /// One that runs a command in a directory, with what is usual everywhere else.
    ///
    /// ```
    /// use deploykit_process::Definition;
    ///
    /// let definition = Definition::new("web", ["sleep", "infinity"], "/");
    /// assert_eq!(definition.name(), "web");
    /// ```
    pub fn new<W: Into<String>>(
        service: impl Into<String>,
        command: impl IntoIterator<Item = W>,
        dir: impl Into<Utf8PathBuf>,
    ) -> Self {
        Self {
            service: service.into(),
            instance: None,
            command: command.into_iter().map(Into::into).collect(),
            dir: dir.into(),
            env: BTreeMap::new(),
            env_files: Vec::new(),
            clean_env: false,
            user: None,
            group: None,
            umask: 0o027,
            limits: Limits::default(),
            amounts: Amounts::default(),
            listen: Vec::new(),
            hands_over: false,
            is_bound: false,
            level: 0,
            needs: Vec::new(),
            after: Vec::new(),
            readiness: Readiness::Started,
            actions: Actions::default(),
            watches: Vec::new(),
            logs: LogPolicy::default(),
            stop_signal: nix::libc::SIGTERM,
            course: Course {
                rules: Rules::default(),
                once: false,
                start_timeout: Duration::from_secs(90),
                stop_timeout: Duration::from_secs(30),
            },
            release: String::new(),
            essential: false,
        }
    }

    /// What the instance is called: `web`, `web@2`.
    pub fn name(&self) -> String {
        match &self.instance {
            Some(instance) => format!("{}@{instance}", self.service),
            None => self.service.clone(),
        }
    }
}
