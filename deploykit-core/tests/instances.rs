//! Instances that are brought over one by one, and what whoever runs a service knows of it.

use deploykit_core::traits::{InstanceName, Look, Verdict};
use deploykit_core::{
    Application, Context, DeployRequest, EventKind, Outcome, Report, RollbackRequest,
};
use deploykit_testkit::fake::{FakeApp, digest};

#[path = "common/camera.rs"]
mod camera;
use camera::{at, check, open, shots};

const CHECK: &str = "check = [{ type = \"fake\" }]";

/// The check is made of every instance.
fn each(config: &str) -> String {
    config.replace(CHECK, "check = [{ type = \"fake\", path = \"{instance}\" }]")
}

fn web(number: &str) -> InstanceName {
    InstanceName::new("web", Some(number))
}

fn deploy(application: &Application, ctx: &Context) -> Report {
    application.deploy(ctx, &DeployRequest::latest()).unwrap()
}

/// A release that three instances run.
fn three() -> FakeApp {
    let app = FakeApp::new().unwrap();
    app.fakes.world().instances = ["1", "2", "3"].map(web).into();
    app.fakes.head(1);
    let report = deploy(&app.open_with(|config| each(&config)), &app.context().unwrap());
    assert!(report.is_success(), "{report:?}");
    app.fakes.take_calls();
    app.fakes.head(2);
    app
}

fn application(app: &FakeApp) -> Application {
    app.open_with(|config| each(&config))
}

/// What each instance runs, as the first two digits of the commit.
fn running(app: &FakeApp) -> Vec<String> {
    let world = app.fakes.world();
    world.running.values().map(|release| release.as_str()[16..18].to_owned()).collect()
}

