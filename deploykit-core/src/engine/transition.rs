//! The transition function: what comes after what. Pure; the effects of a phase are in
//! [`super::run`].
//!
//! ```text
//! Preparing(steps…) ─▶ StartingBeside ─▶ Activating ─▶ Switching ─▶ Watching ─▶ Confirming ─▶ Ended
//!      │                   │                │             │            │
//!      ▼                   └───────▶────────┤             └─────┬──────┘
//!  Discarding ─▶ Ended                  Aborting ─▶ Ended       ▼
//!                                                  Reverting: link, service, verify ─▶ Ended
//!                                                  Withdrawing: service, link ─▶ Ended (the first time)
//! ```
//!
//! What cannot be recorded or undone is `Stuck`: the deployment stays open, and recovery goes on with
//! it.

use crate::cancel::Cause;
use crate::state::{Outcome, Request};
use crate::step::Step;
use crate::traits::Switching;

/// What is fixed before a deployment begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Course {
    /// The steps that make the release; none when it exists.
    pub(crate) preparation: Vec<Step>,
    /// How the service gets to the release.
    pub(crate) there: Way,
    /// How it gets back to the previous one; nothing when there is none.
    pub(crate) back: Option<Way>,
    /// It stays where it is unless it has proved ill: an operator has left the other one, or whoever
    /// carries it on has only come by.
    pub(crate) stays: bool,
    /// The service of the active release is only started again: there is nothing to go back to.
    pub(crate) again: bool,
    /// Why it is left when it was well all the time and nobody has confirmed it; nothing where nobody
    /// has to.
    pub(crate) unconfirmed: Option<Fault>,
}

/// Why what nobody has confirmed is left. A timer must not bring it again, so what was deployed counts
/// as bad; what an operator went back to has been good, and stays so.
pub(crate) fn unconfirmed(request: &Request) -> Fault {
    let reason = "nobody confirmed it over a new connection in time".to_owned();
    Fault { reason, bad: !matches!(request, Request::Rollback { .. }) }
}

/// How a service gets to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// How its supervisor brings it over.
    pub(crate) switching: Switching,
    /// Whether there is anything to watch.
    pub(crate) watched: bool,
}

impl Way {
    /// The same; but where the service runs on as it is, it is only watched.
    pub(crate) fn watching_only(self, runs_on: bool) -> Self {
        let switching = if runs_on { Switching::Nothing } else { self.switching };
        Self { switching, ..self }
    }
}

/// How a deployment that is given up before the activation ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Failed(String),
    Interrupted(Cause),
}

impl End {
    fn outcome(self) -> Outcome {
        match self {
            Self::Failed(reason) => Outcome::Failed { reason },
            Self::Interrupted(cause) => Outcome::Interrupted { signal: cause.signal() },
        }
    }
}

/// Why an activated release is left again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// In words.
    pub(crate) reason: String,
    /// Whether the release is to blame: not, when a person interrupted, or when deploykit itself
    /// could not go on.
    pub(crate) bad: bool,
}

/// Where a deployment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The release is being made. Nothing that serves has changed.
    Preparing(Step),
    /// What was made of the release is removed.
    Discarding(End),
    /// The new instances are started beside the old ones.
    StartingBeside,
    /// The new instances are ended again.
    Aborting(End),
    /// The link is switched.
    Activating,
    /// The service is brought over.
    Switching,
    /// Health is watched.
    Watching,
    /// The release is declared good.
    Confirming,
    /// The link goes back.
    RevertingLink(Fault),
    /// The service goes back.
    RevertingService(Fault),
    /// The health of the previous release is looked at.
    RevertingVerify(Fault),
    /// There is no previous release: the service is stopped.
    WithdrawingService(Fault),
    /// There is no previous release: the link is removed. The second is what went wrong before.
    WithdrawingLink(Fault, Option<String>),
    /// It is over.
    Ended(Outcome),
    /// It could be brought neither to its end nor back. What is left of it is for recovery.
    Stuck(String),
}

