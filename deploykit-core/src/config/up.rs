//! The keys of `[up]`.

use serde::{Deserialize, Serialize};

/// What becomes of the services when `deploykit up` is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum WhenKilled {
    /// They go on, and the next `up` takes them over.
    #[default]
    Keep,
    /// They end with it.
    End,
}

/// How `deploykit up` runs the services.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct UpConfig {
    /// What becomes of the services when it is killed: `keep` has them go on until the next `up` takes them
    /// over, `end` has them end with it.
    pub when_killed: WhenKilled,
}
