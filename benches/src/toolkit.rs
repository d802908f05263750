//! Our side: the library, and the binary.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use deploykit::{
    Application, Context, DeployRequest, Event, EventKind, FnSink, Layout, Revision, Step,
};

use crate::Result;
use crate::input::BRANCH;

/// One application of deploykit's.
#[derive(Debug)]
pub(crate) struct Toolkit {
    pub(crate) app: Utf8PathBuf,
    binary: Utf8PathBuf,
}

/// How long the steps of a deployment took.
pub(crate) type Steps = BTreeMap<Step, Duration>;

impl Toolkit {
    /// The application in the new directory `app`, without a build or a service.
    pub(crate) fn new(app: Utf8PathBuf, url: &str, binary: &Utf8Path) -> Result<Self> {
        Self::with(app, url, binary, "")
    }

    /// The same, with more of a configuration.
    pub(crate) fn with(app: Utf8PathBuf, url: &str, binary: &Utf8Path, more: &str) -> Result<Self> {
        std::fs::create_dir_all(&app)?;
        let config = format!("[repo]\nurl = \"{url}\"\nrevision = \"{BRANCH}\"\n{more}");
        std::fs::write(app.join("deploykit.toml"), config)?;
        Ok(Self { app, binary: binary.to_owned() })
    }

    /// The binary with these arguments.
    pub(crate) fn call(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(["-C", self.app.as_str()]).args(arguments);
        command
    }

    /// Where everything of it lies.
    pub(crate) fn layout(&self) -> Layout {
        Layout::new(self.app.clone())
    }

    /// The active release.
    pub(crate) fn active(&self) -> PathBuf {
        self.app.join("active").into()
    }

    /// Deploys through the library and returns how long each step took, as the engine does it: with
    /// what it writes into its journal.
    pub(crate) fn deploy(&self) -> Result<Steps> {
        let application = Application::at(&self.app).open()?;
        let steps = Arc::new(Mutex::new((Steps::new(), Instant::now())));
        let seen = Arc::clone(&steps);
        let sink = FnSink::new(move |event: &Event| {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            match &event.kind {
                EventKind::StepStarted { .. } => seen.1 = Instant::now(),
                EventKind::StepFinished { step, .. } => {
                    let took = seen.1.elapsed();
                    seen.0.insert(*step, took);
                }
                _ => {}
            }
        });
        let ctx = Context::new()?.with_sink(Arc::new(sink));
        let begun = Instant::now();
        application.resolve(&ctx, &Revision::remote_head())?;
        let resolved = begun.elapsed();
        let report = application.deploy(&ctx, &DeployRequest::latest())?;
        if !report.is_success() {
            return Err(format!("the deployment failed: {report:?}").into());
        }
        let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        steps.insert(Step::Resolve, resolved);
        Ok(steps)
    }
}

/// The binary, built now as it is released.
pub(crate) fn build() -> Result<Utf8PathBuf> {
    cargo_build(&["-p", "deploykit-cli"])
}

/// The application that is handed over, built as the binary is.
pub(crate) fn build_sample() -> Result<Utf8PathBuf> {
    cargo_build(&["-p", "deploykit", "--example", "drain"])
}

/// The same, where cargo has put it when it has built this binary.
pub(crate) fn beside(binary: &Utf8Path) -> Result<Utf8PathBuf> {
    let path = binary.with_file_name("examples").join("drain");
    if path.exists() { Ok(path) } else { Err(format!("{path} is not there").into()) }
}

fn cargo_build(what: &[&str]) -> Result<Utf8PathBuf> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let root = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--message-format=json"]).args(what);
    // What cargo has told of this program would make build scripts, which watch these variables,
    // take everything for changed.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    let output = command.current_dir(root).stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err("the binary cannot be built".into());
    }
    let messages = String::from_utf8(output.stdout)?;
    let messages =
        messages.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    let mut executables = messages.filter_map(|m| Some(m.get("executable")?.as_str()?.to_owned()));
    executables.next_back().map(Utf8PathBuf::from).ok_or_else(|| "cargo names no binary".into())
}
