//! Several deployments that are open at once, rollbacks and reconfigurations that are broken off, and
//! failures that are deploykit's own.

use deploykit_core::traits::{Look, Verdict};
use deploykit_core::{
    Application, Cause, Context, DeployRequest, EventKind, Outcome, Report, RollbackRequest,
};
use deploykit_testkit::fake::{CONFIG, FakeApp, digest};

#[path = "common/camera.rs"]
mod camera;
use camera::{at, check, open, shots, stuck_on_its_way_back, two_releases};

fn content(application: &Application) -> String {
    std::fs::read_to_string(application.layout().active_link().join("content")).unwrap()
}

fn verdict(application: &Application, number: u8) -> Verdict {
    let releases = application.releases().unwrap();
    let found = releases.into_iter().find(|r| r.record.source.digest() == digest(number));
    found.unwrap().record.state.verdict
}

fn is_bad(application: &Application, number: u8) -> bool {
    application.state().unwrap().bad.keys().any(|source| source.digest() == digest(number))
}

fn roll_back(application: &Application, ctx: &Context) -> Report {
    application.rollback(ctx, &RollbackRequest::previous()).unwrap()
}

/// An application that was killed while its third release was on probation.
fn on_probation(app: &FakeApp) -> tempfile::TempDir {
    killed_on_probation(app, &app.open())
}

fn killed_on_probation(app: &FakeApp, application: &Application) -> tempfile::TempDir {
    app.fakes.head(3);
    let deploy = |application: &Application, ctx: &Context| {
        let _ = application.deploy(ctx, &DeployRequest::latest()).unwrap();
    };
    let mut shots = shots(application, deploy).into_iter();
    let watched = |shot: &tempfile::TempDir| {
        let state = open(app, shot).0.state().unwrap();
        state.probation.is_some()
    };
    shots.find(watched).unwrap()
}

/// The same application, with everything that it was configured with changed by `change`.
fn changed(app: &FakeApp, application: &Application, change: &str) -> Application {
    let root = application.layout().root();
    std::fs::write(root.join("deploykit.toml"), format!("{CONFIG}{change}")).unwrap();
    Application::at(root).registry(app.fakes.registry()).open().unwrap()
}

/// Changes how the service is watched, and nothing of how it is built.
const OTHER_RUNTIME: &str = "[service.settings]\nother = true\n";

#[test]
fn a_rollback_that_was_broken_off_is_finished_by_the_next_and_goes_no_further() {
    let app = two_releases();
    let work = |application: &Application, ctx: &Context| {
        let _ = roll_back(application, ctx);
    };
    for shot in shots(&app.open(), work) {
        let (application, root) = open(&app, &shot);
        let ctx = app.context().unwrap();
        if let Ok(report) = application.rollback(&ctx, &RollbackRequest::previous()) {
            assert!(report.is_success(), "{report:?}");
        } else {
            // The whole of it was recorded: there is nothing before the first release.
            assert!(application.state().unwrap().open.is_empty());
        }
        check(&application, &root);
        assert_eq!(content(&application), digest(1));
        assert!(is_bad(&application, 2) && !is_bad(&application, 1));
    }
}

