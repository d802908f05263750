//! The engine with fakes for all its backends: what it does, in which order, and what is left.

use deploykit_core::state::Record;
use deploykit_core::traits::Look;
use deploykit_core::{
    Application, Cause, DeployRequest, Error, ErrorKind, Outcome, Report, RollbackRequest,
};
use deploykit_testkit::fake::{FakeApp, digest};

fn app() -> FakeApp {
    FakeApp::new().unwrap()
}

fn deploy(app: &FakeApp, number: u8) -> Report {
    app.fakes.head(number);
    deploy_with(app, &DeployRequest::latest()).unwrap()
}

/// Deploys what is well.
fn serve(app: &FakeApp, number: u8) {
    let report = deploy(app, number);
    assert!(report.is_success(), "{report:?}");
}

fn deploy_with(app: &FakeApp, request: &DeployRequest) -> Result<Report, Error> {
    app.open().deploy(&app.context().unwrap(), request)
}

fn rollback(app: &FakeApp, request: &RollbackRequest) -> Result<Report, Error> {
    app.open().rollback(&app.context().unwrap(), request)
}

/// The content of the active release.
fn active(app: &FakeApp) -> Option<String> {
    std::fs::read_to_string(app.root.join("active/content")).ok()
}

fn releases(application: &Application) -> Vec<String> {
    let releases = application.releases().unwrap();
    let line = |view: &deploykit_core::ReleaseView| {
        let mark = if view.active { "*" } else { "" };
        format!("{}{mark} {}", &view.record.source.digest()[..2], view.record.state)
    };
    releases.iter().map(line).collect()
}

fn ill() -> Look {
    Look::Ill("500".into())
}

#[test]
fn a_deployment_goes_through_its_steps_and_is_confirmed() {
    let app = app();
    let report = deploy(&app, 1);
    assert_eq!(report.outcome, Some(Outcome::Deployed { verified: true }));
    assert_eq!(active(&app), Some(digest(1)));
    let calls = app.fakes.take_calls();
    assert_eq!(calls, ["resolve", "fetch 01", "materialise 01", "build 01", "restart 01"]);
    let link = std::fs::read_link(app.root.join("active")).unwrap();
    assert!(link.is_relative() && link.starts_with("releases"), "{link:?}");
    let revision = std::fs::read_to_string(app.root.join("active/REVISION")).unwrap();
    assert_eq!(revision, format!("{}\n", digest(1)));
    assert_eq!(releases(&app.open()), ["01* confirmed"]);
}

#[test]
fn an_unchanged_revision_costs_one_look_and_writes_nothing() {
    let app = app();
    serve(&app, 1);
    app.fakes.take_calls();
    let journal = std::fs::read(app.root.join(".deploykit/journal")).unwrap();
    let report = deploy(&app, 1);
    assert_eq!((report.outcome, report.deployment), (None, None));
    assert_eq!(app.fakes.take_calls(), ["resolve"]);
    assert_eq!(std::fs::read(app.root.join(".deploykit/journal")).unwrap(), journal);
}

#[test]
fn an_ill_release_is_left_and_marked_and_its_service_too() {
    let app = app();
    serve(&app, 1);
    app.fakes.head(2);
    app.fakes.world().health.insert(digest(2), ill());
    app.fakes.take_calls();
    let report = deploy_with(&app, &DeployRequest::latest()).unwrap();
    let Some(Outcome::RolledBack { reason }) = &report.outcome else { panic!("{report:?}") };
    assert!(reason.contains("500"), "{reason}");
    assert_eq!(active(&app), Some(digest(1)));
    let calls = app.fakes.take_calls();
    assert_eq!(calls.last().unwrap(), "restart 01");
    assert_eq!(releases(&app.open()), ["02 bad", "01* confirmed"]);
    assert_eq!(app.open().history().unwrap()[0].outcome, report.outcome);
}

