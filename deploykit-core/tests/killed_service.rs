//! What a kill leaves of a service that is being brought over, with the new instances beside the old
//! ones or in their place.

use deploykit_core::state::{Actor, ConfirmedBy, Holder, Journal, Lock, Record, Request};
use deploykit_core::traits::{Prepared, Switching};
use deploykit_core::{DeployRequest, DeploymentId, Outcome, ReleaseId, Timestamp};
use deploykit_testkit::fake::{FakeApp, digest};

/// An application that serves 2 and has served 1, and the ids of these.
fn serving_two() -> (FakeApp, ReleaseId, ReleaseId) {
    let app = FakeApp::new().unwrap();
    app.fakes.world().switching = Some(Switching::Overlap);
    let serve = |number| {
        app.fakes.head(number);
        let report = app.open().deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
        assert!(report.is_success(), "{report:?}");
        report.active.unwrap()
    };
    let (one, two) = (serve(1), serve(2));
    app.fakes.take_calls();
    (app, one, two)
}

fn ann() -> Actor {
    Actor { user: "ann".into(), via: "test".into() }
}

/// What the journal holds of a rollback to `one` that was killed on its way: all the records up to
/// the start of the new instances, and then `more`.
fn killed(app: &FakeApp, one: &ReleaseId, two: &ReleaseId, more: &[Record]) {
    let (application, ctx) = (app.open(), app.context().unwrap());
    let (layout, deployment) = (application.layout(), DeploymentId(3));
    let holder = Holder::current(Timestamp::now(), ann(), "rollback");
    let lock = Lock::acquire(&ctx, layout, holder, std::time::Duration::ZERO).unwrap();
    let mut journal = Journal::open(layout, &lock, 500).unwrap();
    let token = "3".to_owned();
    app.fakes.world().prepared.insert(token.clone(), one.clone());
    let source = format!("git:{}", digest(1)).parse().unwrap();
    let from = Some(two.clone());
    let begun = [
        Record::DeploymentStarted {
            deployment,
            request: Request::Rollback { to: None },
            by: ann(),
            from,
        },
        Record::DeploymentResolved {
            deployment,
            source,
            release: Some(one.clone()),
            runtime: None,
            spares: false,
            demand: None,
        },
        Record::ServicePrepared { deployment, prepared: Prepared { token } },
    ];
    let records = begun.into_iter().chain(more.iter().cloned());
    journal.append(Timestamp::now(), records).unwrap();
}

fn activated(app: &FakeApp, to: &ReleaseId) -> Record {
    let (link, new) = (app.root.join("active"), app.root.join("active.test"));
    std::os::unix::fs::symlink(format!("releases/{to}"), &new).unwrap();
    std::fs::rename(new, link).unwrap();
    Record::Activated { deployment: DeploymentId(3), to: Some(to.clone()) }
}

fn recover(app: &FakeApp) -> Vec<String> {
    app.open().recover(&app.context().unwrap()).unwrap();
    app.fakes.take_calls()
}

#[test]
fn what_was_prepared_before_the_activation_is_aborted() {
    let (app, one, two) = serving_two();
    killed(&app, &one, &two, &[]);
    assert_eq!(recover(&app), ["abort 3"]);
    assert_eq!(app.fakes.world().serving, Some(two));
}

#[test]
fn what_was_prepared_takes_over_when_the_link_was_switched() {
    let (app, one, two) = serving_two();
    killed(&app, &one, &two, &[activated(&app, &one)]);
    assert_eq!(recover(&app), ["commit 01"]);
    assert_eq!(app.fakes.world().serving, Some(one));
}

#[test]
fn on_the_way_back_the_previous_release_takes_over_and_not_what_was_prepared() {
    let (app, one, two) = serving_two();
    let (deployment, to) = (DeploymentId(3), Some(two.clone()));
    let revert = Record::RevertStarted { deployment, to, reason: "500".into(), bad: false };
    killed(&app, &one, &two, &[activated(&app, &one), revert]);
    assert_eq!(recover(&app), ["prepare 02", "commit 02"]);
    assert_eq!(app.fakes.world().serving, Some(two.clone()));
    assert!(app.fakes.world().prepared.is_empty(), "it is left running");
    let link = std::fs::read_link(app.root.join("active")).unwrap();
    assert!(link.ends_with(two.as_str()), "{link:?}");
}

#[test]
fn a_kill_before_the_restart_is_made_good_though_the_release_was_confirmed_long_ago() {
    let (app, one, two) = serving_two();
    app.fakes.world().switching = Some(Switching::Restart);
    killed(&app, &one, &two, &[activated(&app, &one)]);
    app.fakes.world().prepared.clear();
    assert_eq!(recover(&app), ["restart 01"]);
    assert_eq!(app.fakes.world().serving, Some(one));
}

#[test]
fn of_a_release_that_was_confirmed_before_the_kill_only_the_end_is_recorded() {
    let (app, one, two) = serving_two();
    let confirmed = Record::Confirmed { release: one.clone(), by: ConfirmedBy::Health };
    killed(&app, &one, &two, &[activated(&app, &one), confirmed]);
    assert_eq!(recover(&app), Vec::<String>::new());
    let outcome = app.open().history().unwrap().remove(0).outcome;
    assert_eq!(outcome, Some(Outcome::Deployed { verified: true }));
}
