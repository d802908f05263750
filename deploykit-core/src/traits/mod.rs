//! The seams: what a backend implements, one trait a file, each with its own error.
//!
//! All of them are object-safe, `Send + Sync + Debug`, and have a `name()`. Every call that can take
//! long or do something takes a [`Context`](crate::Context).

mod activator;
mod builder;
mod finding;
mod health;
mod notifier;
mod release;
mod service;
mod source;
mod supervisor;

pub use activator::{Activator, ActivatorError};
pub use builder::{BuildError, BuildRequest, Builder};
pub use finding::{Finding, Severity};
pub use health::{HealthCheck, Look};
pub use notifier::{Notifier, NotifierError};
pub use release::{BuildState, Release, ReleaseState, Verdict};
pub use service::{Instance, InstanceName, LogLine, LogRequest, ServiceState, ServiceStatus};
pub use source::{Materialised, Resolved, Source, SourceError, TreeSize};
pub use supervisor::{BackendError, Manner, Prepared, Supervisor, SupervisorError, Switching};

/// An error of a backend that deploykit does not know.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
