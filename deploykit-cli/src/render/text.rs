//! Texts that come from elsewhere, made fit for a terminal; and numbers in words.

use deploykit::{Cause, Step};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A line without escape sequences and control characters: what a build writes must not move the
/// cursor or change the title of the window. Of a line that overwrote itself with carriage returns
/// the last state is kept; tabs become spaces.
pub(crate) fn clean(line: &str) -> String {
    let plain = anstream::adapter::strip_str(line).to_string();
    let last = plain.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default();
    let mut clean = String::with_capacity(last.len());
    for character in last.chars() {
        match character {
            '\t' => clean.push_str("    "),
            '\n' => clean.push(' '),
            control if control.is_control() => {}
            other => clean.push(other),
        }
    }
    clean
}

/// A text that is cut at its end where it is wider than so many columns.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for character in text.chars() {
        if short.width() + character.width().unwrap_or_default() >= width {
            break;
        }
        short.push(character);
    }
    format!("{}…", short.trim_end())
}

/// The name of a command, cut where it gets long: it stands before every line of its output.
pub(crate) fn short_command(name: &str) -> String {
    const LONGEST: usize = 32;
    cut(&clean(name), LONGEST)
}

/// Why a step failed, while the deployment goes on: the error that it ends with tells the whole.
pub(crate) fn brief(step: Step, error: &str) -> String {
    const LONGEST: usize = 60;
    let error = clean(error);
    // What was not removed is told nowhere else.
    if step == Step::Prune { error } else { cut(&error, LONGEST) }
}

/// A text of several lines, each [`clean`].
pub(crate) fn clean_lines(text: &str) -> String {
    text.lines().map(clean).collect::<Vec<_>>().join("\n")
}

/// How somebody put an end to something: it was …
pub(crate) fn stopped_by(cause: Cause) -> String {
    match cause {
        Cause::Interrupt => "interrupted (Ctrl-C, SIGINT)".to_owned(),
        Cause::Terminate => "told to terminate (SIGTERM)".to_owned(),
        Cause::HangUp => "cut off from its terminal (SIGHUP)".to_owned(),
        other => other.to_string(),
    }
}

/// The same by the number of a signal, which is what is recorded.
pub(crate) fn stopped_by_signal(number: u8) -> String {
    let causes = [Cause::Interrupt, Cause::Terminate, Cause::HangUp];
    let cause = causes.into_iter().find(|cause| cause.signal() == number);
    cause.map_or_else(|| format!("interrupted by signal {number}"), stopped_by)
}

/// `1 file`, `2 files`.
pub(crate) fn count(number: u64, word: &str) -> String {
    if number == 1 { format!("1 {word}") } else { format!("{number} {word}s") }
}

/// Bytes in a unit that reads well: `512 B`, `1.5 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    // Three digits are shown: a loss of precision behind them is none.
    let mut value = number as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 10.0 {
        format!("{value:.1} {}", units[unit])
    } else {
        format!("{value:.0} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_control_characters_are_dropped() {
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m\u{7}"), "red");
        assert_eq!(clean("\u{1b}]0;title\u{7}text"), "text");
        assert_eq!(clean("10%\r50%\r100%"), "100%");
        assert_eq!(clean("done\r"), "done");
        assert_eq!(clean("a\tb"), "a    b");
    }

    #[test]
    fn long_commands_are_cut() {
        assert_eq!(short_command("npm ci"), "npm ci");
        assert_eq!(short_command(&"x".repeat(32)), "x".repeat(32));
        assert_eq!(short_command(&"ä".repeat(33)), format!("{}…", "ä".repeat(31)));
    }

    #[test]
    fn what_is_cut_is_as_wide_as_it_may_be() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
        assert_eq!(cut("ab cdef", 4), "ab…");
        assert_eq!(cut("日本語", 4), "日…");
        let long = "x".repeat(100);
        assert_eq!(brief(Step::Verify, &long).width(), 60);
        assert_eq!(brief(Step::Prune, &long), long);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(1, "release"), "1 release");
        assert_eq!(count(0, "file"), "0 files");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(100 << 20), "100 MiB");
    }
}
