//! Regular expressions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A regular expression, compiled while it is read. The syntax is that of the crate `regex-lite`:
/// the usual one, with classes and case for ASCII only, and no look-around.
///
/// ```
/// use deploykit_core::config::Pattern;
///
/// let pattern = Pattern::try_from("\"status\": *\"ok\"".to_owned())?;
/// assert!(pattern.is_match("{ \"status\": \"ok\" }"));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    compiled: regex_lite::Regex,
}

impl Pattern {
    /// The expression as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches somewhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// The expression with each placeholder replaced by its value, which stands for itself.
    ///
    /// # Errors
    /// When what comes out is no expression, or too large a one.
    #[cfg(any(feature = "http", test))]
    pub(crate) fn with(&self, replace: impl Fn(&str) -> String) -> Result<Self, String> {
        let mut text = self.text.clone();
        for placeholder in PLACEHOLDERS {
            if text.contains(placeholder) {
                text = text.replace(placeholder, &regex_lite::escape(&replace(placeholder)));
            }
        }
        Self::try_from(text)
    }
}

/// What stands for a property of the release that is looked at.
pub(crate) const PLACEHOLDERS: [&str; 2] = ["{revision}", "{release}"];

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // A brace begins a repetition; that of a placeholder does not.
        let mut source = text.clone();
        for placeholder in PLACEHOLDERS {
            source = source.replace(placeholder, &regex_lite::escape(placeholder));
        }
        let compiled = regex_lite::Regex::new(&source)
            .map_err(|error| format!("{text:?} is not a regular expression: {error}"))?;
        Ok(Self { text, compiled })
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.text
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_replaced_by_a_text_and_not_by_an_expression() {
        let pattern = Pattern::try_from("^v{revision}{1}$".to_owned()).unwrap();
        assert!(pattern.is_match("v{revision}"));
        let filled = pattern.with(|_| "a.c".into()).unwrap();
        assert!(filled.is_match("va.c") && !filled.is_match("vabc"));
    }

    #[test]
    fn what_is_no_expression_is_refused_while_it_is_read() {
        let error = serde_json::from_str::<Pattern>("\"(\"").unwrap_err();
        assert!(error.to_string().contains("not a regular expression"), "{error}");
    }
}
