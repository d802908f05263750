//! What somebody is told outside of the terminal.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What stands for a message's own in a template, in braces.
pub(crate) const PLACEHOLDERS: [&str; 9] =
    ["subject", "body", "topic", "name", "what", "host", "application", "id", "at"];

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Topic {
    /// A service has ended without being asked to, and stays down.
    ExitedNoRetry,
    /// A service has ended without being asked to, and is started again.
    ExitedRetry,
    /// A service that had ended runs again.
    Recovered,
    /// A watch has found a service not to be well, several times in a row.
    WatchFailed,
    /// A watch finds a service well again.
    WatchRecovered,
    /// A deployment, a rollback or a restart failed, or is stuck.
    DeploymentFailed,
    /// A deployment was activated and taken back.
    RolledBack,
    /// The first deployment that ended well after a failure that was told of.
    DeploymentRecovered,
    /// Nothing has happened: somebody wants to see whether messages arrive.
    Test,
}

impl Topic {
    /// All but [`Test`](Self::Test), in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::ExitedNoRetry,
        Self::ExitedRetry,
        Self::Recovered,
        Self::WatchFailed,
        Self::WatchRecovered,
        Self::DeploymentFailed,
        Self::RolledBack,
        Self::DeploymentRecovered,
    ];

    /// As it is written in a configuration: `exited-no-retry`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExitedNoRetry => "exited-no-retry",
            Self::ExitedRetry => "exited-retry",
            Self::Recovered => "recovered",
            Self::WatchFailed => "watch-failed",
            Self::WatchRecovered => "watch-recovered",
            Self::DeploymentFailed => "deployment-failed",
            Self::RolledBack => "rolled-back",
            Self::DeploymentRecovered => "deployment-recovered",
            Self::Test => "test",
        }
    }

    /// Whether it is about a service, and not about a deployment.
    pub fn is_of_a_service(self) -> bool {
        matches!(
            self,
            Self::ExitedNoRetry
                | Self::ExitedRetry
                | Self::Recovered
                | Self::WatchFailed
                | Self::WatchRecovered
        )
    }
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What somebody is told: for a person in words, for a program as JSON. Secrets are masked already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// What tells it from all others of this application. One that comes twice has the same.
    pub id: String,
    /// What it is about.
    pub topic: Topic,
    /// When that happened.
    pub at: Timestamp,
    /// The name of the host.
    pub host: String,
    /// The application's directory.
    pub application: Utf8PathBuf,
    /// Whom or what it is about: the instance of a service (`web@1`), or `deployment 12`.
    pub name: String,
    /// What happened, in one line, without host and application.
    pub what: String,
    /// What else there is to say, in lines.
    pub text: String,
    /// Everything, for a program.
    pub story: serde_json::Value,
    /// The same in short, for the environment of a command.
    pub variables: Vec<(String, String)>,
}

impl Message {
    /// One line that says all that matters: host, application, who, what.
    pub fn subject(&self) -> String {
        let application = self.application.file_name().unwrap_or(self.application.as_str());
        format!("{} {application}: {} {}", self.host, self.name, self.what)
    }

    /// What a person reads: the subject, and what else there is to say.
    pub fn body(&self) -> String {
        let Self { host, application, at, text, .. } = self;
        let subject = format!("{} {}", self.name, self.what);
        let facts = format!("Host: {host}\nApplication: {application}\nTime: {at}\n");
        let text = text.trim_end();
        let rest = if text.is_empty() { String::new() } else { format!("\n{text}\n") };
        format!("{subject}\n\n{facts}{rest}")
    }

    /// Whether both tell the same, but for the time and for figures.
    ///
    /// ```
    /// # use deploykit_core::{Message, Timestamp, Topic};
    /// # let message = |what: &str| Message {
    /// #     id: "1".into(), topic: Topic::ExitedRetry, at: Timestamp::from_millis(0), host: "h".into(),
    /// #     application: "/srv/app".into(), name: "web@1".into(), what: what.into(), text: String::new(),
    /// #     story: serde_json::Value::Null, variables: Vec::new(),
    /// # };
    /// assert!(message("used 512 MiB").is_like(&message("used 600 MiB")));
    /// assert!(!message("used 512 MiB").is_like(&message("was killed")));
    /// ```
    pub fn is_like(&self, other: &Self) -> bool {
        self.topic == other.topic
            && self.name == other.name
            && without_numbers(&self.what) == without_numbers(&other.what)
    }

    /// The template with the message's own in the place of `{subject}`, `{body}`, `{topic}`, `{name}`,
    /// `{what}`, `{host}`, `{application}`, `{id}` and `{at}`, each as `encode` writes it. Other braces
    /// stay as they are.
    pub fn fill(&self, template: &str, encode: &dyn Fn(&str) -> String) -> String {
        let (mut filled, mut rest) = (String::new(), template);
        while let Some(at) = rest.find('{') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            let found = rest.find('}').and_then(|end| Some((end, self.value(&rest[1..end])?)));
            match found {
                Some((end, value)) => {
                    filled.push_str(&encode(&value));
                    rest = &rest[end + 1..];
                }
                None => {
                    filled.push('{');
                    rest = &rest[1..];
                }
            }
        }
        filled.push_str(rest);
        filled
    }

    fn value(&self, placeholder: &str) -> Option<String> {
        Some(match placeholder {
            "subject" => self.subject(),
            "body" => self.body(),
            "topic" => self.topic.to_string(),
            "name" => self.name.clone(),
            "what" => self.what.clone(),
            "host" => self.host.clone(),
            "application" => self.application.to_string(),
            "id" => self.id.clone(),
            "at" => self.at.to_string(),
            _ => return None,
        })
    }
}

/// Every number as a single nought. Numbers vary from one time to the next (free space, ports,
/// durations), and are no news.
pub(crate) fn without_numbers(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii_digit() {
            true if plain.ends_with('0') => {}
            true => plain.push('0'),
            false => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn message() -> Message {
        Message {
            id: "7".into(),
            topic: Topic::ExitedNoRetry,
            at: Timestamp::from_millis(0),
            host: "web1".into(),
            application: "/srv/shop".into(),
            name: "web@1".into(),
            what: "exited with code 3, and \"stays\" down".into(),
            text: "It wrote:\nout of paper\n".into(),
            story: serde_json::Value::Null,
            variables: Vec::new(),
        }
    }

    #[test]
    fn a_subject_is_one_line_and_a_body_tells_the_rest() {
        let message = message();
        assert_eq!(message.subject(), "web1 shop: web@1 exited with code 3, and \"stays\" down");
        let body = message.body();
        assert!(body.contains("\nApplication: /srv/shop\n"), "{body}");
        assert!(body.ends_with("\n\nIt wrote:\nout of paper\n"), "{body}");
    }

    #[test]
    fn a_template_is_filled_once_and_other_braces_stay() {
        let message = Message { host: "{name}".into(), ..message() };
        let quoted = |text: &str| format!("<{text}>");
        let filled = message.fill("{\"a\": {topic}, {host} {unknown} {", &quoted);
        assert_eq!(filled, "{\"a\": <exited-no-retry>, <{name}> {unknown} {");
    }

    #[test]
    fn topics_are_written_as_they_are_read() {
        for topic in Topic::ALL {
            let json = serde_json::to_value(topic).unwrap();
            assert_eq!(json, topic.as_str());
            assert_eq!(serde_json::from_value::<Topic>(json).unwrap(), topic);
        }
    }
}
