//! What is wrong with a configuration, and where.

use std::fmt;
use std::ops::Range;

use camino::{Utf8Path, Utf8PathBuf};

use super::conceal::{conceal, conceal_broken};

/// What kind of mistake a configuration contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// There is no configuration file.
    NotFound,
    /// The file cannot be read, or is not text.
    Unreadable,
    /// The file can be read by others, though it holds a secret.
    Exposed,
    /// It is not TOML.
    Syntax,
    /// It is written in a format that this version does not know.
    NewerFormat,
    /// A key does not exist.
    UnknownKey,
    /// A key that must be there is not.
    Missing,
    /// A value is of another type than the key takes.
    Type,
    /// A value is of the right type and still none that the key takes.
    Value,
    /// Two keys that exclude each other, or one that has no effect without another.
    Conflict,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What kind it is.
    pub kind: ConfigErrorKind,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// The bytes of [`ConfigError::text`] that it is about; `None` when it is about the whole file.
    pub span: Option<Range<usize>>,
    /// What to write beside the place, if there is more to say than the message does.
    pub label: Option<String>,
    /// Other places that it has to do with, and what to write beside them.
    pub related: Vec<(Range<usize>, String)>,
    /// What a person can do about it.
    pub hint: Option<String>,
}

impl Problem {
    pub(super) fn new(kind: ConfigErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            span: None,
            label: None,
            related: Vec::new(),
            hint: None,
        }
    }

    pub(super) fn at(mut self, span: Option<Range<usize>>) -> Self {
        self.span = span;
        self
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(super) fn beside(mut self, span: Option<Range<usize>>, label: impl Into<String>) -> Self {
        self.related.extend(span.map(|span| (span, label.into())));
        self
    }

    pub(super) fn hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }
}

/// A configuration that cannot be used: which file, and one or more mistakes with their places.
///
/// `{}` is one line: the first mistake with its place. `{:#}` shows every mistake with the line that
/// it is in. A program that draws them itself takes [`text`](Self::text) and
/// [`problems`](Self::problems).
///
/// ```
/// use deploykit_core::config;
///
/// let error = config::parse("[repo]\nulr = \"/srv/app.git\"\n", "deploykit.toml".into()).unwrap_err();
/// assert_eq!(error.to_string(), "deploykit.toml:2:1: unknown key `ulr` in `repo`");
/// assert_eq!(error.hint().as_deref(), Some("did you mean `url`?"));
/// ```
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    path: Utf8PathBuf,
    text: Option<String>,
    problems: Vec<Problem>,
    #[source]
    source: Option<std::io::Error>,
}

impl ConfigError {
    /// Mistakes in a text. The text is kept without its secrets.
    pub(super) fn in_text(path: &Utf8Path, text: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.as_ref().map_or(0, |span| span.start));
        let broken = problems.iter().any(|problem| problem.kind == ConfigErrorKind::Syntax);
        let text = if broken { conceal_broken(text) } else { conceal(text) };
        Self { path: path.to_owned(), text: Some(text), problems, source: None }
    }

    /// A mistake that has no text.
    pub(super) fn of_file(
        path: &Utf8Path,
        problem: Problem,
        source: Option<std::io::Error>,
    ) -> Self {
        Self { path: path.to_owned(), text: None, problems: vec![problem], source }
    }

    /// The file.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// What the file says, where it could be read, with every byte of what may be a secret replaced
    /// by `*`: it can be shown, and all places in it are right.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// The mistakes, at least one, in the order of their places.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The kind of the first mistake.
    pub fn kind(&self) -> ConfigErrorKind {
        self.problems.first().map_or(ConfigErrorKind::Unreadable, |problem| problem.kind)
    }

    /// What a person can do about the first mistake.
    pub fn hint(&self) -> Option<String> {
        self.problems.first().and_then(|problem| problem.hint.clone())
    }

    /// The line and the column of a byte of the text, both from 1; columns count characters.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let before = self.text().and_then(|text| text.get(..byte)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    fn heading(&self, f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
        match &problem.span {
            Some(span) => {
                let (line, column) = self.position(span.start);
                write!(f, "{}:{line}:{column}: {}", self.path, problem.message)
            }
            None => write!(f, "{}: {}", self.path, problem.message),
        }
    }

    fn snippet(&self, f: &mut fmt::Formatter<'_>, span: &Range<usize>, label: &str) -> fmt::Result {
        let (line, column) = self.position(span.start);
        let text = self.text().unwrap_or_default();
        let source = text.lines().nth(line - 1).unwrap_or_default();
        let marked = text.get(span.clone()).and_then(|text| text.lines().next());
        let carets = marked.map_or(1, |marked| marked.chars().count().max(1));
        let gutter = " ".repeat(line.to_string().len());
        writeln!(f)?;
        writeln!(f, " {gutter} |")?;
        writeln!(f, " {line} | {}", source.replace('\t', " "))?;
        let indent = " ".repeat(column - 1);
        write!(f, " {gutter} | {indent}{}", "^".repeat(carets))?;
        if label.is_empty() { Ok(()) } else { write!(f, " {label}") }
    }

    fn whole(&self, f: &mut fmt::Formatter<'_>, problem: &Problem) -> fmt::Result {
        self.heading(f, problem)?;
        if let Some(span) = &problem.span {
            self.snippet(f, span, problem.label.as_deref().unwrap_or_default())?;
        }
        for (span, label) in &problem.related {
            self.snippet(f, span, label)?;
        }
        problem.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  = hint: {hint}"))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            for (index, problem) in self.problems.iter().enumerate() {
                if index > 0 {
                    f.write_str("\n\n")?;
                }
                self.whole(f, problem)?;
            }
            return Ok(());
        }
        if let Some(first) = self.problems.first() {
            self.heading(f, first)?;
        }
        match self.problems.len().saturating_sub(1) {
            0 => Ok(()),
            1 => f.write_str(" (and one more mistake)"),
            more => write!(f, " (and {more} more mistakes)"),
        }
    }
}
