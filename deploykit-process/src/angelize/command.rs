//! Command lines become argument lists.

use std::iter::Peekable;
use std::str::CharIndices;

/// A command line that is no argument list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It names no program.
    #[error("the command names no program")]
    Empty,
    /// A quote is not closed.
    #[error("the quote {quote} at character {at} of the command is not closed")]
    Quote {
        /// The quote.
        quote: char,
        /// The character at which it opens, counted from 1.
        at: usize,
    },
    /// A backslash with nothing behind it.
    #[error("nothing follows the backslash at the end of the command")]
    Backslash,
    /// Something that only a shell does: redirection, a pipe, a variable, a pattern.
    #[error("`{character}` at character {at} of the command needs a shell")]
    Shell {
        /// The character.
        character: char,
        /// Where it is, counted from 1.
        at: usize,
    },
    /// A NUL character.
    #[error("the command contains a NUL character")]
    Nul,
}

impl CommandError {
    /// What can be written instead.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Shell { .. } => Some(
                "put quotes around it if it is meant as it stands, or run a shell: \
                 [\"/bin/sh\", \"-c\", \"…\"]"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// Splits a command line as a POSIX shell does, without being one.
///
/// - Spaces, tabs and line ends separate words.
/// - `'…'` is taken as it stands. In `"…"` a backslash goes before `"`, `\`, `$`, a backquote or the end of
///   a line, and is a backslash before everything else. Elsewhere it goes before any character.
/// - Quotes can begin and end within a word; `""` is an empty word.
/// - What a shell would do more than that is refused, not passed on as if it were meant: `|`, `&`, `;`,
///   `<`, `>`, `(`, `)`, `$`, backquotes, `*`, `?`, `[`; `~` and `#` at the beginning of a word; a program
///   that looks like `NAME=value`. Angelize runs commands through `/bin/sh`, where they have an effect.
pub fn split_command(line: &str) -> Result<Vec<String>, CommandError> {
    if line.contains('\0') {
        return Err(CommandError::Nul);
    }
    let mut splitter = Splitter { line, rest: line.char_indices().peekable(), words: Vec::new() };
    while splitter.word()? {}
    match splitter.words.first() {
        None => Err(CommandError::Empty),
        Some(program) if program.is_empty() => Err(CommandError::Empty),
        Some(_) => Ok(splitter.words),
    }
}

struct Splitter<'a> {
    line: &'a str,
    rest: Peekable<CharIndices<'a>>,
    words: Vec<String>,
}

