//! The service of the active release is started again, or only watched otherwise.

use deploykit_core::traits::{Look, Manner, Verdict};
use deploykit_core::{
    Application, Cause, Context, DeployRequest, Error, EventKind, Outcome, Report, RestartRequest,
};
use deploykit_testkit::fake::{FakeApp, digest};

#[path = "common/camera.rs"]
mod camera;
use camera::{at, check, open, shots, stuck_on_its_way_back, two_releases};

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

/// What reloads by itself is not relied on when it has proved ill, or when a person wants it anew.
#[test]
fn a_way_back_and_a_restart_are_made_with_new_processes() {
    let app = two_releases();
    assert_eq!(app.fakes.world().manners, [Manner::Usual; 2]);
    app.fakes.world().manners.clear();
    app.fakes.head(3);
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    let report = deploy(&app.open(), &app.context().unwrap());
    assert!(matches!(report.outcome, Some(Outcome::RolledBack { .. })), "{report:?}");
    let _ = restart(&app.open(), &app.context().unwrap());
    let manners = std::mem::take(&mut app.fakes.world().manners);
    assert_eq!(manners, [Manner::Usual, Manner::Anew, Manner::Anew]);
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
    let (app, _) = stuck_on_its_way_back();
    let ctx = app.context().unwrap();
    app.fakes.world().broken_services.clear();
    let report = restart(&app.open(), &ctx);
    assert!(report.is_success(), "{report:?}");
    assert_eq!(app.fakes.world().serving, report.active);
    check(&app.open(), &app.root);
}

/// With a changed configuration of how the service is watched, and nothing else.
fn watched_otherwise(app: &FakeApp) -> Application {
    app.open_with(|config| config.replace("failures = 2", "failures = 4"))
}

fn restarts(app: &FakeApp) -> usize {
    app.fakes.take_calls().into_iter().filter(|call| call.starts_with("restart")).count()
}

#[test]
fn a_service_that_is_only_watched_otherwise_runs_on() {
    let app = two_releases();
    let ctx = app.context().unwrap();
    restarts(&app);
    let seen = shots(&watched_otherwise(&app), |application, ctx| {
        assert!(deploy(application, ctx).is_success());
    });
    assert_eq!(restarts(&app), 0);
    assert!(deploy(&watched_otherwise(&app), &ctx).nothing.is_some());
    for shot in seen {
        let (application, root) = open(&app, &shot);
        application.recover(&ctx).unwrap();
        check(&application, &root);
    }
    let app = two_releases();
    falls_ill(&app);
    restarts(&app);
    let report = deploy(&watched_otherwise(&app), &ctx);
    assert!(matches!(report.outcome, Some(Outcome::Broken { .. })), "{report:?}");
    assert_eq!(restarts(&app), 0);
    app.fakes.world().health.clear();
    let plan = app.open().plan(&ctx, &DeployRequest::latest()).unwrap();
    assert!(!plan.has_work(), "the old configuration is what is recorded");
}

#[test]
fn a_service_that_may_not_run_as_is_recorded_is_brought_over_though_only_the_watching_changes() {
    let ctx = Context::new().unwrap();
    let dead = two_releases();
    dies(&dead);
    let by_hand = two_releases();
    let other = by_hand.open().releases().unwrap().into_iter().find(|r| !r.active).unwrap();
    std::fs::remove_file(by_hand.root.join("active")).unwrap();
    std::os::unix::fs::symlink(&other.record.path, by_hand.root.join("active")).unwrap();
    by_hand.fakes.head(1);
    let stuck = two_releases();
    stuck.fakes.world().broken_services.push(digest(2));
    assert!(
        deploy(&stuck.open_with(|c| format!("{c}[service.settings]\nx = 1\n")), &ctx).unsettled
    );
    stuck.fakes.world().broken_services.clear();
    for app in [dead, by_hand, stuck] {
        restarts(&app);
        let report = deploy(&watched_otherwise(&app), &ctx);
        assert!(report.is_success(), "{report:?}");
        assert!(restarts(&app) > 0);
        assert_eq!(app.fakes.world().serving, report.active);
        check(&app.open(), &app.root);
    }
}

#[test]
fn a_restart_does_not_end_a_way_back_that_is_stuck() {
    let (app, stuck) = stuck_on_its_way_back();
    let ctx = app.context().unwrap();
    let error = app.open().restart(&ctx, &RestartRequest::default()).unwrap_err();
    assert!(matches!(error, Error::Stuck { .. }), "{error}");
    assert_eq!(app.open().status(&ctx).unwrap().unfinished, stuck.deployment);
}

#[test]
fn recovery_stops_no_service_that_it_could_not_start_again() {
    let app = two_releases();
    let serving = app.fakes.world().serving.clone();
    app.fakes.head(3);
    for shot in shots(&app.open(), |application, ctx| {
        assert!(deploy(application, ctx).is_success());
    }) {
        let (application, root) = open(&app, &shot);
        let state = application.state().unwrap();
        if !state.open.iter().any(|open| open.activated) || state.probation.is_some() {
            continue;
        }
        let ctx = app.context().unwrap();
        app.fakes.world().serving.clone_from(&serving);
        app.fakes.world().missing = true;
        app.fakes.take_calls();
        let recovery = application.recover(&ctx).unwrap();
        assert!(matches!(recovery.deployments[..], [(_, Outcome::Broken { .. })]), "{recovery:?}");
        assert_eq!(app.fakes.take_calls(), [""; 0]);
        app.fakes.world().missing = false;
        application.recover(&ctx).unwrap();
        check(&application, &root);
        assert_eq!(verdict(&application), Verdict::Confirmed { verified: true });
        assert!(application.state().unwrap().bad.is_empty());
        return;
    }
    panic!("it was never killed behind its activation");
}
