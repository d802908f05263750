//! What a supervisor tells of a service: its state, its instances, what it writes.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::ReleaseId;
use crate::time::Timestamp;

/// What a service is doing, as its supervisor sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ServiceState {
    /// The supervisor cannot tell.
    Unknown,
    /// On its way up.
    Starting,
    /// Up.
    Running,
    /// It finishes what it has begun, and ends: another one has taken its place, or none is to.
    Draining,
    /// Ended in order.
    Stopped,
    /// Ended otherwise, or restarting again and again.
    Failed,
}

/// One process of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Instance {
    /// Its name, unique in the service: `web@1`.
    pub name: String,
    /// Its state. On a probation one that is [`Stopped`](ServiceState::Stopped) is not waited for:
    /// nobody will start it again.
    pub state: ServiceState,
    /// What there is to say of it, in a few words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The process, while there is one.
    pub pid: Option<u32>,
    /// Since when it is in that state.
    pub since: Option<Timestamp>,
    /// How often it was started again without being asked to, since it was last asked to start: one
    /// that ended and waits to be started is counted already.
    pub restarts: u64,
    /// The release that it runs from.
    pub release: Option<ReleaseId>,
}

impl ServiceState {
    /// How bad it is: the state of a service in all is the worst of its instances.
    pub fn rank(self) -> u8 {
        match self {
            Self::Running => 0,
            Self::Unknown => 1,
            Self::Starting => 2,
            Self::Draining => 3,
            Self::Stopped => 4,
            Self::Failed => 5,
        }
    }
}

/// The state of a service in all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceStatus {
    /// The worst state of its instances.
    pub state: ServiceState,
    /// What there is to say, in a few words.
    pub detail: String,
    /// Its instances, where the supervisor knows them.
    pub instances: Vec<Instance>,
}

impl ServiceStatus {
    /// A status without instances.
    pub fn new(state: ServiceState, detail: impl Into<String>) -> Self {
        Self { state, detail: detail.into(), instances: Vec::new() }
    }
}

impl Instance {
    /// An instance in some state; nothing else is known of it.
    pub fn new(name: impl Into<String>, state: ServiceState) -> Self {
        let (name, detail) = (name.into(), String::new());
        Self { name, state, detail, pid: None, since: None, restarts: 0, release: None }
    }
}

/// What an instance is called: a service, and which of its instances where there are several.
///
/// ```
/// use deploykit_core::traits::InstanceName;
///
/// assert_eq!(InstanceName::new("web", Some("1")).to_string(), "web@1");
/// assert_eq!(InstanceName::new("worker", None).to_string(), "worker");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName {
    /// The service.
    pub service: String,
    /// Which of its instances; none where there is but one without a name.
    pub instance: Option<String>,
}

impl InstanceName {
    /// A name.
    pub fn new(service: impl Into<String>, instance: Option<&str>) -> Self {
        Self { service: service.into(), instance: instance.map(str::to_owned) }
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.service)?;
        self.instance.iter().try_for_each(|instance| write!(f, "@{instance}"))
    }
}

/// Which lines of its services a supervisor is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LogRequest {
    /// At most so many of those that are there; all of them when it is not said.
    pub lines: Option<usize>,
    /// Only those written since then.
    pub since: Option<Timestamp>,
    /// Go on with what is written from now on, until the context is cancelled.
    pub follow: bool,
    /// Only of these services or instances; of all when none is named.
    pub of: Vec<String>,
}

/// A line that a service has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogLine {
    /// When, as far as that is known.
    pub at: Option<Timestamp>,
    /// Which instance, or what else wrote it of the instance.
    pub by: String,
    /// The line, without its end.
    pub line: String,
}

impl LogLine {
    /// A line.
    pub fn new(at: Option<Timestamp>, by: impl Into<String>, line: impl Into<String>) -> Self {
        Self { at, by: by.into(), line: line.into() }
    }
}
