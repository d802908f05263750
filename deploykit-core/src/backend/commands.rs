//! The builder `commands`: programs that are run one after the other in the release's directory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::environment::Environment;
use crate::config::{Argv, Config, EnvValue, RelPath};
use crate::context::Context;
use crate::process::{self, Leftovers, Outcome, ProcessSpec, shorten};
use crate::registry::BackendRequest;
use crate::state::Layout;
use crate::traits::{BoxError, BuildError, BuildRequest, Builder};

/// How long the name of a step may be that is made of its command.
const NAME: usize = 60;

/// One step, with what `build.commands` and `build.step` have in common.
#[derive(Debug)]
struct CommandStep {
    name: String,
    command: Argv,
    dir: Option<RelPath>,
    env: BTreeMap<String, EnvValue>,
    timeout: Duration,
}

/// Runs `build.commands` or `build.step` in order. The first that fails ends the build.
///
/// No process outlives its step: what a step leaves behind is ended, with a warning.
#[derive(Debug)]
pub(crate) struct Commands {
    steps: Vec<CommandStep>,
    config: Config,
    app: Utf8PathBuf,
}

impl Commands {
    pub(crate) fn construct(request: &BackendRequest<'_>) -> Result<Arc<dyn Builder>, BoxError> {
        Ok(Arc::new(Self::new(request.config, request.layout)))
    }

    fn new(config: &Config, layout: &Layout) -> Self {
        let build = &config.build;
        let plain = build.commands.iter().map(|command| CommandStep {
            name: shorten(&command.to_string(), NAME),
            command: command.clone(),
            dir: None,
            env: BTreeMap::new(),
            timeout: build.timeout.get(),
        });
        let named = build.steps.iter().map(|step| CommandStep {
            name: step.name.clone().unwrap_or_else(|| shorten(&step.command.to_string(), NAME)),
            command: step.command.clone(),
            dir: step.dir.clone(),
            env: step.env.clone(),
            timeout: step.timeout.unwrap_or(build.timeout).get(),
        });
        Self {
            steps: plain.chain(named).collect(),
            config: config.clone(),
            app: layout.root().to_owned(),
        }
    }

    /// What every step has in its environment.
    fn environment(&self, request: &BuildRequest) -> Environment {
        let mut environment = Environment::inherited(&self.config);
        environment
            .set("DEPLOYKIT_APP", self.app.as_str())
            .set("DEPLOYKIT_RELEASE", request.release.as_str())
            .set("DEPLOYKIT_REVISION", request.source.digest())
            .set("DEPLOYKIT_ROOT", request.root.as_str());
        environment
    }

    fn run(
        &self,
        ctx: &Context,
        request: &BuildRequest,
        step: &CommandStep,
    ) -> Result<(), BuildError> {
        let name = step.name.as_str();
        let mut environment = self.environment(request);
        for env in [&self.config.build.env, &step.env] {
            let configured = environment.configure(env, &self.app, ctx.masker());
            configured.map_err(|(variable, error)| BuildError::Precondition {
                step: name.to_owned(),
                why: format!("the variable {variable}: {}", with_causes(&error)),
                hint: error.hint(),
            })?;
        }
        let dir =
            directory(&request.root, step.dir.as_ref()).map_err(|why| precondition(name, why))?;
        let mut spec = ProcessSpec::new(name, step.command.as_slice(), dir);
        spec.env = environment.into_vec();
        spec.timeout = Some(step.timeout);
        let (marker, value) = request.marker.clone();
        spec.leftovers = Leftovers::End { name: marker, value };
        let finished = process::run(ctx, &spec, &mut |stream, line| ctx.output(name, stream, line))
            .map_err(|source| BuildError::Process { step: name.to_owned(), source })?;
        let (step, tail) = (name.to_owned(), finished.tail);
        match finished.outcome {
            Outcome::Exited(exit) if exit.success() => Ok(()),
            Outcome::Exited(exit) => Err(BuildError::Failed { step, exit, tail }),
            Outcome::TimedOut(limit) => Err(BuildError::TimedOut { step, limit, tail }),
            Outcome::Cancelled(cancelled) => Err(cancelled.into()),
        }
    }
}

impl Builder for Commands {
    fn name(&self) -> &str {
        "commands"
    }

    fn steps(&self) -> Vec<String> {
        let described = |step: &CommandStep| {
            let command = step.command.to_string();
            let mut line = if step.name == shorten(&command, NAME) {
                command
            } else {
                format!("{}: {command}", step.name)
            };
            if let Some(dir) = &step.dir {
                line.push_str(&format!(" (in {dir})"));
            }
            line
        };
        self.steps.iter().map(described).collect()
    }

    fn build(&self, ctx: &Context, request: &BuildRequest) -> Result<(), BuildError> {
        for (index, step) in self.steps.iter().enumerate() {
            ctx.check()?;
            ctx.note(format!("build step {} of {}: {}", index + 1, self.steps.len(), step.name));
            self.run(ctx, request, step)?;
        }
        Ok(())
    }
}

fn precondition(step: &str, why: String) -> BuildError {
    BuildError::Precondition { step: step.to_owned(), why, hint: None }
}

/// The directory of a step: it exists, and no symbolic link leads it out of the release.
fn directory(root: &Utf8Path, dir: Option<&RelPath>) -> Result<Utf8PathBuf, String> {
    let Some(dir) = dir else { return Ok(root.to_owned()) };
    let cannot = |path: &Utf8Path, error: std::io::Error| format!("{path}: {error}");
    let top = root.canonicalize_utf8().map_err(|error| cannot(root, error))?;
    let real = root
        .join(dir.as_path())
        .canonicalize_utf8()
        .map_err(|error| format!("its directory {dir}: {error}"))?;
    if !real.starts_with(&top) {
        return Err(format!("its directory {dir} leads out of the release, to {real}"));
    }
    if !real.is_dir() {
        return Err(format!("its directory {dir} is no directory"));
    }
    Ok(real)
}

/// An error and its causes, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
