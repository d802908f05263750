//! Tables, in Markdown.

use std::io::Write as _;

use crate::stats::{Pairs, Spread};

/// Prints a result.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Tells how it goes on, beside the results.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Begins a table.
pub(crate) fn table(title: &str, columns: &[&str]) {
    say(&format!("\n### {title}\n\n| {} |", columns.join(" | ")));
    say(&format!("|{}", "---|".repeat(columns.len())));
}

/// A row of a table.
pub(crate) fn row(cells: &[String]) {
    say(&format!("| {} |", cells.join(" | ")));
}

/// The columns of [`pairs`].
pub(crate) const PAIRS: [&str; 6] =
    ["input", "transport", "what", "deploykit, ms", "script, ms", "ratio (least–most)"];

/// A row of two sides.
pub(crate) fn pairs(input: &str, transport: &str, what: &str, pairs: &Pairs) {
    let ratio = pairs.ratio();
    row(&[
        input.to_owned(),
        transport.to_owned(),
        what.to_owned(),
        number(pairs.ours().median),
        number(pairs.theirs().median),
        format!("**{:.2}** ({:.2}–{:.2})", ratio.median, ratio.least, ratio.most),
    ]);
}

/// A number with three digits that mean something.
pub(crate) fn number(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// The middle of some numbers, and the largest.
pub(crate) fn middle_and_most(spread: Spread) -> String {
    format!("{} (≤ {})", number(spread.median), number(spread.most))
}
