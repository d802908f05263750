//! An error: what failed, its causes, and a hint beside it.

use camino::Utf8PathBuf;
use deploykit::{ErrorKind, Masker, causes};
use serde::Serialize;

use super::paint::Paint;
use super::text::clean_lines;
use crate::exit::Exit;

/// Why a command ended without doing what was asked.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The engine says so.
    Engine(deploykit::Error),
    /// This program says so.
    Own(Box<Own>),
}

/// What this program itself has to complain about.
#[derive(Debug)]
pub(crate) struct Own {
    kind: ErrorKind,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl CliError {
    /// The request makes no sense here.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::own(ErrorKind::Usage, message.into(), hint.into())
    }

    /// It made sense, and has come to nothing.
    pub(crate) fn failed(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::own(ErrorKind::Failed, message.into(), hint.into())
    }

    fn own(kind: ErrorKind, message: String, hint: String) -> Self {
        Self::Own(Box::new(Own { kind, message, causes: Vec::new(), hint: Some(hint) }))
    }

    /// An error of a part of the library that is not the engine.
    pub(crate) fn of(kind: ErrorKind, error: &dyn std::error::Error, hint: Option<String>) -> Self {
        let (message, causes) = (error.to_string(), causes(error));
        Self::Own(Box::new(Own { kind, message, causes, hint }))
    }

    /// The system refused something.
    pub(crate) fn io(message: impl Into<String>, cause: &std::io::Error) -> Self {
        let causes = vec![cause.to_string()];
        let kind = ErrorKind::Failed;
        Self::Own(Box::new(Own { kind, message: message.into(), causes, hint: None }))
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Engine(error) => error.kind(),
            Self::Own(own) => own.kind,
        }
    }

    /// The exit code that it means.
    pub(crate) fn exit(&self) -> Exit {
        Exit::of_kind(self.kind())
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Own(own) => own.hint.clone(),
        }
    }

    fn message_and_causes(&self) -> (String, Vec<String>) {
        match self {
            Self::Engine(deploykit::Error::Config(error)) => (error.to_string(), causes(error)),
            Self::Engine(error) => (error.to_string(), causes(error)),
            Self::Own(own) => (own.message.clone(), own.causes.clone()),
        }
    }

    /// For people. Ends without a line end.
    pub(crate) fn render(&self, paint: Paint, coloured: bool) -> String {
        if let Self::Engine(deploykit::Error::Config(error)) = self {
            return super::config_error::render(error, coloured);
        }
        let (message, causes) = self.message_and_causes();
        Explained { message, causes, hint: self.hint(), ..Explained::default() }.render(paint)
    }

    /// For programs: the value of `error`.
    pub(crate) fn as_json(&self) -> ErrorJson {
        let (message, causes) = self.message_and_causes();
        ErrorJson {
            message,
            causes,
            hint: self.hint(),
            kind: kind_name(self.kind()),
            exit: self.exit().code(),
        }
    }
}

impl From<deploykit::Error> for CliError {
    fn from(error: deploykit::Error) -> Self {
        Self::Engine(error)
    }
}

/// An error, for programs.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorJson {
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    pub(crate) hint: Option<String>,
    pub(crate) kind: &'static str,
    pub(crate) exit: u8,
}

fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Usage => "usage",
        ErrorKind::Config => "config",
        ErrorKind::Busy => "busy",
        ErrorKind::Cancelled(_) => "cancelled",
        ErrorKind::Broken => "broken",
        _ => "failed",
    }
}

/// What failed, and all that helps to understand it.
#[derive(Debug, Default)]
pub(crate) struct Explained {
    /// What failed.
    pub(crate) message: String,
    /// Why, the nearest cause first.
    pub(crate) causes: Vec<String>,
    /// The last lines that the failing process wrote.
    pub(crate) tail: Vec<String>,
    /// Where all of its output is, and how to see it.
    pub(crate) log: Option<(Utf8PathBuf, String)>,
    /// How things stand now.
    pub(crate) now: Option<String>,
    /// What can be done.
    pub(crate) hint: Option<String>,
}

impl Explained {
    /// For people. Ends without a line end.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let message = clean_lines(&self.message);
        let mut lines = vec![format!("{} {message}", paint.error_word("error:"))];
        match self.causes.as_slice() {
            [] => {}
            [cause] => lines.push(format!("  caused by: {}", clean_lines(cause))),
            causes => {
                lines.push("caused by:".to_owned());
                let numbered = causes.iter().enumerate();
                lines.extend(numbered.map(|(i, c)| format!("  {}: {}", i + 1, clean_lines(c))));
            }
        }
        if !self.tail.is_empty() {
            lines.push("the last lines of its output:".to_owned());
            let tail = self.tail.iter().map(|line| super::text::clean(line));
            lines.extend(tail.map(|line| format!("  {} {line}", paint.dim("|"))));
        }
        if let Some((path, command)) = &self.log {
            lines.push(format!("the whole output: `{command}`, {path}"));
        }
        lines.extend(self.now.clone());
        if let Some(hint) = &self.hint {
            lines.push(format!("{} {}", paint.hint_word("hint:"), clean_lines(hint)));
        }
        lines.join("\n")
    }
}

/// What the engine's warnings look like.
pub(crate) fn warning(message: &str, paint: Paint, masker: &Masker) -> String {
    format!("{} {}", paint.warn("warning:"), clean_lines(&masker.mask(message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: fn() -> Paint = || Paint::new(false);

    #[test]
    fn one_cause_is_told_in_its_line_and_several_are_numbered() {
        let mut explained =
            Explained { message: "cannot resolve \"x\"".into(), ..Explained::default() };
        explained.causes = vec!["no route".into()];
        assert_eq!(explained.render(PLAIN()), "error: cannot resolve \"x\"\n  caused by: no route");
        explained.causes.push("deeper".into());
        explained.hint = Some("try again".into());
        let expected = "\
error: cannot resolve \"x\"
caused by:
  1: no route
  2: deeper
hint: try again";
        assert_eq!(explained.render(PLAIN()), expected);
    }

    #[test]
    fn what_a_process_wrote_cannot_reach_the_terminal() {
        let explained = Explained {
            message: "x".into(),
            tail: vec!["\u{1b}[2Jgone".into()],
            log: Some(("/a/7.log".into(), "deploykit show 7".into())),
            ..Explained::default()
        };
        let expected = "\
error: x
the last lines of its output:
  | gone
the whole output: `deploykit show 7`, /a/7.log";
        assert_eq!(explained.render(PLAIN()), expected);
    }

    #[test]
    fn a_usage_error_has_a_hint_and_exits_with_two() {
        let error = CliError::usage("no address", "give one");
        assert_eq!(error.exit(), Exit::USAGE);
        let json = serde_json::to_value(error.as_json()).unwrap();
        assert_eq!(json["kind"], "usage");
        assert_eq!(json["hint"], "give one");
    }
}
