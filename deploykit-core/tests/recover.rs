//! A deployment that is broken off after any record of its journal is put right by the next command.

use deploykit_core::traits::Look;
use deploykit_core::{Application, Context, DeployRequest, Outcome, RollbackRequest};
use deploykit_testkit::fake::{CONFIG, FakeApp, digest};

#[path = "common/camera.rs"]
mod camera;
use camera::{check, open, shots, two_releases};

fn deploy_third(application: &Application, ctx: &Context) {
    let _ = application.deploy(ctx, &DeployRequest::latest()).unwrap();
}

#[test]
fn a_killed_deployment_is_put_right_by_recover_and_twice_is_as_good_as_once() {
    let app = two_releases();
    app.fakes.head(3);
    for shot in shots(&app.open(), deploy_third) {
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
    for shot in shots(&app.open(), deploy_third) {
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
    for shot in shots(&app.open(), deploy_third) {
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
    let shots = shots(&app.open(), deploy_third);
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
    for shot in shots(&app.open(), work) {
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
    for shot in shots(&app.open(), deploy_third) {
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
    for shot in shots(&app.open(), deploy_third) {
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
        let shots = shots(&app.open(), deploy_third);
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
