//! Whether, and when, a process that has ended is started again. Pure.

use std::time::Duration;

use deploykit_core::process::Exit;
use serde::{Deserialize, Serialize};

/// How a process ended. Death by a signal is no exit code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Ending {
    /// By itself or by a signal.
    Ended(Exit),
    /// It was never a program: it could not be started, and this is why.
    NotStarted(String),
    /// It is gone, and nobody could see how: it was no child of this process any more.
    Unseen,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ended(exit) => std::fmt::Display::fmt(exit, f),
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
            Self::Unseen => f.write_str("ended, and nobody saw how"),
        }
    }
}

/// When what has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Always.
    Always,
    /// When it ended otherwise than well.
    OnFailure,
    /// Never.
    Never,
}

/// How the pauses between two starts grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pauses {
    /// By the time since the first end that came too soon: 2 s in the first minute, then 15 s, 30 s,
    /// 60 s, 120 s and 240 s from 5, 10, 30 and 60 minutes on. Angelize's steps.
    Ladder,
    /// Each twice the one before.
    Doubling {
        /// The first.
        first: Duration,
        /// None is longer.
        longest: Duration,
    },
}

/// The steps of [`Pauses::Ladder`]: up to this time since the first end, this pause.
const LADDER: [(Duration, Duration); 5] = [
    (Duration::from_secs(60), Duration::from_secs(2)),
    (Duration::from_secs(5 * 60), Duration::from_secs(15)),
    (Duration::from_secs(10 * 60), Duration::from_secs(30)),
    (Duration::from_secs(30 * 60), Duration::from_secs(60)),
    (Duration::from_secs(60 * 60), Duration::from_secs(120)),
];

/// The pause behind the last step.
const LONGEST_STEP: Duration = Duration::from_secs(240);

/// So much longer than it says a pause may be, so that many that ended together do not start together:
/// one tenth.
const JITTER: u32 = 10;

/// What decides about a process that has ended without being asked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rules {
    /// When it is started again at all.
    pub when: When,
    /// Exit codes that count as well, beside 0.
    pub success: Vec<i32>,
    /// Exit codes that keep it from being started again.
    pub final_codes: Vec<i32>,
    /// What has run for so long is stable: it is started again at once, and all is forgotten that was
    /// before.
    pub stable: Duration,
    /// How long the pauses are for what was not.
    pub pauses: Pauses,
    /// After so many ends in a row that came too soon nobody tries any more.
    pub give_up: Option<u32>,
}

impl Default for Rules {
    fn default() -> Self {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        Self {
            when: When::Always,
            success: Vec::new(),
            final_codes: Vec::new(),
            stable: Duration::from_secs(60),
            pauses: Pauses::Doubling { first, longest },
            give_up: None,
        }
    }
}

/// What is remembered of the ends of a process that came too soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Troubles {
    /// When the first of them was, on a monotonic clock.
    first: Option<Duration>,
    /// How many there were in a row.
    count: u32,
}

impl Troubles {
    /// How many there were in a row.
    pub fn count(&self) -> u32 {
        self.count
    }
}

/// What becomes of a process that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is started again after this pause.
    Again(Duration),
    /// It has done what it is there for.
    Done,
    /// It stays down until a person wants otherwise; why, in words.
    Down(String),
}

impl Rules {
    /// Whether an end counts as well.
    pub fn is_success(&self, ending: &Ending) -> bool {
        matches!(ending, Ending::Ended(Exit::Code(code)) if *code == 0 || self.success.contains(code))
    }

    /// Decides about a process that has ended at `now` and has run for `ran`. `jitter` is a number
    /// between 0 and 1 of the caller's choice.
    ///
    /// ```
    /// use std::time::Duration;
    /// use deploykit_core::process::Exit;
    /// use deploykit_process::policy::{Decision, Ending, Rules, Troubles};
    ///
    /// let (rules, mut troubles) = (Rules::default(), Troubles::default());
    /// let (now, long) = (Duration::from_secs(1000), Duration::from_secs(100));
    /// let decision = rules.after(&Ending::Ended(Exit::Signal(9)), long, now, &mut troubles, 0.5);
    /// assert_eq!(decision, Decision::Again(Duration::ZERO));
    /// let decision = rules.after(&Ending::Ended(Exit::Code(1)), Duration::ZERO, now, &mut troubles, 0.0);
    /// assert_eq!(decision, Decision::Again(Duration::from_secs(1)));
    /// ```
    pub fn after(
        &self,
        ending: &Ending,
        ran: Duration,
        now: Duration,
        troubles: &mut Troubles,
        jitter: f64,
    ) -> Decision {
        let success = self.is_success(ending);
        match (ending, self.when) {
            (Ending::Ended(Exit::Code(code)), _) if self.final_codes.contains(code) => {
                return Decision::Down(format!("exit code {code} is not to be tried again"));
            }
            (_, When::Never) | (_, When::OnFailure) if success => return Decision::Done,
            (_, When::Never) => {
                return Decision::Down(format!("it {ending}, and is never started again"));
            }
            _ => {}
        }
        if ran >= self.stable && !matches!(ending, Ending::NotStarted(_)) {
            *troubles = Troubles::default();
            return Decision::Again(Duration::ZERO);
        }
        let since = now.saturating_sub(*troubles.first.get_or_insert(now));
        troubles.count = troubles.count.saturating_add(1);
        if let Some(most) = self.give_up.filter(|most| troubles.count >= *most) {
            return Decision::Down(format!("it {ending}, {most} times in a row too soon"));
        }
        let pause = self.pauses.pause(troubles.count, since);
        Decision::Again(pause + pause.mul_f64(jitter.clamp(0.0, 1.0)) / JITTER)
    }
}

