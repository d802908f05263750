//! What every [`Supervisor`] keeps.

use std::sync::Arc;

use deploykit_core::traits::{
    InstanceName, Manner, Prepared, Release as _, ServiceState, Supervisor, SupervisorError,
    Switching,
};
use deploykit_core::{Cause, Context, Layout, ReleaseId};

use super::name_is_settled;
use super::scene::{Scene, SealedRelease};

/// Puts a supervisor through everything that [`Supervisor`] promises for its way of switching.
/// `make` makes the supervisor of an application in which any release can be run; it is made anew
/// for every call, since nothing is kept in memory between two calls.
///
/// # Panics
/// When a promise is not kept.
pub fn supervisor(make: impl Fn(&Layout) -> Arc<dyn Supervisor>) {
    let stage = Stage { scene: Scene::new(), make: &make };
    name_is_settled("supervisor", stage.supervisor().name(), stage.supervisor().name());
    let switching = stage.supervisor().switching();
    assert_eq!(switching, stage.supervisor().switching(), "its way of switching changes");
    match switching {
        Switching::Nothing => nothing_is_done(&stage),
        Switching::Restart => restarts(&stage),
        Switching::Overlap => overlaps(&stage),
        other => panic!("the suite does not know {other:?}"),
    }
}

/// So long what drains may take.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(10);

struct Stage<'a> {
    scene: Scene,
    make: &'a dyn Fn(&Layout) -> Arc<dyn Supervisor>,
}

fn calm() -> Context {
    Context::new().expect("a context")
}

impl Stage<'_> {
    fn supervisor(&self) -> Arc<dyn Supervisor> {
        (self.make)(self.scene.layout())
    }

    fn state(&self) -> ServiceState {
        let status = self.supervisor().status(&calm()).expect("its status");
        assert!(!status.detail.contains('\n'), "it is not one line: {:?}", status.detail);
        status.state
    }

    /// Fails unless the service is seen to run or not to run, where that can be seen at all.
    fn runs(&self, expected: bool) {
        let (state, observes) = (self.state(), self.supervisor().observes());
        match (observes, expected) {
            (false, _) => assert_eq!(state, ServiceState::Unknown, "it cannot tell, but does"),
            (true, true) => assert_eq!(state, ServiceState::Running),
            (true, false) => assert_eq!(state, ServiceState::Stopped),
        }
    }

    fn in_use(&self) -> Vec<ReleaseId> {
        let mut in_use = self.supervisor().releases_in_use(&calm()).expect("what is in use");
        in_use.sort();
        let all = in_use.len();
        in_use.dedup();
        assert_eq!(all, in_use.len(), "a release is named twice: {in_use:?}");
        in_use
    }

    /// Prepares a release under a name.
    fn prepare(&self, release: &SealedRelease, token: &str) -> Prepared {
        let prepared = Prepared::new(token);
        let beside = self.supervisor().prepare(&calm(), release, &prepared, Manner::Usual);
        beside.expect("it gets ready");
        prepared
    }

    /// Waits until nothing drains any more, and looks what is in use.
    fn drained(&self, only: &[ReleaseId]) {
        let begun = std::time::Instant::now();
        while self.in_use() != only && begun.elapsed() < DRAIN {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert_eq!(self.in_use(), only, "something is left of what was before");
    }

    fn commit(&self, release: &SealedRelease, prepared: &Prepared) {
        self.scene.activate(release);
        let supervisor = self.supervisor();
        supervisor.commit(&calm(), release, prepared).expect("it takes over");
        // As the engine does.
        for instance in supervisor.instances().iter().filter(|one| !supervisor.hands_over(one)) {
            let manner = Manner::Usual;
            supervisor.restart_instance(&calm(), release, instance, manner).expect("it starts");
        }
    }
}

fn nothing_is_done(stage: &Stage<'_>) {
    let release = stage.scene.release(1);
    stage.scene.activate(&release);
    stage.supervisor().restart(&calm(), &release, Manner::Usual).expect("nothing is done");
    stage.supervisor().stop(&calm()).expect("nothing is done");
    assert_eq!(stage.in_use(), [], "something runs");
    cannot_prepare(stage, &release);
}