/// What came of a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happened {
    /// What was to be done is done; health held.
    Done,
    /// It could not be done; why.
    Failed {
        /// In words.
        reason: String,
        /// What failed is deploykit's own (a full disk, a lock that cannot be had), and tells nothing
        /// of the release.
        own: bool,
    },
    /// Somebody asked for an end.
    Cancelled(Cause),
    /// Somebody else, who had the right, has decided it: an operator's `confirm` or `rollback`.
    DecidedElsewhere(Outcome),
}

/// What comes after `phase`, when `happened` came of it.
pub(crate) fn next(course: &Course, phase: Phase, happened: Happened) -> Phase {
    if let Happened::DecidedElsewhere(outcome) = happened {
        return Phase::Ended(outcome);
    }
    match phase {
        Phase::Preparing(step) => after_preparation(course, step, happened),
        Phase::StartingBeside => match end(happened) {
            None => Phase::Activating,
            Some(end) => Phase::Aborting(end),
        },
        Phase::Discarding(end) | Phase::Aborting(end) => Phase::Ended(end.outcome()),
        Phase::Activating => match end(happened) {
            None if course.there.switching != Switching::Nothing => Phase::Switching,
            None => after_switching(course),
            Some(end) if course.there.switching == Switching::Overlap => Phase::Aborting(end),
            Some(end) => Phase::Ended(end.outcome()),
        },
        Phase::Switching => match fault(happened) {
            None => after_switching(course),
            Some(fault) if course.stays && !fault.bad => Phase::Stuck(format!(
                "it is active, but its service was not started: {}",
                fault.reason
            )),
            Some(fault) => go_back(course, fault),
        },
        Phase::Watching => match (fault(happened), &course.unconfirmed) {
            // What somebody has to confirm is confirmed by nobody else.
            (None, Some(fault)) => go_back(course, fault.clone()),
            (None, None) => Phase::Confirming,
            (Some(fault), _) if course.stays && !fault.bad => Phase::Stuck(format!(
                "it is active, but was not watched to the end: {}",
                fault.reason
            )),
            (Some(fault), _) => go_back(course, fault),
        },
        Phase::Confirming => match fault(happened) {
            None => Phase::Ended(Outcome::Deployed { verified: course.there.watched }),
            Some(fault) => Phase::Stuck(format!(
                "it is active, but cannot be recorded as confirmed: {}",
                fault.reason
            )),
        },
        reverting => after_revert_step(course, reverting, happened),
    }
}

fn after_preparation(course: &Course, step: Step, happened: Happened) -> Phase {
    if let Some(end) = end(happened) {
        return Phase::Discarding(end);
    }
    let mut later = course.preparation.iter().skip_while(|other| **other != step).skip(1);
    match later.next() {
        Some(following) => Phase::Preparing(*following),
        None => after_release(course),
    }
}

/// The first phase of a deployment.
pub(crate) fn first(course: &Course) -> Phase {
    course.preparation.first().map_or_else(|| after_release(course), |step| Phase::Preparing(*step))
}

fn after_release(course: &Course) -> Phase {
    match course.there.switching {
        Switching::Overlap => Phase::StartingBeside,
        Switching::Nothing | Switching::Restart => Phase::Activating,
    }
}

fn after_switching(course: &Course) -> Phase {
    let watched = course.there.watched || course.unconfirmed.is_some();
    if watched { Phase::Watching } else { Phase::Confirming }
}

fn go_back(course: &Course, fault: Fault) -> Phase {
    if course.back.is_some() {
        Phase::RevertingLink(fault)
    } else if course.there.switching == Switching::Nothing {
        Phase::WithdrawingLink(fault, None)
    } else {
        Phase::WithdrawingService(fault)
    }
}

