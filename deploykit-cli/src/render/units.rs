//! How unit files differ from those that are there.

use deploykit::systemd::{Comparison, Present, UnitSet};
use similar::{ChangeTag, TextDiff};

use super::paint::Paint;
use super::text::clean;

/// The differences, in the form that `diff -u` has.
pub(crate) fn diff(set: &UnitSet, compared: &Comparison, paint: Paint) -> String {
    let mut text = String::new();
    for file in compared.files.iter().filter(|file| file.present != Present::Same) {
        let path = set.directory().join(&file.file.name);
        let what = match file.present {
            Present::Absent => "would be made",
            Present::Outdated => "would be replaced",
            Present::Edited => "was changed by hand: it is replaced with --force only",
            Present::Other => "was made for another application: it is replaced with --force only",
            _ => "was not made by deploykit: it is replaced with --force only",
        };
        text.push_str(&paint.strong(&format!("{path} {what}")));
        text.push('\n');
        text.push_str(&of_texts(&file.there, &file.file.text, paint));
    }
    for file in &compared.obsolete {
        let path = set.directory().join(&file.name);
        text.push_str(&paint.strong(&format!("{path} would be removed")));
        text.push('\n');
        text.push_str(&of_texts(&file.text, "", paint));
    }
    text
}

fn of_texts(old: &str, new: &str, paint: Paint) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut text = String::new();
    for group in diff.grouped_ops(3) {
        if !text.is_empty() {
            text.push_str("  ...\n");
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let line = clean(change.value().trim_end_matches('\n'));
            let line = match change.tag() {
                ChangeTag::Delete => paint.bad(&format!("- {line}")),
                ChangeTag::Insert => paint.good(&format!("+ {line}")),
                ChangeTag::Equal => format!("  {line}"),
            };
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}
