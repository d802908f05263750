//! Whom `[notify]` names, and telling them.

use std::sync::Arc;
use std::time::Duration;

use super::application::Application;
use crate::backend::TellCommand;
use crate::causes::chain;
use crate::config::{Argv, NotifierConfig};
use crate::context::Context;
use crate::message::{Message, Topic};
use crate::registry::BackendRequest;
use crate::state::host_name;
use crate::traits::{Notifier, NotifierError};

/// Somebody whom `[notify]` names.
#[derive(Debug, Clone)]
pub struct Recipient {
    config: NotifierConfig,
    timeout: Duration,
    /// By what they are told, or why that cannot be.
    notifier: Result<Arc<dyn Notifier>, String>,
}

impl Recipient {
    /// What they are called; unique in the application.
    pub fn label(&self) -> String {
        self.config.label()
    }

    /// Whether they are told of this; `service` is the service that it is about.
    pub fn wants(&self, topic: Topic, service: Option<&str>) -> bool {
        self.config.wants(topic, service)
    }

    /// Tells them, in the time that is configured. One attempt.
    ///
    /// # Errors
    /// Why they could not be told.
    pub fn tell(&self, ctx: &Context, message: &Message) -> Result<(), NotifierError> {
        match &self.notifier {
            Ok(notifier) => notifier.send(&ctx.clone().with_timeout(self.timeout), message),
            Err(why) => Err(NotifierError::Refused { why: why.clone() }),
        }
    }
}

impl NotifierConfig {
    /// One of the commands that are told of deployments alone.
    fn of_deployments(name: &str, command: &Argv, on: &[Topic]) -> Self {
        Self {
            kind: "command".to_owned(),
            name: Some(name.to_owned()),
            on: on.to_vec(),
            command: Some(command.clone()),
            ..Self::default()
        }
    }
}

impl Application {
    /// All whom `[notify]` names, `on_failure` and `on_recovery` among them. One who cannot be told, since
    /// a file of certificates is missing, say, is there too, and says so when it is tried.
    ///
    /// ```no_run
    /// use deploykit_core::{Application, Context};
    ///
    /// let application = Application::at("/srv/app").open()?;
    /// let context = Context::new()?;
    /// for recipient in application.recipients() {
    ///     recipient.tell(&context, &application.test_message(&context))?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recipients(&self) -> Vec<Recipient> {
        let config = &self.config.notify;
        let request = BackendRequest::new(&self.config, &self.layout, self.masker());
        let of_failure = [Topic::DeploymentFailed, Topic::RolledBack];
        let commands = [
            ("on_failure", &config.on_failure, &of_failure[..]),
            ("on_recovery", &config.on_recovery, &[Topic::DeploymentRecovered][..]),
        ];
        let commands = commands.into_iter().filter_map(|(name, command, on)| {
            let one = NotifierConfig::of_deployments(name, command.as_ref()?, on);
            // These are older than placeholders: braces in them are a shell's.
            let notifier: Result<Arc<dyn Notifier>, String> =
                match TellCommand::plain(&request, &one) {
                    Ok(notifier) => Ok(Arc::new(notifier)),
                    Err(error) => Err(error.to_string()),
                };
            Some((one, notifier))
        });
        let others = config.to.iter().map(|one| {
            let made = self.registry().make_notifier(&request, one);
            (one.clone(), made.map_err(|error| chain(&error)))
        });
        let recipient = |(one, notifier): (NotifierConfig, _)| {
            let timeout = one.timeout.unwrap_or(config.timeout).get();
            Recipient { config: one, timeout, notifier }
        };
        commands.chain(others).map(recipient).collect()
    }

    /// Has this application's masker know every secret of the configuration that can be read now: who passes
    /// on what others write masks it.
    pub fn learn_secrets(&self) {
        self.config.teach(self.layout.root(), self.masker());
    }

    /// A message that says only that it has arrived.
    pub fn test_message(&self, ctx: &Context) -> Message {
        let (application, host, at) = (self.layout.root().to_owned(), host_name(), ctx.now());
        let story = serde_json::json!({
            "format": crate::state::NOTICE_FORMAT, "event": "test", "topic": Topic::Test,
            "application": application, "host": host, "at": at,
        });
        Message {
            id: format!("test-{}", at.as_millis()),
            topic: Topic::Test,
            at,
            name: "notices".to_owned(),
            what: "arrive: this is a test".to_owned(),
            text: "Nothing has happened. Somebody has run `deploykit notify`.\n".to_owned(),
            variables: variables(&application, "test", Topic::Test),
            host,
            application,
            story,
        }
    }
}

/// What every command is told in its environment.
pub(super) fn variables(
    application: &camino::Utf8Path,
    event: &str,
    topic: Topic,
) -> Vec<(String, String)> {
    let variables = [
        ("DEPLOYKIT_APP", application.as_str()),
        ("DEPLOYKIT_EVENT", event),
        ("DEPLOYKIT_TOPIC", topic.as_str()),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}