#[test]
fn a_bad_commit_is_not_deployed_again_unless_it_is_named_with_retry() {
    let app = app();
    serve(&app, 1);
    app.fakes.head(2);
    app.fakes.world().health.insert(digest(2), ill());
    let _ = deploy_with(&app, &DeployRequest::latest()).unwrap();
    let error = deploy_with(&app, &DeployRequest::latest()).unwrap_err();
    assert!(matches!(error, Error::Bad { .. }), "{error}");
    let quiet = deploy_with(&app, &DeployRequest::latest().if_changed(true)).unwrap();
    assert!(quiet.outcome.is_none() && quiet.nothing.unwrap().contains("marked bad"));

    app.fakes.world().health.clear();
    app.fakes.take_calls();
    let report = deploy_with(&app, &DeployRequest::latest().retry(true)).unwrap();
    assert!(report.is_success());
    // The build was good; only its health was not.
    assert_eq!(app.fakes.take_calls(), ["resolve", "restart 02"]);
    assert_eq!(releases(&app.open()), ["02* confirmed", "01 confirmed"]);
    app.fakes.head(1);
    let _ = deploy_with(&app, &DeployRequest::latest()).unwrap();
    assert!(deploy(&app, 2).is_success(), "it is not bad any more");
}

#[test]
fn the_first_release_that_is_ill_is_withdrawn() {
    let app = app();
    app.fakes.head(1);
    app.fakes.world().health.insert(digest(1), ill());
    let report = deploy_with(&app, &DeployRequest::latest()).unwrap();
    assert!(matches!(report.outcome, Some(Outcome::Failed { .. })), "{report:?}");
    assert!(!app.root.join("active").is_symlink());
    assert_eq!(app.fakes.take_calls().last().unwrap(), "stop");
    assert!(app.fakes.world().serving.is_none());
}

#[test]
fn a_service_that_does_not_start_brings_the_previous_release_back() {
    let app = app();
    serve(&app, 1);
    app.fakes.world().broken_services.push(digest(2));
    let report = deploy(&app, 2);
    assert!(matches!(report.outcome, Some(Outcome::RolledBack { .. })), "{report:?}");
    assert_eq!(report.failure.unwrap().causes, ["it does not start"]);
    assert_eq!(active(&app), Some(digest(1)));
}

#[test]
fn when_the_previous_release_is_ill_too_a_person_must_look() {
    let app = app();
    serve(&app, 1);
    app.fakes.world().health.extend([(digest(1), ill()), (digest(2), ill())]);
    let report = deploy(&app, 2);
    let Some(Outcome::Broken { reason }) = &report.outcome else { panic!("{report:?}") };
    assert!(reason.contains("is not well either"), "{reason}");
    assert_eq!(active(&app), Some(digest(1)));
}

#[test]
fn a_failed_build_leaves_nothing_and_is_not_taken_for_a_release() {
    let app = app();
    serve(&app, 1);
    let failing = |_: &deploykit_core::Context, _: &camino::Utf8Path| {
        Err(deploykit_core::traits::BuildError::Foreign("no".into()))
    };
    app.fakes.world().build = Some(std::sync::Arc::new(failing));
    for _ in 0..2 {
        let report = deploy(&app, 2);
        assert!(matches!(report.outcome, Some(Outcome::Failed { .. })), "{report:?}");
        assert_eq!(releases(&app.open()), ["01* confirmed"]);
        assert_eq!(app.root.join("releases").read_dir_utf8().unwrap().count(), 1);
    }
    app.fakes.world().build = None;
    app.fakes.take_calls();
    assert!(deploy(&app, 2).is_success());
    assert!(app.fakes.take_calls().contains(&"build 02".to_owned()));
}

#[test]
fn a_rollback_restarts_verifies_and_marks_what_it_left() {
    let app = app();
    for number in 1..=3 {
        serve(&app, number);
    }
    app.fakes.take_calls();
    let report = rollback(&app, &RollbackRequest::previous()).unwrap();
    assert!(report.is_success(), "{report:?}");
    assert_eq!(
        (active(&app), app.fakes.take_calls()),
        (Some(digest(2)), vec!["restart 02".into()])
    );
    assert_eq!(releases(&app.open()), ["03 bad", "02* confirmed", "01 confirmed"]);
    // The next goes further back, not forth to what was left.
    let _ = rollback(&app, &RollbackRequest::previous()).unwrap();
    assert_eq!(active(&app), Some(digest(1)));
    let error = rollback(&app, &RollbackRequest::previous()).unwrap_err();
    assert!(matches!(error, Error::NothingToRollBackTo), "{error}");
    let error = rollback(&app, &RollbackRequest::to(&digest(3)[..8])).unwrap_err();
    assert!(matches!(error, Error::BadRelease { .. }), "{error}");
    let report = rollback(&app, &RollbackRequest::to(&digest(3)[..8]).retry(true)).unwrap();
    assert!(report.is_success() && active(&app) == Some(digest(3)));
}

