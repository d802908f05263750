//! What `check` finds.

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Severity {
    /// All is well.
    Fine,
    /// It works, but not as well as it could, or not for long.
    Warning,
    /// A deployment would fail, or has failed already without anybody seeing it.
    Error,
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// What was looked at: `bus`, `unit web.service`.
    pub name: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, on one line.
    pub found: String,
    /// Why that matters; nothing where all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What mends it: a command, or what to write where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    /// Something that is as it should be.
    pub fn fine(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            severity: Severity::Fine,
            found: found.into(),
            why: None,
            mend: None,
        }
    }

    /// Something that works, but should be otherwise.
    pub fn warning(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::fine(name, found) }
    }

    /// Something that keeps a deployment from working.
    pub fn error(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { severity: Severity::Error, ..Self::fine(name, found) }
    }

    /// What a deployment would fail of: an error, with its causes.
    pub fn failure(name: impl Into<String>, error: &dyn std::error::Error) -> Self {
        Self::error(name, crate::chain(error)).why("a deployment would fail")
    }

    /// The same, with the reason why it matters.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// The same, with what mends it.
    #[must_use]
    pub fn mend(self, mend: impl Into<String>) -> Self {
        self.hint(Some(mend.into()))
    }

    /// The same, with the hint of an error, if it has one.
    #[must_use]
    pub fn hint(mut self, hint: Option<String>) -> Self {
        self.mend = hint;
        self
    }
}
