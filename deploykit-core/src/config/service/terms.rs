//! What `[[service]]` says of limits, networks and logs: tables of their own.

use serde::{Deserialize, Serialize};

use super::spec::LogForm;
use crate::config::value::{Period, Threshold};

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

/// How what a service writes is kept, under `deploykit up`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct LogsConfig {
    /// A file that would grow beyond this is followed by a new one.
    pub max_size: Threshold,
    /// A file whose first line is older than this is followed by a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Period>,
    /// So many files are kept beside the one that is written.
    pub keep: u32,
    /// Files that are not written any more are compressed.
    pub compress: bool,
    /// What a line looks like: `plain`, as it came, `timestamps`, with the time and the stream before it,
    /// or `json`.
    pub format: LogForm,
}

impl Default for LogsConfig {
    fn default() -> Self {
        Self {
            max_size: Threshold::Absolute(100 << 20),
            max_age: None,
            keep: 5,
            compress: true,
            format: LogForm::Plain,
        }
    }
}
