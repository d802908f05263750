//! Rollbacks that meet what was broken off before them, and that are broken off themselves.

use camino::Utf8Path;
use deploykit_core::traits::Look;
use deploykit_core::{
    Application, Cause, Context, DeployRequest, EventKind, Outcome, Report, RollbackRequest, Step,
};
use deploykit_testkit::fake::{FakeApp, digest};

#[path = "common/camera.rs"]
mod camera;
use camera::{at, check, open, shots, two_releases};

fn content(root: &Utf8Path) -> String {
    std::fs::read_to_string(root.join("active/content")).unwrap()
}

fn is_bad(application: &Application, number: u8) -> bool {
    application.state().unwrap().bad.keys().any(|source| source.digest() == digest(number))
}

fn roll_back(application: &Application, ctx: &Context) -> Report {
    application.rollback(ctx, &RollbackRequest::previous()).unwrap()
}

fn roll_back_to(application: &Application, ctx: &Context, number: u8) -> Report {
    application.rollback(ctx, &RollbackRequest::to(digest(number))).unwrap()
}

/// The last shot of `work` in which the state is so.
fn killed_when(
    app: &FakeApp,
    application: &Application,
    so: impl Fn(&deploykit_core::state::State) -> bool,
    work: impl FnOnce(&Application, &Context),
) -> tempfile::TempDir {
    let found = shots(application, work).into_iter().rev();
    let mut found = found.filter(|shot| so(&open(app, shot).0.state().unwrap()));
    found.next().expect("a kill at such an instant")
}

/// The third release is on probation, and nobody watches it.
fn on_probation(app: &FakeApp) -> tempfile::TempDir {
    app.fakes.head(3);
    killed_when(
        app,
        &app.open(),
        |state| state.probation.is_some(),
        |application, ctx| {
            let _ = application.deploy(ctx, &DeployRequest::latest()).unwrap();
        },
    )
}

