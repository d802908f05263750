//! Deciding on health: what a row of looks adds up to. Pure.

use std::time::Duration;

/// When a release counts as well, and when as ill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// So many good looks in a row make it well.
    pub(super) successes: u32,
    /// So many bad looks in a row make one that was well ill.
    pub(super) failures: u32,
    /// By then it must have been well.
    pub(super) deadline: Duration,
    /// So long it must stay well.
    pub(super) hold: Duration,
}

/// What all checks together saw at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sight {
    /// All is well.
    Well,
    /// Something is not, or not yet.
    Poor(String),
    /// It could not be looked, which tells nothing of the service.
    Blind(String),
    /// The service has ended: there is nothing to wait for.
    Dead(String),
}

/// What is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It was well for long enough.
    Well,
    /// It is ill.
    Ill(String),
    /// It could not be seen to be well, because it could not be looked.
    Unseen(String),
}

/// How soon the second look follows on a first one that was not good.
const EARLY: Duration = Duration::from_millis(50);

/// Follows the looks at one release. Times are those of one monotonic clock.
#[derive(Debug)]
pub(super) struct Tracker {
    limits: Limits,
    begun: Duration,
    good: u32,
    bad: u32,
    well_since: Option<Duration>,
    /// Since when it could not be looked.
    blind_since: Option<Duration>,
}

impl Tracker {
    pub(super) fn new(limits: Limits, begun: Duration) -> Self {
        Self { limits, begun, good: 0, bad: 0, well_since: None, blind_since: None }
    }

    /// Takes what was seen at `now`. An answer is final.
    pub(super) fn see(&mut self, now: Duration, sight: Sight) -> Option<Decision> {
        let blind_since = self.blind_since.take();
        match sight {
            Sight::Well => self.well(now),
            Sight::Poor(why) => self.poor(now, &why).map(Decision::Ill),
            Sight::Blind(why) => {
                let since = *self.blind_since.insert(blind_since.unwrap_or(now));
                self.blind(now, since, &why).map(Decision::Unseen)
            }
            Sight::Dead(why) => Some(Decision::Ill(why)),
        }
    }

    /// How long to wait for the next look at `now`, if every `interval` is often enough. What is not up
    /// yet is looked at sooner at first, since most services are up soon, and what was well for long
    /// enough is looked at when that time is over.
    pub(super) fn until_next(&self, now: Duration, interval: Duration) -> Duration {
        match self.well_since {
            Some(since) if self.bad == 0 => {
                let left = self.limits.hold.saturating_sub(now.saturating_sub(since));
                interval.min(left)
            }
            None if self.good == 0 => {
                let longer = EARLY.saturating_mul(1 << self.bad.saturating_sub(1).min(16));
                interval.min(longer)
            }
            _ => interval,
        }
    }

    fn well(&mut self, now: Duration) -> Option<Decision> {
        (self.good, self.bad) = (self.good.saturating_add(1), 0);
        if self.well_since.is_none() && self.good >= self.limits.successes {
            self.well_since = Some(now);
        }
        let since = self.well_since?;
        (now.saturating_sub(since) >= self.limits.hold).then_some(Decision::Well)
    }

    /// What was well is taken to be so still, for as long as it may take to be well at all.
    fn blind(&mut self, now: Duration, since: Duration, why: &str) -> Option<String> {
        if self.well_since.is_none() {
            return self.poor(now, why);
        }
        let waited = now.saturating_sub(since);
        (waited >= self.limits.deadline)
            .then(|| format!("it could not be looked for {}: {why}", length(waited)))
    }

    fn poor(&mut self, now: Duration, why: &str) -> Option<String> {
        (self.good, self.bad) = (0, self.bad.saturating_add(1));
        if self.well_since.is_some() {
            return (self.bad >= self.limits.failures)
                .then(|| format!("{why} ({} times in a row)", self.bad));
        }
        let waited = now.saturating_sub(self.begun);
        (waited >= self.limits.deadline)
            .then(|| format!("not well within {}: {why}", length(waited)))
    }
}

