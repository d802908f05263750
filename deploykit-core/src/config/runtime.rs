//! What is recorded with a release for its service.

use serde::{Deserialize, Serialize};

use super::{Config, HealthConfig, ProbationConfig, ServiceConfig, SystemdConfig};

/// The part of the configuration by which a release is run and watched. It is recorded with the
/// release, so that a rollback runs it as it was run, not as its successor is. Secrets are in it as
/// references only.
///
/// A key that was recorded by a newer version and is not known here is passed over.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RuntimeConfig {
    /// What runs the service.
    #[serde(with = "super::service::one_or_many")]
    pub service: ServiceConfig,
    /// The systemd unit of the service.
    pub systemd: SystemdConfig,
    /// How to see whether the service is well.
    pub health: HealthConfig,
    /// How long the release is watched before it is confirmed.
    pub probation: ProbationConfig,
}

impl RuntimeConfig {
    /// Whether a service that runs as `other` says runs as this says, too: they differ at most in how
    /// it is watched.
    pub fn runs_like(&self, other: &Self) -> bool {
        self.service == other.service && self.systemd == other.systemd
    }
}

impl Config {
    /// What is recorded with a release for its service.
    pub fn runtime(&self) -> RuntimeConfig {
        RuntimeConfig {
            service: self.service.clone(),
            systemd: self.systemd.clone(),
            health: self.health.clone(),
            probation: self.probation.clone(),
        }
    }

    /// This configuration, but a service that is run and watched as `runtime` says.
    #[must_use]
    pub fn with_runtime(&self, runtime: &RuntimeConfig) -> Self {
        let RuntimeConfig { service, systemd, health, probation } = runtime.clone();
        Self { service, systemd, health, probation, ..self.clone() }
    }
}
