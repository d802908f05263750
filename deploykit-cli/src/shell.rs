//! What every command needs: the outputs, the options, the masks, and the application.

use std::io::BufRead as _;
use std::sync::Arc;

use camino::Utf8PathBuf;
use deploykit::config::{self, Loaded};
use deploykit::supervisor::procfile::{self, PROCFILE};
use deploykit::{Actor, Application, Context, Error, Masker, Step};
use serde::Serialize;

use crate::args::Global;
use crate::io::Io;
use crate::render::error::{CliError, warning};
use crate::render::json;
use crate::render::paint::Paint;
use crate::render::sink::{Renderer, quiet, renderer};
use crate::render::time::Times;
use crate::signals::Caught;

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) io: Io,
    pub(crate) global: Global,
    pub(crate) masker: Masker,
}

/// A call of the engine that is shown while it goes on.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) ctx: Context,
    renderer: Arc<dyn Renderer>,
}

impl Live {
    /// Shows at once that something goes on.
    pub(crate) fn expect(&self, step: Step) {
        self.renderer.expect(step);
    }

    /// Ends the view and hands on what came out.
    pub(crate) fn end<T>(self, result: Result<T, Error>) -> Result<T, CliError> {
        Ok(self.end_with(result)?)
    }

    /// The same, of any result.
    pub(crate) fn end_with<T>(self, result: T) -> T {
        self.renderer.finish();
        result
    }
}

impl Shell {
    pub(crate) fn new(io: Io, global: Global) -> Self {
        Self { io, global, masker: Masker::default() }
    }

    /// For what is printed on standard output.
    pub(crate) fn paint(&self) -> Paint {
        Paint::new(self.io.stdout.is_coloured())
    }

    /// For what is told on standard error.
    pub(crate) fn error_paint(&self) -> Paint {
        Paint::new(self.io.stderr.is_coloured())
    }

    /// How times are shown.
    pub(crate) fn times(&self) -> Times {
        Times::new(self.global.verbose)
    }

    /// How wide a table may be. With `-v` nothing is cut.
    pub(crate) fn table_width(&self) -> Option<usize> {
        self.io.stdout.width().filter(|_| !self.global.verbose)
    }

    /// Prints a result: text that ends with a line end, or nothing.
    pub(crate) fn print(&self, text: &str) {
        if !text.is_empty() {
            self.io.stdout.write(&self.masker.mask(text));
        }
    }

    /// Prints a result as JSON.
    pub(crate) fn print_json(&self, value: &impl Serialize) {
        self.io.stdout.line(&json::line(value, &self.masker));
    }

    /// Prints a result as JSON, or as the text that `text` makes.
    pub(crate) fn answer(&self, value: &impl Serialize, text: impl FnOnce() -> String) {
        if self.global.json { self.print_json(value) } else { self.print(&text()) }
    }

    /// Tells something on standard error.
    pub(crate) fn tell(&self, text: &str) {
        self.io.stderr.line(&self.masker.mask(text));
    }

    /// Tells something that is worth knowing but is no result.
    pub(crate) fn note(&self, text: &str) {
        if !self.global.quiet && !self.global.json {
            self.tell(text);
        }
    }

    /// Asks a person; without one it is an error to ask `what`.
    pub(crate) fn agreed(
        &mut self,
        question: &str,
        what: &str,
        hint: &str,
    ) -> Result<bool, CliError> {
        let Some(input) = self.io.stdin.as_mut() else {
            return Err(CliError::usage(
                format!("there is nobody who could be asked {what}"),
                hint,
            ));
        };
        self.io.stderr.write(question);
        let mut answer = String::new();
        input
            .read_line(&mut answer)
            .map_err(|error| CliError::io("cannot read the answer", &error))?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Tells of an error.
    pub(crate) fn fail(&self, error: &CliError) {
        if self.global.json {
            self.print_json(&serde_json::json!({ "error": error.as_json() }));
        } else {
            self.tell(&error.render(self.error_paint(), self.io.stderr.is_coloured()));
        }
    }

    /// The application's directory.
    pub(crate) fn directory(&self) -> Result<Utf8PathBuf, CliError> {
        let path = &self.global.directory;
        let found = path.canonicalize_utf8();
        Ok(found.map_err(|source| Error::Directory { path: path.clone(), source })?)
    }

    /// The path of the configuration file.
    pub(crate) fn config_path(&self) -> Result<Utf8PathBuf, CliError> {
        match &self.global.config {
            Some(path) => Ok(path.clone()),
            None => Ok(config::find(&self.directory()?).map_err(Error::Config)?),
        }
    }

    /// The configuration. Its warnings are told.
    pub(crate) fn config(&self) -> Result<Loaded, CliError> {
        let mut loaded = config::read_file_for(&self.config_path()?, &deploykit::registry())
            .map_err(Error::Config)?;
        loaded.warnings.extend(loaded.config.exposed_secrets(&self.directory()?));
        for message in &loaded.warnings {
            self.tell(&warning(message, self.error_paint(), &self.masker));
        }
        Ok(loaded)
    }

    /// The application.
    pub(crate) fn application(&self) -> Result<Application, CliError> {
        let directory = self.directory()?;
        let loaded = self.config()?;
        let builder = Application::at(directory)
            .registry(deploykit::registry())
            .config(loaded.config)
            .actor(Actor::current("deploykit"))
            .masker(self.masker.clone());
        Ok(builder.open()?)
    }

    /// The application; where there is no configuration, and a Procfile, what that names, which has no
    /// releases. The latter is told.
    pub(crate) fn application_or_procfile(&self) -> Result<(Application, bool), CliError> {
        let directory = self.directory()?;
        let path = directory.join(PROCFILE);
        if self.global.config.is_some() || config::find(&directory).is_ok() || !path.is_file() {
            return Ok((self.application()?, false));
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|error| CliError::io(format!("cannot read {path}"), &error))?;
        let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok());
        let config = procfile::read(&text, port).map_err(|error| {
            let hint = "a line is `web: ./server --port $PORT`".to_owned();
            CliError::of(deploykit::ErrorKind::Config, &error, Some(hint))
        })?;
        let builder = Application::at(directory).registry(deploykit::registry()).config(config);
        Ok((builder.masker(self.masker.clone()).open()?, true))
    }

    /// For a call that only looks: a signal ends the program at once, and there is nothing to show.
    pub(crate) fn look(&self) -> Result<Context, CliError> {
        self.context(quiet(&self.io))
    }

    /// For a call that only looks, and at the repository: a search through its history fills a
    /// directory, so signals end it in order.
    pub(crate) fn look_afar(&self) -> Result<Context, CliError> {
        let caught = Caught::new();
        let renderer = quiet(&self.io);
        let ctx = self.context(renderer.clone())?;
        caught.watch(ctx.cancellation().clone(), renderer);
        Ok(ctx)
    }

    /// For a call that changes something: it is shown, and signals end it in order. `streams`: with
    /// `--json` every event is a line.
    pub(crate) fn live(&self, streams: bool) -> Result<Live, CliError> {
        // Before any thread of a renderer starts.
        let blocked = Caught::new();
        let renderer = renderer(&self.io, &self.global, streams);
        let ctx = self.context(renderer.clone())?;
        blocked.watch(ctx.cancellation().clone(), renderer.clone());
        Ok(Live { ctx, renderer })
    }

    fn context(&self, renderer: Arc<dyn Renderer>) -> Result<Context, CliError> {
        let context = Context::new().map_err(|error| CliError::io("cannot begin", &error))?;
        Ok(context.with_sink(renderer).with_masker(self.masker.clone()))
    }
}