#[test]
fn a_rollback_to_what_is_ill_returns_to_where_it_came_from() {
    let app = app();
    serve(&app, 1);
    serve(&app, 2);
    app.fakes.world().health.insert(digest(1), ill());
    let report = rollback(&app, &RollbackRequest::previous()).unwrap();
    assert!(matches!(report.outcome, Some(Outcome::RolledBack { .. })), "{report:?}");
    assert_eq!(active(&app), Some(digest(2)));
    assert_eq!(releases(&app.open()), ["02* confirmed", "01 bad"]);
}

#[test]
fn a_confirmed_release_is_activated_again_without_a_build_and_rebuilt_when_asked() {
    let app = app();
    serve(&app, 1);
    serve(&app, 2);
    app.fakes.take_calls();
    serve(&app, 1);
    assert_eq!(app.fakes.take_calls(), ["resolve", "restart 01"]);
    let report = deploy_with(&app, &DeployRequest::latest().rebuild(true)).unwrap();
    assert!(report.is_success());
    assert!(app.fakes.take_calls().contains(&"build 01".to_owned()));
    assert_eq!(releases(&app.open()), ["01* confirmed", "02 confirmed", "01 confirmed"]);
}

#[test]
fn only_confirmed_releases_count_towards_those_that_are_kept() {
    let app = app();
    for number in 1..=5 {
        serve(&app, number);
        app.fakes.world().health.insert(digest(100 + number), ill());
        let _ = deploy(&app, 100 + number);
    }
    let expected = ["69 bad", "05* confirmed", "68 bad", "04 confirmed", "03 confirmed"];
    // The last bad one came after the last removal; at most one more than kept is there.
    let kept: Vec<_> = releases(&app.open())
        .into_iter()
        .filter(|line| expected.contains(&line.as_str()))
        .collect();
    assert_eq!(kept, expected);
    app.open().prune(&app.context().unwrap()).unwrap();
    assert_eq!(releases(&app.open()), expected);
    assert_eq!(app.root.join("releases").read_dir_utf8().unwrap().count(), 5);
}

#[test]
fn what_something_runs_from_is_not_removed() {
    let app = app();
    serve(&app, 1);
    let first = app.open().releases().unwrap()[0].record.id.clone();
    app.fakes.world().in_use.push(first.clone());
    for number in 2..=6 {
        serve(&app, number);
    }
    let there = |app: &FakeApp| app.root.join("releases").join(first.as_str()).exists();
    assert!(there(&app));
    app.fakes.world().in_use.clear();
    app.open().prune(&app.context().unwrap()).unwrap();
    assert!(!there(&app));
}

#[test]
fn a_hold_lets_only_named_revisions_through() {
    let app = app();
    serve(&app, 1);
    let ctx = app.context().unwrap();
    app.open().hold(&ctx, Some("freeze".into())).unwrap();
    app.fakes.head(2);
    let error = deploy_with(&app, &DeployRequest::latest()).unwrap_err();
    assert!(matches!(error, Error::Held { .. }), "{error}");
    assert!(
        deploy_with(&app, &DeployRequest::latest().if_changed(true)).unwrap().outcome.is_none()
    );
    app.fakes.world().revisions.insert("v2".into(), digest(2));
    let named = DeployRequest::revision("v2".parse().unwrap());
    assert!(deploy_with(&app, &named).unwrap().is_success());
    assert!(app.open().unhold(&ctx).unwrap());
    assert!(!app.open().unhold(&ctx).unwrap());
    assert!(deploy(&app, 3).is_success());
}

