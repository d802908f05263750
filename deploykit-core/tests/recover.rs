//! A deployment that is broken off after any record of its journal is put right by the next command.
//!
//! A kill is played by a copy of the application from the instant at which a record had just been
//! written: the sink of events and the fakes see every effect, and copy the directory then. What
//! the copy holds is what a kill at that instant would have left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::traits::Look;
use deploykit_core::{
    Application, Context, DeployRequest, Event, EventSink, Outcome, RollbackRequest,
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
fn shots(app: &FakeApp, work: impl FnOnce(&Application, &Context)) -> Vec<tempfile::TempDir> {
    let camera = Arc::new(Camera { root: app.root.clone(), shots: Mutex::default() });
    let ctx = Context::new().unwrap().with_sink(camera.clone());
    work(&app.open(), &ctx);
    let shots = std::mem::take(&mut *camera.shots.lock().unwrap());
    assert!(shots.len() > 3, "only {} states were seen", shots.len());
    shots.into_values().collect()
}

fn open(app: &FakeApp, shot: &tempfile::TempDir) -> (Application, Utf8PathBuf) {
    let root = Utf8PathBuf::from_path_buf(shot.path().canonicalize().unwrap()).unwrap();
    std::fs::write(root.join("deploykit.toml"), CONFIG).unwrap();
    let application = Application::at(root.clone()).registry(app.fakes.registry()).open().unwrap();
    (application, root)
}

/// What must hold whatever happened.
fn check(application: &Application, root: &Utf8Path) {
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

fn two_releases() -> FakeApp {
    let app = FakeApp::new().unwrap();
    for number in 1..=2 {
        app.fakes.head(number);
        let report = app.open().deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
        assert!(report.is_success());
    }
    app
}

fn deploy_third(application: &Application, ctx: &Context) {
    let _ = application.deploy(ctx, &DeployRequest::latest()).unwrap();
}

#[test]
fn a_killed_deployment_is_put_right_by_recover_and_twice_is_as_good_as_once() {
    let app = two_releases();
    app.fakes.head(3);
    for shot in shots(&app, deploy_third) {
        let (application, root) = open(&app, &shot);
        application.recover(&app.context().unwrap()).unwrap();
        check(&application, &root);
        let journal = std::fs::read(root.join(".deploykit/journal")).unwrap();
        let again = application.recover(&app.context().unwrap()).unwrap();
        assert!(again.actions.is_empty(), "{again:?}");
        assert_eq!(std::fs::read(root.join(".deploykit/journal")).unwrap(), journal);
    }
}

#[test]
fn after_a_killed_deployment_the_next_one_succeeds() {
    let app = two_releases();
    app.fakes.head(3);
    for shot in shots(&app, deploy_third) {
        let (application, root) = open(&app, &shot);
        let report = application.deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
        assert!(report.is_success(), "{report:?}");
        check(&application, &root);
        assert_eq!(std::fs::read_to_string(root.join("active/content")).unwrap(), digest(3));
    }
}

#[test]
fn after_a_killed_deployment_a_rollback_leads_to_an_earlier_release() {
    let app = two_releases();
    app.fakes.head(3);
    for shot in shots(&app, deploy_third) {
        let (application, root) = open(&app, &shot);
        let before = std::fs::read_to_string(root.join("active/content")).unwrap();
        let report =
            application.rollback(&app.context().unwrap(), &RollbackRequest::previous()).unwrap();
        assert!(report.is_success(), "{report:?}");
        check(&application, &root);
        let after = std::fs::read_to_string(root.join("active/content")).unwrap();
        assert!(after < before, "{before} to {after}");
    }
}

#[test]
fn an_emergency_rollback_does_not_wait_for_a_killed_deployment_to_prove_itself() {
    let app = two_releases();
    app.fakes.head(3);
    let shots = shots(&app, deploy_third);
    app.fakes.world().health.insert(digest(3), Look::NotYet("starting".into()));
    for shot in shots {
        let (application, root) = open(&app, &shot);
        // Whoever waited for the third release would wait for an hour.
        let config = CONFIG.replace("100ms", "1h");
        std::fs::write(root.join("deploykit.toml"), config).unwrap();
        let application = Application::at(application.layout().root())
            .registry(app.fakes.registry())
            .open()
            .unwrap();
        let begun = std::time::Instant::now();
        let report =
            application.rollback(&app.context().unwrap(), &RollbackRequest::previous()).unwrap();
        assert!(report.is_success(), "{report:?}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(60));
        check(&application, &root);
    }
}

#[test]
fn a_killed_rollback_is_put_right() {
    let app = two_releases();
    let work = |application: &Application, ctx: &Context| {
        let _ = application.rollback(ctx, &RollbackRequest::previous()).unwrap();
    };
    for shot in shots(&app, work) {
        let (application, root) = open(&app, &shot);
        application.recover(&app.context().unwrap()).unwrap();
        check(&application, &root);
    }
}

#[test]
fn a_killed_way_back_is_gone_to_its_end_and_an_ill_release_never_stays() {
    let app = two_releases();
    app.fakes.head(3);
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    for shot in shots(&app, deploy_third) {
        let (application, root) = open(&app, &shot);
        application.recover(&app.context().unwrap()).unwrap();
        check(&application, &root);
        assert_eq!(std::fs::read_to_string(root.join("active/content")).unwrap(), digest(2));
    }
}

#[test]
fn a_killed_first_deployment_that_is_ill_leaves_nothing_active() {
    let app = FakeApp::new().unwrap();
    app.fakes.head(1);
    app.fakes.world().health.insert(digest(1), Look::Ill("500".into()));
    for shot in shots(&app, deploy_third) {
        let (application, root) = open(&app, &shot);
        application.recover(&app.context().unwrap()).unwrap();
        check(&application, &root);
        assert!(!root.join("active").is_symlink());
    }
}

#[test]
fn a_probation_that_nobody_watched_is_decided_by_looking_again() {
    for (look, expected) in [(Look::Well("ok".into()), 3), (Look::Ill("500".into()), 2)] {
        let app = two_releases();
        app.fakes.head(3);
        let shots = shots(&app, deploy_third);
        app.fakes.world().health.insert(digest(3), look);
        let mut on_probation = 0;
        for shot in shots {
            let (application, root) = open(&app, &shot);
            if application.state().unwrap().probation.is_none() {
                continue;
            }
            on_probation += 1;
            let recovery = application.recover(&app.context().unwrap()).unwrap();
            check(&application, &root);
            let content = std::fs::read_to_string(root.join("active/content")).unwrap();
            assert_eq!(content, digest(expected));
            let (_, outcome) = recovery.deployments[0].clone();
            assert_eq!(matches!(outcome, Outcome::Deployed { .. }), expected == 3);
        }
        assert!(on_probation > 0);
    }
}
