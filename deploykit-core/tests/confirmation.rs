//! Deployments that somebody must confirm over a new connection.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use camino::Utf8Path;
use deploykit_core::config::Period;
use deploykit_core::state::Connection;
use deploykit_core::traits::{Look, Verdict};
use deploykit_core::{
    Application, Cancellation, Cancelled, Clock, Context, DeployRequest, Error, Event, EventKind,
    EventSink, FnSink, Outcome, Report, RollbackRequest, Step, Timestamp,
};
use deploykit_testkit::fake::{CONFIG, FakeApp, digest};

#[path = "common/camera.rs"]
mod camera;
use camera::{check, shots, two_releases};

/// A clock that goes forward only where somebody waits, and then at once.
#[derive(Debug)]
struct QuickClock {
    begun: Timestamp,
    passed: Mutex<Duration>,
}

impl QuickClock {
    fn context(sink: Arc<dyn EventSink>) -> Context {
        let clock = Self { begun: Timestamp::now(), passed: Mutex::default() };
        Context::new().unwrap().with_sink(sink).with_clock(Arc::new(clock))
    }
}

impl Clock for QuickClock {
    fn now(&self) -> Timestamp {
        self.begun + self.monotonic()
    }

    fn monotonic(&self) -> Duration {
        *self.passed.lock().unwrap()
    }

    fn sleep(&self, duration: Duration, cancellation: &Cancellation) -> Result<(), Cancelled> {
        *self.passed.lock().unwrap() += duration;
        cancellation.check()
    }
}

const SOON: Period = Period::from_millis(150);
const LONG: Period = Period::from_secs(3600);

/// The application as somebody opens it who came over this connection.
fn over(app: &FakeApp, root: &Utf8Path, connection: &str) -> Application {
    std::fs::write(root.join("deploykit.toml"), CONFIG).unwrap();
    let connection = Connection::named(connection);
    let builder = Application::at(root).registry(app.fakes.registry());
    builder.connection(connection).open().unwrap()
}

fn content(root: &Utf8Path) -> String {
    std::fs::read_to_string(root.join("active/content")).unwrap()
}

/// A context that does `act` at every event of that kind.
fn when(kind: fn(&EventKind) -> bool, act: impl Fn() + Send + Sync + 'static) -> Context {
    let sink = FnSink::new(move |event: &Event| {
        if kind(&event.kind) {
            act();
        }
    });
    Context::new().unwrap().with_sink(Arc::new(sink))
}

fn is_awaited(kind: &EventKind) -> bool {
    matches!(kind, EventKind::ConfirmationAwaited { .. })
}

fn deploy(application: &Application, ctx: &Context, within: Period) -> Report {
    application.deploy(ctx, &DeployRequest::latest().confirm_within(within)).unwrap()
}

fn reason(report: &Report) -> &str {
    report.outcome.as_ref().and_then(Outcome::reason).unwrap_or_default()
}

fn is_bad(application: &Application, number: u8) -> bool {
    application.state().unwrap().bad.keys().any(|source| source.digest() == digest(number))
}

#[test]
fn what_nobody_confirms_goes_back_however_well_it_is() {
    let app = two_releases();
    app.fakes.head(3);
    let old = over(&app, &app.root, "old");
    let report = deploy(&old, &app.context().unwrap(), SOON);
    assert!(matches!(report.outcome, Some(Outcome::RolledBack { .. })), "{report:?}");
    assert!(reason(&report).contains("nobody confirmed it"), "{report:?}");
    assert!(report.failure.unwrap().hint.unwrap().contains("--retry"));
    assert_eq!(content(&app.root), digest(2));
    assert_eq!(app.fakes.world().serving, report.from);
    let timer = old.deploy(&app.context().unwrap(), &DeployRequest::latest().if_changed(true));
    assert!(timer.unwrap().nothing.unwrap().contains("nobody confirmed it"));
    check(&old, &app.root);
}

#[test]
fn who_comes_over_a_new_connection_confirms_it_and_who_was_there_does_not() {
    let app = two_releases();
    app.fakes.head(3);
    let (old, new) = (over(&app, &app.root, "old"), over(&app, &app.root, "new"));
    let same = old.clone();
    let ctx = when(is_awaited, move || {
        let calm = Context::new().unwrap();
        let refused = same.confirm(&calm).unwrap_err();
        assert!(matches!(refused, Error::SameConnection { .. }), "{refused}");
        assert!(refused.hint().unwrap().contains("deploykit -C"), "{refused:?}");
        let status = same.status(&calm).unwrap();
        assert!(status.confirm_with.unwrap().contains(same.layout().root().as_str()));
        assert!(status.probation.unwrap().confirmation);
        new.confirm(&calm).unwrap();
    });
    let report = deploy(&old, &ctx, LONG);
    assert_eq!(report.outcome, Some(Outcome::Deployed { verified: true }));
    assert_eq!(content(&app.root), digest(3));
    assert_eq!(old.status(&app.context().unwrap()).unwrap().confirm_with, None);
    check(&old, &app.root);
}