impl Pauses {
    /// The pause before the next start after so many ends in a row that came too soon, the first of them
    /// so long ago.
    fn pause(self, count: u32, since: Duration) -> Duration {
        match self {
            Self::Ladder => {
                let step = LADDER.iter().find(|(until, _)| since < *until);
                step.map_or(LONGEST_STEP, |(_, pause)| *pause)
            }
            Self::Doubling { first, longest } => {
                let times = 1_u32.checked_shl(count.saturating_sub(1)).unwrap_or(u32::MAX);
                first.saturating_mul(times).min(longest.max(first))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DIED: Ending = Ending::Ended(Exit::Signal(9));

    fn code(code: i32) -> Ending {
        Ending::Ended(Exit::Code(code))
    }

    fn pauses(rules: &Rules, ends: &[u64]) -> Vec<Decision> {
        let mut troubles = Troubles::default();
        let one = |second: &u64| {
            rules.after(&DIED, Duration::ZERO, SECOND * (*second as u32), &mut troubles, 0.0)
        };
        ends.iter().map(one).collect()
    }

    fn again(seconds: &[u64]) -> Vec<Decision> {
        seconds.iter().map(|second| Decision::Again(Duration::from_secs(*second))).collect()
    }

    #[test]
    fn the_ladder_is_climbed_by_the_time_since_the_first_end() {
        let rules = Rules { pauses: Pauses::Ladder, ..Rules::default() };
        let ends = [1000, 1059, 1060, 1299, 1300, 1600, 2799, 2800, 4599, 4600, 9999];
        assert_eq!(pauses(&rules, &ends), again(&[2, 2, 15, 15, 30, 60, 60, 120, 120, 240, 240]));
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_a_stable_run_begins_anew() {
        let rules = Rules::default();
        assert_eq!(pauses(&rules, &[0; 9]), again(&[1, 2, 4, 8, 16, 32, 60, 60, 60]));
        let mut troubles = Troubles::default();
        for (ran, expected) in [(0, 1), (59, 2), (60, 0), (0, 1)] {
            let decision = rules.after(&DIED, SECOND * ran, SECOND * 99, &mut troubles, 0.0);
            assert_eq!(decision, Decision::Again(SECOND * expected), "it ran for {ran} s");
        }
    }

    #[test]
    fn what_is_not_to_be_started_again_is_not() {
        let rules =
            Rules { final_codes: vec![99], success: vec![3], give_up: Some(3), ..Rules::default() };
        let after = |rules: &Rules, ending: &Ending| {
            rules.after(ending, SECOND * 3600, SECOND, &mut Troubles::default(), 0.0)
        };
        assert!(matches!(after(&rules, &code(99)), Decision::Down(why) if why.contains("99")));
        assert_eq!(after(&rules, &code(3)), Decision::Again(Duration::ZERO));
        let on_failure = Rules { when: When::OnFailure, ..rules.clone() };
        assert_eq!(after(&on_failure, &code(3)), Decision::Done);
        assert_eq!(after(&on_failure, &DIED), Decision::Again(Duration::ZERO));
        let never = Rules { when: When::Never, ..rules.clone() };
        assert_eq!(after(&never, &code(0)), Decision::Done);
        assert!(matches!(after(&never, &DIED), Decision::Down(why) if why.contains("SIGKILL")));
        let decisions = pauses(&rules, &[0, 0, 0]);
        assert!(matches!(&decisions[2], Decision::Down(why) if why.contains("3 times")));
        // What cannot be started at all has not been stable, however long ago that was.
        let missing = Ending::NotStarted("no such file".into());
        assert_eq!(after(&rules, &missing), Decision::Again(SECOND));
    }

    proptest! {
        #[test]
        fn no_pause_is_shorter_than_it_says_or_longer_by_more_than_a_tenth(
            count in 1_u32..200, since in 0_u64..100_000, jitter in -1.0_f64..2.0, ladder: bool
        ) {
            let rules = Rules {
                pauses: if ladder { Pauses::Ladder } else { Rules::default().pauses },
                ..Rules::default()
            };
            let mut troubles = Troubles { first: Some(Duration::ZERO), count: count - 1 };
            let now = Duration::from_secs(since);
            let plain = rules.pauses.pause(count, now);
            let decision = rules.after(&DIED, Duration::ZERO, now, &mut troubles, jitter);
            let Decision::Again(pause) = decision else { panic!("{decision:?}") };
            prop_assert!(pause >= plain && pause <= plain.mul_f64(1.1), "{:?} {:?}", plain, pause);
            prop_assert!(plain >= SECOND && plain <= LONGEST_STEP);
        }
    }
}
