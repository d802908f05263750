//! Journals at random, for the properties of the state and of what is computed from it.

use proptest::prelude::*;

use super::State;
use crate::config::{Period, RuntimeConfig};
use crate::id::{BuildDigest, DeploymentId, ReleaseId, Revision, SourceId};
use crate::state::{
    Actor, ConfirmedBy, Connection, Demand, Entry, NOTICE_FORMAT, Notice, NoticeEvent, Outcome,
    Record, Request,
};
use crate::time::Timestamp;
use crate::traits::Prepared;

/// How many releases, sources and deployments there are: few, so that records meet.
const RELEASES: u8 = 6;
const SOURCES: u8 = 3;

pub(crate) fn release_id(number: u8) -> ReleaseId {
    format!("release-{number}").parse().unwrap()
}

pub(crate) fn source_id(number: u8) -> SourceId {
    SourceId::new("git", &format!("{number:02x}").repeat(20)).unwrap()
}

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(seconds * 1000).unwrap())
}

pub(crate) fn created(number: u8, source: u8, name: &str) -> Record {
    let release = release_id(number);
    Record::ReleaseCreated {
        deployment: DeploymentId(u64::from(number)),
        path: format!("releases/{release}").into(),
        release,
        source: source_id(source),
        name: name.into(),
        build: BuildDigest::of(b"build"),
        marker: format!("marker-{number}"),
    }
}

pub(crate) fn sealed(number: u8) -> Record {
    let (release, runtime) = (release_id(number), RuntimeConfig::default());
    Record::ReleaseSealed { release, runtime, bytes: 1, entries: 1 }
}

pub(crate) fn adopted(number: u8, source: u8) -> Record {
    let release = release_id(number);
    Record::ReleaseAdopted {
        path: format!("mfd_{release}").into(),
        release,
        source: source_id(source),
        created: at(u64::from(number)),
        runtime: RuntimeConfig::default(),
    }
}

pub(crate) fn activated(number: u8) -> Record {
    let deployment = DeploymentId(u64::from(number));
    Record::Activated { deployment, to: Some(release_id(number)) }
}

pub(crate) fn confirmed(number: u8) -> Record {
    Record::Confirmed { release: release_id(number), by: ConfirmedBy::Health }
}

pub(crate) fn bad(number: u8) -> Record {
    Record::MarkedBad { release: release_id(number), reason: "500".into() }
}

pub(crate) fn probation(number: u8, predecessor: Option<u8>) -> Record {
    Record::ProbationStarted {
        deployment: DeploymentId(u64::from(number)),
        release: release_id(number),
        predecessor: predecessor.map(release_id),
        deadline: at(1_000_000),
        confirmation: number % 2 == 1,
    }
}

/// The state that these records add up to, each in an entry of its own, a second after the other.
pub(crate) fn state(records: impl IntoIterator<Item = Record>) -> State {
    let mut state = State::default();
    for (record, seq) in records.into_iter().zip(1..) {
        state.apply(&Entry { seq, at: at(seq), records: vec![record] });
    }
    state
}

fn ann() -> Actor {
    Actor { user: "ann".into(), via: "test".into() }
}

/// Any record about the life of a release.
fn of_a_release() -> impl Strategy<Value = Record> {
    let release = 0..RELEASES;
    prop_oneof![
        3 => (release.clone(), 0..SOURCES).prop_map(|(r, s)| created(r, s, "refs/heads/main")),
        3 => release.clone().prop_map(sealed),
        1 => release.clone().prop_map(|r| Record::ReleaseFailed {
            release: release_id(r),
            reason: "no".into(),
        }),
        1 => (release.clone(), 0..SOURCES).prop_map(|(r, s)| adopted(r, s)),
        3 => release.clone().prop_map(activated),
        3 => release.clone().prop_map(confirmed),
        1 => release.clone().prop_map(bad),
        2 => (release.clone(), prop::option::of(0..RELEASES)).prop_map(|(r, p)| probation(r, p)),
        1 => release.clone().prop_map(|r| Record::RemovalIntended { release: release_id(r) }),
        1 => release.prop_map(|r| Record::Removed { release: release_id(r) }),
    ]
}

