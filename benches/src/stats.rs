//! What a row of measurements adds up to.

use std::time::Duration;

/// Two sides of one measurement, taken in turn: each pair in one round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pairs {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

/// Middle and ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Pairs {
    /// Adds a round.
    pub(crate) fn push(&mut self, ours: Duration, theirs: Duration) {
        self.ours.push(ours.as_secs_f64() * 1e3);
        self.theirs.push(theirs.as_secs_f64() * 1e3);
    }

    /// Our times, in milliseconds.
    pub(crate) fn ours(&self) -> Spread {
        spread(&self.ours)
    }

    /// Their times, in milliseconds.
    pub(crate) fn theirs(&self) -> Spread {
        spread(&self.theirs)
    }

    /// Our time as a part of theirs, round by round: what disturbs a round disturbs both sides.
    pub(crate) fn ratio(&self) -> Spread {
        let ratios: Vec<f64> = self.ours.iter().zip(&self.theirs).map(|(a, b)| a / b).collect();
        spread(&ratios)
    }
}

/// The middle and the ends of some numbers; zeros for none.
pub(crate) fn spread(values: &[f64]) -> Spread {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(&least), Some(&most)) = (sorted.first(), sorted.last()) else {
        return Spread { median: 0.0, least: 0.0, most: 0.0 };
    };
    let half = sorted.len() / 2;
    let median = match sorted.len() % 2 {
        0 => f64::midpoint(sorted[half - 1], sorted[half]),
        _ => sorted[half],
    };
    Spread { median, least, most }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        let odd = spread(&[3.0, 1.0, 100.0]);
        assert_eq!((odd.median, odd.least, odd.most), (3.0, 1.0, 100.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 100.0]).median, 3.0);
        assert_eq!(spread(&[]).median, 0.0);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut pairs = Pairs::default();
        for (ours, theirs) in [(1, 2), (100, 200), (30, 60)] {
            pairs.push(Duration::from_millis(ours), Duration::from_millis(theirs));
        }
        assert_eq!(pairs.ratio(), Spread { median: 0.5, least: 0.5, most: 0.5 });
        assert_eq!((pairs.ours().median, pairs.theirs().most), (30.0, 200.0));
    }
}
