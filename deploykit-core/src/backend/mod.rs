//! The backends that are built in.

mod command;
mod commands;
pub(crate) mod environment;
mod health;
mod none;
mod service_log;
mod symlink;
mod tell_command;

use std::sync::Arc;

use crate::config::Config;
use crate::registry::Registry;

pub use none::{release_of_process, releases_in_use};
pub use symlink::Symlink;
pub(crate) use tell_command::TellCommand;

/// Puts the built-in backends into a registry.
pub(crate) fn register(registry: &mut Registry) {
    #[cfg(feature = "git")]
    registry.source("git", Arc::new(crate::git::GitSource::from_request));
    registry
        .builder("commands", Arc::new(commands::Commands::construct))
        .service("none", Arc::new(none::NoService::construct))
        .service("command", Arc::new(command::CommandService::construct));
    registry.notifier("command", Arc::new(TellCommand::construct));
    health::register(registry);
}

/// The name of the service backend: what the configuration says, else `systemd` if `[systemd]` names
/// a unit or a manager, `process` if services are described, `command` if there is a command, else
/// `none`.
pub fn service_backend_name(config: &Config) -> &str {
    match &config.service.backend {
        Some(name) => name,
        None if config.systemd.is_used() => "systemd",
        None if !config.service.services.is_empty() => "process",
        None if command::has_commands(&config.service) => "command",
        None => "none",
    }
}