#[test]
fn who_is_refused_has_confirmed_nothing() {
    let app = two_releases();
    app.fakes.head(3);
    let old = over(&app, &app.root, "old");
    let same = old.clone();
    let ctx = when(is_awaited, move || drop(same.confirm(&Context::new().unwrap())));
    let report = deploy(&old, &ctx, SOON);
    assert!(matches!(report.outcome, Some(Outcome::RolledBack { .. })), "{report:?}");
}

#[test]
fn a_confirmation_that_comes_while_the_service_is_brought_over_counts() {
    let app = two_releases();
    app.fakes.head(3);
    let (old, new) = (over(&app, &app.root, "old"), over(&app, &app.root, "new"));
    let confirming = Arc::new(Mutex::new(None));
    let keep = confirming.clone();
    // The lock is held here, and the probation is not recorded yet.
    let begins =
        |kind: &EventKind| matches!(kind, EventKind::StepStarted { step: Step::Service, .. });
    let ctx = when(begins, move || {
        let (new, (waits, waiting)) = (new.clone(), std::sync::mpsc::channel());
        let told = move |event: &Event| {
            if matches!(event.kind, EventKind::Note { .. }) {
                let _ = waits.send(());
            }
        };
        let calm = Context::new().unwrap().with_sink(Arc::new(FnSink::new(told)));
        *keep.lock().unwrap() = Some(std::thread::spawn(move || new.confirm(&calm)));
        waiting.recv_timeout(Duration::from_secs(60)).expect("it waits for the lock");
    });
    let report = deploy(&old, &ctx, LONG);
    let confirmed = confirming.lock().unwrap().take().unwrap().join().unwrap();
    assert_eq!(confirmed.unwrap(), report.to.unwrap());
    assert_eq!(report.outcome, Some(Outcome::Deployed { verified: true }));
}

#[test]
fn an_ill_release_goes_back_at_once_and_not_at_the_deadline() {
    let app = two_releases();
    app.fakes.head(3);
    app.fakes.world().health.insert(digest(3), Look::Ill("500".into()));
    let report = deploy(&over(&app, &app.root, "old"), &app.context().unwrap(), LONG);
    assert!(reason(&report).contains("500"), "{report:?}");
    assert_eq!(content(&app.root), digest(2));
}

#[test]
fn a_first_deployment_that_nobody_confirms_is_withdrawn() {
    let app = FakeApp::new().unwrap();
    app.fakes.head(1);
    let old = over(&app, &app.root, "old");
    let report = deploy(&old, &app.context().unwrap(), SOON);
    assert!(matches!(report.outcome, Some(Outcome::Failed { .. })), "{report:?}");
    assert!(!app.root.join("active").is_symlink());
    assert_eq!(app.fakes.world().serving, None);
    check(&old, &app.root);
}

#[test]
fn a_rollback_that_nobody_confirms_is_taken_back_and_its_target_stays_good() {
    let app = two_releases();
    let old = over(&app, &app.root, "old");
    let ctx = app.context().unwrap();
    let report = old.rollback(&ctx, &RollbackRequest::previous().confirm_within(SOON)).unwrap();
    assert!(matches!(report.outcome, Some(Outcome::RolledBack { .. })), "{report:?}");
    assert_eq!(content(&app.root), digest(2));
    assert!(!is_bad(&old, 1) && !is_bad(&old, 2));
    let releases = old.releases().unwrap();
    assert!(releases.iter().all(|r| r.record.state.verdict.is_confirmed()), "{releases:?}");
}

