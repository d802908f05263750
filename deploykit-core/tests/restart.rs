//! The service of the active release is started again, or only watched otherwise.

use deploykit_core::traits::{Look, Verdict};
use deploykit_core::{
    Application, Cause, Context, DeployRequest, Error, EventKind, Outcome, Report, RestartRequest,
};
use deploykit_testkit::fake::{FakeApp, digest};

#[path = "common/camera.rs"]
mod camera;
use camera::{at, check, open, shots, two_releases};

fn restart(application: &Application, ctx: &Context) -> Report {
    application.restart(ctx, &RestartRequest::default()).unwrap()
}

fn deploy(application: &Application, ctx: &Context) -> Report {
    application.deploy(ctx, &DeployRequest::latest()).unwrap()
}

fn verdict(application: &Application) -> Verdict {
    application.status(&Context::new().unwrap()).unwrap().active.unwrap().record.state.verdict
}

fn dies(app: &FakeApp) {
    app.fakes.world().serving = None;
}

fn falls_ill(app: &FakeApp) {
    app.fakes.world().health.insert(digest(2), Look::Ill("500".into()));
}

#[test]
fn a_restart_starts_the_active_release_as_it_is_recorded_and_watches_it() {
    let app = two_releases();
    let other = |config: String| format!("{config}[service.settings]\nother = true\n");
    let application = app.open_with(other);
    dies(&app);
    app.fakes.take_calls();
    let report = restart(&application, &app.context().unwrap());
    assert_eq!(report.outcome, Some(Outcome::Deployed { verified: true }), "{report:?}");
    assert_eq!((&report.from, &report.to), (&report.active, &report.active));
    assert_eq!(app.fakes.take_calls(), ["restart 02"]);
    assert_eq!(app.fakes.world().serving, report.active);
    assert_eq!(application.history().unwrap()[0].request.to_string(), "restart");
    let plan = application.plan(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
    assert!(plan.has_work(), "the changed configuration is still to be brought over");
}

#[test]
fn a_service_that_is_not_well_again_leaves_the_release_as_it_was() {
    let app = two_releases();
    falls_ill(&app);
    let ctx = app.context().unwrap();
    app.fakes.take_calls();
    let report = restart(&app.open(), &ctx);
    assert!(matches!(report.outcome, Some(Outcome::Broken { .. })), "{report:?}");
    assert!(!report.unsettled, "there is nothing that recovery could do");
    assert_eq!(app.fakes.take_calls(), ["restart 02"], "it is started once");
    assert_eq!(verdict(&app.open()), Verdict::Confirmed { verified: true });
    check(&app.open(), &app.root);
    app.fakes.world().health.clear();
    assert!(restart(&app.open(), &ctx).is_success());
}

#[test]
fn a_deployment_of_what_is_active_brings_back_a_service_that_died_and_a_timer_does_not() {
    let app = two_releases();
    dies(&app);
    let ctx = app.context().unwrap();
    let timer = app.open().deploy(&ctx, &DeployRequest::latest().if_changed(true)).unwrap();
    assert!(timer.nothing.is_some(), "{timer:?}");
    let plan = app.open().plan(&ctx, &DeployRequest::latest()).unwrap();
    assert_eq!(plan.warnings, ["its service does not run: nothing runs"]);
    let report = deploy(&app.open(), &ctx);
    assert!(report.is_success() && report.deployment.is_some(), "{report:?}");
    assert_eq!(app.fakes.world().serving, report.active);
    assert!(deploy(&app.open(), &ctx).nothing.is_some());
}

#[test]
fn a_restart_that_is_killed_anywhere_is_finished() {
    let app = two_releases();
    let shots = shots(&app.open(), |application, ctx| {
        let _ = restart(application, ctx);
    });
    for shot in &shots {
        let (application, root) = open(&app, shot);
        let ctx = app.context().unwrap();
        dies(&app);
        let last = application.history().unwrap()[0].clone();
        let begun = last.request.to_string() == "restart" && last.outcome.is_none();
        let recovery = application.recover(&ctx).unwrap();
        assert_eq!(recovery.deployments.len(), usize::from(begun), "{recovery:?}");
        assert!(application.recover(&ctx).unwrap().deployments.is_empty());
        check(&application, &root);
        assert_eq!(verdict(&application), Verdict::Confirmed { verified: true });
    }
}

#[test]
fn an_interrupted_restart_is_gone_on_with() {
    let app = two_releases();
    let begins = |kind: &EventKind| matches!(kind, EventKind::ProbationStarted { .. });
    let ctx = at(begins, |ctx| ctx.cancellation().cancel(Cause::Interrupt));
    let report = restart(&app.open(), &ctx);
    assert!(report.unsettled, "{report:?}");
    app.fakes.take_calls();
    let recovery = app.open().recover(&app.context().unwrap()).unwrap();
    assert!(matches!(recovery.deployments[..], [(_, Outcome::Deployed { .. })]), "{recovery:?}");
    check(&app.open(), &app.root);
}

#[test]
fn what_has_no_release_or_no_service_cannot_be_restarted() {
    let app = FakeApp::new().unwrap();
    let ctx = app.context().unwrap();
    let error = app.open().restart(&ctx, &RestartRequest::default()).unwrap_err();
    assert!(matches!(error, Error::NothingActive), "{error}");
    let app = two_releases();
    app.fakes.world().switching = Some(deploykit_core::traits::Switching::Nothing);
    let error = app.open().restart(&ctx, &RestartRequest::default()).unwrap_err();
    assert!(matches!(error, Error::NoService), "{error}");
    assert_eq!(app.open().history().unwrap().len(), 2);
}

#[test]
fn a_restart_settles_a_way_back_whose_service_did_not_start() {
    let app = two_releases();
    app.fakes.head(3);
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    app.fakes.world().broken_services.push(digest(2));
    let ctx = app.context().unwrap();
    assert!(deploy(&app.open(), &ctx).unsettled);
    app.fakes.world().broken_services.clear();
    let report = restart(&app.open(), &ctx);
    assert!(report.is_success(), "{report:?}");
    assert_eq!(app.fakes.world().serving, report.active);
    check(&app.open(), &app.root);
}

#[test]
fn a_service_that_is_watched_otherwise_runs_on_and_what_is_ill_then_is_not_recorded() {
    let app = two_releases();
    let other = |config: String| config.replace("failures = 2", "failures = 4");
    let ctx = app.context().unwrap();
    falls_ill(&app);
    app.fakes.take_calls();
    let report = deploy(&app.open_with(other), &ctx);
    assert!(matches!(report.outcome, Some(Outcome::Broken { .. })), "{report:?}");
    app.fakes.world().health.clear();
    let seen = shots(&app.open_with(other), |application, ctx| {
        assert!(deploy(application, ctx).is_success());
    });
    for shot in &seen {
        let (application, root) = open(&app, shot);
        application.recover(&ctx).unwrap();
        check(&application, &root);
    }
    let restarts = app.fakes.take_calls().into_iter().filter(|call| call.starts_with("restart"));
    assert_eq!(restarts.count(), 0);
    assert!(deploy(&app.open_with(other), &ctx).nothing.is_some());
}