impl Splitter<'_> {
    /// Reads the next word, if there is one.
    fn word(&mut self) -> Result<bool, CommandError> {
        while self.rest.next_if(|(_, c)| is_space(*c)).is_some() {}
        let Some((start, first)) = self.rest.peek().copied() else { return Ok(false) };
        if matches!(first, '~' | '#') {
            return Err(self.shell(start, first));
        }
        let mut word = String::new();
        while let Some((index, c)) = self.rest.next_if(|(_, c)| !is_space(*c)) {
            match c {
                '\'' => self.single(index, &mut word)?,
                '"' => self.double(index, &mut word)?,
                '\\' => match self.rest.next() {
                    Some((_, '\n')) => {}
                    Some((_, escaped)) => word.push(escaped),
                    None => return Err(CommandError::Backslash),
                },
                '|' | '&' | ';' | '<' | '>' | '(' | ')' | '$' | '`' | '*' | '?' | '[' => {
                    return Err(self.shell(index, c));
                }
                '=' if self.words.is_empty() && is_name(&self.line[start..index]) => {
                    return Err(self.shell(index, c));
                }
                _ => word.push(c),
            }
        }
        self.words.push(word);
        Ok(true)
    }

    fn single(&mut self, opened: usize, word: &mut String) -> Result<(), CommandError> {
        for (_, c) in self.rest.by_ref() {
            match c {
                '\'' => return Ok(()),
                _ => word.push(c),
            }
        }
        Err(CommandError::Quote { quote: '\'', at: self.at(opened) })
    }

    fn double(&mut self, opened: usize, word: &mut String) -> Result<(), CommandError> {
        while let Some((index, c)) = self.rest.next() {
            match c {
                '"' => return Ok(()),
                '$' | '`' => return Err(self.shell(index, c)),
                '\\' => match self.rest.next_if(|(_, c)| "\"\\$`\n".contains(*c)) {
                    Some((_, '\n')) => {}
                    Some((_, escaped)) => word.push(escaped),
                    None => word.push('\\'),
                },
                _ => word.push(c),
            }
        }
        Err(CommandError::Quote { quote: '"', at: self.at(opened) })
    }

    fn shell(&self, index: usize, character: char) -> CommandError {
        CommandError::Shell { character, at: self.at(index) }
    }

    fn at(&self, index: usize) -> usize {
        self.line[..index].chars().count() + 1
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Whether a shell would take `NAME=value` for the setting of a variable.
fn is_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(word)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_split_as_a_shell_splits_them() {
        for (line, words) in [
            ("/bin/a", &["/bin/a"][..]),
            ("  /bin/a\tb  c\n", &["/bin/a", "b", "c"]),
            (r#"/path/exe arg "two words""#, &["/path/exe", "arg", "two words"]),
            (r#""/opt/my app/x" --a='b c'd"#, &["/opt/my app/x", "--a=b cd"]),
            (r#"x "" '' a\ b"#, &["x", "", "", "a b"]),
            (r#"x "a\"b\\c\d" 'a\b' \\ \'"#, &["x", r#"a"b\c\d"#, r"a\b", r"\", "'"]),
            ("x --port=80 ü=ä", &["x", "--port=80", "ü=ä"]),
            ("x \"a\\\nb\" c\\\nd", &["x", "ab", "cd"]),
            ("x a~b c#d '~' \"*\" \\$HOME", &["x", "a~b", "c#d", "~", "*", "$HOME"]),
        ] {
            assert_eq!(split_command(line).unwrap(), words, "{line}");
        }
    }

    #[test]
    fn what_is_no_argument_list_is_told_with_its_place() {
        let shell = |character, at| CommandError::Shell { character, at };
        for (line, error) in [
            ("", CommandError::Empty),
            ("  ", CommandError::Empty),
            ("'' x", CommandError::Empty),
            ("ä 'b", CommandError::Quote { quote: '\'', at: 3 }),
            ("a \"b\\\"", CommandError::Quote { quote: '"', at: 3 }),
            ("a \\", CommandError::Backslash),
            ("a\0", CommandError::Nul),
            ("a > b", shell('>', 3)),
            ("a | b", shell('|', 3)),
            ("a \"$HOME\"", shell('$', 4)),
            ("a ~/x", shell('~', 3)),
            ("a #x", shell('#', 3)),
            ("a *.txt", shell('*', 3)),
            ("PORT=80 a", shell('=', 5)),
        ] {
            assert_eq!(split_command(line), Err(error), "{line}");
        }
        assert!(split_command("a > b").unwrap_err().hint().unwrap().contains("/bin/sh"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is accepted is what a real shell makes of it.
        #[test]
        fn what_is_accepted_is_what_a_shell_makes_of_it(rest in "[ab '\"\\\\$~#=\t-]{0,12}") {
            let line = format!("printf %s. {rest}");
            if let Ok(words) = split_command(&line) {
                let shell = Command::new("/bin/sh").arg("-c").arg(&line).output().unwrap();
                let words = &words[2..];
                let ours = words.iter().map(|word| format!("{word}.")).collect::<String>();
                let ours = if words.is_empty() { ".".into() } else { ours };
                prop_assert_eq!(String::from_utf8(shell.stdout).unwrap(), ours);
            }
        }

        #[test]
        fn nothing_makes_it_panic(line in ".*") {
            let _ = split_command(&line);
        }
    }
}