#[test]
fn instances_are_brought_over_one_by_one_each_when_the_one_before_is_well() {
    let app = three();
    let waits = |kind: &EventKind| matches!(kind, EventKind::HealthChanged { check, well: false, .. } if check == "fake 2");
    app.fakes.world().health.insert(format!("{} 2", digest(2)), Look::NotYet("refused".into()));
    let (fakes, seen) = (app.fakes.clone(), std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
    let kept = seen.clone();
    let ctx = at(waits, move |_| {
        let mut world = fakes.world();
        *kept.lock().unwrap() = world.running.values().cloned().collect();
        world.health.clear();
    });
    let report = deploy(&application(&app), &ctx);
    assert!(report.is_success(), "{report:?}");
    let calls =
        ["1", "2", "3"].map(|number| [format!("instance web@{number}"), "restart 02".into()]);
    let last = app.fakes.take_calls();
    assert_eq!(last[last.len() - 6..], calls.concat());
    assert_eq!(running(&app), ["02", "02", "02"]);
    let (seen, new) = (seen.lock().unwrap().clone(), report.active.unwrap());
    assert!(seen[0] == new && seen[1] == new && seen[2] != new, "the third waits: {seen:?}");
}

#[test]
fn an_ill_instance_ends_it_and_those_that_were_not_touched_run_on() {
    let app = three();
    app.fakes.world().health.insert(format!("{} 2", digest(2)), Look::Ill("500".into()));
    let report = deploy(&application(&app), &app.context().unwrap());
    let Some(Outcome::RolledBack { reason }) = &report.outcome else { panic!("{report:?}") };
    assert!(reason.contains("web@2") && reason.contains("500"), "{reason}");
    let calls = app.fakes.take_calls();
    let touched: Vec<_> = calls.iter().filter(|call| call.starts_with("instance")).collect();
    let expected = ["instance web@1", "instance web@2", "instance web@1", "instance web@2"];
    assert_eq!(touched, expected, "there and back");
    assert_eq!(running(&app), ["01", "01", "01"]);
    check(&application(&app), &app.root);
}

#[test]
fn on_the_way_back_what_belongs_to_all_is_settled_and_one_that_fails_keeps_no_other_down() {
    let app = three();
    // The second release is ill when two of three run from it, and the first instance does not come back.
    app.fakes.world().health.insert(format!("{} 2", digest(2)), Look::Ill("500".into()));
    app.fakes.world().health.insert(format!("{} 1", digest(1)), Look::Ill("gone".into()));
    let report = deploy(&application(&app), &app.context().unwrap());
    assert!(matches!(report.outcome, Some(Outcome::Broken { .. })), "{report:?}");
    let calls = app.fakes.take_calls();
    let settled: Vec<_> = calls.iter().filter(|call| call.starts_with("settle")).collect();
    assert_eq!(settled, ["settle 02", "settle 01"]);
    assert_eq!(running(&app), ["01", "01", "01"], "the second is back although the first is ill");
}

#[test]
fn one_instance_or_none_with_a_name_is_brought_over_at_once() {
    for instances in
        [vec![web("1")], vec![InstanceName::new("a", None), InstanceName::new("b", None)]]
    {
        let app = FakeApp::new().unwrap();
        app.fakes.world().instances = instances;
        app.fakes.head(1);
        let no_check = |config: String| config.replace(CHECK, "");
        let report = deploy(&app.open_with(no_check), &app.context().unwrap());
        assert!(report.is_success(), "{report:?}");
        let calls = app.fakes.take_calls();
        assert!(calls.contains(&"restart 01".to_owned()), "{calls:?}");
        assert!(!calls.iter().any(|call| call.starts_with("instance")), "{calls:?}");
    }
}

#[test]
fn a_check_of_instances_needs_some() {
    let app = FakeApp::new().unwrap();
    app.fakes.head(1);
    let error = application(&app).deploy(&app.context().unwrap(), &DeployRequest::latest());
    let error = error.unwrap_err();
    let cause = std::error::Error::source(&error).map_or(String::new(), ToString::to_string);
    assert!(format!("{error} {cause}").contains("the service has none"), "{error}: {cause}");
}

#[test]
fn a_kill_among_the_instances_is_put_right() {
    let app = three();
    let shots = shots(&application(&app), |application, ctx| {
        let _ = deploy(application, ctx);
    });
    for shot in &shots {
        let (_, root) = open(&app, shot);
        let text = each(deploykit_testkit::fake::CONFIG);
        std::fs::write(root.join("deploykit.toml"), text).unwrap();
        let registry = app.fakes.registry();
        let application = Application::at(root.clone()).registry(registry).open().unwrap();
        application.recover(&app.context().unwrap()).unwrap();
        check(&application, &root);
        let active = application.status(&app.context().unwrap()).unwrap().active.unwrap();
        let world = app.fakes.world();
        let one = active.record.id;
        // In a shot from before the activation nothing was to be brought over.
        if active.record.source.digest() == digest(2) {
            assert!(world.running.values().all(|release| *release == one), "{:?}", world.running);
        }
    }
}

#[test]
fn a_service_that_has_failed_or_was_started_again_ends_the_probation_at_once() {
    let patient = |config: String| {
        config
            .replace("\"20ms\"", "\"1h\"")
            .replace("\"100ms\"", "\"1h\"")
            .replace("\"5ms\"", "\"30m\"")
    };
    for (restarts, message) in
        [(None, "the service has failed"), (Some(1), "restarts on its probation: 1")]
    {
        let app = FakeApp::new().unwrap();
        app.fakes.head(1);
        assert!(deploy(&app.open(), &app.context().unwrap()).is_success());
        app.fakes.head(2);
        let fakes = app.fakes.clone();
        // It is well first, and nobody would look again for half an hour.
        let begun = |kind: &EventKind| matches!(kind, EventKind::HealthChanged { check, well: true, .. } if check == "fake");
        let ctx = at(begun, move |_| match restarts {
            Some(restarts) => drop(fakes.world().restarts.insert(digest(2), restarts)),
            None => fakes.world().failed.push(digest(2)),
        });
        let report = deploy(&app.open_with(patient), &ctx);
        let Some(Outcome::RolledBack { reason }) = &report.outcome else { panic!("{report:?}") };
        assert!(reason.contains(message), "{reason}");
    }
}

#[test]
fn so_many_starts_are_forgiven_as_the_configuration_says() {
    let forgiving = |config: String| config.replace(CHECK, &format!("{CHECK}\nrestarts = 2"));
    for (restarts, good) in [(2, true), (3, false)] {
        let app = FakeApp::new().unwrap();
        app.fakes.head(1);
        assert!(deploy(&app.open_with(forgiving), &app.context().unwrap()).is_success());
        app.fakes.head(2);
        app.fakes.world().restarts.insert(digest(2), restarts);
        let report = deploy(&app.open_with(forgiving), &app.context().unwrap());
        assert_eq!(report.is_success(), good, "{restarts}: {report:?}");
    }
}

#[test]
fn what_was_started_again_before_it_is_only_watched_counts_for_nothing() {
    let app = FakeApp::new().unwrap();
    app.fakes.head(1);
    assert!(deploy(&app.open(), &app.context().unwrap()).is_success());
    app.fakes.world().restarts.insert(digest(1), 7);
    let other = |config: String| config.replace("failures = 2", "failures = 3");
    let report = deploy(&app.open_with(other), &app.context().unwrap());
    assert!(report.is_success() && report.deployment.is_some(), "{report:?}");
}

#[test]
fn a_rollback_brings_every_instance_over() {
    let app = three();
    assert!(deploy(&application(&app), &app.context().unwrap()).is_success());
    let report = application(&app).rollback(&app.context().unwrap(), &RollbackRequest::previous());
    assert!(report.unwrap().is_success());
    assert_eq!(running(&app), ["01", "01", "01"]);
    let verdict = application(&app).status(&app.context().unwrap()).unwrap().active.unwrap();
    assert!(matches!(verdict.record.state.verdict, Verdict::Confirmed { .. }));
}
