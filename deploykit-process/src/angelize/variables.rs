//! Variables in texts: `%run%`, `%log%`, `%agl.base%`, `%%`.

use std::collections::BTreeMap;

use super::settings::{AngelizeService, Globals};

/// So deep may variables lie within variables. Angelize has the same bound.
const DEPTH: usize = 50;
/// So many variables are replaced in one text. Without it, fifty variables that each name the next one
/// twice would keep a machine busy for years.
const REPLACEMENTS: usize = 10_000;
/// So long may a text become.
const LENGTH: usize = 1 << 20;

/// What variables stand for. Upper and lower case are the same in their names.
///
/// ```
/// use deploykit_process::angelize::{Variables, expand};
///
/// let mut variables = Variables::new();
/// variables.set("run", "/opt/api --log %log%api.log").set_directory("log", "/var/log/agl");
/// let text = expand("%RUN% 100%%", &variables)?;
/// assert_eq!(text, "/opt/api --log /var/log/agl/api.log 100%");
/// # Ok::<(), deploykit_process::angelize::ExpandError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Variables {
    values: BTreeMap<String, Option<String>>,
}

impl Variables {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those that come from settings: `%agl.<global setting>%` and `%<service setting>%`, of which
    /// `%run%` and `%name%` are two. What else there is the caller knows: `log`, `temp` (and `tempfolder`,
    /// as it was called before), `agl.base`, `agl.now`, `agl.utc`, `agl.params`.
    ///
    /// `%agl.smtp%` is not among them, for it contains a password.
    pub fn of(globals: &Globals, service: &AngelizeService) -> Self {
        let mut variables = Self::new();
        for (name, value) in globals.texts() {
            variables.set(&format!("agl.{name}"), value);
        }
        for (name, value) in service.texts() {
            variables.set(name, value);
        }
        variables
    }

    /// Sets one.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.values.insert(name.to_lowercase(), Some(value.into()));
        self
    }

    /// Sets one that stands for a directory: its value ends with a slash, so that `%log%api.log` is a
    /// file in it.
    pub fn set_directory(&mut self, name: &str, path: &str) -> &mut Self {
        self.set(name, format!("{}/", path.trim_end_matches('/')))
    }

    /// Leaves one as it is written, to be replaced by whoever knows it.
    pub(super) fn keep(&mut self, name: &str) -> &mut Self {
        self.values.insert(name.to_lowercase(), None);
        self
    }

    /// Up to three names that resemble one that there is not.
    fn near(&self, name: &str) -> Vec<String> {
        let lower = name.to_lowercase();
        let likeness = |known: &str| strsim::jaro_winkler(&lower, known);
        let mut near: Vec<&String> = self.values.keys().collect();
        near.retain(|known| {
            likeness(known) > 0.8 || strsim::osa_distance(&lower, known) <= lower.len() / 3
        });
        near.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
        near.into_iter().take(3).cloned().collect()
    }
}

/// Variables that cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// There is no such variable.
    #[error("there is no variable `%{name}%`, in `{text}`")]
    Unknown {
        /// Its name.
        name: String,
        /// The text in which it stands: the one that was given, or the value of another variable.
        text: String,
        /// Names that resemble it, the most similar one first.
        near: Vec<String>,
    },
    /// A variable stands for itself, or nearly so.
    #[error("the variable `%{name}%` leads to itself, or through more than {DEPTH} others")]
    TooDeep {
        /// Its name.
        name: String,
    },
    /// The text would become too long, or has too many variables.
    #[error(
        "the variables of `{text}` are more than {REPLACEMENTS}, or longer than {LENGTH} bytes"
    )]
    TooMuch {
        /// The text that was given.
        text: String,
    },
}

impl ExpandError {
    /// What can be written instead.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { near, .. } if near.is_empty() => {
                Some("a percent sign that is meant as one is written `%%`".into())
            }
            Self::Unknown { near, .. } => {
                let names: Vec<_> = near.iter().map(|name| format!("`%{name}%`")).collect();
                let names = names.join(", ");
                Some(format!("did you mean {names}? A percent sign that is meant as one is `%%`"))
            }
            Self::TooDeep { .. } | Self::TooMuch { .. } => None,
        }
    }
}

/// Replaces every `%name%` by its value, in which variables are replaced, too, and `%%` by `%`. A
/// percent sign that no other one follows stays.
pub fn expand(text: &str, variables: &Variables) -> Result<String, ExpandError> {
    Expansion { variables, whole: text, left: REPLACEMENTS, doubled: false }.run(text)
}

/// The same for a text in which variables are replaced once more, later: `%%` stays.
pub(super) fn expand_in_part(text: &str, variables: &Variables) -> Result<String, ExpandError> {
    Expansion { variables, whole: text, left: REPLACEMENTS, doubled: true }.run(text)
}

struct Expansion<'a> {
    variables: &'a Variables,
    whole: &'a str,
    /// How many variables may still be replaced.
    left: usize,
    /// Whether a doubled percent sign stays doubled.
    doubled: bool,
}