#[test]
fn an_interruption_before_the_activation_cleans_up_and_after_it_goes_back() {
    let app = app();
    serve(&app, 1);
    let interrupting = |ctx: &deploykit_core::Context, _: &camino::Utf8Path| {
        ctx.cancellation().cancel(Cause::Interrupt);
        Ok(ctx.check()?)
    };
    app.fakes.world().build = Some(std::sync::Arc::new(interrupting));
    let report = deploy(&app, 2);
    assert_eq!(report.outcome, Some(Outcome::Interrupted { signal: 2 }));
    assert_eq!(releases(&app.open()), ["01* confirmed"]);
    app.fakes.world().build = None;

    // While health is watched.
    app.fakes.head(3);
    app.fakes.world().health.insert(digest(3), Look::NotYet("starting".into()));
    let application = app.open_with(|config| config.replace("100ms", "1h"));
    let ctx = app.context().unwrap();
    let (cancellation, fakes) = (ctx.cancellation().clone(), app.fakes.clone());
    let thread = std::thread::spawn(move || {
        while !fakes.world().calls.contains(&"restart 03".to_owned()) {
            std::thread::yield_now();
        }
        cancellation.cancel(Cause::HangUp);
        cancellation.cancel(Cause::Terminate);
    });
    let report = application.deploy(&ctx, &DeployRequest::latest()).unwrap();
    thread.join().unwrap();
    let Some(Outcome::RolledBack { reason }) = &report.outcome else { panic!("{report:?}") };
    assert!(reason.contains("SIGTERM"), "a hang-up ends nothing: {reason}");
    assert_eq!(active(&app), Some(digest(1)));
    // Nobody is to blame.
    assert_eq!(releases(&app.open()), ["03 not confirmed", "01* confirmed"]);
}

/// Deploys 2, which never gets well, in a thread, and returns when it is on probation.
fn on_probation(app: &FakeApp) -> std::thread::JoinHandle<Report> {
    app.fakes.head(2);
    app.fakes.world().health.insert(digest(2), Look::NotYet("starting".into()));
    let application = app.open_with(|config| config.replace("100ms", "1h"));
    let ctx = app.context().unwrap();
    let thread =
        std::thread::spawn(move || application.deploy(&ctx, &DeployRequest::latest()).unwrap());
    let watching = || {
        let status = app.open_with(|c| c.replace("100ms", "1h")).status(&app.context().unwrap());
        status.unwrap().watching.is_some()
    };
    while !watching() {
        std::thread::yield_now();
    }
    thread
}

#[test]
fn an_operators_word_ends_a_probation_without_waiting() {
    let app = app();
    serve(&app, 1);
    let thread = on_probation(&app);
    let error = deploy_with(&app, &DeployRequest::latest()).unwrap_err();
    assert!(matches!(error, Error::OnProbation { .. }), "{error}");
    app.open().confirm(&app.context().unwrap()).unwrap();
    let report = thread.join().unwrap();
    assert_eq!(report.outcome, Some(Outcome::Deployed { verified: true }));
    assert_eq!(releases(&app.open()), ["02* confirmed", "01 confirmed"]);
    let error = app.open().confirm(&app.context().unwrap()).unwrap_err();
    assert!(matches!(error, Error::NoProbation), "{error}");
}

#[test]
fn an_emergency_rollback_ends_a_probation_without_waiting() {
    let app = app();
    serve(&app, 1);
    let thread = on_probation(&app);
    let report = rollback(&app, &RollbackRequest::previous()).unwrap();
    assert!(report.is_success(), "{report:?}");
    let watched = thread.join().unwrap();
    assert!(matches!(watched.outcome, Some(Outcome::RolledBack { .. })), "{watched:?}");
    assert_eq!(active(&app), Some(digest(1)));
    assert_eq!(releases(&app.open()), ["02 bad", "01* confirmed"]);
    let outcomes: Vec<_> = app.open().history().unwrap().into_iter().map(|d| d.outcome).collect();
    assert_eq!(outcomes[0], Some(Outcome::Deployed { verified: true }));
    assert_eq!(outcomes[1], watched.outcome);
}

