//! The transition function: what comes after what. Pure; the effects of a phase are in
//! [`super::run`].
//!
//! ```text
//! Preparing(steps…) ─▶ StartingBeside ─▶ Activating ─▶ Switching ─▶ Watching ─▶ Confirming ─▶ Ended
//!      │                   │                │             │            │
//!      ▼                   ▼                ▼             └─────┬──────┘
//!  Discarding ─▶ Ended   Ended          Aborting ─▶ Ended       ▼
//!                                                  Reverting: link, service, verify ─▶ Ended
//!                                                  Withdrawing: service, link ─▶ Ended (the first time)
//! ```

use crate::cancel::Cause;
use crate::state::Outcome;
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
}

/// How a service gets to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// How its supervisor brings it over.
    pub(crate) switching: Switching,
    /// Whether there is anything to watch.
    pub(crate) watched: bool,
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
    /// Whether the release is to blame: not, when a person interrupted.
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
}

/// What came of a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Happened {
    /// What was to be done is done; health held.
    Done,
    /// It could not be done; the service is ill.
    Failed(String),
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
            Some(end) => Phase::Ended(end.outcome()),
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
            Some(fault) => go_back(course, fault),
        },
        Phase::Watching => match fault(happened) {
            None => Phase::Confirming,
            Some(fault) => go_back(course, fault),
        },
        Phase::Confirming => match fault(happened) {
            None => Phase::Ended(Outcome::Deployed { verified: course.there.watched }),
            Some(fault) => Phase::Ended(Outcome::Broken {
                reason: format!(
                    "it is active, but cannot be recorded as confirmed: {}",
                    fault.reason
                ),
            }),
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
    if course.there.watched { Phase::Watching } else { Phase::Confirming }
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
        (Phase::RevertingLink(fault), Some(why)) => broken(&fault, "going back failed", &why),
        (Phase::RevertingService(fault), Some(why)) => {
            broken(&fault, "the previous release is active, but its service did not start", &why)
        }
        (Phase::RevertingVerify(fault), Some(why)) => {
            broken(&fault, "the previous release is active, but is not well either", &why)
        }
        (Phase::WithdrawingService(fault), went_wrong) => Phase::WithdrawingLink(fault, went_wrong),
        (Phase::WithdrawingLink(fault, None), None) => {
            Phase::Ended(Outcome::Failed { reason: fault.reason })
        }
        (Phase::WithdrawingLink(fault, before), went_wrong) => {
            let why = before.or(went_wrong).unwrap_or_default();
            broken(&fault, "withdrawing the first release failed", &why)
        }
        // Every other phase is dealt with before.
        (other, _) => other,
    }
}

fn broken(fault: &Fault, what: &str, why: &str) -> Phase {
    Phase::Ended(Outcome::Broken { reason: format!("{}; {what}: {why}", fault.reason) })
}

fn end(happened: Happened) -> Option<End> {
    match happened {
        Happened::Failed(reason) => Some(End::Failed(reason)),
        Happened::Cancelled(cause) => Some(End::Interrupted(cause)),
        Happened::Done | Happened::DecidedElsewhere(_) => None,
    }
}

fn fault(happened: Happened) -> Option<Fault> {
    match happened {
        Happened::Failed(reason) => Some(Fault { reason, bad: true }),
        Happened::Cancelled(cause) => Some(Fault { reason: cause.to_string(), bad: false }),
        Happened::Done | Happened::DecidedElsewhere(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        (any::<bool>(), way(), prop::option::of(way())).prop_map(move |(build, there, back)| {
            Course { preparation: if build { steps.to_vec() } else { Vec::new() }, there, back }
        })
    }

    fn happened() -> impl Strategy<Value = Happened> {
        prop_oneof![
            6 => Just(Happened::Done),
            1 => Just(Happened::Failed("why".into())),
            1 => Just(Happened::Cancelled(Cause::Interrupt)),
        ]
    }

    /// Runs a deployment; what came of phases that are not given any more is `Done`.
    fn run(course: &Course, results: &[Happened]) -> (Vec<(Phase, Happened)>, Outcome) {
        let mut results = results.iter().cloned();
        let (mut path, mut phase) = (Vec::new(), first(course));
        for _ in 0..50 {
            if let Phase::Ended(outcome) = phase {
                return (path, outcome);
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
            match outcome {
                Outcome::Deployed { verified } => {
                    prop_assert!(activated && reached(&path, &Phase::Confirming));
                    prop_assert!(!reverted && !withdrawn);
                    prop_assert_eq!(verified, reached(&path, &Phase::Watching));
                }
                Outcome::Failed { .. } => prop_assert!(!reverted && (!activated || withdrawn)),
                Outcome::Interrupted { .. } => prop_assert!(!activated),
                Outcome::RolledBack { .. } => prop_assert!(activated && reverted && course.back.is_some()),
                Outcome::Broken { .. } => prop_assert!(activated),
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
            if let (Outcome::RolledBack { .. }, Some(back)) = (outcome, course.back) {
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
        let way = Way { switching: Switching::Restart, watched: true };
        let course = Course { preparation: Vec::new(), there: way, back: Some(way) };
        let phase = next(&course, Phase::Watching, Happened::Cancelled(Cause::Interrupt));
        assert!(matches!(phase, Phase::RevertingLink(Fault { bad: false, .. })));
        let phase = next(&course, Phase::Watching, Happened::Failed("500".into()));
        assert!(matches!(phase, Phase::RevertingLink(Fault { bad: true, .. })));
    }

    #[test]
    fn an_operators_decision_ends_it() {
        let there = Way { switching: Switching::Nothing, watched: true };
        let course = Course { preparation: Vec::new(), there, back: None };
        let decided = Outcome::Deployed { verified: true };
        let phase = next(&course, Phase::Watching, Happened::DecidedElsewhere(decided.clone()));
        assert_eq!(phase, Phase::Ended(decided));
    }
}