impl Expansion<'_> {
    fn run(mut self, text: &str) -> Result<String, ExpandError> {
        let mut out = String::new();
        self.expand(text, DEPTH, &mut out)?;
        Ok(out)
    }

    fn expand(&mut self, text: &str, depth: usize, out: &mut String) -> Result<(), ExpandError> {
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('%') {
            let Some((name, after)) = behind.split_once('%') else { break };
            out.push_str(before);
            if name.is_empty() {
                out.push_str(if self.doubled { "%%" } else { "%" });
            } else {
                self.replace(name, text, depth, out)?;
            }
            rest = after;
        }
        out.push_str(rest);
        if out.len() > LENGTH {
            return Err(ExpandError::TooMuch { text: self.whole.to_owned() });
        }
        Ok(())
    }

    fn replace(
        &mut self,
        name: &str,
        text: &str,
        depth: usize,
        out: &mut String,
    ) -> Result<(), ExpandError> {
        let too_much = || ExpandError::TooMuch { text: self.whole.to_owned() };
        self.left = self.left.checked_sub(1).ok_or_else(too_much)?;
        let Some(value) = self.variables.values.get(&name.to_lowercase()) else {
            let near = self.variables.near(name);
            return Err(ExpandError::Unknown {
                name: name.to_owned(),
                text: text.to_owned(),
                near,
            });
        };
        let Some(value) = value else {
            out.push('%');
            out.push_str(&name.to_lowercase());
            out.push('%');
            return Ok(());
        };
        let deeper = depth.checked_sub(1);
        let deeper = deeper.ok_or_else(|| ExpandError::TooDeep { name: name.to_owned() })?;
        self.expand(value, deeper, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(values: &[(&str, &str)]) -> Variables {
        let mut variables = Variables::new();
        for (name, value) in values {
            variables.set(name, *value);
        }
        variables
    }

    #[test]
    fn variables_lie_within_variables_and_case_does_not_matter() {
        let known = variables(&[
            ("run", "%agl.Folder%bin"),
            ("agl.folder", "/opt/%NAME%/"),
            ("Name", "api"),
        ]);
        assert_eq!(expand("%Run% %name%!", &known).unwrap(), "/opt/api/bin api!");
    }

    #[test]
    fn percent_signs_that_are_doubled_or_alone_are_percent_signs() {
        let known = variables(&[("x", "5%%"), ("empty", "")]);
        for (text, expanded) in [
            ("100%", "100%"),
            ("%%", "%"),
            ("a%%b%%c", "a%b%c"),
            ("%x%%%", "5%%"),
            ("<%empty%>", "<>"),
            ("", ""),
        ] {
            assert_eq!(expand(text, &known).unwrap(), expanded, "{text}");
        }
    }

    #[test]
    fn what_is_replaced_later_stays_with_its_doubled_signs() {
        let mut known = variables(&[("name", "api")]);
        known.keep("log");
        assert_eq!(expand_in_part("%Log%%name% 5%%", &known).unwrap(), "%log%api 5%%");
    }

    #[test]
    fn an_unknown_one_is_an_error_that_lists_near_ones() {
        let known = variables(&[("run", ""), ("agl.folder", ""), ("agl.base", "")]);
        let error = expand("a %agl.fodler% b", &known).unwrap_err();
        assert_eq!(error.to_string(), "there is no variable `%agl.fodler%`, in `a %agl.fodler% b`");
        assert!(error.hint().unwrap().starts_with("did you mean `%agl.folder%`"));
        let error = expand("http://h/a%20b%20c", &known).unwrap_err();
        assert!(error.hint().unwrap().contains("`%%`"));
    }

    #[test]
    fn what_leads_to_itself_ends() {
        let known = variables(&[("a", "%b%"), ("b", "x%a%")]);
        assert!(matches!(expand("%a%", &known), Err(ExpandError::TooDeep { .. })));
    }

    #[test]
    fn fifty_within_each_other_are_replaced() {
        let mut known = Variables::new();
        for n in 1..50 {
            known.set(&format!("v{n}"), format!("%v{}%", n + 1));
        }
        known.set("v50", "end").set("v0", "%v1%");
        assert_eq!(expand("%v1%", &known).unwrap(), "end");
        assert!(matches!(expand("%v0%", &known), Err(ExpandError::TooDeep { .. })));
    }

    #[test]
    fn what_doubles_with_every_step_ends_soon() {
        let mut known = Variables::new();
        for n in 0..40 {
            known.set(&format!("v{n}"), format!("%v{}%%v{}%", n + 1, n + 1));
        }
        known.set("v40", "");
        assert!(matches!(expand("%v0%", &known), Err(ExpandError::TooMuch { .. })));
    }

    #[test]
    fn what_becomes_too_long_is_an_error() {
        let known = variables(&[("long", &"x".repeat(LENGTH / 2))]);
        assert!(expand("%long%", &known).is_ok());
        assert!(matches!(expand("%long%%long%%long%", &known), Err(ExpandError::TooMuch { .. })));
    }
}