#[test]
fn the_configuration_demands_it_of_deployments_and_not_of_rollbacks() {
    let app = two_releases();
    app.fakes.head(3);
    let required = "confirmation = \"required\"\nduration = \"20ms\"\n";
    let open = || app.open_with(|config| config.replace("duration = \"20ms\"", required));
    let ctx = app.context().unwrap();
    let plan = open().plan(&ctx, &DeployRequest::latest()).unwrap();
    assert_eq!(plan.confirm_within, Some(Period::from_secs(60)));
    let soon = DeployRequest::latest().confirm_within(SOON);
    assert_eq!(open().plan(&ctx, &soon).unwrap().confirm_within, Some(SOON));
    let report = open().rollback(&ctx, &RollbackRequest::previous()).unwrap();
    assert!(report.is_success(), "{report:?}");
    app.fakes.head(1);
    let plan = open().plan(&ctx, &DeployRequest::latest()).unwrap();
    assert!(plan.has_work());
    assert_eq!(plan.confirm_within, None, "it is only watched otherwise: {plan:?}");
}

#[test]
fn a_changed_configuration_of_the_service_that_nobody_confirms_is_taken_back_too() {
    let app = two_releases();
    let other = app.open_with(|config| format!("{config}[service.settings]\nother = true\n"));
    let ctx = app.context().unwrap();
    let report = deploy(&other, &ctx, SOON);
    assert!(matches!(report.outcome, Some(Outcome::RolledBack { .. })), "{report:?}");
    assert!(!is_bad(&other, 2), "the release is not to blame");
    let timer = other.deploy(&ctx, &DeployRequest::latest().if_changed(true)).unwrap();
    assert!(timer.nothing.is_some(), "{timer:?}");
}

#[test]
fn without_anything_to_watch_somebody_must_confirm_it_all_the_same() {
    let app = two_releases();
    app.fakes.head(3);
    let bare = |config: String| {
        let checks = "    check = [{ type = \"fake\" }]\n";
        config
            .replace(checks, "")
            .replace("[service]\n    backend = \"fake\"", "[service]\n    backend = \"none\"")
    };
    let report = deploy(&app.open_with(bare), &app.context().unwrap(), SOON);
    assert!(reason(&report).contains("nobody confirmed it"), "{report:?}");
}

/// A demanded deployment of the third release, killed wherever it can be.
fn killed(app: &FakeApp, within: Period) -> Vec<tempfile::TempDir> {
    app.fakes.head(3);
    let old = over(app, &app.root, "old");
    let new = over(app, &app.root, "new");
    shots(&old, |application, ctx| {
        let sink = ctx.sink().clone();
        // It is not waited for what a copy is to decide.
        let ends = FnSink::new(move |event: &Event| {
            sink.event(event);
            if is_awaited(&event.kind) {
                new.confirm(&Context::new().unwrap()).unwrap();
            }
        });
        let ctx = ctx.clone().with_sink(Arc::new(ends));
        assert!(deploy(application, &ctx, within).is_success());
    })
}

fn root_of(shot: &tempfile::TempDir) -> camino::Utf8PathBuf {
    Utf8Path::from_path(shot.path()).unwrap().canonicalize_utf8().unwrap()
}

#[test]
fn wherever_it_was_killed_it_is_not_confirmed_by_anything_but_a_person() {
    let app = two_releases();
    let (mut watched, mut activated, mut confirmed) = (0, 0, 0);
    for shot in killed(&app, Period::from_secs(20)) {
        let root = root_of(&shot);
        let application = over(&app, &root, "old");
        let state = application.state().unwrap();
        let by_person = state.open.is_empty() && state.last_deployment.0 == 3;
        watched += u32::from(state.probation.is_some());
        activated += u32::from(state.open.iter().any(|open| open.activated));
        confirmed += u32::from(by_person);
        application.recover(&QuickClock::context(app.events.clone())).unwrap();
        check(&application, &root);
        let expected = if by_person { 3 } else { 2 };
        assert_eq!(content(&root), digest(expected), "{state:?}");
    }
    assert!(watched > 0 && activated > watched && confirmed > 0);
}

/// The first shot in which something is on probation.
fn on_probation(app: &FakeApp, shots: Vec<tempfile::TempDir>) -> tempfile::TempDir {
    let watched = |shot: &tempfile::TempDir| {
        over(app, &root_of(shot), "old").state().unwrap().probation.is_some()
    };
    shots.into_iter().find(watched).unwrap()
}

fn killed_on_probation(app: &FakeApp, within: Period) -> tempfile::TempDir {
    on_probation(app, killed(app, within))
}

