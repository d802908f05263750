//! `[notify]`: who is told of what, and how.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::value::{Argv, EnvValue, Period, SecretValue, Settings};
use crate::message::Topic;
use crate::secret::MASK;

/// Who is told of what happens while nobody watches.
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
    /// How long each attempt to tell somebody may take.
    pub timeout: Period,
    /// What is told of a service again within this time, and is the same but for figures, is held back
    /// until it is over, and then told once, with a count.
    pub hold: Period,
    /// The server that takes mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp: Option<SmtpConfig>,
    /// Who else is told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<NotifierConfig>,
}

impl NotifyConfig {
    /// Whether anybody is told of anything.
    pub fn is_on(&self) -> bool {
        self.on_failure.is_some() || self.on_recovery.is_some() || !self.to.is_empty()
    }

    /// Whether anybody is told of deployments.
    pub fn tells_of_deployments(&self) -> bool {
        let mut topics = Topic::ALL.into_iter().filter(|topic| !topic.is_of_a_service());
        self.on_failure.is_some()
            || self.on_recovery.is_some()
            || topics.any(|topic| self.to.iter().any(|to| to.wants(topic, None)))
    }
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self {
            on_failure: None,
            on_recovery: None,
            timeout: Period::from_secs(30),
            hold: Period::from_secs(600),
            smtp: None,
            to: Vec::new(),
        }
    }
}

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SmtpTls {
    /// It begins in the clear and must change to TLS before anything is said: port 587.
    #[default]
    Starttls,
    /// It is TLS from the first byte: port 465.
    Implicit,
    /// It is not: port 25, for a server on this host.
    None,
}

impl SmtpTls {
    /// The port that is usual for it.
    pub fn port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }
}

/// The server that takes mail.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[non_exhaustive]
pub struct SmtpConfig {
    /// Its name, or its address.
    pub host: String,
    /// Its port, if not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: SmtpTls,
    /// Who logs in. Nobody when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// With which password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretValue>,
    /// From whom mails come: an address, with or without a name before it.
    pub from: String,
    /// File with the certificates (PEM) of a private authority, trusted beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

/// What a file of notices has in each line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NoticeForm {
    /// One JSON object with the whole story.
    #[default]
    Json,
    /// The time and the subject.
    Text,
}

/// Somebody who is told. Which keys it takes depends on its `type`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[non_exhaustive]
pub struct NotifierConfig {
    /// By what: `mail`, `http`, `command`, `file`, or one that was added.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it is called. Its type and its target when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of what it is told: of everything when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Topic>,
    /// Of which services it is told: of all when it is left out. Deployments are not asked for these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// How long one attempt may take, if not what `notify.timeout` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// `mail`: who gets it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// `http`: where it is sent to; a table as value makes it a secret. In it, in `body` and in the arguments of `command`, `{subject}`, `{body}`,
    /// `{topic}`, `{name}`, `{what}`, `{host}`, `{application}`, `{id}` and `{at}` stand for the notice's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<EnvValue>,
    /// `http`: `POST`, `PUT` or `GET`; POST when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `http`: headers to send. A table as value makes it a secret, as in `build.env`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub send: BTreeMap<String, EnvValue>,
    /// `http`: what is sent. The whole story as JSON when it is left out; nothing with GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// `http`: file with the certificates (PEM) of a private authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// `command`: what is run. It gets the whole story as one JSON object on its standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Argv>,
    /// `file`: to the end of which it is written, a line each; relative to the application's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// `file`: what a line is: `json` or `text`. JSON when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<NoticeForm>,
    /// Settings of a notifier that is not built in.
    #[serde(default, skip_serializing_if = "Settings::is_empty")]
    pub settings: Settings,
}

impl NotifierConfig {
    /// By what: the name of its backend.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What it is called: its name, or else its target behind its type.
    pub fn label(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let command = self.command.as_ref().map(|command| command.program().to_owned());
        // A path on somebody else's host is often a key.
        let url = self.url.as_ref().map(|url| match url {
            EnvValue::Plain(url) => host_of(url).to_owned(),
            EnvValue::Secret(SecretValue::Env(name)) => format!("${name}"),
            EnvValue::Secret(SecretValue::File(path)) => path.to_string(),
            EnvValue::Secret(SecretValue::Credential(name)) => name.clone(),
            EnvValue::Secret(SecretValue::Literal(_)) => MASK.to_owned(),
        });
        let to = Some(self.to.join(", ")).filter(|to| !to.is_empty());
        match to.or(url).or_else(|| self.path.clone()).or(command) {
            Some(target) => format!("{} {target}", self.kind),
            None => self.kind.clone(),
        }
    }

    /// Whether it is told of this.
    pub fn wants(&self, topic: Topic, service: Option<&str>) -> bool {
        let of_topic = topic == Topic::Test || self.on.is_empty() || self.on.contains(&topic);
        let of_service = match service {
            Some(service) => self.services.is_empty() || self.services.iter().any(|s| s == service),
            None => true,
        };
        of_topic && of_service
    }
}

/// Scheme and host of a URL.
fn host_of(url: &str) -> &str {
    let from = url.find("://").map_or(0, |at| at + 3);
    let end = url[from..].find(['/', '?', '#']).map_or(url.len(), |at| from + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> NotifierConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn a_label_shows_where_it_goes_and_no_key() {
        let url = config("type = \"http\"\nurl = \"https://hooks.example.org/T0/B1/s3cret?k=1\"");
        assert_eq!(url.label(), "http https://hooks.example.org");
        let mail = config("type = \"mail\"\nto = [\"a@b\", \"c@d\"]");
        assert_eq!(mail.label(), "mail a@b, c@d");
        let command = config("type = \"command\"\ncommand = [\"/bin/tell\", \"token\"]");
        assert_eq!(command.label(), "command /bin/tell");
        let hidden = config("type = \"http\"\nurl = { env = \"HOOK\" }");
        assert_eq!(hidden.label(), "http $HOOK");
        assert_eq!(config("type = \"pager\"\nname = \"x\"").label(), "x");
    }

    #[test]
    fn it_is_told_of_what_it_asks_for() {
        let all = config("type = \"x\"");
        let one =
            config("type = \"x\"\non = [\"exited-retry\", \"rolled-back\"]\nservices = [\"web\"]");
        assert!(all.wants(Topic::WatchFailed, Some("web")) && all.wants(Topic::RolledBack, None));
        assert!(one.wants(Topic::ExitedRetry, Some("web")) && one.wants(Topic::RolledBack, None));
        assert!(
            !one.wants(Topic::ExitedRetry, Some("db"))
                && !one.wants(Topic::WatchFailed, Some("web"))
        );
        assert!(one.wants(Topic::Test, None));
    }
}
