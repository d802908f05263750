//! The keys of `[service]` and `[[service]]`.
//!
//! Both are one key of the file: a table says by which commands something is controlled that others
//! run, a list says what is to run.

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::de::keys_of;
use super::value::{Argv, Period, Settings};

mod spec;
mod terms;

pub use spec::{Backoff, Hardening, LogForm, Ready, RestartPolicy, ServiceSpec};
pub use terms::{LimitsConfig, LogsConfig, NetworkConfig};

/// What a deployment does to a running service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnDeploy {
    /// End it and start it again.
    #[default]
    Restart,
    /// Tell it to reload.
    Reload,
    /// Start the new instances beside the old ones, on the same sockets, and end the old ones when all new
    /// ones are ready.
    HandOver,
    /// The same, instance by instance: there is never more than one too many.
    Rolling,
}

impl OnDeploy {
    /// Whether the new one is started before the old one is ended.
    pub fn overlaps(self) -> bool {
        matches!(self, Self::HandOver | Self::Rolling)
    }
}

/// What runs the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct ServiceConfig {
    /// The service backend: `none`, `command`, `systemd`, `process`, or one that was added. When it is left
    /// out: `systemd` if `[systemd]` names a unit or a manager, `process` if `[[service]]` describes what is
    /// to run, `command` if a command is given, otherwise `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Starts the service. It must return: the service goes on behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Argv>,
    /// Ends the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Argv>,
    /// Ends the service and starts it again. `stop` and then `start` when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Argv>,
    /// Makes the service take up a new release without ending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reload: Option<Argv>,
    /// Exits with 0 when the service runs, with another code when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Argv>,
    /// What a deployment does: `restart` or `reload`.
    pub on_deploy: OnDeploy,
    /// How long each of these commands may take.
    pub timeout: Period,
    /// Settings of a service backend that is not built in.
    #[serde(skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
    /// What is to run, where `[[service]]` is given instead of `[service]`.
    #[serde(skip)]
    pub services: Vec<ServiceSpec>,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            backend: None,
            start: None,
            stop: None,
            restart: None,
            reload: None,
            status: None,
            on_deploy: OnDeploy::Restart,
            timeout: Period::from_secs(90),
            settings: Settings::default(),
            services: Vec::new(),
        }
    }
}

impl ServiceConfig {
    /// What is to run, in the order of the file, but each behind those that it needs or follows. Where they
    /// follow one another in a circle, the order of the file holds.
    pub fn in_order(&self) -> Vec<&ServiceSpec> {
        let mut left: Vec<&ServiceSpec> = self.services.iter().collect();
        let mut ordered = Vec::new();
        while !left.is_empty() {
            let waits = |spec: &ServiceSpec| {
                let before = spec.requires.iter().chain(&spec.after);
                before
                    .into_iter()
                    .any(|name| *name != spec.name && left.iter().any(|other| other.name == *name))
            };
            let next = left.iter().position(|spec| !waits(spec)).unwrap_or(0);
            ordered.push(left.remove(next));
        }
        ordered
    }
}

/// The name by which [`super::de::Reader`] knows that a list is taken, too.
pub(super) const ONE_OR_MANY: &str = "OneOrMany";

/// The two forms of `service`, for the schema.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum OneOrMany {
    /// By which commands the service is controlled.
    Controlled(ServiceConfig),
    /// What is to run.
    Run(Vec<ServiceSpec>),
}

/// Reads and writes the two forms of `service`.
pub(super) mod one_or_many {
    use super::*;

    struct Forms;

    impl<'de> Visitor<'de> for Forms {
        type Value = ServiceConfig;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a table, or a list of them")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ServiceConfig, A::Error> {
            ServiceConfig::deserialize(MapAccessDeserializer::new(map))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<ServiceConfig, A::Error> {
            let services = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
            Ok(ServiceConfig { services, ..ServiceConfig::default() })
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<ServiceConfig, D::Error> {
        deserializer.deserialize_struct(ONE_OR_MANY, keys_of::<ServiceConfig>(), Forms)
    }

    pub(in crate::config) fn serialize<S: Serializer>(
        service: &ServiceConfig,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if service.services.is_empty() {
            service.serialize(serializer)
        } else {
            service.services.serialize(serializer)
        }
    }
}
