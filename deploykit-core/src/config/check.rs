//! One health check, as configured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;
use super::status::StatusSet;
use super::value::{Argv, EnvValue, Period, Settings};
use crate::traits::InstanceName;

/// One health check. Which keys it takes depends on its `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[non_exhaustive]
pub struct CheckConfig {
    /// What kind of check: `http`, `tcp`, `unix`, `exec`, or one that was added.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is called. Its type and its target when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long one look may take, if not what `health.timeout` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Of which services' instances it is asked, where `{instance}` stands in `url`, `address`, `path`
    /// or `command`: then every instance is looked at for itself. Those of all when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// `http`: what is asked for, with GET; http or https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// `http`: the statuses that are well: `200`, `"200-299"`, or a list of those. 200–299 when it
    /// is left out. Redirections are not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusSet>,
    /// `http`: headers that the answer must have, and their values. In the values of `header`, `json`
    /// and `body`, `{revision}` stands for the digest of the release's source (the full hash of the
    /// commit) and `{release}` for the release's id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub header: BTreeMap<String, String>,
    /// `http`: fields that a JSON body must have: JSON pointer (`/status`, `/db/ok`) to value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub json: BTreeMap<String, serde_json::Value>,
    /// `http`: a regular expression that must match somewhere in the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Pattern>,
    /// `http`: headers to send. A table as value makes it a secret, as in `build.env`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub send: BTreeMap<String, EnvValue>,
    /// `http`: file with the certificates (PEM) of a private authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// `tcp`: `host:port` that must accept a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// `unix`: socket that must accept a connection; a relative path is relative to the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `exec`: command that must exit with 0; it runs in the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Argv>,
    /// Settings of a check that is not built in.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
}

impl CheckConfig {
    /// What kind of check it is: the name of its backend.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What it is called: its name, or else its target, with its type where that does not show it.
    pub fn label(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let command = self.command.as_ref().map(ToString::to_string);
        let target =
            self.url.clone().or_else(|| self.address.clone()).or_else(|| self.path.clone());
        match target.or(command) {
            Some(url) if url.starts_with("http") && url.contains("://") => url,
            Some(target) => format!("{} {target}", self.kind),
            None => self.kind.clone(),
        }
    }

    /// Whether it is asked of every instance for itself.
    pub(crate) fn is_of_instances(&self) -> bool {
        let words = self.command.iter().flat_map(|command| command.as_slice());
        let texts = [&self.url, &self.address, &self.path];
        texts.into_iter().flatten().chain(words).any(|text| text.contains(INSTANCE))
    }

    /// The same check, of one instance.
    pub(crate) fn of_instance(&self, number: &str, of: &InstanceName) -> Self {
        let numbered = |text: &String| text.replace(INSTANCE, number);
        let command = self.command.as_ref().map(|command| {
            let words: Vec<_> = command.as_slice().iter().map(numbered).collect();
            Argv::try_from(words).unwrap_or_else(|_| command.clone())
        });
        Self {
            name: self.name.as_ref().map(|name| format!("{name} of {of}")),
            url: self.url.as_ref().map(numbered),
            address: self.address.as_ref().map(numbered),
            path: self.path.as_ref().map(numbered),
            command,
            ..self.clone()
        }
    }
}

/// Stands for the number of an instance.
pub const INSTANCE: &str = "{instance}";
