//! What every [`HealthCheck`] keeps.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deploykit_core::traits::{HealthCheck, Look, Release as _};
use deploykit_core::{Cause, Context, Layout};

use super::name_is_settled;
use super::scene::{Scene, SealedRelease};

/// A look that ends at once does so within this on the slowest machine; one that does not end takes
/// far longer.
const LONG: Duration = Duration::from_secs(60);

/// How the service is that a check looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthCase {
    /// It is well.
    Well,
    /// Nobody answers.
    Absent,
    /// It answers, and the answer is wrong.
    Wrong,
    /// It accepts to be asked and never answers.
    Silent,
}

/// A check, and what must stay while it looks: the service that it looks at.
#[derive(Debug)]
pub struct Looker {
    /// The check.
    pub check: Arc<dyn HealthCheck>,
    /// Whatever plays the service; it ends when this is dropped.
    pub service: Box<dyn std::any::Any + Send + Sync>,
}

impl Looker {
    /// A check of a service.
    pub fn new(
        check: Arc<dyn HealthCheck>,
        service: impl std::any::Any + Send + Sync,
    ) -> Option<Self> {
        Some(Self { check, service: Box::new(service) })
    }
}

/// Puts a health check through everything that [`HealthCheck`] promises. `make` makes a check of a
/// service that is as the case says; `None` when that cannot be (a port is open or not: its answer
/// is never wrong).
///
/// # Panics
/// When a promise is not kept.
pub fn health(make: impl Fn(&Layout, HealthCase) -> Option<Looker>) {
    let (scene, make): (_, Make<'_>) = (Scene::new(), &make);
    let release = scene.release(1);
    std::fs::write(release.root().join("content"), "").expect("a file");
    every_look_finds_the_same(make, &scene, &release);
    a_look_without_time_or_cancelled_finds_nothing(make, &scene, &release);
    silence_ends_with_the_deadline_or_a_cancellation(make, &scene, &release);
}

type Make<'a> = &'a dyn Fn(&Layout, HealthCase) -> Option<Looker>;

fn context() -> Context {
    Context::new().expect("a context").with_timeout(LONG)
}

fn every_look_finds_the_same(make: Make<'_>, scene: &Scene, release: &SealedRelease) {
    let well = make(scene.layout(), HealthCase::Well).expect("everything can be well");
    name_is_settled("check", well.check.name(), well.check.name());
    for case in [HealthCase::Well, HealthCase::Absent, HealthCase::Wrong] {
        let Some(looker) = make(scene.layout(), case) else {
            assert_eq!(case, HealthCase::Wrong, "{case:?} is possible for every check");
            continue;
        };
        for _ in 0..3 {
            let look = looker.check.look(&context(), release);
            let right = match case {
                HealthCase::Well => look.is_well(),
                // A command that looks for somebody has answered when it found nobody.
                HealthCase::Absent => !look.is_well(),
                HealthCase::Wrong | HealthCase::Silent => matches!(look, Look::Ill(_)),
            };
            assert!(right, "{case:?} was seen as {look:?}");
            is_told_in_a_line(&look);
        }
    }
}

fn is_told_in_a_line(look: &Look) {
    let detail = look.detail();
    let line = !detail.trim().is_empty() && !detail.contains(char::is_control);
    assert!(line, "what was found is not one line: {detail:?}");
}

fn a_look_without_time_or_cancelled_finds_nothing(
    make: Make<'_>,
    scene: &Scene,
    release: &SealedRelease,
) {
    let looker = make(scene.layout(), HealthCase::Well).expect("everything can be well");
    let late = context().with_timeout(Duration::ZERO);
    let look = looker.check.look(&late, release);
    assert!(matches!(look, Look::NotYet(_)), "without time it found {look:?}");
    is_told_in_a_line(&look);
    let cancelled = context();
    cancelled.cancellation().cancel(Cause::Interrupt);
    let look = looker.check.look(&cancelled, release);
    assert!(matches!(look, Look::NotYet(_)), "cancelled it found {look:?}");
    is_told_in_a_line(&look);
}

fn silence_ends_with_the_deadline_or_a_cancellation(
    make: Make<'_>,
    scene: &Scene,
    release: &SealedRelease,
) {
    let Some(looker) = make(scene.layout(), HealthCase::Silent) else { return };
    let begun = Instant::now();
    let look = looker.check.look(&context().with_timeout(Duration::from_millis(200)), release);
    assert!(matches!(look, Look::NotYet(_)), "of silence it found {look:?}");
    assert!(begun.elapsed() < LONG, "it looked for {:?}", begun.elapsed());

    let (ctx, begun) = (Context::new().expect("a context").with_timeout(LONG * 10), Instant::now());
    let look = std::thread::scope(|scope| {
        let looking = scope.spawn(|| looker.check.look(&ctx, release));
        ctx.cancellation().cancel(Cause::Interrupt);
        looking.join().expect("the check does not panic")
    });
    assert!(matches!(look, Look::NotYet(_)), "cancelled it found {look:?}");
    assert!(begun.elapsed() < LONG, "it looked on for {:?}", begun.elapsed());
}
