//! The configuration as it stands in `deploykit.toml`: every key, with its default.
//!
//! These are plain records. How they are read, with errors that show the place, is in
//! [`super::read`]; what they mean is documented key by key here, and the documentation is what an
//! editor shows through the JSON schema.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::check::CheckConfig;
use super::notify::NotifyConfig;
use super::service::ServiceConfig;
use super::systemd::{SystemdConfig, TimersConfig};
use super::up::UpConfig;
use super::value::{Argv, EnvValue, Period, RelPath, RepoUrl, SecretValue, Settings, Threshold};

/// The whole configuration of one application.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[non_exhaustive]
pub struct Config {
    /// Version of the format of this file. 1, also when it is left out.
    #[serde(default = "one")]
    pub format: u32,
    /// Where the releases come from.
    pub repo: RepoConfig,
    /// How a checked-out tree is made runnable.
    #[serde(default)]
    pub build: BuildConfig,
    /// Files and directories that all releases share.
    #[serde(default)]
    pub shared: SharedConfig,
    /// What runs the service: `[service]` with the commands that control it, or `[[service]]` with
    /// what is to run.
    #[serde(default, with = "super::service::one_or_many")]
    #[cfg_attr(feature = "schema", schemars(with = "super::service::OneOrMany"))]
    pub service: ServiceConfig,
    /// The systemd units of the services.
    #[serde(default)]
    pub systemd: SystemdConfig,
    /// How `deploykit up` runs the services.
    #[serde(default)]
    pub up: UpConfig,
    /// What timers do when nobody is there.
    #[serde(default)]
    pub timers: TimersConfig,
    /// How to see whether the service is well.
    #[serde(default)]
    pub health: HealthConfig,
    /// How long a release is watched before it is confirmed.
    #[serde(default)]
    pub probation: ProbationConfig,
    /// Who is told of deployments that nobody watches.
    #[serde(default)]
    pub notify: NotifyConfig,
    /// How many releases are kept.
    #[serde(default)]
    pub releases: ReleasesConfig,
    /// How much of the disk must stay free.
    #[serde(default)]
    pub disk: DiskConfig,
    /// How much of the past is kept.
    #[serde(default)]
    pub history: HistoryConfig,
}

/// Where the releases come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[non_exhaustive]
pub struct RepoConfig {
    /// The source backend.
    #[serde(default = "git")]
    pub backend: String,
    /// Address of the repository: an https, ssh, git or file URL, `user@host:path`, or a local path
    /// (a relative one is relative to the application's directory). No secrets in it.
    pub url: RepoUrl,
    /// What is deployed when no revision is named: a branch, a tag or a hash. The remote's HEAD
    /// when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Access token for https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretValue>,
    /// User name for https. With a token: the name that goes with it, where the server wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password for https; needs a user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretValue>,
    /// File with the certificates (PEM) of a private authority, trusted beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The longest silence of the server before a transfer is given up.
    #[serde(default = "sixty_seconds")]
    pub timeout: Period,
    /// Settings of a source backend that is not built in.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
}

/// How a checked-out tree is made runnable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct BuildConfig {
    /// The builder backend.
    pub backend: String,
    /// Commands, each a list of program and arguments, run in order in the release's directory.
    /// Nothing is passed through a shell.
    pub commands: Vec<Argv>,
    /// The same with names, directories, environments and time limits. Not together with
    /// `commands`.
    #[serde(rename = "step", skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<BuildStep>,
    /// Environment of every step, beside what deploykit itself was started with. A table as value
    /// makes it a secret: `{ env = "NAME" }`, `{ file = "/path" }`, `{ credential = "name" }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, EnvValue>,
    /// How long one step may take when it does not say so itself.
    pub timeout: Period,
    /// Settings of a builder backend that is not built in.
    #[serde(skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
}

impl Default for BuildConfig {
    fn default() -> Self {
        Self {
            backend: "commands".into(),
            commands: Vec::new(),
            steps: Vec::new(),
            env: BTreeMap::new(),
            timeout: Period::from_secs(1800),
            settings: Settings::default(),
        }
    }
}

