//! Services of deploykit under systemd: a [`Supervisor`](deploykit_core::traits::Supervisor) that
//! speaks to the manager over D-Bus, and unit files made of the configuration.
//!
//! The backend is called `systemd`. A program that embeds deploykit adds it to its registry; the
//! facade `deploykit` does that behind its feature `systemd`:
//!
//! ```
//! use deploykit_core::Registry;
//!
//! let mut registry = Registry::built_in();
//! deploykit_systemd::register(&mut registry);
//! assert!(registry.service_names().any(|name| name == "systemd"));
//! ```
//!
//! No program is run but `journalctl`, which is part of systemd, for what the services have written:
//! systemd offers its journal to nobody over the bus, and promises nothing of the form of its files
//! but that `journalctl` reads them.

mod access;
mod bring;
mod bus;
mod error;
mod exit;
mod facts;
mod in_use;
mod inspect;
mod job;
mod journal;
mod managed;
mod name;
mod needs;
mod polkit;
mod preflight;
mod status;
mod supervisor;
mod unit;
mod units;
mod wait;

pub use error::{BusError, SystemdError};
pub use name::{UnitName, escape_path};
pub use supervisor::Systemd;
pub use unit::{
    Compared, Comparison, Installed, Present, UnitError, UnitFile, UnitRequest, UnitSet,
};

use std::sync::Arc;

/// Adds the service backend `systemd` to a registry.
pub fn register(registry: &mut deploykit_core::Registry) {
    registry.service("systemd", Arc::new(Systemd::construct));
}
