//! `[notify]`: who is told when a deployment ends badly, and when all is well again.

use serde::{Deserialize, Serialize};

use super::value::{Argv, Period};

/// Who is told of deployments that nobody watches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[serde(default)]
#[non_exhaustive]
pub struct NotifyConfig {
    /// Run when a deployment, a rollback or a restart failed, was rolled back or is stuck. It gets the
    /// whole story as one JSON object on its standard input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<Argv>,
    /// Run when the first one ends well after a failure that was told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_recovery: Option<Argv>,
    /// How long each of these commands may take.
    pub timeout: Period,
}

impl NotifyConfig {
    /// Whether anybody is told of anything.
    pub fn is_on(&self) -> bool {
        self.on_failure.is_some() || self.on_recovery.is_some()
    }
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self { on_failure: None, on_recovery: None, timeout: Period::from_secs(30) }
    }
}