/// Deploys the release of `number`, which is ill, and returns that as a kill leaves it just before the
/// link goes back: that it is being taken back is recorded.
fn killed_before_going_back(app: &FakeApp, number: u8) -> tempfile::TempDir {
    app.fakes.head(number);
    app.fakes.world().health.insert(digest(number), Look::Ill("500".into()));
    let deploy = |application: &Application, ctx: &Context| {
        let _ = application.deploy(ctx, &DeployRequest::latest()).unwrap();
    };
    let reverting = |shot: &tempfile::TempDir| {
        open(app, shot).0.state().unwrap().open.iter().any(|open| open.revert.is_some())
    };
    let shot = shots(&app.open(), deploy).into_iter().find(reverting).unwrap();
    let (application, root) = open(app, &shot);
    let journal = root.join(".deploykit/journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let begun = lines.iter().rposition(|line| line.contains("revert-started")).unwrap();
    std::fs::write(&journal, lines[..=begun].concat()).unwrap();
    let state = application.state().unwrap();
    let ill = state.releases.values().find(|r| r.source.digest() == digest(number)).unwrap();
    std::fs::remove_file(root.join("active")).unwrap();
    std::os::unix::fs::symlink(&ill.path, root.join("active")).unwrap();
    shot
}

#[test]
fn a_way_back_that_was_broken_off_is_enough_of_a_rollback() {
    let app = two_releases();
    let shot = killed_before_going_back(&app, 3);
    let (application, root) = open(&app, &shot);
    let report = roll_back(&application, &app.context().unwrap());
    assert!(report.nothing.is_some(), "{report:?}");
    check(&application, &root);
    assert_eq!(content(&application), digest(2));
    assert!(!is_bad(&application, 2));
}

#[test]
fn a_rollback_is_not_done_because_the_link_has_gone_back() {
    let app = two_releases();
    let shot = killed_before_going_back(&app, 3);
    app.fakes.world().broken_services.push(digest(2));
    let report = roll_back(&open(&app, &shot).0, &app.context().unwrap());
    assert!(matches!(report.outcome, Some(Outcome::Broken { .. })), "{report:?}");
}

#[test]
fn what_the_operator_never_left_is_not_marked() {
    let app = two_releases();
    let first = app.open().releases().unwrap().into_iter().find(|r| !r.active).unwrap().record.id;
    app.fakes.head(3);
    let _ = app.open().deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
    let shot = killed_before_going_back(&app, 4);
    let (application, root) = open(&app, &shot);
    let request = RollbackRequest::to(first.to_string());
    let report = application.rollback(&app.context().unwrap(), &request).unwrap();
    assert!(report.is_success() && content(&application) == digest(1), "{report:?}");
    assert!(is_bad(&application, 4) && !is_bad(&application, 3), "the operator left the fourth");
    check(&application, &root);
}

#[test]
fn a_rollback_and_the_probation_that_it_was_to_end_are_both_put_right_at_once() {
    let app = two_releases();
    let shot = on_probation(&app);
    for look in [Look::Well("ok".into()), Look::Ill("500".into())] {
        app.fakes.world().health.insert(digest(3), look.clone());
        let (killed, _) = open(&app, &shot);
        let copy = shots(&killed, |application, ctx| {
            let probation = application.state().unwrap().probation.unwrap();
            // Somebody has to be thrown out of the middle of it, and the application to stay.
            let stop = ctx.cancellation().clone();
            let sink = deploykit_core::FnSink::new(move |event: &deploykit_core::Event| {
                if matches!(event.kind, EventKind::StepStarted { .. }) {
                    stop.cancel(Cause::Terminate);
                }
            });
            let ctx = ctx.clone().with_sink(std::sync::Arc::new(deploykit_core::Sinks(vec![
                ctx.sink().clone(),
                std::sync::Arc::new(sink),
            ])));
            let report = roll_back(application, &ctx);
            assert!(matches!(report.outcome, Some(Outcome::Interrupted { .. })), "{report:?}");
            assert_eq!(application.state().unwrap().probation, Some(probation));
        });
        let mut seen = 0;
        for shot in copy {
            let (application, root) = open(&app, &shot);
            seen += usize::from(application.state().unwrap().open.len() > 1);
            application.recover(&app.context().unwrap()).unwrap();
            check(&application, &root);
            let expected = if look.is_well() { 3 } else { 2 };
            assert_eq!(content(&application), digest(expected));
        }
        assert!(seen > 0, "the rollback was never open beside the probation");
    }
}

#[test]
fn what_a_confirmation_means_does_not_depend_on_who_confirms() {
    let app = two_releases();
    let work = |application: &Application, ctx: &Context| {
        let _ = roll_back(application, ctx);
    };
    let mut confirmed = 0;
    for shot in shots(&app.open(), work) {
        let (application, _) = open(&app, &shot);
        if application.state().unwrap().probation.is_some() {
            confirmed += 1;
            application.confirm(&app.context().unwrap()).unwrap();
            assert!(is_bad(&application, 2), "it was rolled back");
        }
    }
    let app = two_releases();
    app.fakes.head(2);
    let reconfigure = |application: &Application, ctx: &Context| {
        let application = changed(&app, application, OTHER_RUNTIME);
        let _ = application.deploy(ctx, &DeployRequest::latest()).unwrap();
    };
    for shot in shots(&app.open(), reconfigure) {
        let application = changed(&app, &open(&app, &shot).0, OTHER_RUNTIME);
        if application.state().unwrap().probation.is_some() {
            confirmed += 10;
            let ctx = app.context().unwrap();
            application.confirm(&ctx).unwrap();
            assert!(!application.plan(&ctx, &DeployRequest::latest()).unwrap().has_work());
        }
    }
    assert!(confirmed > 10, "{confirmed}");
}

#[test]
fn a_reconfiguration_that_was_broken_off_is_decided_by_what_it_tried() {
    let app = two_releases();
    app.fakes.head(2);
    let work = |application: &Application, ctx: &Context| {
        let application = changed(&app, application, OTHER_RUNTIME);
        let _ = application.deploy(ctx, &DeployRequest::latest()).unwrap();
    };
    let mut finished = 0;
    for shot in shots(&app.open(), work) {
        // Recovery has the old configuration before it, and must not mistake that for what runs.
        let (application, root) = open(&app, &shot);
        let recovery = application.recover(&app.context().unwrap()).unwrap();
        check(&application, &root);
        let tried = recovery.deployments.iter().any(|(_, outcome)| outcome.is_success());
        let ctx = app.context().unwrap();
        let plan = application.plan(&ctx, &DeployRequest::latest()).unwrap();
        if tried {
            finished += 1;
            assert!(plan.has_work(), "the old configuration is not what is recorded any more");
            let application = changed(&app, &application, OTHER_RUNTIME);
            let plan = application.plan(&ctx, &DeployRequest::latest()).unwrap();
            assert!(!plan.has_work(), "the new one is");
        }
    }
    assert!(finished > 0);
}

#[test]
fn a_timer_tries_a_configuration_that_failed_once_and_a_person_as_often_as_they_like() {
    let app = two_releases();
    let application = app.open_with(|config| format!("{config}{OTHER_RUNTIME}"));
    app.fakes.world().health.insert(digest(2), Look::Ill("500".into()));
    let ctx = app.context().unwrap();
    let timer = DeployRequest::latest().if_changed(true);
    let _ = application.deploy(&ctx, &timer).unwrap();
    assert!(!is_bad(&application, 2), "the release is not to blame");
    app.fakes.take_calls();
    let report = application.deploy(&ctx, &timer).unwrap();
    assert!(report.nothing.is_some(), "{report:?}");
    assert_eq!(app.fakes.take_calls(), ["resolve"]);
    app.fakes.world().health.clear();
    assert!(application.deploy(&ctx, &DeployRequest::latest()).unwrap().deployment.is_some());
    assert!(application.deploy(&ctx, &timer).unwrap().nothing.is_some());
}

#[test]
fn a_failed_activation_of_an_old_release_leaves_its_configuration() {
    let app = two_releases();
    app.fakes.head(1);
    app.fakes.world().health.insert(digest(1), Look::Ill("500".into()));
    let before = app.open().releases().unwrap();
    let application = app.open_with(|config| format!("{config}{OTHER_RUNTIME}"));
    let report = application.deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
    assert!(matches!(report.outcome, Some(Outcome::RolledBack { .. })), "{report:?}");
    let runtime = |releases: &[deploykit_core::ReleaseView]| {
        let found = releases.iter().find(|r| r.record.source.digest() == digest(1)).unwrap();
        found.record.runtime.clone()
    };
    assert_eq!(runtime(&app.open().releases().unwrap()), runtime(&before));
}

#[test]
fn what_deploykit_itself_cannot_do_makes_no_release_bad() {
    let app = two_releases();
    app.fakes.head(3);
    // No lock can be had for watching.
    let lock = app.root.join(".deploykit/watch.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let ctx = app.context().unwrap();
    let report = app.open().deploy(&ctx, &DeployRequest::latest()).unwrap();
    assert!(matches!(report.outcome, Some(Outcome::RolledBack { .. })), "{report:?}");
    assert_eq!(content(&app.open()), digest(2));
    assert_eq!(verdict(&app.open(), 3), Verdict::None);
    std::fs::remove_dir(&lock).unwrap();
    let report = app.open().deploy(&ctx, &DeployRequest::latest()).unwrap();
    assert!(report.is_success() && content(&app.open()) == digest(3), "{report:?}");
}

#[test]
fn a_service_that_cannot_be_brought_back_is_tried_again() {
    let (app, report) = stuck_on_its_way_back();
    let ctx = app.context().unwrap();
    assert!(matches!(report.outcome, Some(Outcome::Broken { .. })), "{report:?}");
    assert_eq!(app.open().status(&ctx).unwrap().unfinished, report.deployment);
    let again = app.open().recover(&ctx).unwrap();
    assert!(matches!(again.deployments[..], [(_, Outcome::Broken { .. })]), "{again:?}");
    app.fakes.world().broken_services.clear();
    let done = app.open().recover(&ctx).unwrap();
    assert!(matches!(done.deployments[..], [(_, Outcome::RolledBack { .. })]), "{done:?}");
    let serving = app.fakes.world().serving.clone();
    assert_eq!(serving, app.open().status(&ctx).unwrap().active.map(|active| active.record.id));
    check(&app.open(), &app.root);
}

#[test]
fn a_better_release_goes_past_one_that_is_stuck() {
    let (app, _) = stuck_on_its_way_back();
    let ctx = app.context().unwrap();
    app.fakes.head(4);
    let report = app.open().deploy(&ctx, &DeployRequest::latest()).unwrap();
    assert!(report.is_success() && content(&app.open()) == digest(4), "{report:?}");
    check(&app.open(), &app.root);
}

#[test]
fn a_link_that_is_changed_during_a_watch_is_not_taken_for_the_release_that_was_watched() {
    let app = two_releases();
    app.fakes.head(3);
    let root = app.root.clone();
    let sink = deploykit_core::FnSink::new(move |event: &deploykit_core::Event| {
        if matches!(event.kind, EventKind::ProbationStarted { .. }) {
            std::fs::remove_file(root.join("active")).unwrap();
        }
    });
    let ctx = Context::new().unwrap().with_sink(std::sync::Arc::new(sink));
    let report = app.open().deploy(&ctx, &DeployRequest::latest()).unwrap();
    assert!(!report.is_success() && report.active.is_none(), "{report:?}");
    assert!(!verdict(&app.open(), 3).is_confirmed());
    assert!(app.open().state().unwrap().open.is_empty());
}

#[test]
fn a_named_rollback_that_was_broken_off_is_finished_when_it_is_asked_for_again() {
    let app = two_releases();
    let first = app.open().releases().unwrap().into_iter().find(|r| !r.active).unwrap().record.id;
    let request = RollbackRequest::to(first.to_string());
    let work = |application: &Application, ctx: &Context| {
        let _ = application.rollback(ctx, &request).unwrap();
    };
    let mut unfinished = 0;
    for shot in shots(&app.open(), work) {
        let (application, root) = open(&app, &shot);
        let switched = content(&application) == digest(1);
        let open = !application.state().unwrap().open.is_empty();
        unfinished += usize::from(switched && open);
        let again = application.rollback(&app.context().unwrap(), &request);
        assert!(again.is_ok() || (switched && !open), "{again:?}");
        check(&application, &root);
        assert_eq!(content(&application), digest(1));
    }
    assert!(unfinished > 0);
}

fn is_probation(kind: &EventKind) -> bool {
    matches!(kind, EventKind::ProbationStarted { .. })
}

#[test]
fn a_rollback_that_is_interrupted_stays_where_it_went_and_is_finished_later() {
    let app = two_releases();
    let ctx = at(is_probation, |ctx| ctx.cancellation().cancel(Cause::Interrupt));
    let report = app.open().rollback(&ctx, &RollbackRequest::previous()).unwrap();
    assert!(report.unsettled && content(&app.open()) == digest(1), "{report:?}");
    let report = roll_back(&app.open(), &app.context().unwrap());
    assert!(report.is_success() && content(&app.open()) == digest(1), "{report:?}");
    check(&app.open(), &app.root);
    assert!(is_bad(&app.open(), 2) && !is_bad(&app.open(), 1));
}

#[test]
fn a_release_that_nobody_has_decided_about_is_left_for_a_good_one_when_it_proves_ill() {
    let app = two_releases();
    let shot = on_probation(&app);
    let (application, root) = open(&app, &shot);
    let ctx = app.context().unwrap();
    app.fakes.world().health.insert(digest(2), Look::Ill("500".into()));
    let report = roll_back(&application, &ctx);
    assert!(!report.is_success() && content(&application) == digest(3), "{report:?}");
    assert!(application.releases().unwrap().iter().any(|r| r.active && r.record.is_undecided()));
    app.fakes.world().health.clear();
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    let report = application.deploy(&ctx, &DeployRequest::latest()).unwrap();
    assert!(matches!(report.outcome, Some(Outcome::RolledBack { .. })), "{report:?}");
    // The second was found ill in the meantime: the first is the good one.
    assert_eq!(content(&application), digest(1));
    assert!(is_bad(&application, 3));
    check(&application, &root);
}

#[test]
fn a_release_that_is_taken_away_while_it_is_watched_is_not_to_blame() {
    let app = two_releases();
    app.fakes.head(3);
    app.fakes.world().health.insert(digest(3), Look::Ill("no such directory".into()));
    let root = app.root.clone();
    let ctx = at(is_probation, move |_| {
        let path = root.join("active").canonicalize_utf8().unwrap();
        std::fs::rename(&path, root.join("away")).unwrap();
    });
    let report = app.open().deploy(&ctx, &DeployRequest::latest()).unwrap();
    assert!(!report.is_success() && content(&app.open()) == digest(2), "{report:?}");
    assert!(!is_bad(&app.open(), 3));
}

#[test]
fn where_the_release_to_go_back_to_is_gone_another_good_one_serves() {
    let app = two_releases();
    let shot = on_probation(&app);
    let (application, root) = open(&app, &shot);
    let second = application.releases().unwrap().into_iter().find(|r| r.rollback).unwrap().record;
    std::fs::remove_dir_all(root.join(&second.path)).unwrap();
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    application.recover(&app.context().unwrap()).unwrap();
    assert_eq!(content(&application), digest(1));
    check(&application, &root);
}

#[test]
fn who_takes_up_a_watch_leaves_alone_what_an_operator_does_meanwhile() {
    let app = FakeApp::new().unwrap();
    for number in [1, 2] {
        // The operator's rollback is on probation for a while, too.
        let application = app.open_with(|config| config.replace("20ms", "700ms"));
        app.fakes.head(number);
        let _ = application.deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
    }
    // It will not be decided by itself.
    let patient = app.open_with(|config| config.replace("100ms", "1h"));
    let shot = killed_on_probation(&app, &patient);
    let (application, root) = open(&app, &shot);
    let (told, watching) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let is_verify = |kind: &EventKind| {
        matches!(kind, EventKind::StepStarted { step: deploykit_core::Step::Verify, .. })
    };
    let ctx = at(is_verify, move |_| told.lock().unwrap().send(()).unwrap());
    app.fakes.world().health.insert(digest(3), Look::NotYet("starting".into()));
    let state = application.state().unwrap();
    let third = state.releases.values().find(|r| r.source.digest() == digest(3)).unwrap().clone();
    let taking_up = std::thread::spawn({
        let root = root.clone();
        let registry = app.fakes.registry();
        move || {
            let application = Application::at(root).registry(registry).open().unwrap();
            application.recover(&ctx)
        }
    });
    watching.recv().unwrap();
    let request = RollbackRequest::previous().wait(std::time::Duration::from_secs(30));
    let report = application.rollback(&app.context().unwrap(), &request).unwrap();
    assert!(report.is_success(), "{report:?}");
    taking_up.join().unwrap().unwrap();
    assert_eq!(content(&application), digest(2));
    assert!(application.state().unwrap().bad.contains_key(&third.source));
    check(&application, &root);
}

#[test]
fn nothing_to_do_is_not_said_while_a_deployment_is_stuck() {
    let (app, _) = stuck_on_its_way_back();
    let ctx = app.context().unwrap();
    let timer = DeployRequest::latest().if_changed(true);
    let error = app.open().deploy(&ctx, &timer).unwrap_err();
    assert!(matches!(error, deploykit_core::Error::Stuck { .. }), "{error}");
    app.fakes.head(2);
    let error = app.open().deploy(&ctx, &timer).unwrap_err();
    assert!(matches!(error, deploykit_core::Error::Stuck { .. }), "{error}");
    // A person who asks for it has it tried once more.
    let report = app.open().deploy(&ctx, &DeployRequest::latest()).unwrap();
    assert!(matches!(report.outcome, Some(Outcome::Broken { .. })), "{report:?}");
}

#[test]
fn the_last_release_that_serves_is_not_withdrawn_because_nobody_has_decided_about_it() {
    let app = FakeApp::new().unwrap();
    app.fakes.head(1);
    let ctx = at(is_probation, |ctx| ctx.cancellation().cancel(Cause::Interrupt));
    let _ = app.open().deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
    let shot = on_probation(&app);
    let (application, _) = open(&app, &shot);
    // The rollback comes back, and the only good release is bad now.
    app.fakes.world().health.insert(digest(1), Look::Ill("500".into()));
    let _ = roll_back(&application, &app.context().unwrap());
    assert_eq!(content(&application), digest(3));
    app.fakes.take_calls();
    let _ = application.deploy(&ctx, &DeployRequest::latest()).unwrap();
    assert_eq!(content(&application), digest(3));
    assert!(!app.fakes.take_calls().iter().any(|call| call.starts_with("stop")));
}

#[test]
fn a_build_of_a_release_that_nobody_has_decided_about_can_be_done_again() {
    let app = two_releases();
    let shot = on_probation(&app);
    let (application, root) = open(&app, &shot);
    app.fakes.world().health.insert(digest(2), Look::Ill("500".into()));
    let ctx = app.context().unwrap();
    let _ = roll_back(&application, &ctx);
    app.fakes.world().health.clear();
    let report = application.deploy(&ctx, &DeployRequest::latest().rebuild(true)).unwrap();
    assert!(report.is_success() && content(&application) == digest(3), "{report:?}");
    check(&application, &root);
}

#[test]
fn who_cannot_look_blames_no_release() {
    let app = two_releases();
    app.fakes.head(3);
    app.fakes.world().health.insert(digest(3), Look::Blind("no process".into()));
    let ctx = app.context().unwrap();
    let report = app.open().deploy(&ctx, &DeployRequest::latest()).unwrap();
    assert!(matches!(report.outcome, Some(Outcome::RolledBack { .. })), "{report:?}");
    assert!(!is_bad(&app.open(), 3) && content(&app.open()) == digest(2));
}
