//! The environment of everything that deploykit starts: builds, commands of the service, checks.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8Path;

use crate::config::{Config, EnvValue};
use crate::process::BUILD_MARKER;
use crate::secret::{Masker, Secret};
use crate::secret_source::{SecretError, read_secret};

/// What systemd tells deploykit itself. A child that took it for its own would report its readiness
/// in our name, take our sockets, or read our credentials.
const OURS: [&str; 6] = [
    "NOTIFY_SOCKET",
    "CREDENTIALS_DIRECTORY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "MANAGERPID",
    BUILD_MARKER,
];

/// The same, for every variable that begins so.
const OUR_FAMILIES: [&str; 2] = ["LISTEN_", "WATCHDOG_"];

/// Names and values; each name once.
#[derive(Clone, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

// The values may be secrets.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// deploykit's own environment without what is meant for deploykit alone: what systemd told it,
    /// and the variables in which the configuration says that secrets are. Variables that are not
    /// UTF-8 are left out.
    pub(crate) fn inherited(config: &Config) -> Self {
        let own = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::without_ours(own, config)
    }

    fn without_ours(own: impl Iterator<Item = (String, String)>, config: &Config) -> Self {
        let secret = secret_variables(config);
        Self(
            own.filter(|(name, _)| {
                !OURS.contains(&name.as_str())
                    && !OUR_FAMILIES.iter().any(|family| name.starts_with(family))
                    && !secret.contains(name)
            })
            .collect(),
        )
    }

    /// Sets one variable.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Adds what the configuration says. Secrets are read now, and masked from now on.
    ///
    /// # Errors
    /// The name of the variable, and why its secret cannot be read.
    pub(crate) fn configure(
        &mut self,
        configured: &BTreeMap<String, EnvValue>,
        app: &Utf8Path,
        masker: &Masker,
    ) -> Result<(), (String, SecretError)> {
        for (name, value) in configured {
            let value = match value {
                EnvValue::Plain(text) => text.clone(),
                EnvValue::Secret(reference) => {
                    let secret: Secret = read_secret(&reference.below(app))
                        .map_err(|error| (name.clone(), error))?;
                    masker.learn(&secret);
                    secret.expose().to_owned()
                }
            };
            self.set(name, value);
        }
        Ok(())
    }

    /// As a list.
    pub(crate) fn into_vec(self) -> Vec<(String, String)> {
        self.0.into_iter().collect()
    }
}

/// The variables that the configuration refers to as secrets, wherever it does.
///
/// It is looked for in the serialised form, so that a key that is added to the configuration some
/// day, or the settings of a foreign backend, cannot be forgotten here.
fn secret_variables(config: &Config) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if let Ok(value) = serde_json::to_value(config) {
        collect(&value, &mut found);
    }
    found
}

fn collect(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(map) => {
            if let (1, Some(serde_json::Value::String(name))) = (map.len(), map.get("env")) {
                found.insert(name.clone());
            }
            map.values().for_each(|value| collect(value, found));
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_meant_for_deploykit_alone_is_not_inherited() {
        let config = config(
            "repo.url = \"/srv/git\"\nrepo.token = { env = \"GIT_TOKEN\" }\n\
             [build.env]\nNPM_TOKEN = { env = \"MY_NPM\" }\nFOO = \"bar\"\n\
             [[build.step]]\ncommand = [\"x\"]\nenv.S = { env = \"STEP_SECRET\" }\n\
             [service.settings.deep]\nkey = [{ env = \"FOREIGN\" }]",
        );
        let own = [
            "GIT_TOKEN",
            "MY_NPM",
            "STEP_SECRET",
            "FOREIGN",
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "LISTEN_PID",
            "WATCHDOG_USEC",
            "CREDENTIALS_DIRECTORY",
            "INVOCATION_ID",
            "JOURNAL_STREAM",
            "DEPLOYKIT_BUILD",
            "PATH",
            "HOME",
            "NPM_TOKEN",
        ];
        let own = own.iter().map(|&name| (name.to_owned(), "x".to_owned()));
        let environment = Environment::without_ours(own, &config);
        let names: Vec<String> = environment.into_vec().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["HOME", "NPM_TOKEN", "PATH"]);
    }

    #[test]
    fn a_configured_secret_is_read_masked_and_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret-value\n").unwrap();
        let config = config(&format!(
            "repo.url = \"/srv/git\"\n[build.env]\nA = {{ file = {:?} }}\nB = \"plain\"",
            file.path()
        ));
        let masker = Masker::default();
        let mut environment = Environment::default();
        environment.set("B", "inherited");
        environment.configure(&config.build.env, Utf8Path::new("/"), &masker).unwrap();
        assert_eq!(masker.mask("s3cret-value plain"), "*** plain");
        assert!(!format!("{environment:?}").contains("s3cret"));
        let expected = [("A", "s3cret-value"), ("B", "plain")];
        assert_eq!(environment.into_vec(), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    #[test]
    fn a_missing_secret_names_its_variable() {
        let config =
            config("repo.url = \"/srv/git\"\n[build.env]\nA = { env = \"DEPLOYKIT_TEST_UNSET\" }");
        let error = Environment::default()
            .configure(&config.build.env, Utf8Path::new("/"), &Masker::default())
            .unwrap_err();
        assert_eq!(error.0, "A");
    }
}