/// Takes the last line of the journal away: a kill came before it was written.
fn forget_the_last_record(root: &Utf8Path) {
    let journal = root.join(".deploykit/journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    std::fs::write(&journal, lines[..lines.len() - 1].concat()).unwrap();
}

/// What must hold after every end: the release that is active is the one that serves.
fn settled(app: &FakeApp, application: &Application, root: &Utf8Path) {
    let recovery = application.recover(&app.context().unwrap()).unwrap();
    let again = application.recover(&app.context().unwrap()).unwrap();
    assert!(again.deployments.is_empty(), "{recovery:?} {again:?}");
    check(application, root);
    let active = application.releases().unwrap().into_iter().find(|release| release.active);
    assert_eq!(app.fakes.world().serving, active.map(|release| release.record.id));
}

#[test]
fn an_interrupted_rollback_can_be_left_for_where_it_came_from() {
    let app = two_releases();
    let begins =
        |kind: &EventKind| matches!(kind, EventKind::StepStarted { step: Step::Service, .. });
    let ctx = at(begins, |ctx| ctx.cancellation().cancel(Cause::Interrupt));
    assert!(roll_back(&app.open(), &ctx).unsettled);
    let report = roll_back_to(&app.open(), &app.context().unwrap(), 2);
    assert!(report.is_success(), "{report:?}");
    assert_eq!(content(&app.root), digest(2));
    assert!(is_bad(&app.open(), 1) && !is_bad(&app.open(), 2));
    settled(&app, &app.open(), &app.root);
}

#[test]
fn who_takes_a_rollback_back_marks_nothing() {
    let app = two_releases();
    let ctx = app.context().unwrap();
    assert!(roll_back(&app.open(), &ctx).is_success());
    assert!(is_bad(&app.open(), 2));
    let forth = RollbackRequest::to(digest(2)).retry(true);
    assert!(app.open().rollback(&ctx, &forth).unwrap().is_success());
    assert!(!is_bad(&app.open(), 1) && !is_bad(&app.open(), 2));
    assert!(roll_back(&app.open(), &ctx).is_success());
    assert_eq!(content(&app.root), digest(1));
}

#[test]
fn what_is_gone_back_to_is_not_marked_for_having_been_left_before() {
    let app = two_releases();
    let activated = |state: &deploykit_core::state::State| {
        state.open.last().is_some_and(|open| open.activated && !open.confirmed)
    };
    let first = killed_when(&app, &app.open(), activated, |application, ctx| {
        let _ = roll_back(application, ctx);
    });
    let (application, _) = open(&app, &first);
    let second = killed_when(&app, &application, activated, |application, ctx| {
        let _ = roll_back_to(application, ctx, 2);
    });
    let (application, root) = open(&app, &second);
    assert_eq!(content(&root), digest(2));
    assert!(!is_bad(&application, 2), "it is active");
    let report = roll_back_to(&application, &app.context().unwrap(), 1);
    assert!(report.is_success(), "{report:?}");
    assert_eq!(content(&root), digest(1));
    settled(&app, &application, &root);
}

#[test]
fn a_rollback_that_gets_no_further_leaves_what_was_broken_off_to_recovery() {
    let app = two_releases();
    app.fakes.head(3);
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    let just_activated = |state: &deploykit_core::state::State| {
        state.probation.is_none()
            && state.open.last().is_some_and(|open| open.activated && open.revert.is_none())
    };
    let shot = killed_when(&app, &app.open(), just_activated, |application, ctx| {
        let _ = application.deploy(ctx, &DeployRequest::latest()).unwrap();
    });
    let (application, root) = open(&app, &shot);
    // Its service was never started.
    let mut seen = 0;
    for shot in shots(&application, |application, ctx| {
        let _ = roll_back(application, ctx);
    }) {
        seen += 1;
        let (application, root) = open(&app, &shot);
        let state = application.state().unwrap();
        if state.probation.is_none() && state.open.iter().any(|open| !open.confirmed) {
            // A restart that is owed must not be left out.
            app.fakes.world().serving = None;
        }
        settled(&app, &application, &root);
        assert_eq!(content(&root), digest(2));
        assert!(!is_bad(&application, 2));
    }
    assert!(seen > 3);
    assert_eq!(content(&root), digest(2));
}

#[test]
fn a_rollback_out_of_a_probation_that_was_killed_behind_its_switch_is_not_taken_for_a_way_back() {
    for next in ["rollback", "recover"] {
        let app = two_releases();
        let shot = on_probation(&app);
        let (application, _) = open(&app, &shot);
        let is_rollback = |state: &deploykit_core::state::State| {
            let open = state.open.last();
            open.is_some_and(|open| open.activated) && state.probation.is_none()
        };
        let mut shots = shots(&application, |application, ctx| {
            let _ = roll_back(application, ctx);
        })
        .into_iter();
        let switched = |shot: &tempfile::TempDir| is_rollback(&open(&app, shot).0.state().unwrap());
        let shot = shots.find(switched).unwrap();
        let (application, root) = open(&app, &shot);
        forget_the_last_record(&root);
        assert!(application.state().unwrap().open.last().unwrap().intended.is_some());
        assert_eq!(content(&root), digest(2));
        if next == "rollback" {
            let report = roll_back(&application, &app.context().unwrap());
            assert!(report.is_success(), "{report:?}");
        }
        settled(&app, &application, &root);
        assert_eq!(content(&root), digest(2), "{next}");
        assert!(is_bad(&application, 3) && !is_bad(&application, 2), "{next}");
    }
}

#[test]
fn a_way_back_that_was_killed_behind_its_link_is_enough_of_a_rollback() {
    let app = two_releases();
    app.fakes.head(3);
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    let mut seen = 0;
    for shot in shots(&app.open(), |application, ctx| {
        let _ = application.deploy(ctx, &DeployRequest::latest()).unwrap();
    }) {
        let (application, root) = open(&app, &shot);
        let state = application.state().unwrap();
        if !state.open.iter().any(|open| open.revert.is_some()) {
            continue;
        }
        seen += usize::from(content(&root) == digest(2));
        let report = roll_back(&application, &app.context().unwrap());
        assert!(!matches!(report.outcome, Some(Outcome::Broken { .. })), "{report:?}");
        assert_eq!(content(&root), digest(2));
        assert!(!is_bad(&application, 2));
        settled(&app, &application, &root);
    }
    assert!(seen > 0);
}

#[test]
fn what_somebody_else_has_left_by_hand_is_not_gone_on_with() {
    let app = two_releases();
    app.fakes.head(3);
    assert!(
        app.open().deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap().is_success()
    );
    app.fakes.head(4);
    app.fakes.world().health.insert(digest(4), Look::Ill("500".into()));
    let first = app.open().releases().unwrap().into_iter().next_back().unwrap().record;
    for shot in shots(&app.open(), |application, ctx| {
        let _ = application.deploy(ctx, &DeployRequest::latest()).unwrap();
    }) {
        let (application, root) = open(&app, &shot);
        std::fs::remove_file(root.join("active")).unwrap();
        std::os::unix::fs::symlink(&first.path, root.join("active")).unwrap();
        let recovery = application.recover(&app.context().unwrap()).unwrap();
        check(&application, &root);
        assert_eq!(content(&root), digest(1), "{recovery:?}");
        let releases = application.releases().unwrap();
        let fourth = releases.into_iter().find(|r| r.record.source.digest() == digest(4));
        assert!(!fourth.is_some_and(|r| r.record.state.verdict.is_confirmed()), "{recovery:?}");
    }
}

#[test]
fn a_rollback_that_was_killed_before_its_switch_promises_nothing() {
    let app = two_releases();
    app.fakes.head(3);
    assert!(
        app.open().deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap().is_success()
    );
    let begun = |state: &deploykit_core::state::State| {
        state.open.last().is_some_and(|open| !open.activated)
    };
    let shot = killed_when(&app, &app.open(), begun, |application, ctx| {
        let _ = roll_back_to(application, ctx, 1);
    });
    let (application, root) = open(&app, &shot);
    // This process is not the one that was killed.
    std::fs::write(root.join(".deploykit/lock"), "").unwrap();
    // As it was before the switch.
    let third = application.releases().unwrap().into_iter().next().unwrap().record;
    std::fs::remove_file(root.join("active")).unwrap();
    std::os::unix::fs::symlink(&third.path, root.join("active")).unwrap();
    let status = application.status(&app.context().unwrap()).unwrap();
    assert_eq!(status.broken_off.len(), 1);
    assert!(!status.broken_off[0].finished_by_rollback);
    let promised = status.rollback.unwrap().record.id;
    let report = roll_back(&application, &app.context().unwrap());
    assert_eq!((report.active, content(&root)), (Some(promised), digest(2)));
}

/// The watcher of the third release looks, and takes its time, while a rollback is broken off.
#[test]
fn a_rollback_is_finished_by_the_next_although_somebody_still_watches_what_it_left() {
    let app = two_releases();
    let shot = on_probation(&app);
    let (application, root) = open(&app, &shot);
    let watching = deploykit_core::state::Holder::current(
        deploykit_core::Timestamp::now(),
        deploykit_core::state::Actor::current("test"),
        "watching",
    )
    .watching(application.history().unwrap()[0].id);
    let ctx = app.context().unwrap();
    let begins =
        |kind: &EventKind| matches!(kind, EventKind::StepStarted { step: Step::Service, .. });
    let cut = at(begins, |ctx| ctx.cancellation().cancel(Cause::Interrupt));
    let lock = root.join(".deploykit/watch.lock");
    let file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(&lock).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    std::fs::write(&lock, serde_json::to_vec(&watching).unwrap()).unwrap();
    assert!(roll_back(&application, &cut).unsettled);
    let report = roll_back(&application, &ctx);
    assert!(report.is_success(), "{report:?}");
    assert_eq!(content(&root), digest(2));
    assert!(is_bad(&application, 3) && !is_bad(&application, 2));
}
