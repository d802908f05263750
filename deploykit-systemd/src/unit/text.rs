//! Writing values so that systemd reads them back.
//!
//! The rules are those of systemd.syntax(7) ("Quoting") and of systemd.service(5) ("Command lines").

use deploykit_core::config::INSTANCE;

/// A value that stands alone to the end of its line: only what introduces a specifier has a meaning,
/// and a backslash at the end.
pub(super) fn plain(value: &str) -> String {
    let mut text = literal(value);
    if text.ends_with('\\') {
        // The line would go on. systemd takes blanks away from the end of a value, but not before it has
        // looked for that.
        text.push(' ');
    }
    text
}

fn literal(value: &str) -> String {
    value.replace('%', "%%").replace(INSTANCE, "%i")
}

/// A word of a list, in quotes where it needs them.
pub(super) fn word(value: &str) -> String {
    let simple = |c: char| c.is_ascii_alphanumeric() || "/._-:=@,+{}[]".contains(c);
    if !value.is_empty() && value.chars().all(simple) {
        return literal(value);
    }
    let mut quoted = String::from("\"");
    for c in literal(value).chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\t' => quoted.push_str("\\t"),
            // A character, not a byte: some control characters have two of those.
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// An argument of a command: a dollar sign would be replaced by a variable.
pub(super) fn argument(value: &str) -> String {
    word(&value.replace('$', "$$"))
}

/// The same, but `$MAINPID` stands for the process, as systemd has it.
pub(super) fn argument_with_process(value: &str) -> String {
    if value == "$MAINPID" { value.to_owned() } else { argument(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_for_systemd_loses_it() {
        for (given, written) in [
            ("--port", "--port"),
            ("808{instance}", "808%i"),
            ("100%", "\"100%%\""),
            ("a b", "\"a b\""),
            ("", "\"\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("$HOME", "\"$$HOME\""),
            ("a;b", "\"a;b\""),
            ("\u{85}", "\"\\u0085\""),
        ] {
            assert_eq!(argument(given), written);
        }
        assert_eq!(argument_with_process("$MAINPID"), "$MAINPID");
        assert_eq!(plain("/srv/a b%"), "/srv/a b%%");
        assert_eq!(plain("a\\"), "a\\ ");
    }
}
