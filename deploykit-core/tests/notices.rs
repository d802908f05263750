//! Notices: who did not see how a deployment ended is told, once at least, with the whole story.

use camino::Utf8Path;
use deploykit_core::traits::Look;
use deploykit_core::{
    Application, Cause, Context, DeployRequest, EventKind, RestartRequest, RollbackRequest, Secret,
    Step,
};
use deploykit_testkit::fake::{CONFIG, FakeApp, digest};
use serde_json::Value;

#[path = "common/camera.rs"]
mod camera;
use camera::{at, shots, two_releases};

/// Commands that keep what they are told, a line each; the failure is refused while `refuse` exists.
const NOTIFY: &str = r#"
[notify]
on_failure = ["sh", "-c", "test ! -e refuse || { echo no mail; exit 7; }; cat >> told"]
on_recovery = ["sh", "-c", "cat >> told"]
timeout = "20s"
"#;

fn told_of(app: &FakeApp) -> Application {
    app.open_with(|config| format!("{config}{NOTIFY}"))
}

/// The notices so far.
fn told(root: &Utf8Path) -> Vec<Value> {
    let text = std::fs::read_to_string(root.join("told")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn events(root: &Utf8Path) -> Vec<String> {
    told(root).iter().map(|notice| notice["event"].as_str().unwrap().to_owned()).collect()
}

fn deploy(app: &FakeApp, number: u8) {
    app.fakes.head(number);
    let _ = told_of(app).deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
}

/// Two releases, and a third that is ill and was rolled back.
fn failed() -> FakeApp {
    let app = two_releases();
    app.fakes.world().health.insert(digest(3), Look::Ill("500 of the third".into()));
    deploy(&app, 3);
    app
}

fn timer(app: &FakeApp) -> Result<deploykit_core::Report, deploykit_core::Error> {
    let request = DeployRequest::latest().if_changed(true);
    told_of(app).deploy(&app.context().unwrap(), &request)
}

#[test]
fn a_failure_is_told_with_its_story_and_the_recovery_once() {
    let app = failed();
    let notices = told(&app.root);
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!((&notice["format"], &notice["event"]), (&1.into(), &"failure".into()));
    assert_eq!(notice["application"], app.root.as_str());
    assert_eq!((&notice["deployment"], &notice["request"]), (&3.into(), &"deploy".into()));
    assert_eq!(notice["outcome"]["outcome"], "rolled-back");
    assert_eq!(notice["failure"]["step"], "verify");
    assert!(notice["failure"]["error"].as_str().unwrap().contains("500 of the third"), "{notice}");
    assert_eq!(
        (&notice["from"]["commit"], &notice["to"]["commit"]),
        (&digest(2).into(), &digest(3).into())
    );
    assert_eq!(notice["to"]["name"], "refs/heads/HEAD");
    assert_eq!(notice["now"]["active"], notice["from"]);
    assert_eq!(notice["now"]["service"]["state"], "running");
    assert_eq!(notice["must_look"], false);
    let lines = notice["log_end"].as_array().unwrap();
    assert!(
        lines.iter().any(|line| line.as_str().unwrap().contains("500 of the third")),
        "{lines:?}"
    );

    deploy(&app, 4);
    deploy(&app, 5);
    let notices = told(&app.root);
    assert_eq!(events(&app.root), ["failure", "recovery"]);
    assert_eq!(notices[1]["recovers"]["deployment"], 3);
    assert_eq!(notices[1]["now"]["active"]["commit"], digest(4));
}

#[test]
fn a_rollback_and_a_restart_that_end_badly_are_told_of_too() {
    let app = two_releases();
    app.fakes.world().health.insert(digest(1), Look::Ill("500".into()));
    let ctx = app.context().unwrap();
    let _ = told_of(&app).rollback(&ctx, &RollbackRequest::previous()).unwrap();
    app.fakes.world().health.insert(digest(2), Look::Ill("501".into()));
    let _ = told_of(&app).restart(&ctx, &RestartRequest::default()).unwrap();
    let notices = told(&app.root);
    let requests: Vec<_> = notices.iter().map(|notice| &notice["request"]).collect();
    assert_eq!(requests, ["rollback", "restart"]);
    assert_eq!((&notices[0]["must_look"], &notices[1]["must_look"]), (&false.into(), &true.into()));
}

#[test]
fn who_cancels_a_deployment_need_not_be_told_and_who_did_not_is() {
    let begins =
        |kind: &EventKind| matches!(kind, EventKind::StepStarted { step: Step::Verify, .. });
    for (cause, number) in [(Cause::Interrupt, 0), (Cause::Requested, 0), (Cause::Terminate, 1)] {
        let app = two_releases();
        app.fakes.head(3);
        app.fakes.world().health.insert(digest(3), Look::NotYet("starting".into()));
        let ctx = at(begins, move |ctx| ctx.cancellation().cancel(cause));
        let report = told_of(&app).deploy(&ctx, &DeployRequest::latest()).unwrap();
        assert!(!report.is_success());
        assert_eq!(told(&app.root).len(), number, "{cause:?}");
    }
    let begins =
        |kind: &EventKind| matches!(kind, EventKind::StepStarted { step: Step::Build, .. });
    for (cause, number) in [(Cause::Interrupt, 0), (Cause::Terminate, 1)] {
        let app = two_releases();
        app.fakes.head(3);
        let ctx = at(begins, move |ctx| ctx.cancellation().cancel(cause));
        let _ = told_of(&app).deploy(&ctx, &DeployRequest::latest()).unwrap();
        assert_eq!(told(&app.root).len(), number, "{cause:?}");
    }
}

#[test]
fn what_was_killed_is_told_of_wherever_that_was() {
    let app = two_releases();
    app.fakes.head(3);
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    let work = |application: &Application, ctx: &Context| {
        let _ = application.deploy(ctx, &DeployRequest::latest()).unwrap();
    };
    let (mut begun, mut owed) = (0, 0);
    for shot in shots(&told_of(&app), work) {
        let root = Utf8Path::from_path(shot.path()).unwrap().canonicalize_utf8().unwrap();
        std::fs::write(root.join("deploykit.toml"), format!("{CONFIG}{NOTIFY}")).unwrap();
        let open = || Application::at(root.clone()).registry(app.fakes.registry()).open().unwrap();
        let state = open().state().unwrap();
        begun += u32::from(state.last_deployment.0 == 3);
        owed += u32::from(!state.notices.owed.is_empty());
        open().recover(&app.context().unwrap()).unwrap();
        let expected = usize::from(state.last_deployment.0 == 3);
        assert_eq!(told(&root).len(), expected, "{:?}", app.events.messages());
        open().recover(&app.context().unwrap()).unwrap();
        assert_eq!(told(&root).len(), expected, "it is told of once, when nothing is killed");
        assert!(open().state().unwrap().notices.owed.is_empty());
    }
    assert!(begun > 3 && owed > 0, "{begun} {owed}");
}

#[test]
fn what_cannot_be_told_is_told_by_the_next_command_and_given_up_after_the_fifth() {
    let app = two_releases();
    std::fs::write(app.root.join("refuse"), "").unwrap();
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    deploy(&app, 3);
    let messages = app.events.messages().join("\n");
    assert!(messages.contains("exited with code 7: no mail"), "{messages}");
    assert!(messages.contains("the next command tries again (1 of 5)"), "{messages}");
    std::fs::remove_file(app.root.join("refuse")).unwrap();
    assert!(timer(&app).unwrap().nothing.is_some());
    assert_eq!(events(&app.root), ["failure"]);

    let app = two_releases();
    std::fs::write(app.root.join("refuse"), "").unwrap();
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    deploy(&app, 3);
    for _ in 0..4 {
        told_of(&app).recover(&app.context().unwrap()).unwrap();
    }
    let messages = app.events.messages().join("\n");
    assert!(messages.contains("it is given up"), "{messages}");
    std::fs::remove_file(app.root.join("refuse")).unwrap();
    told_of(&app).recover(&app.context().unwrap()).unwrap();
    assert!(told(&app.root).is_empty());
}

#[test]
fn a_timer_tells_of_the_same_failure_once_and_of_another_at_once() {
    let app = two_releases();
    app.fakes.world().revisions.remove("HEAD");
    for _ in 0..3 {
        timer(&app).unwrap_err();
    }
    assert_eq!(app.open().history().unwrap().len(), 2, "a look is no deployment");
    let notices = told(&app.root);
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!(
        (&notice["deployment"], &notice["failure"]["step"]),
        (&Value::Null, &"resolve".into())
    );
    app.fakes.world().missing = true;
    app.fakes.head(1);
    timer(&app).unwrap_err();
    assert_eq!(events(&app.root), ["failure", "failure"]);
    app.fakes.world().missing = false;
    app.fakes.head(2);
    assert!(timer(&app).unwrap().nothing.is_some());
    assert!(timer(&app).unwrap().nothing.is_some());
    assert_eq!(events(&app.root), ["failure", "failure", "recovery"]);
}

#[test]
fn a_timer_that_builds_the_same_failure_again_tells_of_it_once_and_a_person_hears_it_each_time() {
    let app = two_releases();
    let broken = |_: &Context, _: &Utf8Path| {
        Err(deploykit_core::traits::BuildError::Precondition {
            step: "make".into(),
            why: "there is no make".into(),
            hint: None,
        })
    };
    app.fakes.world().build = Some(std::sync::Arc::new(broken));
    app.fakes.head(3);
    for _ in 0..3 {
        assert!(!timer(&app).unwrap().is_success());
    }
    assert_eq!(events(&app.root), ["failure"]);
    deploy(&app, 3);
    assert_eq!(events(&app.root), ["failure", "failure"]);
}

#[test]
fn a_person_who_names_what_is_not_there_is_a_failed_deployment() {
    let app = two_releases();
    let nothing = DeployRequest::revision("nothing".parse().unwrap());
    told_of(&app).deploy(&app.context().unwrap(), &nothing).unwrap_err();
    assert_eq!(told(&app.root)[0]["deployment"], 3);
}

#[test]
fn a_deployment_that_is_stuck_is_told_of_once_however_often_recovery_tries() {
    let app = two_releases();
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    app.fakes.world().broken_services.push(digest(2));
    deploy(&app, 3);
    for _ in 0..2 {
        told_of(&app).recover(&app.context().unwrap()).unwrap();
    }
    let notices = told(&app.root);
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!(notice["must_look"], true);
    app.fakes.world().broken_services.clear();
    told_of(&app).recover(&app.context().unwrap()).unwrap();
    assert_eq!(events(&app.root).len(), 2, "that it was rolled back after all is told, too");
}

#[test]
fn the_lock_is_free_while_somebody_is_told() {
    let app = two_releases();
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    app.fakes.head(3);
    let command = r#"
[notify]
on_failure = ["flock", "--nonblock", "--conflict-exit-code", "9", ".deploykit/lock", "cp", "/dev/stdin", "told"]
"#;
    let application = app.open_with(|config| format!("{config}{command}"));
    let _ = application.deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
    assert_eq!(events(&app.root), ["failure"], "{:?}", app.events.messages());
}

#[test]
fn secrets_are_masked_and_the_journal_has_none() {
    let app = two_releases();
    app.fakes.world().health.insert(digest(3), Look::Ill("token s3cret-\"value\" refused".into()));
    app.fakes.head(3);
    let application = told_of(&app);
    application.masker().learn(&Secret::new("s3cret-\"value\""));
    let _ = application.deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
    let text = std::fs::read_to_string(app.root.join("told")).unwrap();
    let journal = std::fs::read_to_string(app.root.join(".deploykit/journal")).unwrap();
    assert!(text.contains("token *** refused"), "{text}");
    assert!(!text.contains("s3cret") && !journal.contains("s3cret"));
}

#[test]
fn a_story_of_any_length_finds_room_beside_the_end_of_its_deployment() {
    let app = two_releases();
    let long = "x".repeat(100_000);
    app.fakes.world().health.insert(digest(3), Look::Ill(long));
    deploy(&app, 3);
    let journal = std::fs::read_to_string(app.root.join(".deploykit/journal")).unwrap();
    let end = journal.lines().find(|line| line.contains("notice-owed")).unwrap();
    let notice = end.split_once("\"record\":\"notice-owed\"").unwrap().1;
    assert!(notice.len() < 32 << 10, "{}", notice.len());
}

#[test]
fn who_is_told_of_nothing_owes_nothing() {
    let app = two_releases();
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    app.fakes.head(3);
    let _ = app.open().deploy(&app.context().unwrap(), &DeployRequest::latest()).unwrap();
    assert_eq!(app.open().state().unwrap().notices.last, 0);
}