#[test]
fn who_waits_for_a_probation_deploys_after_it() {
    let app = app();
    serve(&app, 1);
    let thread = on_probation(&app);
    let waiting = {
        let application = app.open_with(|config| config.replace("100ms", "1h"));
        let ctx = app.context().unwrap();
        let request = DeployRequest::latest().wait(std::time::Duration::from_secs(60));
        std::thread::spawn(move || application.deploy(&ctx, &request).unwrap())
    };
    app.open().confirm(&app.context().unwrap()).unwrap();
    assert!(thread.join().unwrap().is_success());
    assert!(waiting.join().unwrap().outcome.is_none(), "it is deployed already");
}

#[test]
fn a_second_deployment_is_told_who_deploys() {
    let app = app();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let (begun, may_go) = (std::sync::Mutex::new(begun), std::sync::Mutex::new(may_go));
    let waiting = move |_: &deploykit_core::Context, _: &camino::Utf8Path| {
        begun.lock().unwrap().send(()).unwrap();
        may_go.lock().unwrap().recv().unwrap();
        Ok(())
    };
    app.fakes.world().build = Some(std::sync::Arc::new(waiting));
    app.fakes.head(1);
    let (application, ctx) = (app.open(), app.context().unwrap());
    let thread =
        std::thread::spawn(move || application.deploy(&ctx, &DeployRequest::latest()).unwrap());
    has_begun.recv().unwrap();
    let error = deploy_with(&app, &DeployRequest::latest()).unwrap_err();
    assert!(error.to_string().contains("deploy: build"), "{error}");
    let status = app.open().status(&app.context().unwrap()).unwrap();
    assert_eq!(status.busy.unwrap().doing, "deploy: build");
    go.send(()).unwrap();
    assert!(thread.join().unwrap().is_success());
}

#[test]
fn a_link_changed_by_hand_is_a_fact() {
    let app = app();
    serve(&app, 1);
    serve(&app, 2);
    let first = app.open().releases().unwrap().into_iter().find(|r| !r.active).unwrap().record;
    std::fs::remove_file(app.root.join("active")).unwrap();
    std::os::unix::fs::symlink(app.root.join(&first.path), app.root.join("active")).unwrap();
    assert_eq!(releases(&app.open()), ["02 confirmed", "01* confirmed"]);
    let report = deploy(&app, 2);
    assert!(report.is_success(), "{report:?}");
    assert_eq!(report.from, Some(first.id));
    let told = app.events.messages().join("\n");
    assert!(told.contains("changed by somebody else"), "{told}");
}

#[test]
fn a_changed_service_configuration_restarts_the_active_release_and_a_bad_one_is_taken_back() {
    let app = app();
    serve(&app, 1);
    app.fakes.take_calls();
    let changed = |config: String| format!("{config}[service.settings]\nother = true\n");
    let ctx = app.context().unwrap();
    let report = app.open_with(changed).deploy(&ctx, &DeployRequest::latest()).unwrap();
    assert!(report.is_success(), "{report:?}");
    assert_eq!(app.fakes.take_calls(), ["resolve", "restart 01"]);
    let report = app.open_with(changed).deploy(&ctx, &DeployRequest::latest()).unwrap();
    assert_eq!(report.outcome, None);

    app.fakes.world().broken_services.push(digest(1));
    let report = app.open().deploy(&ctx, &DeployRequest::latest()).unwrap();
    assert!(!report.is_success());
    app.fakes.world().broken_services.clear();
    assert_eq!(releases(&app.open()), ["01* confirmed"], "the release is not to blame");
}

#[test]
fn new_instances_that_do_not_get_ready_never_touch_the_old_ones() {
    let app = app();
    app.fakes.world().switching = Some(deploykit_core::traits::Switching::Overlap);
    serve(&app, 1);
    app.fakes.world().broken_services.push(digest(2));
    app.fakes.take_calls();
    let report = deploy(&app, 2);
    assert!(matches!(report.outcome, Some(Outcome::Failed { .. })), "{report:?}");
    let calls = app.fakes.take_calls();
    assert_eq!(calls[calls.len() - 2..], ["prepare 02", "abort 2"]);
    assert_eq!(active(&app), Some(digest(1)));
    assert_eq!(releases(&app.open()), ["02 bad", "01* confirmed"], "a timer would try it again");
    app.fakes.world().broken_services.clear();
    let again = DeployRequest::latest().retry(true);
    assert!(deploy_with(&app, &again).unwrap().is_success());
    let calls = app.fakes.take_calls();
    assert_eq!(calls[calls.len() - 2..], ["prepare 02", "commit 02"]);
}

