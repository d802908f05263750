//! The notifier `command`: runs a program that tells somebody.

use std::sync::Arc;

use camino::Utf8PathBuf;

use super::environment::Environment;
use crate::config::{Argv, NotifierConfig};
use crate::context::Context;
use crate::message::Message;
use crate::process::{self, Input, Outcome, ProcessSpec};
use crate::registry::BackendRequest;
use crate::traits::{BoxError, Notifier, NotifierError};

/// How many of the last lines of a program that failed are told.
const LINES: usize = 3;

#[derive(Debug)]
pub(crate) struct TellCommand {
    name: String,
    command: Argv,
    directory: Utf8PathBuf,
    environment: Environment,
    /// Placeholders in its arguments are filled.
    fills: bool,
}

impl TellCommand {
    pub(crate) fn construct(
        request: &BackendRequest<'_>,
        config: &NotifierConfig,
    ) -> Result<Arc<dyn Notifier>, BoxError> {
        Ok(Arc::new(Self { fills: true, ..Self::plain(request, config)? }))
    }

    /// One whose arguments are taken as they stand.
    pub(crate) fn plain(
        request: &BackendRequest<'_>,
        config: &NotifierConfig,
    ) -> Result<Self, BoxError> {
        let command = config.command.clone().ok_or("it needs a command")?;
        let directory = request.layout.root().to_owned();
        let environment = Environment::inherited(request.config);
        Ok(Self { name: config.label(), command, directory, environment, fills: false })
    }
}

impl Notifier for TellCommand {
    fn name(&self) -> &str {
        &self.name
    }

    fn send(&self, ctx: &Context, message: &Message) -> Result<(), NotifierError> {
        let as_it_is = |text: &str| text.to_owned();
        let filled = |text: &String| match self.fills {
            true => message.fill(text, &as_it_is),
            false => text.clone(),
        };
        let arguments = self.command.arguments().iter().map(filled);
        let words = std::iter::once(self.command.program().to_owned()).chain(arguments);
        let words: Vec<String> = words.collect();
        let mut spec = ProcessSpec::new("notify", &words, &self.directory);
        spec.stdin = Input::Bytes(format!("{}\n", message.story).into_bytes());
        let mut environment = self.environment.clone();
        for (name, value) in &message.variables {
            environment.set(name, value);
        }
        spec.env = environment.into_vec();
        spec.timeout = ctx.remaining();
        let command = &self.command;
        let finished = process::run(ctx, &spec, &mut |_, _| {})?;
        let why = match finished.outcome {
            Outcome::Exited(exit) if exit.success() => return Ok(()),
            Outcome::Exited(exit) => format!("{command} {exit}"),
            Outcome::TimedOut(limit) => {
                // The time that was left, which is a little less than what is configured.
                let limit = (limit.as_secs_f32() * 100.0).round() / 100.0;
                let what = format!("{command} took longer than {limit} s");
                return Err(NotifierError::Late { what });
            }
            Outcome::Cancelled(_) => return Err(NotifierError::Cancelled),
        };
        let last = finished.tail[finished.tail.len().saturating_sub(LINES)..].join("\n");
        let why = if last.is_empty() { why } else { format!("{why}: {last}") };
        Err(NotifierError::Refused { why })
    }
}
