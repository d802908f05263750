//! The keys of `[systemd]` and `[timers]`.

use serde::{Deserialize, Serialize};

use super::value::Period;

/// Which of the service managers of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ManagerKind {
    /// That of the whole host.
    #[default]
    System,
    /// That of the user who deploys (`systemctl --user`).
    User,
}

/// The systemd units of the services.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct SystemdConfig {
    /// The unit that is restarted: `bloggulus`, `bloggulus.service`, `app@1.service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Several units, restarted in this order. Not together with `unit`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<String>,
    /// Whose units they are: `system`, the host's, or `user`, those of the user who deploys. With
    /// `[[service]]` it says that systemd runs them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<ManagerKind>,
}

impl SystemdConfig {
    /// Whether systemd runs the services.
    pub fn is_used(&self) -> bool {
        self.unit.is_some() || !self.units.is_empty() || self.manager.is_some()
    }

    /// The units that are named, in order.
    pub fn named_units(&self) -> impl Iterator<Item = &str> {
        self.unit.iter().chain(&self.units).map(String::as_str)
    }
}

/// What timers of systemd do for an application when nobody is there. `deploykit unit` makes them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct TimersConfig {
    /// How often it is looked whether a deployment was broken off.
    pub recover: Period,
    /// How often it is looked for something new to deploy. Never when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<Period>,
    /// So much later than every `poll` it may look, at random, so that not all hosts look at once.
    pub jitter: Period,
}

impl Default for TimersConfig {
    fn default() -> Self {
        Self { recover: Period::from_secs(60), poll: None, jitter: Period::from_secs(30) }
    }
}
