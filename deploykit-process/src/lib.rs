//! The process supervisor of deploykit: starts services, watches them, keeps what they write, and
//! ends them, all of each. For containers, for hosts without systemd, for a laptop, and for programs
//! that want a supervisor inside.

pub mod action;
pub mod angelize;
mod awaited;
mod backend;
pub mod cgroup;
mod children;
pub mod control;
mod definition;
mod describe;
mod hold;
mod inherited;
mod kept;
mod left;
pub mod listen;
pub mod log;
pub mod machine;
pub mod manager;
mod memory;
mod outcome;
pub mod policy;
pub mod procfile;
mod reading;
pub mod spawn;
mod supervision;
pub mod table;
mod usage;

use backend::running_dir;
pub use backend::{Processes, as_instance, log_dir, socket};
pub use children::{Attended, Children};
pub use definition::{Definition, Readiness};
pub use describe::{Undescribed, describe, describe_all};
pub use hold::hold;
pub use kept::{Kept, LastWords, LogKeeper, LogPolicy, Sink, settings};
pub use left::{Left, end_left, end_left_of};
pub use manager::{Adopted, InstanceStatus, Manager, ManagerError, Quiet, Surroundings};
pub use memory::let_go;
pub use supervision::{Happening, Supervision, SupervisionError};
pub use usage::{Usage, usage};

/// The name of the service backend.
const BACKEND: &str = "process";

/// Adds the service backend `process` to a registry.
pub fn register(registry: &mut deploykit_core::Registry) {
    registry.service(BACKEND, std::sync::Arc::new(Processes::construct));
    registry.service_rule(BACKEND, std::sync::Arc::new(describe::complaints));
}