/// Any record about the life of a deployment, or of the application.
fn of_a_deployment() -> impl Strategy<Value = Record> {
    let (deployment, release) = ((1..5u64).prop_map(DeploymentId), prop::option::of(0..RELEASES));
    let release = release.prop_map(|number| number.map(release_id));
    let request =
        Request::Deploy { revision: Revision::remote_head(), rebuild: true, retry: false };
    prop_oneof![
        (deployment.clone(), release.clone()).prop_map(move |(deployment, from)| {
            Record::DeploymentStarted { deployment, request: request.clone(), by: ann(), from }
        }),
        (deployment.clone(), 0..SOURCES, release.clone()).prop_map(|(deployment, s, release)| {
            Record::DeploymentResolved {
                deployment,
                source: source_id(s),
                release,
                runtime: None,
                spares: false,
                demand: Some(Demand::new(Period::from_secs(s.into()), Connection::named("x"))),
            }
        }),
        (deployment.clone(), outcome())
            .prop_map(|(deployment, outcome)| Record::DeploymentFinished { deployment, outcome }),
        (deployment.clone(), release.clone(), release.clone()).prop_map(
            |(deployment, from, to)| { Record::ActivationIntended { deployment, from, to } }
        ),
        (deployment.clone(), release.clone())
            .prop_map(|(deployment, to)| Record::Activated { deployment, to }),
        (deployment.clone(), release.clone(), any::<bool>()).prop_map(|(deployment, to, bad)| {
            Record::RevertStarted { deployment, to, reason: "500".into(), bad }
        }),
        deployment.prop_map(|deployment| {
            let prepared = Prepared { token: "token".into() };
            Record::ServicePrepared { deployment, prepared }
        }),
        release.prop_map(|release| {
            let path = release.is_none().then(|| "elsewhere".into());
            Record::LinkFound { release, path }
        }),
        (1..5u64, any::<bool>(), any::<bool>()).prop_map(|(number, begun, well)| {
            Record::NoticeOwed { notice: Box::new(notice(number, begun, well)) }
        }),
        (1..5u64).prop_map(|notice| Record::NoticeSent { notice }),
        (1..5u64).prop_map(|notice| Record::NoticeFailed {
            notice,
            reason: "no mail".into(),
            told: Vec::new()
        }),
        Just(Record::Held { by: ann(), reason: None }),
        Just(Record::Unheld { by: ann() }),
        Just(Record::Unknown),
    ]
}

pub(crate) fn notice(number: u64, begun: bool, well: bool) -> Notice {
    let failed = Outcome::Failed { reason: "no".into() };
    Notice {
        format: NOTICE_FORMAT,
        number,
        event: if well { NoticeEvent::Recovery } else { NoticeEvent::Failure },
        application: "/srv/app".into(),
        host: "web1".into(),
        deployment: begun.then_some(DeploymentId(number)),
        request: "deploy".into(),
        by: ann(),
        started: at(number),
        ended: at(number),
        outcome: Some(failed).filter(|_| !well),
        failure: None,
        from: None,
        to: None,
        must_look: false,
        recovers: None,
        now: None,
        log: None,
        log_end: Vec::new(),
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Deployed { verified: true }),
        Just(Outcome::Failed { reason: "no".into() }),
        Just(Outcome::Interrupted { signal: 15 }),
        Just(Outcome::RolledBack { reason: "500".into() }),
        Just(Outcome::Broken { reason: "alas".into() }),
    ]
}

/// Any journal, whether an engine would have written it or not.
pub(crate) fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let record = prop_oneof![3 => of_a_release(), 1 => of_a_deployment()];
    let entries = prop::collection::vec(prop::collection::vec(record, 1..4), 0..40);
    entries.prop_map(|all| {
        let numbered = all.into_iter().zip(1..);
        numbered.map(|(records, seq)| Entry { seq, at: at(seq), records }).collect()
    })
}

/// What any journal adds up to.
pub(crate) fn states() -> impl Strategy<Value = State> {
    entries().prop_map(|entries| {
        let mut state = State::default();
        entries.iter().for_each(|entry| state.apply(entry));
        state
    })
}

/// One of the releases that may be activated, or none.
pub(crate) fn usable(state: &State, number: usize) -> Option<&ReleaseId> {
    let usable: Vec<_> = state.releases.values().filter(|r| r.is_usable()).map(|r| &r.id).collect();
    usable.get(number % (usable.len() + 1)).copied()
}
