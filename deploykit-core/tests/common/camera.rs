//! What a kill leaves, at any instant.
//!
//! A kill is played by a copy of the application from the instant at which a record had just been
//! written: the sink of events and the fakes see every effect, and copy the directory then. What
//! the copy holds is what a kill at that instant would have left.
#![allow(dead_code, unreachable_pub, reason = "every test program uses a part of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::traits::Look;
use deploykit_core::{
    Application, Context, DeployRequest, Event, EventKind, EventSink, FnSink, Report,
};
use deploykit_testkit::fake::{CONFIG, FakeApp, digest};

/// Copies the application whenever its journal has grown.
#[derive(Debug)]
struct Camera {
    root: Utf8PathBuf,
    shots: Mutex<BTreeMap<u64, tempfile::TempDir>>,
}

fn copy(from: &Utf8Path, to: &Utf8Path) {
    for entry in from.read_dir_utf8().unwrap().flatten() {
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(entry.path(), &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(entry.path().read_link_utf8().unwrap(), &target).unwrap();
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

impl EventSink for Camera {
    fn event(&self, _: &Event) {
        let length = std::fs::metadata(self.root.join(".deploykit/journal")).map_or(0, |m| m.len());
        self.shots.lock().unwrap().entry(length).or_insert_with(|| {
            let shot = tempfile::tempdir().unwrap();
            copy(&self.root, Utf8Path::from_path(shot.path()).unwrap());
            shot
        });
    }
}

/// Every state that a kill during `work` would leave.
pub fn shots(
    application: &Application,
    work: impl FnOnce(&Application, &Context),
) -> Vec<tempfile::TempDir> {
    let root = application.layout().root().to_owned();
    let camera = Arc::new(Camera { root, shots: Mutex::default() });
    let ctx = Context::new().unwrap().with_sink(camera.clone());
    work(application, &ctx);
    let shots = std::mem::take(&mut *camera.shots.lock().unwrap());
    assert!(shots.len() > 1, "only {} states were seen", shots.len());
    shots.into_values().collect()
}

pub fn open(app: &FakeApp, shot: &tempfile::TempDir) -> (Application, Utf8PathBuf) {
    let root = Utf8PathBuf::from_path_buf(shot.path().canonicalize().unwrap()).unwrap();
    std::fs::write(root.join("deploykit.toml"), CONFIG).unwrap();
    let application = Application::at(root.clone()).registry(app.fakes.registry()).open().unwrap();
    (application, root)
}

/// What must hold whatever happened.
pub fn check(application: &Application, root: &Utf8Path) {
    let releases = application.releases().unwrap();
    if root.join("active").is_symlink() {
        let content = std::fs::read_to_string(root.join("active/content")).unwrap();
        let active = releases.iter().find(|release| release.active).unwrap();
        assert_eq!(content, active.record.source.digest());
    }
    let state = application.state().unwrap();
    assert_eq!((state.open, state.probation), (Vec::new(), None));
    assert!(application.history().unwrap().iter().all(|record| record.outcome.is_some()));
    let mut found: Vec<String> = root
        .join("releases")
        .read_dir_utf8()
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().to_owned())
        .collect();
    found.sort();
    let mut known: Vec<_> = releases.iter().map(|r| r.record.id.to_string()).collect();
    known.sort();
    assert_eq!(found, known, "stray or missing directories");
    assert!(!root.join(".deploykit/trash").exists());
    assert!(!root.join(".deploykit/active.new").is_symlink());
}

/// A context that does `act` at the first event of that kind.
pub fn at(kind: fn(&EventKind) -> bool, act: impl Fn(&Context) + Send + Sync + 'static) -> Context {
    let plain = Context::new().unwrap();
    let (handle, once) = (plain.clone(), std::sync::Once::new());
    plain.with_sink(Arc::new(FnSink::new(move |event: &Event| {
        if kind(&event.kind) {
            once.call_once(|| act(&handle));
        }
    })))
}

pub fn two_releases() -> FakeApp {
    let app = FakeApp::new().unwrap();
    for number in 1..=2 {
        app.fakes.head(number);
        let report = app.open().deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
        assert!(report.is_success());
    }
    app
}

/// The third release was ill, and the service of the second does not start any more.
pub fn stuck_on_its_way_back() -> (FakeApp, Report) {
    let app = two_releases();
    app.fakes.head(3);
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    app.fakes.world().broken_services.push(digest(2));
    let report = app.open().deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
    assert!(report.unsettled, "{report:?}");
    (app, report)
}
