//! The seams: what a backend implements, one trait a file, each with its own error.
//!
//! All of them are object-safe, `Send + Sync + Debug`, and have a `name()`. Every call that can take
//! long or do something takes a [`Context`](crate::Context).

mod activator;
mod builder;
mod health;
mod release;
mod source;
mod supervisor;

pub use activator::{Activator, ActivatorError};
pub use builder::{BuildError, BuildRequest, Builder};
pub use health::{HealthCheck, Look};
pub use release::{BuildState, Release, ReleaseState, Verdict};
pub use source::{Materialised, Resolved, Source, SourceError, TreeSize};
pub use supervisor::{
    Instance, Prepared, ServiceState, ServiceStatus, Supervisor, SupervisorError, Switching,
};

/// An error of a backend that deploykit does not know.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