fn after_revert_step(course: &Course, phase: Phase, happened: Happened) -> Phase {
    let went_wrong = fault(happened).map(|fault| fault.reason);
    let back = course.back.unwrap_or(course.there);
    match (phase, went_wrong) {
        (Phase::RevertingLink(fault), None) if course.again => {
            Phase::Ended(Outcome::Broken { reason: fault.reason })
        }
        (Phase::RevertingLink(fault), None) if back.switching != Switching::Nothing => {
            Phase::RevertingService(fault)
        }
        (Phase::RevertingLink(fault) | Phase::RevertingService(fault), None) if back.watched => {
            Phase::RevertingVerify(fault)
        }
        (
            Phase::RevertingLink(fault)
            | Phase::RevertingService(fault)
            | Phase::RevertingVerify(fault),
            None,
        ) => Phase::Ended(Outcome::RolledBack { reason: fault.reason }),
        (Phase::RevertingLink(fault), Some(why)) => {
            Phase::Stuck(both(&fault, "going back failed", &why))
        }
        (Phase::RevertingService(fault), Some(why)) => Phase::Stuck(both(
            &fault,
            "the previous release is active, but its service did not start",
            &why,
        )),
        (Phase::RevertingVerify(fault), Some(why)) => {
            let what = "the previous release is active, but is not well either";
            Phase::Ended(Outcome::Broken { reason: both(&fault, what, &why) })
        }
        (Phase::WithdrawingService(fault), went_wrong) => Phase::WithdrawingLink(fault, went_wrong),
        (Phase::WithdrawingLink(fault, None), None) => {
            Phase::Ended(Outcome::Failed { reason: fault.reason })
        }
        (Phase::WithdrawingLink(fault, Some(why)), None) => {
            let reason = both(&fault, WITHDRAWING_FAILED, &why);
            Phase::Ended(Outcome::Broken { reason })
        }
        (Phase::WithdrawingLink(fault, before), Some(why)) => {
            Phase::Stuck(both(&fault, WITHDRAWING_FAILED, &before.unwrap_or(why)))
        }
        // Every other phase is dealt with before.
        (other, _) => other,
    }
}

const WITHDRAWING_FAILED: &str = "withdrawing the first release failed";

/// Why it went back, and why it did not get there.
fn both(fault: &Fault, what: &str, why: &str) -> String {
    format!("{}; {what}: {why}", fault.reason)
}

fn end(happened: Happened) -> Option<End> {
    match happened {
        Happened::Failed { reason, .. } => Some(End::Failed(reason)),
        Happened::Cancelled(cause) => Some(End::Interrupted(cause)),
        Happened::Done | Happened::DecidedElsewhere(_) => None,
    }
}

