//! The keys of `[service]` and `[[service]]`.
//!
//! Both are one key of the file: a table says by which commands something is controlled that others
//! run, a list says what is to run.

use std::collections::BTreeMap;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::de::keys_of;
use super::value::{Argv, Period, RelPath, Settings, Threshold};

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
}

/// What runs the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct ServiceConfig {
    /// The service backend: `none`, `command`, `systemd`, or one that was added. When it is left out:
    /// `systemd` if `[systemd]` names a unit or a manager, `command` if a command is given, otherwise
    /// `none`.
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

/// One service that is to run: an entry of `[[service]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[non_exhaustive]
pub struct ServiceSpec {
    /// What it is called, on the whole host: its unit is `NAME.service`.
    pub name: String,
    /// Program and arguments. A program with a slash in its name lies in the release, another one is
    /// looked for in the usual directories. Nothing goes through a shell. `{instance}` stands for the
    /// number of the instance.
    pub command: Argv,
    /// What it does, for people, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// So many instances of it run, `NAME@1` to `NAME@COUNT`, which a deployment restarts one after
    /// another. One without a number when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Where it works, relative to the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<RelPath>,
    /// As whom it runs. The owner of the application's directory when it is left out, unless that is
    /// root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The group. That of the user when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What others may not do with the files that it makes, as octal digits.
    #[serde(default = "umask")]
    pub umask: String,
    /// Its environment. No secrets: it stands in a unit file that everybody can read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Files of lines `NAME=value` for its environment. A relative path is relative to the
    /// application's directory; one that may be missing begins with a dash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_files: Vec<String>,
    /// Sockets that are opened for it and outlive its restarts: a port, `address:port`, or the path of a
    /// unix socket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<String>,
    /// When it counts as up.
    #[serde(default)]
    pub ready: Ready,
    /// What a deployment does to it.
    #[serde(default)]
    pub on_deploy: OnDeploy,
    /// Makes it reload. `$MAINPID` stands for its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<Argv>,
    /// When it is started again after it ended without being asked to.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How long after its end it is started again.
    #[serde(default = "one_second")]
    pub restart_delay: Period,
    /// How long it may take until it is up.
    #[serde(default = "ninety_seconds")]
    pub start_timeout: Period,
    /// The signal that asks it to end.
    #[serde(default = "term")]
    pub stop_signal: String,
    /// How long it may take to end before it is killed.
    #[serde(default = "thirty_seconds")]
    pub stop_timeout: Period,
    /// How long it may be silent before it is killed and started again: it must report by sd_notify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Period>,
    /// How much of the host it may use.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Where its standard output goes: `journal`, `null`, or the path of a file that is appended to.
    #[serde(default = "journal")]
    pub stdout: String,
    /// Where its standard error goes.
    #[serde(default = "journal")]
    pub stderr: String,
    /// Which addresses it may talk to.
    #[serde(default)]
    pub network: NetworkConfig,
    /// How much of the host is kept away from it.
    #[serde(default)]
    pub hardening: Hardening,
    /// Directories that it may write to although they are protected. A relative path is relative to the
    /// application's directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writable: Vec<String>,
    /// It starts after these: other services of this application, or units.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// It needs these: other services of this application, or units.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Directives for its unit file that have no key here, by section: `Service.Nice = "5"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub directives: BTreeMap<String, BTreeMap<String, String>>,
}

/// When a service counts as up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// As soon as its program runs.
    #[default]
    Started,
    /// When it says so by sd_notify (`READY=1`).
    Notify,
    /// When it has ended well: it does its work once.
    Exit,
}

/// When a service is started again after it ended without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Always.
    #[default]
    Always,
    /// When it ended otherwise than with exit code 0.
    OnFailure,
    /// Never.
    Never,
}

/// How much of the host is kept away from a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Hardening {
    /// What no common runtime needs.
    #[default]
    Default,
    /// Nothing.
    None,
}

/// How much of the host a service may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// How many files it may have open.
    pub open_files: u32,
    /// The size of the stack of each of its processes, for instance `"8176KiB"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<Threshold>,
    /// How much memory all its processes may use, in bytes or as a share of the host's: one of them is
    /// killed at that point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Threshold>,
    /// How many processes and threads it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
    /// How much processor time, in hundredths of one core: 150 is one core and a half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<u32>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { open_files: 65_536, stack: None, memory: None, tasks: None, cpu: None }
    }
}

/// Which addresses a service may talk to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct NetworkConfig {
    /// These: an address, a network (`10.0.0.0/8`), or `any`, `localhost`, `link-local`, `multicast`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Not these, unless they are allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
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

fn umask() -> String {
    "0027".into()
}

fn term() -> String {
    "TERM".into()
}

fn journal() -> String {
    "journal".into()
}

fn one_second() -> Period {
    Period::from_secs(1)
}

fn thirty_seconds() -> Period {
    Period::from_secs(30)
}

fn ninety_seconds() -> Period {
    Period::from_secs(90)
}