/// One step of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[non_exhaustive]
pub struct BuildStep {
    /// What it is called in output and logs. The command when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Program and arguments.
    pub command: Argv,
    /// Where it runs, relative to the release's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<RelPath>,
    /// Environment of this step, over that of all steps.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, EnvValue>,
    /// How long it may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
}

/// Files and directories that all releases share. They lie in `shared/` and every release links
/// to them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct SharedConfig {
    /// Files, linked before the build. One that is missing in `shared/` is copied from the release if
    /// that has it; otherwise the deployment fails before the build.
    pub files: Vec<RelPath>,
    /// Directories, linked after the build; made when they are missing.
    pub dirs: Vec<RelPath>,
    /// Directories that are linked before the build, so that it can use them.
    pub build_dirs: Vec<RelPath>,
}

/// How to see whether the service is well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct HealthConfig {
    /// How long after the start of the service the first look is taken.
    pub start_delay: Period,
    /// Time between two looks.
    pub interval: Period,
    /// How long one look may take.
    pub timeout: Period,
    /// How many looks in a row must be good before the service counts as well.
    pub successes: u32,
    /// How many looks in a row must be bad before a service that was well counts as ill.
    pub failures: u32,
    /// How long a service may take, from its start, until it is well.
    pub deadline: Period,
    /// How often, on its probation, the service may be started again by whoever runs it, because it
    /// ended or hung, before the release counts as ill.
    pub restarts: u32,
    /// The checks. All must be good.
    #[serde(rename = "check", skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckConfig>,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            start_delay: Period::from_secs(0),
            interval: Period::from_secs(1),
            timeout: Period::from_secs(5),
            successes: 1,
            failures: 3,
            deadline: Period::from_secs(60),
            restarts: 0,
            checks: Vec::new(),
        }
    }
}

/// Whether somebody must confirm a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Confirmation {
    /// Health alone decides.
    #[default]
    None,
    /// Somebody must, over a new connection; else the previous release returns.
    Required,
}

/// How long a release is watched before it is confirmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct ProbationConfig {
    /// How long the service must stay well after it was first well.
    pub duration: Period,
    /// Whether somebody must confirm each deployment over a new connection: `none` or `required`.
    pub confirmation: Confirmation,
}

impl ProbationConfig {
    /// How long there is time to confirm a deployment when nothing else is said: as long as it is
    /// watched, and a minute at least.
    pub fn confirmation_window(&self) -> Period {
        self.duration.max(Period::from_secs(60))
    }
}

impl Default for ProbationConfig {
    fn default() -> Self {
        Self { duration: Period::from_secs(10), confirmation: Confirmation::None }
    }
}

/// How many releases are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct ReleasesConfig {
    /// How many releases are kept that are or have been good, the active one included; at least 1.
    pub keep: u32,
    /// How many others are kept: complete, but never confirmed or adopted.
    pub keep_others: u32,
}

impl Default for ReleasesConfig {
    fn default() -> Self {
        Self { keep: 3, keep_others: 2 }
    }
}

/// How much of the disk must stay free. A deployment that would need more does not start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct DiskConfig {
    /// Space: `"512MiB"`, `"5%"`.
    pub min_free: Threshold,
    /// Inodes: `4096`, `"1%"`.
    pub min_free_inodes: Threshold,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            min_free: Threshold::Absolute(512 << 20),
            min_free_inodes: Threshold::Absolute(4096),
        }
    }
}

/// How much of the past is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct HistoryConfig {
    /// How many deployments `history` remembers.
    pub keep: u32,
    /// For how many of them the output is kept.
    pub logs: u32,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { keep: 500, logs: 50 }
    }
}

fn one() -> u32 {
    1
}

fn git() -> String {
    "git".into()
}

fn sixty_seconds() -> Period {
    Period::from_secs(60)
}
