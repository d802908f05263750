//! The process supervisor of deploykit: starts services, watches them, keeps what they write, and
//! ends them, all of each. For containers, for hosts without systemd, for a laptop, and for programs
//! that want a supervisor inside.

pub mod angelize;
pub mod control;
mod definition;
pub mod log;
pub mod machine;
pub mod manager;
pub mod policy;
pub mod spawn;
pub mod table;

pub use definition::{Definition, Readiness};
pub use manager::{InstanceStatus, Manager, ManagerError, Quiet, Surroundings};
