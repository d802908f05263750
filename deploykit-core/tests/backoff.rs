//! Timers look less often at a repository that cannot be reached.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use deploykit_core::{
    Cancellation, Cancelled, Clock, Context, DeployRequest, Error, Report, SystemClock, Timestamp,
};
use deploykit_testkit::fake::FakeApp;

#[path = "common/camera.rs"]
mod camera;
use camera::two_releases;

/// The system's clock, set forward by hand.
#[derive(Debug, Default)]
struct HandClock(Mutex<Duration>);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::now() + *self.0.lock().unwrap()
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }

    fn sleep(&self, duration: Duration, cancellation: &Cancellation) -> Result<(), Cancelled> {
        cancellation.sleep(duration)
    }
}

/// Two releases, and a host on which it gets later by hand.
struct Host {
    app: FakeApp,
    clock: Arc<HandClock>,
}

impl Host {
    fn new() -> Self {
        let app = two_releases();
        app.fakes.take_calls();
        Self { app, clock: Arc::default() }
    }

    fn ctx(&self) -> Context {
        self.app.context().unwrap().with_clock(self.clock.clone())
    }

    fn later(&self, minutes: u64) {
        *self.clock.0.lock().unwrap() += Duration::from_secs(60 * minutes);
    }

    fn timer(&self) -> Result<Report, Error> {
        self.app.open().deploy(&self.ctx(), &DeployRequest::latest().if_changed(true))
    }

    fn looks(&self) -> usize {
        self.app.fakes.take_calls().iter().filter(|call| *call == "resolve").count()
    }

    fn history(&self) -> usize {
        self.app.open().history().unwrap().len()
    }
}

#[test]
fn a_repository_out_of_reach_is_looked_at_less_and_less_often() {
    let host = Host::new();
    host.app.fakes.world().unreachable = true;
    host.timer().unwrap_err();
    let said = host.app.events.messages().join("\n");
    assert!(said.contains("looks less often"), "{said}");
    for _ in 0..3 {
        let report = host.timer().unwrap();
        assert!(report.nothing.unwrap().contains("no route"));
    }
    assert_eq!((host.looks(), host.history()), (1, 2));

    host.later(2);
    host.timer().unwrap_err();
    let said = host.app.events.messages().join("\n");
    assert!(!said.contains("looks less often"), "it was said before: {said}");
    host.later(1);
    assert!(host.timer().unwrap().nothing.is_some(), "two minutes now");
    for pause in [2, 5, 9, 18, 36, 67] {
        host.later(pause);
        host.timer().unwrap_err();
    }
    host.later(50);
    assert!(host.timer().unwrap().nothing.is_some(), "an hour now");
    host.later(17);
    host.timer().unwrap_err();
    assert_eq!((host.looks(), host.history()), (8, 2));
}

#[test]
fn the_first_look_that_works_says_so_and_ends_it() {
    let host = Host::new();
    host.app.fakes.world().unreachable = true;
    host.timer().unwrap_err();
    host.app.fakes.world().unreachable = false;
    host.later(2);
    host.app.events.take();
    let _ = host.timer().unwrap();
    let said = host.app.events.messages().join("\n");
    assert!(said.contains("can be reached again"), "{said}");
    assert!(!host.app.open().layout().backoff().exists());
    let _ = host.timer().unwrap();
    assert_eq!(host.looks(), 3);
    let said = host.app.events.messages().join("\n");
    assert!(!said.contains("can be reached again"), "{said}");
}

#[test]
fn a_person_is_never_held_back_and_ends_it_by_success() {
    let host = Host::new();
    host.app.fakes.world().unreachable = true;
    host.timer().unwrap_err();
    let person = || host.app.open().deploy(&host.ctx(), &DeployRequest::latest());
    person().unwrap_err();
    assert_eq!(host.history(), 3, "a person's attempt is remembered");
    assert!(host.timer().unwrap().nothing.is_some());
    host.app.fakes.world().unreachable = false;
    let _ = person().unwrap();
    assert_eq!(host.looks(), 3);
    let _ = host.timer().unwrap();
    assert_eq!(host.looks(), 1);
}

#[test]
fn what_is_not_there_is_not_out_of_reach() {
    let host = Host::new();
    host.app.fakes.world().revisions.remove("HEAD");
    for _ in 0..2 {
        host.timer().unwrap_err();
    }
    assert_eq!(host.looks(), 2);
}

#[test]
fn it_is_told_of_once_and_not_over_before_somebody_has_looked() {
    let host = Host::new();
    let told = || {
        let text = std::fs::read_to_string(host.app.root.join("told")).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let notify = "[notify]\non_failure = [\"sh\", \"-c\", \"echo $DEPLOYKIT_EVENT >> told\"]\n\
                  on_recovery = [\"sh\", \"-c\", \"echo $DEPLOYKIT_EVENT >> told\"]\n";
    let timer = || {
        let application = host.app.open_with(|config| format!("{config}{notify}"));
        application.deploy(&host.ctx(), &DeployRequest::latest().if_changed(true))
    };
    host.app.fakes.world().unreachable = true;
    timer().unwrap_err();
    let _ = timer().unwrap();
    host.later(2);
    timer().unwrap_err();
    assert_eq!(told(), ["failure"]);
    host.app.fakes.world().unreachable = false;
    let _ = timer().unwrap();
    assert_eq!(told(), ["failure"], "nobody has looked");
    host.later(3);
    let _ = timer().unwrap();
    assert_eq!(told(), ["failure", "recovery"]);
}
