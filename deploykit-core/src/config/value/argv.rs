//! Commands: a program and its arguments.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A program and its arguments: a list of at least one text, the first not empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Argv(Vec<String>);

impl Argv {
    /// The program.
    pub fn program(&self) -> &str {
        &self.0[0]
    }

    /// Whether the program is named by a path that is relative to where it runs: in a release, say.
    pub fn is_relative(&self) -> bool {
        let program = self.program();
        program.contains('/') && !program.starts_with('/')
    }

    /// Its arguments.
    pub fn arguments(&self) -> &[String] {
        &self.0[1..]
    }

    /// Both.
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<Vec<String>> for Argv {
    type Error = String;

    fn try_from(words: Vec<String>) -> Result<Self, String> {
        if words.first().is_none_or(String::is_empty) {
            return Err("a command is a list of a program and its arguments".into());
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err("a command cannot contain a NUL character".into());
        }
        Ok(Self(words))
    }
}

impl From<Argv> for Vec<String> {
    fn from(argv: Argv) -> Self {
        argv.0
    }
}

/// As one would type it, words with special characters in quotes. For people only.
impl fmt::Display for Argv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
        for (index, word) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            if !word.is_empty() && word.chars().all(plain) {
                f.write_str(word)?;
            } else {
                write!(f, "'{}'", word.replace('\'', "'\\''"))?;
            }
        }
        Ok(())
    }
}
