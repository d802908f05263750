//! Strict fakes: backends that do what a test says, and refuse what the engine must never do.

mod activator;
mod builder;
mod check;
mod service;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use camino::Utf8PathBuf;
use deploykit_core::traits::{Activator, BoxError, InstanceName, Look, Manner, Switching};
use deploykit_core::{
    Application, Context, Event, EventKind, EventSink, Layout, Registry, ReleaseId, SourceId,
};

use activator::FakeActivator;
pub use builder::BuildScript;
use builder::FakeBuilder;
use check::FakeCheck;
use service::FakeService;
use source::FakeSource;

/// What is shared between a test and its fakes.
#[derive(Default)]
pub struct World {
    /// What revisions mean: names and digests.
    pub revisions: BTreeMap<String, String>,
    /// The source cannot be reached.
    pub unreachable: bool,
    /// What was fetched, and can be written.
    pub fetched: BTreeSet<SourceId>,
    /// What happens in a build.
    pub build: Option<BuildScript>,
    /// The health that the fake check sees, by digest, or by digest and `path` with a blank between them;
    /// well when there is no entry.
    pub health: BTreeMap<String, Look>,
    /// Restarts of these digests fail.
    pub broken_services: Vec<String>,
    /// What the fake service needs is missing.
    pub missing: bool,
    /// What was called, in order.
    pub calls: Vec<String>,
    /// The release that the fake service runs.
    pub serving: Option<ReleaseId>,
    /// The releases that were started beside it, by token.
    pub prepared: BTreeMap<String, ReleaseId>,
    /// Releases that are in use beside those.
    pub in_use: Vec<ReleaseId>,
    /// How the service was to be brought over, every time.
    pub manners: Vec<Manner>,
    /// The instances of the fake service.
    pub instances: Vec<InstanceName>,
    /// What each of them runs from.
    pub running: BTreeMap<String, ReleaseId>,
    /// How often the fake service was started again since it was last asked to start, by digest.
    pub restarts: BTreeMap<String, u64>,
    /// The fake service has failed for good when it runs a release of these digests.
    pub failed: Vec<String>,
    /// How the fake service is brought over.
    pub switching: Option<Switching>,
    /// What is active, by the application's directory, to the fake activator.
    pub links: BTreeMap<Utf8PathBuf, Utf8PathBuf>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("calls", &self.calls).finish_non_exhaustive()
    }
}

/// A handle to the world of a test.
#[derive(Debug, Clone, Default)]
pub struct Fakes(Arc<Mutex<World>>);

/// The digest that a fake revision means.
pub fn digest(number: u8) -> String {
    format!("{number:02x}").repeat(20)
}

impl Fakes {
    /// The world.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `HEAD` means this from now on.
    pub fn head(&self, number: u8) -> String {
        let digest = digest(number);
        self.world().revisions.insert("HEAD".into(), digest.clone());
        digest
    }

    /// What was called since the last time.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.world().calls)
    }

    fn call(&self, what: impl Into<String>) {
        self.world().calls.push(what.into());
    }

    /// An activator of an application, whose link is in memory.
    pub fn activator(&self, layout: &Layout) -> Arc<dyn Activator> {
        Arc::new(FakeActivator { fakes: self.clone(), layout: layout.clone() })
    }

    /// A registry in which `fake` is a source, a builder, a service and a check.
    pub fn registry(&self) -> Registry {
        let mut registry = Registry::built_in();
        let (source, builder, service, check) =
            (self.clone(), self.clone(), self.clone(), self.clone());
        registry
            .source("fake", Arc::new(move |_| Ok(Arc::new(FakeSource(source.clone())) as _)))
            .builder("fake", Arc::new(move |_| Ok(Arc::new(FakeBuilder(builder.clone())) as _)))
            .service("fake", Arc::new(move |_| Ok(Arc::new(FakeService(service.clone())) as _)))
            .check(
                "fake",
                Arc::new(move |_, config| {
                    let (name, path) = (config.label(), config.path.clone());
                    let settings: serde_json::Value = config.settings.read().map_err(boxed)?;
                    let _ = settings;
                    Ok(Arc::new(FakeCheck { fakes: check.clone(), name, path }) as _)
                }),
            );
        registry
    }
}

fn boxed(error: serde_json::Error) -> BoxError {
    error.into()
}

/// Keeps every event.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Vec<Event>>);

impl Recorder {
    /// The events since the last time.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The warnings and notes since the last time.
    pub fn messages(&self) -> Vec<String> {
        let texts = self.take().into_iter().filter_map(|event| match event.kind {
            EventKind::Warning { message } | EventKind::Note { message } => Some(message),
            _ => None,
        });
        texts.collect()
    }
}

impl EventSink for Recorder {
    fn event(&self, event: &Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.clone());
    }
}

/// An application in a temporary directory, with fakes for all its backends.
#[derive(Debug)]
pub struct FakeApp {
    /// The directory goes when this does.
    _dir: tempfile::TempDir,
    /// Its directory.
    pub root: Utf8PathBuf,
    /// What the fakes do.
    pub fakes: Fakes,
    /// What they were told.
    pub events: Arc<Recorder>,
}

/// A configuration with fakes for source, builder, service and one check, and short times.
pub const CONFIG: &str = r#"
    [repo]
    backend = "fake"
    url = "fake"
    [build]
    backend = "fake"
    [service]
    backend = "fake"
    [health]
    interval = "5ms"
    deadline = "100ms"
    failures = 2
    check = [{ type = "fake" }]
    [probation]
    duration = "20ms"
    [disk]
    min_free = 0
    min_free_inodes = 0
"#;

impl FakeApp {
    /// A new one.
    ///
    /// # Errors
    /// When the temporary directory cannot be made.
    pub fn new() -> std::io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().canonicalize()?;
        let root = Utf8PathBuf::from_path_buf(root)
            .map_err(|path| std::io::Error::other(format!("{} is not UTF-8", path.display())))?;
        Ok(Self { _dir: dir, root, fakes: Fakes::default(), events: Arc::default() })
    }

    /// The application with [`CONFIG`], as another process would open it.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[must_use]
    pub fn open(&self) -> Application {
        self.open_with(|config| config)
    }

    /// The same with a changed configuration.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[must_use]
    pub fn open_with(&self, change: impl FnOnce(String) -> String) -> Application {
        let path = self.root.join("deploykit.toml");
        let written = std::fs::write(&path, change(CONFIG.to_owned()));
        let opened = Application::at(self.root.clone()).registry(self.fakes.registry()).open();
        match (written, opened) {
            (Ok(()), Ok(application)) => application,
            (written, opened) => panic!("cannot open {path}: {written:?}, {opened:?}"),
        }
    }

    /// A context whose events are kept.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn context(&self) -> std::io::Result<Context> {
        Ok(Context::new()?.with_sink(self.events.clone()))
    }
}