fn fault(happened: Happened) -> Option<Fault> {
    match happened {
        Happened::Failed { reason, own } => Some(Fault { reason, bad: !own }),
        Happened::Cancelled(cause) => Some(Fault { reason: cause.to_string(), bad: false }),
        Happened::Done | Happened::DecidedElsewhere(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNCONFIRMED: &str = "nobody confirmed it";

    fn way() -> impl Strategy<Value = Way> {
        let switching = prop_oneof![
            Just(Switching::Nothing),
            Just(Switching::Restart),
            Just(Switching::Overlap)
        ];
        (switching, any::<bool>()).prop_map(|(switching, watched)| Way { switching, watched })
    }

    fn course() -> impl Strategy<Value = Course> {
        let steps = [
            Step::Fetch,
            Step::Checkout,
            Step::LinkFiles,
            Step::Build,
            Step::LinkDirectories,
            Step::Seal,
        ];
        let demand = prop::option::weighted(0.3, any::<bool>());
        let found = (any::<bool>(), any::<bool>(), way(), prop::option::of(way()), demand);
        found.prop_map(move |(build, again, there, back, demand)| {
            let preparation = if build { steps.to_vec() } else { Vec::new() };
            let again = again && !build && back.is_some();
            let fault = |bad| Fault { reason: UNCONFIRMED.into(), bad };
            let unconfirmed = demand.filter(|_| !again).map(fault);
            Course { preparation, there, back, stays: !build, again, unconfirmed }
        })
    }

    /// Of a release that exists, with one to go back to.
    fn there_and_back() -> Course {
        let way = Way { switching: Switching::Restart, watched: true };
        let (preparation, unconfirmed) = (Vec::new(), None);
        Course { preparation, there: way, back: Some(way), stays: false, again: false, unconfirmed }
    }

    fn failed(own: bool) -> Happened {
        Happened::Failed { reason: "why".into(), own }
    }

    fn happened() -> impl Strategy<Value = Happened> {
        prop_oneof![
            6 => Just(Happened::Done),
            1 => any::<bool>().prop_map(failed),
            1 => Just(Happened::Cancelled(Cause::Interrupt)),
        ]
    }

    /// Runs a deployment; what came of phases that are not given any more is `Done`. There is no
    /// outcome when it is stuck.
    fn run(course: &Course, results: &[Happened]) -> (Vec<(Phase, Happened)>, Option<Outcome>) {
        let mut results = results.iter().cloned();
        let (mut path, mut phase) = (Vec::new(), first(course));
        for _ in 0..50 {
            match phase {
                Phase::Ended(outcome) => return (path, Some(outcome)),
                Phase::Stuck(_) => return (path, None),
                _ => {}
            }
            let happened = results.next().unwrap_or(Happened::Done);
            path.push((phase.clone(), happened.clone()));
            phase = next(course, phase, happened);
        }
        panic!("it never ends: {path:?}");
    }

    fn reached(path: &[(Phase, Happened)], phase: &Phase) -> bool {
        path.iter().any(|(other, happened)| other == phase && *happened == Happened::Done)
    }

    proptest! {
        #[test]
        fn it_ends_and_says_the_truth(course in course(), results in prop::collection::vec(happened(), 0..20)) {
            let (path, outcome) = run(&course, &results);
            let activated = reached(&path, &Phase::Activating);
            let is = |wanted: fn(&Phase) -> bool| path.iter().any(|(phase, _)| wanted(phase));
            let reverted = is(|p| matches!(p, Phase::RevertingLink(_)));
            let withdrawn = is(|p| matches!(p, Phase::WithdrawingLink(..)));
            let own_failure = |(phase, happened): &(Phase, Happened)| {
                *phase == Phase::Watching && *happened == failed(true)
            };
            if path.iter().any(own_failure) {
                let blamed = |p: &Phase| matches!(p, Phase::RevertingLink(Fault { bad: true, .. }));
                prop_assert!(!path.iter().any(|(phase, _)| blamed(phase)));
            }
            match outcome {
                None => prop_assert!(activated),
                Some(outcome) => match outcome {
                Outcome::Deployed { verified } => {
                    prop_assert!(activated && reached(&path, &Phase::Confirming));
                    prop_assert!(!reverted && !withdrawn);
                    prop_assert_eq!(verified, reached(&path, &Phase::Watching));
                    prop_assert!(course.unconfirmed.is_none(), "nobody has confirmed it");
                }
                Outcome::Failed { .. } => prop_assert!(!reverted && (!activated || withdrawn)),
                Outcome::Interrupted { .. } => prop_assert!(!activated),
                Outcome::RolledBack { .. } => prop_assert!(activated && reverted && course.back.is_some()),
                Outcome::Broken { .. } => prop_assert!(activated),
                },
            }
            prop_assert!(!(reverted && withdrawn));
            prop_assert!(!(withdrawn && course.back.is_some()));
        }

        #[test]
        fn nothing_is_activated_before_the_release_is_sealed(course in course(), results in prop::collection::vec(happened(), 0..20)) {
            let (path, _) = run(&course, &results);
            if path.iter().any(|(phase, _)| *phase == Phase::Activating) {
                for step in &course.preparation {
                    prop_assert!(reached(&path, &Phase::Preparing(*step)), "{step} was passed over");
                }
            }
        }

        #[test]
        fn a_service_that_was_brought_over_is_brought_back(course in course(), results in prop::collection::vec(happened(), 0..20)) {
            let (path, outcome) = run(&course, &results);
            if let (Some(Outcome::RolledBack { .. }), Some(back)) = (outcome, course.back) {
                let done = |wanted: fn(&Phase) -> bool| {
                    path.iter().any(|(phase, happened)| wanted(phase) && *happened == Happened::Done)
                };
                let served = done(|phase| matches!(phase, Phase::RevertingService(_)));
                let verified = done(|phase| matches!(phase, Phase::RevertingVerify(_)));
                prop_assert_eq!(served, back.switching != Switching::Nothing);
                prop_assert_eq!(verified, back.watched);
            }
        }
    }

    #[test]
    fn an_interruption_takes_back_what_is_active_but_blames_nobody() {
        let course = there_and_back();
        let phase = next(&course, Phase::Watching, Happened::Cancelled(Cause::Interrupt));
        assert!(matches!(phase, Phase::RevertingLink(Fault { bad: false, .. })));
        let phase = next(&course, Phase::Watching, failed(false));
        assert!(matches!(phase, Phase::RevertingLink(Fault { bad: true, .. })));
        let phase = next(&course, Phase::Watching, failed(true));
        assert!(matches!(phase, Phase::RevertingLink(Fault { bad: false, .. })));
        // What an operator has left is gone back to only when the other one is ill.
        let rollback = Course { stays: true, ..course };
        for happened in [Happened::Cancelled(Cause::Interrupt), failed(true)] {
            for phase in [Phase::Switching, Phase::Watching] {
                let after = next(&rollback, phase, happened.clone());
                assert!(matches!(after, Phase::Stuck(_)), "{after:?}");
            }
        }
        let phase = next(&rollback, Phase::Watching, failed(false));
        assert!(matches!(phase, Phase::RevertingLink(Fault { bad: true, .. })));
    }

    #[test]
    fn what_somebody_has_to_confirm_is_taken_back_however_well_it_is() {
        let way = Way { switching: Switching::Nothing, watched: false };
        for (bad, stays) in [(true, false), (false, true)] {
            let fault = Fault { reason: UNCONFIRMED.into(), bad };
            let unconfirmed = Some(fault.clone());
            let course = Course { there: way, stays, unconfirmed, ..there_and_back() };
            let phase = next(&course, Phase::Activating, Happened::Done);
            assert_eq!(phase, Phase::Watching, "there is something to wait for");
            assert_eq!(next(&course, phase, Happened::Done), Phase::RevertingLink(fault));
        }
    }

    #[test]
    fn what_can_be_neither_finished_nor_undone_stays_open() {
        let course = there_and_back();
        let fault = || Fault { reason: "500".into(), bad: true };
        for phase in [
            Phase::Confirming,
            Phase::RevertingLink(fault()),
            Phase::RevertingService(fault()),
            Phase::WithdrawingLink(fault(), None),
        ] {
            let after = next(&course, phase.clone(), failed(true));
            assert!(matches!(after, Phase::Stuck(_)), "{phase:?}");
        }
        let ill = next(&course, Phase::RevertingVerify(fault()), failed(false));
        assert!(
            matches!(ill, Phase::Ended(Outcome::Broken { .. })),
            "looking again changes nothing"
        );
    }

    #[test]
    fn an_operators_decision_ends_it() {
        let there = Way { switching: Switching::Nothing, watched: true };
        let course = Course { there, back: None, ..there_and_back() };
        let decided = Outcome::Deployed { verified: true };
        let phase = next(&course, Phase::Watching, Happened::DecidedElsewhere(decided.clone()));
        assert_eq!(phase, Phase::Ended(decided));
    }
}
