//! What came of a load.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// What can become of a request beside a right answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nobody accepted the connection.
    Refused,
    /// The connection was broken off.
    Reset,
    /// It was closed before the whole answer was there.
    EarlyEnd,
    /// A status of 500 or more.
    Status,
    /// No answer in time.
    TimedOut,
    /// By a version that must not answer (any more).
    WrongVersion,
    /// Header and body are of different versions.
    Mixed,
    /// Anything else.
    Other,
}

/// What came of a load.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Right answers, by version.
    pub answers: BTreeMap<String, u64>,
    /// All else.
    pub failures: BTreeMap<Failure, u64>,
    /// When failures were, since the beginning: the first hundred of each thread.
    pub failed_at: Vec<(Duration, Failure)>,
    /// When each version answered first, since the beginning.
    pub first: BTreeMap<String, Duration>,
    /// When each request that was answered and is not a slow one was sent, since the beginning, and how long it
    /// took.
    latencies: Vec<(Duration, Duration)>,
}

impl Tally {
    pub(super) fn note(
        &mut self,
        at: Duration,
        took: Duration,
        is_slow: bool,
        answer: Result<String, Failure>,
    ) {
        match answer {
            Ok(version) => {
                // How long slow ones take is their own business.
                if !is_slow {
                    self.latencies.push((at, took));
                }
                let end = at + took;
                let first = self.first.entry(version.clone()).or_insert(end);
                *first = end.min(*first);
                *self.answers.entry(version).or_default() += 1;
            }
            Err(failure) => {
                *self.failures.entry(failure).or_default() += 1;
                if self.failed_at.len() < 100 {
                    self.failed_at.push((at, failure));
                }
            }
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        for (version, count) in other.answers {
            *self.answers.entry(version).or_default() += count;
        }
        for (failure, count) in other.failures {
            *self.failures.entry(failure).or_default() += count;
        }
        for (version, at) in other.first {
            let first = self.first.entry(version).or_insert(at);
            *first = at.min(*first);
        }
        self.failed_at.extend(other.failed_at);
        self.failed_at.sort();
        self.latencies.extend(other.latencies);
    }

    /// How many requests were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.answers.values().sum::<u64>() + self.lost()
    }

    /// How many were not answered rightly.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.failures.values().sum()
    }

    /// How long so many hundredths of the requests took at the most that were sent within these times, and
    /// answered.
    #[must_use]
    pub fn percentile(&self, hundredths: f64, within: &[Range<Duration>]) -> Option<Duration> {
        let is_within = |at: &Duration| within.iter().any(|range| range.contains(at));
        let taken = self.latencies.iter().filter(|(at, _)| is_within(at));
        let mut taken: Vec<Duration> = taken.map(|(_, took)| *took).collect();
        taken.sort_unstable();
        let last = taken.len().checked_sub(1)?;
        let index = (hundredths / 100.0 * last as f64).round() as usize;
        taken.get(index.min(last)).copied()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} lost", self.lost(), self.sent())?;
        for (failure, count) in &self.failures {
            write!(f, ", {count} {failure:?}")?;
        }
        Ok(())
    }
}
