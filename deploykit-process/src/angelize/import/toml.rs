//! TOML for people. The `toml` crate writes what it is given, but neither comments nor empty lines.

use std::fmt::Write;

/// Lists that are longer have a line for each item.
const WIDTH: usize = 100;

/// The lines of a file.
#[derive(Debug, Default)]
pub(super) struct Lines(String);

impl Lines {
    /// Begins a table of a list of tables.
    pub(super) fn table(&mut self, name: &str) {
        self.push(&format!("\n[[{name}]]"));
    }

    /// Begins a table.
    pub(super) fn section(&mut self, name: &str) {
        self.push(&format!("[{name}]"));
    }

    /// `key = value`, where the value is TOML already.
    pub(super) fn entry(&mut self, key: &str, value: &str) {
        self.push(&format!("{key} = {value}"));
    }

    /// `key = "text"`.
    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.entry(key, &quoted(text));
    }

    /// `key = ["text", …]`.
    pub(super) fn texts(&mut self, key: &str, texts: &[String]) {
        let items: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
        let one = format!("[{}]", items.join(", "));
        if key.len() + 3 + one.len() <= WIDTH {
            return self.entry(key, &one);
        }
        self.push(&format!("{key} = ["));
        for item in items {
            self.push(&format!("    {item},"));
        }
        self.push("]");
    }

    /// An empty line.
    pub(super) fn gap(&mut self) {
        self.push("");
    }

    /// A comment, of one line or more.
    pub(super) fn comment(&mut self, text: &str) {
        for line in text.split(['\n', '\r']) {
            let shown: String =
                line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            self.push(format!("# {shown}").trim_end());
        }
    }

    fn push(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// A key, with quotes where it needs them.
pub(super) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

/// A text in quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => _ = write!(out, "\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_text_and_key_is_read_back(texts in proptest::collection::vec("(?s).{0,60}", 0..6), name in "(?s).{0,9}") {
            let mut lines = Lines::default();
            lines.comment(&texts.join("\n"));
            lines.texts("list", &texts);
            lines.text(&key(&name), "x");
            prop_assume!(name != "list");
            let read: ::toml::Table = lines.finish().parse().unwrap();
            let list: Vec<_> = read["list"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
            prop_assert_eq!(list, texts);
            prop_assert_eq!(read[&name].as_str(), Some("x"));
        }
    }
}