/// A length of time for people.
fn length(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: Limits = Limits {
        successes: 2,
        failures: 2,
        deadline: Duration::from_secs(10),
        hold: Duration::from_secs(5),
    };

    fn decide(sights: &[Sight]) -> (usize, Option<Decision>) {
        let mut tracker = Tracker::new(LIMITS, Duration::ZERO);
        for (second, sight) in sights.iter().enumerate() {
            if let Some(decision) = tracker.see(Duration::from_secs(second as u64), sight.clone()) {
                return (second, Some(decision));
            }
        }
        (sights.len(), None)
    }

    fn poor() -> Sight {
        Sight::Poor("refused".into())
    }

    #[test]
    fn two_good_looks_and_five_seconds_make_it_well() {
        let sights = [vec![poor(), poor()], vec![Sight::Well; 20]].concat();
        assert_eq!(decide(&sights), (8, Some(Decision::Well)));
    }

    #[test]
    fn who_never_gets_well_is_ill_at_the_deadline_and_not_before() {
        let (second, decision) = decide(&vec![poor(); 20]);
        assert_eq!(second, 10);
        assert_eq!(decision, Some(Decision::Ill("not well within 10 s: refused".into())));
    }

    #[test]
    fn one_bad_look_is_forgiven_and_two_in_a_row_are_not() {
        let well = |n| vec![Sight::Well; n];
        assert_eq!(decide(&[well(3), vec![poor()], well(9)].concat()), (6, Some(Decision::Well)));
        let (second, decision) = decide(&[well(3), vec![poor(), poor()], well(9)].concat());
        assert_eq!(second, 4);
        assert_eq!(decision, Some(Decision::Ill("refused (2 times in a row)".into())));
    }

    #[test]
    fn who_could_not_look_blames_nobody() {
        let blind = || Sight::Blind("no process".into());
        let (second, decision) = decide(&vec![blind(); 20]);
        assert_eq!(second, 10);
        assert_eq!(decision, Some(Decision::Unseen("not well within 10 s: no process".into())));
        let (_, decision) = decide(&[vec![blind(); 10], vec![poor()]].concat());
        assert!(matches!(decision, Some(Decision::Ill(_))), "the last look was a look");
    }

    #[test]
    fn what_was_well_stays_so_while_nobody_can_look() {
        let blind = |n| vec![Sight::Blind("no bus".into()); n];
        let well = |n| vec![Sight::Well; n];
        let decision = decide(&[well(3), blind(9), well(1)].concat());
        assert_eq!(decision, (12, Some(Decision::Well)));
        let decision = decide(&[well(3), blind(20)].concat());
        let why = "it could not be looked for 10 s: no bus";
        assert_eq!(decision, (13, Some(Decision::Unseen(why.into()))));
        let (second, decision) = decide(&[well(3), blind(5), vec![poor(), poor()]].concat());
        assert_eq!((second, matches!(decision, Some(Decision::Ill(_)))), (9, true));
    }

    #[test]
    fn what_is_not_up_yet_is_looked_at_soon_and_what_is_well_when_that_is_long_enough() {
        let interval = Duration::from_secs(1);
        let mut tracker = Tracker::new(LIMITS, Duration::ZERO);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            tracker.see(Duration::ZERO, poor());
            pauses.push(tracker.until_next(Duration::ZERO, interval).as_millis());
        }
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000]);
        let next = |tracker: &mut Tracker, millis: u64, sight| {
            let now = Duration::from_millis(millis);
            tracker.see(now, sight);
            tracker.until_next(now, interval).as_millis()
        };
        assert_eq!(next(&mut tracker, 1000, Sight::Well), 1000, "two good ones, an interval apart");
        assert_eq!(next(&mut tracker, 2000, Sight::Well), 1000);
        assert_eq!(next(&mut tracker, 6400, Sight::Well), 600, "the five seconds end at 7 s");
        assert_eq!(next(&mut tracker, 6500, poor()), 1000, "two bad ones, an interval apart");
    }

    #[test]
    fn a_dead_service_is_not_waited_for() {
        let decision = decide(&[Sight::Well, Sight::Dead("exited".into())]);
        assert_eq!(decision, (1, Some(Decision::Ill("exited".into()))));
    }

    proptest! {
        #[test]
        fn it_always_decides_and_well_only_on_a_good_look(looks in prop::collection::vec(any::<bool>(), 100)) {
            let sights: Vec<_> = looks.iter().map(|ok| if *ok { Sight::Well } else { poor() }).collect();
            let (second, decision) = decide(&sights);
            match decision {
                Some(Decision::Well) => prop_assert!(looks[second] && second >= 6),
                Some(Decision::Ill(_)) => prop_assert!(!looks[second]),
                Some(Decision::Unseen(why)) => prop_assert!(false, "it was always looked: {}", why),
                // Without two good looks in a row it is over at the deadline; with two, the next
                // five seconds or two bad ones in a row decide.
                None => prop_assert!(false, "undecided after 100 looks"),
            }
        }
    }
}
