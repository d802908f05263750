//! Actions: `verb[,verb…][:parameter][=expected]`, and the form ` => expected` of our own.

use std::fmt;
use std::str::FromStr;

use super::action_error::ActionError;

/// What an action does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Starts a program and supervises it.
    Start,
    /// Ends the program that `start` has started.
    Stop,
    /// Runs a program without waiting for its end.
    Exec,
    /// Runs a program and waits for its exit code.
    Wait,
    /// Asks an address by http for its status.
    Http,
    /// Asks an address by https for its status.
    Https,
    /// Waits for so many milliseconds.
    Sleep,
    /// Starts, ends or looks at a service of the system's own manager.
    Service,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Start,
        Self::Stop,
        Self::Exec,
        Self::Wait,
        Self::Http,
        Self::Https,
        Self::Sleep,
        Self::Service,
    ];

    /// How it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Exec => "exec",
            Self::Wait => "wait",
            Self::Http => "http",
            Self::Https => "https",
            Self::Sleep => "sleep",
            Self::Service => "service",
        }
    }

    /// What is expected when the action says nothing: an exit code, an http status, or the state 4,
    /// which is "running". `None` where there is nothing to expect.
    pub const fn default_expected(self) -> Option<i32> {
        match self {
            Self::Exec | Self::Wait => Some(0),
            Self::Http | Self::Https => Some(200),
            Self::Service => Some(4),
            Self::Start | Self::Stop | Self::Sleep => None,
        }
    }

    pub(super) const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In which list an action stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActionList {
    /// What starts a service.
    Start,
    /// What ends it.
    Stop,
    /// What looks whether it is well.
    Watch,
}

impl ActionList {
    /// Whether a verb has a meaning in it.
    pub const fn allows(self, verb: Verb) -> bool {
        match verb {
            Verb::Start => matches!(self, Self::Start),
            Verb::Stop => matches!(self, Self::Stop),
            _ => true,
        }
    }
}

impl fmt::Display for ActionList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Watch => "watch",
        })
    }
}

/// Which result of an action is a success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Expected {
    /// The one that [`Verb::default_expected`] tells.
    #[default]
    Default,
    /// This one.
    Code(i32),
}

/// One action.
///
/// `http://host/path=204` is read as Angelize reads it: a whole number behind the last `=` is the
/// expected result. That takes the end off `http://host/?id=7` and off `start:/opt/server --port=80`,
/// too, so that [`parse`](Self::parse) tells of a [`Doubt`] there, and there is a form without doubt:
/// a space and `=>` end the parameter, and what follows is the expected result, or nothing.
///
/// Why this form and not a table: one action remains one text in TOML, in JSON and on a command line.
/// No address can contain a space, and no command that is split as ours are can contain a bare `>`,
/// so that nothing which means something today means something else.
///
/// ```
/// use deploykit_process::angelize::{Action, Expected};
///
/// let (action, doubt) = Action::parse("http://127.0.0.1/x?id=7")?;
/// assert_eq!(action.expected, Expected::Code(7));
/// assert_eq!(doubt.unwrap().whole, "http://127.0.0.1/x?id=7 =>");
///
/// let (action, doubt) = Action::parse("http://127.0.0.1/x?id=7 => 200")?;
/// assert_eq!((action.parameter.as_str(), doubt), ("//127.0.0.1/x?id=7", None));
/// # Ok::<(), deploykit_process::angelize::ActionError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Action {
    /// What it does: the first of these that its list allows and that exists on the system.
    pub verbs: Vec<Verb>,
    /// To what, with its variables. Empty stands for `%run%`.
    pub parameter: String,
    /// Which result is a success.
    pub expected: Expected,
}

/// An action that may have been meant otherwise than it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Doubt {
    /// The action as it was given.
    pub action: String,
    /// What its end was taken for.
    pub expected: i32,
    /// The same action without doubt, as it is read.
    pub as_read: String,
    /// The action if the end belongs to the parameter.
    pub whole: String,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, expected, as_read, whole } = self;
        write!(
            f,
            "the end of `{action}` is taken for the expected result {expected}, as Angelize takes \
             it: write `{whole}` if it belongs to what is before, otherwise `{as_read}`"
        )
    }
}

impl Action {
    /// Reads an action, and tells whether it may have been meant otherwise.
    ///
    /// Expected results are looked for before variables are replaced: what a variable holds is never
    /// cut. Angelize looks for them afterwards.
    pub fn parse(text: &str) -> Result<(Self, Option<Doubt>), ActionError> {
        let (names, rest) = match text.split_once(':') {
            Some((names, rest)) => (names, Some(rest)),
            None => (text, None),
        };
        let verbs = verbs(text, names)?;
        let (parameter, expected, plain) = split_expected(rest.unwrap_or_default());
        let action = Self { verbs, parameter: parameter.to_owned(), expected };
        action.check(text, names.len() + 1)?;
        let doubt = if plain { action.doubt(text) } else { None };
        Ok((action, doubt))
    }