#[test]
fn after_the_deadline_it_goes_back_without_a_look() {
    let app = two_releases();
    app.fakes.head(3);
    let taken = shots(&over(&app, &app.root, "old"), |application, ctx| {
        let _ = deploy(application, ctx, Period::from_millis(1));
    });
    let shot = on_probation(&app, taken);
    let root = root_of(&shot);
    let application = over(&app, &root, "new");
    let calm = Context::new().unwrap();
    // It may be just the millisecond.
    while application.state().unwrap().probation.unwrap().deadline >= calm.now() {
        std::thread::yield_now();
    }
    let late = application.confirm(&calm).unwrap_err();
    assert!(matches!(late, Error::TooLate { .. }), "{late}");
    app.fakes.take_calls();
    app.events.take();
    application.recover(&app.context().unwrap()).unwrap();
    assert_eq!(app.fakes.take_calls(), ["restart 02"], "nothing is done to the third");
    let looked: Vec<_> = app
        .events
        .take()
        .into_iter()
        .filter(|event| matches!(&event.kind, EventKind::StepStarted { step: Step::Verify, detail } if detail.is_empty()))
        .collect();
    assert!(looked.is_empty(), "{looked:?}");
    assert_eq!(content(&root), digest(2));
    assert!(is_bad(&application, 3));
    check(&application, &root);
}

#[test]
fn a_changed_configuration_is_not_even_started_again_after_the_deadline() {
    let app = two_releases();
    let setting = "[service.settings]\nother = true\n";
    let other = app.open_with(|config| format!("{config}{setting}"));
    let taken = shots(&other, |application, ctx| {
        let _ = deploy(application, ctx, Period::from_millis(1));
    });
    let shot = on_probation(&app, taken);
    let root = root_of(&shot);
    app.fakes.take_calls();
    over(&app, &root, "new").recover(&app.context().unwrap()).unwrap();
    assert_eq!(app.fakes.take_calls(), ["restart 02"], "only the way back");
    check(&over(&app, &root, "new"), &root);
}

#[test]
fn before_the_deadline_recovery_waits_for_somebody_and_takes_their_word() {
    let app = two_releases();
    let shot = killed_on_probation(&app, LONG);
    let root = root_of(&shot);
    let new = over(&app, &root, "new");
    let ctx = when(is_awaited, move || drop(new.confirm(&Context::new().unwrap()).unwrap()));
    over(&app, &root, "old").recover(&ctx).unwrap();
    assert_eq!(content(&root), digest(3));
    let releases = over(&app, &root, "old").releases().unwrap();
    let active = releases.iter().find(|release| release.active).unwrap();
    assert_eq!(active.record.state.verdict, Verdict::Confirmed { verified: true });
}

#[test]
fn what_was_killed_before_it_was_watched_is_waited_for_all_the_same() {
    let app = two_releases();
    let shots = killed(&app, LONG);
    let activated = |shot: &&tempfile::TempDir| {
        let state = over(&app, &root_of(shot), "old").state().unwrap();
        state.probation.is_none() && state.open.iter().any(|open| open.activated)
    };
    let root = root_of(shots.iter().find(activated).unwrap());
    let new = over(&app, &root, "new");
    let ctx = when(is_awaited, move || drop(new.confirm(&Context::new().unwrap()).unwrap()));
    over(&app, &root, "old").recover(&ctx).unwrap();
    assert_eq!(content(&root), digest(3));
    check(&over(&app, &root, "old"), &root);
}

#[test]
fn a_word_that_nobody_watches_for_counts_as_well() {
    let app = two_releases();
    let shot = killed_on_probation(&app, LONG);
    let root = root_of(&shot);
    let ctx = app.context().unwrap();
    let same = over(&app, &root, "old").confirm(&ctx).unwrap_err();
    assert!(matches!(same, Error::SameConnection { .. }), "{same}");
    over(&app, &root, "new").confirm(&ctx).unwrap();
    over(&app, &root, "old").recover(&ctx).unwrap();
    assert_eq!(content(&root), digest(3));
    check(&over(&app, &root, "old"), &root);
}

#[test]
fn a_record_from_before_demands_nothing() {
    let app = two_releases();
    let shot = killed_on_probation(&app, LONG);
    let root = root_of(&shot);
    let journal = std::fs::read_to_string(root.join(".deploykit/journal")).unwrap();
    let line = journal.lines().find(|line| line.contains("probation-started")).unwrap();
    let json = line.split_once(' ').unwrap().1.replace(",\"confirmation\":true", "");
    assert!(!json.contains("confirmation"));
    let entry: deploykit_core::state::Entry = serde_json::from_str(&json).unwrap();
    let mut state = deploykit_core::state::State::default();
    state.apply(&entry);
    assert!(!state.probation.unwrap().confirmation);
}