#[test]
fn a_revision_that_does_not_exist_is_remembered_as_an_attempt() {
    let app = app();
    let missing = DeployRequest::revision("nope".parse().unwrap());
    let error = deploy_with(&app, &missing).unwrap_err();
    assert!(matches!(error, Error::Source(_)), "{error}");
    let history = app.open().history().unwrap();
    assert_eq!((history.len(), history[0].request.to_string()), (1, "deploy nope".into()));
    let _ = deploy_with(&app, &missing.if_changed(true)).unwrap_err();
    assert_eq!(app.open().history().unwrap().len(), 1);
}

#[test]
fn what_is_active_by_the_journal_alone_is_not_believed() {
    // `Record` is public so that tools can read a journal; the link decides what is active.
    let app = app();
    serve(&app, 1);
    std::fs::remove_file(app.root.join("active")).unwrap();
    assert_eq!(releases(&app.open()), ["01 confirmed"]);
    let report = deploy(&app, 1);
    assert!(report.is_success() && active(&app) == Some(digest(1)));
    let _: fn(Record) = drop;
}

#[test]
fn a_release_whose_directory_is_gone_is_built_again_and_nothing_leads_to_it() {
    let app = app();
    serve(&app, 1);
    serve(&app, 2);
    std::fs::remove_dir_all(app.root.join("active/.").canonicalize().unwrap()).unwrap();
    app.fakes.take_calls();
    serve(&app, 2);
    assert!(app.fakes.take_calls().contains(&"build 02".to_owned()));
    assert_eq!(active(&app), Some(digest(2)));
    assert_eq!(releases(&app.open()), ["02* confirmed", "01 confirmed"]);
    let told = app.events.messages().join("\n");
    assert!(told.contains("is gone: there is no directory"), "{told}");
}

#[test]
fn releases_that_are_all_gone_at_once_are_not_forgotten_until_the_link_is_removed() {
    let app = app();
    serve(&app, 1);
    serve(&app, 2);
    let (releases_dir, away) = (app.root.join("releases"), app.root.join("away"));
    std::fs::rename(&releases_dir, &away).unwrap();
    std::fs::create_dir(&releases_dir).unwrap();
    let ctx = app.context().unwrap();
    for error in [
        app.open().recover(&ctx).unwrap_err(),
        app.open().deploy(&ctx, &DeployRequest::latest()).unwrap_err(),
        app.open().rollback(&ctx, &RollbackRequest::previous()).unwrap_err(),
        app.open().prune(&ctx).unwrap_err(),
    ] {
        assert!(matches!(error, Error::ReleasesMissing { number: 2, .. }), "{error}");
        assert_eq!(error.kind(), ErrorKind::Broken);
    }
    // As if it were mounted again.
    std::fs::remove_dir(&releases_dir).unwrap();
    std::fs::rename(&away, &releases_dir).unwrap();
    let recovery = app.open().recover(&ctx).unwrap();
    assert_eq!(recovery.actions, Vec::<String>::new());
    assert_eq!(releases(&app.open()), ["02* confirmed", "01 confirmed"]);

    std::fs::remove_dir_all(&releases_dir).unwrap();
    std::fs::remove_file(app.root.join("active")).unwrap();
    serve(&app, 2);
    assert_eq!(releases(&app.open()), ["02* confirmed"]);
}

#[test]
fn the_callers_handle_cancels_again_after_a_deployment() {
    let app = app();
    app.fakes.head(1);
    let ctx = app.context().unwrap();
    let _ = app.open().deploy(&ctx, &DeployRequest::latest()).unwrap();
    app.fakes.head(2);
    app.fakes.world().health.insert(digest(2), ill());
    let _ = app.open().deploy(&ctx, &DeployRequest::latest()).unwrap();
    for cause in [Cause::HangUp, Cause::Interrupt] {
        ctx.cancellation().cancel(cause);
        assert_eq!(ctx.cancellation().take(), Some(cause));
    }
}