fn restarts(stage: &Stage<'_>) {
    let (one, two) = (stage.scene.release(1), stage.scene.release(2));
    stage.runs(false);
    let usual = [&one, &two, &two, &one].map(|release| (release, Manner::Usual));
    for (release, manner) in usual.into_iter().chain([(&two, Manner::Anew)]) {
        stage.scene.activate(release);
        stage.supervisor().restart(&calm(), release, manner).expect("it starts");
        stage.runs(true);
        let others = stage.in_use().into_iter().filter(|id| id != release.id()).count();
        assert_eq!(others, 0, "something runs on from the release before");
    }
    let cancelled = calm();
    cancelled.cancellation().cancel(Cause::Terminate);
    let answer = stage.supervisor().restart(&cancelled, &two, Manner::Usual);
    assert!(matches!(answer, Err(SupervisorError::Cancelled(_))), "{answer:?}");
    stage.runs(true);
    by_instance(stage, &one);
    stage.supervisor().stop(&calm()).expect("it ends");
    stage.runs(false);
    assert_eq!(stage.in_use(), [], "something runs on");
    cannot_prepare(stage, &two);
}

/// Each of its instances can be brought over by itself, and is told of by its name; one that it does
/// not have cannot.
fn by_instance(stage: &Stage<'_>, release: &SealedRelease) {
    let supervisor = stage.supervisor();
    let instances = supervisor.instances();
    assert_eq!(instances, stage.supervisor().instances(), "its instances change");
    stage.scene.activate(release);
    for instance in &instances {
        supervisor.restart_instance(&calm(), release, instance, Manner::Usual).expect("it starts");
        let status = supervisor.status(&calm()).expect("its status");
        let name = instance.to_string();
        assert!(status.instances.iter().any(|one| one.name == name), "{name} is not told of");
        stage.runs(true);
    }
    let stranger = InstanceName::new("stranger", Some("7"));
    let answer = supervisor.restart_instance(&calm(), release, &stranger, Manner::Usual);
    assert!(matches!(answer, Err(SupervisorError::Unsupported { .. })), "{answer:?}");
}

fn cannot_prepare(stage: &Stage<'_>, release: &SealedRelease) {
    let (ctx, token) = (calm(), Prepared::new("none"));
    let supervisor = stage.supervisor();
    let answers = [
        ("prepare", supervisor.prepare(&ctx, release, &token, Manner::Usual)),
        ("commit", supervisor.commit(&ctx, release, &token)),
        ("abort", supervisor.abort(&ctx, &token)),
    ];
    for (what, answer) in answers {
        let said = matches!(answer, Err(SupervisorError::Unsupported { .. }));
        assert!(said, "it does not overlap, but {what} is answered with {answer:?}");
    }
}

fn ids<const N: usize>(releases: [&SealedRelease; N]) -> Vec<ReleaseId> {
    releases.into_iter().map(|release| release.id().clone()).collect()
}

fn overlaps(stage: &Stage<'_>) {
    let (one, two, three) =
        (stage.scene.release(1), stage.scene.release(2), stage.scene.release(3));
    stage.runs(false);
    let first = stage.prepare(&one, "1");
    stage.commit(&one, &first);
    stage.runs(true);
    stage.drained(&ids([&one]));

    // What is prepared runs beside, and goes without a trace.
    let second = stage.prepare(&two, "2");
    assert_eq!(stage.in_use(), ids([&one, &two]), "not both run, or one could be pruned");
    stage.runs(true);
    stage.prepare(&two, "2");
    stage.supervisor().abort(&calm(), &second).expect("it ends");
    stage.drained(&ids([&one]));
    stage.supervisor().abort(&calm(), &second).expect("what is gone is no error");
    stage.runs(true);

    // Whoever was killed in between has left what it prepared.
    stage.prepare(&two, "3");
    let third = stage.prepare(&three, "4");
    stage.commit(&three, &third);
    stage.drained(&ids([&three]));
    stage.commit(&three, &third);
    stage.drained(&ids([&three]));

    // A way back prepares what is active already.
    stage.scene.activate(&one);
    let back = stage.prepare(&one, "4-back");
    stage.commit(&one, &back);
    stage.drained(&ids([&one]));
    // What was prepared is gone after a reboot, and runs all the same after the commit.
    stage.commit(&two, &Prepared::new("5"));
    stage.drained(&ids([&two]));
    by_instance(stage, &two);
    overlap_is_cancelled_and_stopped(stage, &one);
}

fn overlap_is_cancelled_and_stopped(stage: &Stage<'_>, other: &SealedRelease) {
    let (cancelled, before) = (calm(), stage.in_use());
    cancelled.cancellation().cancel(Cause::Terminate);
    let prepared = Prepared::new("6");
    let answer = stage.supervisor().prepare(&cancelled, other, &prepared, Manner::Usual);
    assert!(matches!(answer, Err(SupervisorError::Cancelled(_))), "{answer:?}");
    stage.supervisor().abort(&calm(), &prepared).expect("it ends");
    stage.drained(&before);
    stage.prepare(other, "7");
    stage.supervisor().stop(&calm()).expect("it ends");
    assert_eq!(stage.in_use(), [], "something runs on, prepared or not");
    stage.runs(false);
}
