//! Times and lengths of time, for people.

use std::time::Duration;

use deploykit::Timestamp;

/// `0.35 s`, `12.3 s`, `2 min 5 s`, `1 h 20 min`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.as_millis() < 1000 => format!("{} ms", duration.as_millis()),
        0..60 => format!("{}.{} s", seconds, duration.subsec_millis() / 100),
        60..3600 => pair(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => pair(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => pair(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// The same of milliseconds.
pub(crate) fn millis(millis: u64) -> String {
    duration(Duration::from_millis(millis))
}

fn pair(large: u64, unit: &str, small: u64, smaller: &str) -> String {
    if small == 0 { format!("{large} {unit}") } else { format!("{large} {unit} {small} {smaller}") }
}

/// Only the largest unit, for what is long past or to come: `3 min`, `2 h`, `5 d`.
pub(crate) fn rough(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// How times are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// The time now.
    pub(crate) now: Timestamp,
    /// Absolute local time as well.
    pub(crate) absolute: bool,
}

impl Times {
    /// Relative to the time now; absolute as well, if so wanted.
    pub(crate) fn new(absolute: bool) -> Self {
        Self { now: Timestamp::now(), absolute }
    }

    /// `3 min ago`, `just now`; with absolute times `2026-11-21 10:15:30 +01:00 (3 min ago)`.
    pub(crate) fn past(self, at: Timestamp) -> String {
        let since = self.now.since(at);
        let relative = if since < Duration::from_secs(1) {
            "just now".to_owned()
        } else {
            format!("{} ago", rough(since))
        };
        self.with_absolute(at, relative)
    }

    /// `in 12 s`; `now` when it has passed.
    pub(crate) fn future(self, at: Timestamp) -> String {
        let left = at.since(self.now);
        let relative =
            if left.is_zero() { "now".to_owned() } else { format!("in {}", rough(left)) };
        self.with_absolute(at, relative)
    }

    fn with_absolute(self, at: Timestamp, relative: String) -> String {
        if self.absolute { format!("{} ({relative})", local(at)) } else { relative }
    }
}

/// In the time zone of this machine: `2026-11-21 10:15:30 +01:00`.
pub(crate) fn local(at: Timestamp) -> String {
    let instant = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
    instant.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_read_well() {
        let texts = [
            (350, "350 ms"),
            (1_000, "1.0 s"),
            (12_345, "12.3 s"),
            (60_000, "1 min"),
            (125_000, "2 min 5 s"),
            (4_800_000, "1 h 20 min"),
            (90_000_000, "1 d 1 h"),
        ];
        for (number, text) in texts {
            assert_eq!(millis(number), text);
        }
    }

    #[test]
    fn times_are_told_from_now() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let times = Times { now, absolute: false };
        let before = |millis: i64| Timestamp::from_millis(now.as_millis() - millis);
        assert_eq!(times.past(before(200)), "just now");
        assert_eq!(times.past(before(180_000)), "3 min ago");
        assert_eq!(times.past(before(86_400_000)), "24 h ago");
        assert_eq!(times.past(before(-5_000)), "just now");
        assert_eq!(times.future(before(-12_000)), "in 12 s");
        assert_eq!(times.future(before(1)), "now");
    }

    #[test]
    fn absolute_times_come_first() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let text = Times { now, absolute: true }.past(Timestamp::from_millis(1_699_999_940_000));
        assert!(text.starts_with("2023-11-1") && text.ends_with(" (1 min ago)"), "{text}");
    }
}
