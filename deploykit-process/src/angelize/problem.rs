//! What is wrong with settings, and where.

use std::fmt;

use camino::Utf8PathBuf;

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The file.
    pub file: Utf8PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// The character in it, counted from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One mistake, or something that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where it is.
    pub place: Place,
    /// What is wrong, and what was expected: a lower-case fragment. A value that may be a secret is never
    /// part of it.
    pub message: String,
    /// What a person can do about it.
    pub hint: Option<String>,
}

impl Problem {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Settings that cannot be used: all their mistakes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SettingsError {
    /// The mistakes, at least one, in the order of the files and of their places.
    pub problems: Vec<Problem>,
}

impl SettingsError {
    /// What a person can do about the first mistake.
    pub fn hint(&self) -> Option<String> {
        self.problems.first()?.hint.clone()
    }
}

/// One line: the first mistake with its place, and how many more there are.
impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.problems.first() else { return f.write_str("unusable settings") };
        match self.problems.len() {
            1 => write!(f, "{first}"),
            several => write!(f, "{first} (and {} more)", several - 1),
        }
    }
}

impl std::error::Error for SettingsError {}