    /// The verb that counts in a list: the first one that it allows.
    pub fn verb_in(&self, list: ActionList) -> Result<Verb, ActionError> {
        let allowed = self.verbs.iter().copied().find(|verb| list.allows(*verb));
        allowed.ok_or_else(|| ActionError::NotInList { action: self.to_string(), list })
    }

    /// To what it does it, with its variables: `%run%` when it does not say.
    pub fn target(&self) -> &str {
        if self.parameter.is_empty() { "%run%" } else { &self.parameter }
    }

    /// Which result of this verb is a success. As with Angelize, 0 is no http status and stands for
    /// the default.
    pub fn expected_of(&self, verb: Verb) -> Option<i32> {
        let default = verb.default_expected()?;
        match self.expected {
            Expected::Code(0) if verb.is_http() => Some(default),
            Expected::Code(code) => Some(code),
            Expected::Default => Some(default),
        }
    }

    /// Whether the parameter fits the verbs. What variables stand for is not known here.
    fn check(&self, text: &str, at: usize) -> Result<(), ActionError> {
        let place = || (text.to_owned(), text[..at.min(text.len())].chars().count() + 1);
        let has = |wanted: fn(Verb) -> bool| self.verbs.iter().copied().any(wanted);
        let variable = self.parameter.contains('%');
        if self.parameter.contains('\0') {
            let (action, at) = place();
            return Err(ActionError::Nul { action, at });
        }
        let millis = self.expected == Expected::Default && self.parameter.parse::<u32>().is_ok();
        if has(|verb| verb == Verb::Sleep) && (self.verbs.len() > 1 || !(millis || variable)) {
            let (action, at) = place();
            return Err(ActionError::Sleep { action, at });
        }
        let address = self.parameter.starts_with("//") && self.parameter.len() > 2
            || self.parameter.starts_with('%')
            || self.parameter.is_empty();
        let spaces = self.parameter.contains(char::is_whitespace);
        if has(Verb::is_http) && (!address || spaces) {
            let (action, at) = place();
            return Err(ActionError::Address { action, at });
        }
        Ok(())
    }

    /// Whether the number behind the last `=` may belong to the parameter: behind the `?` of an
    /// address, or where it is no http status; in an argument of a command.
    fn doubt(&self, text: &str) -> Option<Doubt> {
        let Expected::Code(expected) = self.expected else { return None };
        let unlikely = if self.verbs.iter().copied().any(Verb::is_http) {
            self.parameter.contains(['?', '#', ';']) || !(100..=599).contains(&expected)
        } else {
            self.parameter.trim_start().contains(char::is_whitespace)
        };
        unlikely.then(|| Doubt {
            action: text.to_owned(),
            expected,
            as_read: format!("{}:{} => {expected}", self.names(), self.parameter),
            whole: format!("{text} =>"),
        })
    }

    fn names(&self) -> String {
        self.verbs.iter().map(|verb| verb.as_str()).collect::<Vec<_>>().join(",")
    }
}

impl FromStr for Action {
    type Err = ActionError;

    fn from_str(text: &str) -> Result<Self, ActionError> {
        Self::parse(text).map(|(action, _)| action)
    }
}

/// As it would be typed, in the form of Angelize where that is without doubt. Reading it gives the
/// same action.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (names, parameter) = (self.names(), &self.parameter);
        match self.expected {
            Expected::Default if parameter.is_empty() => f.write_str(&names),
            Expected::Default => {
                let plain = split_expected(parameter) == (parameter, Expected::Default, false);
                write!(f, "{names}:{parameter}{}", if plain { "" } else { " =>" })
            }
            Expected::Code(code) => {
                let plain = !parameter.is_empty() && self.doubt("").is_none();
                write!(f, "{names}:{parameter}{}{code}", if plain { "=" } else { " => " })
            }
        }
    }
}

/// Reads the names of verbs in front of the colon.
fn verbs(text: &str, names: &str) -> Result<Vec<Verb>, ActionError> {
    let mut at = 1;
    let mut verbs = Vec::new();
    for name in names.split(',') {
        let verb = Verb::named(name.trim());
        verbs.push(verb.ok_or_else(|| ActionError::unknown(text, at, name.trim()))?);
        at += name.chars().count() + 1;
    }
    Ok(verbs)
}

/// Takes the expected result off a parameter, and tells whether it stood there in Angelize's form.
fn split_expected(text: &str) -> (&str, Expected, bool) {
    if let Some((parameter, rest)) = text.rsplit_once(" =>") {
        match rest.trim() {
            "" => return (parameter, Expected::Default, false),
            number => {
                if let Ok(code) = number.parse() {
                    return (parameter, Expected::Code(code), false);
                }
            }
        }
    }
    match text.rsplit_once('=') {
        Some((parameter, number)) if !parameter.is_empty() => match number.parse() {
            Ok(code) => (parameter, Expected::Code(code), true),
            Err(_) => (text, Expected::Default, false),
        },
        _ => (text, Expected::Default, false),
    }
}

#[cfg(test)]
mod tests;
