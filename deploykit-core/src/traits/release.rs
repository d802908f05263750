//! A release, as everything outside the store sees it.

use std::fmt::{self, Debug};

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::id::{ReleaseId, SourceId};

mod flat;

/// How complete a release is: the first axis of its state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "build", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BuildState {
    /// Being made. Nothing may use it.
    Building,
    /// Complete, and on disk durably.
    Sealed,
    /// The build failed or was interrupted. Never listed, never activated, swept.
    Failed {
        /// Why.
        reason: String,
    },
    /// Found when an existing installation was taken over; taken to be complete.
    Adopted,
}

impl BuildState {
    /// Whether it may be activated.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Sealed | Self::Adopted)
    }
}

/// How good a release has proved: the second axis of its state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verdict {
    /// It has not been active yet, or left no judgement.
    None,
    /// It is active and being watched.
    Probation,
    /// It was active and well.
    Confirmed {
        /// False when there was nothing to look at: no check and no service.
        verified: bool,
    },
    /// It was active and ill, or an operator rolled it back.
    Bad {
        /// Why.
        reason: String,
    },
}

impl Verdict {
    /// Whether it is confirmed.
    pub fn is_confirmed(&self) -> bool {
        matches!(self, Self::Confirmed { .. })
    }

    /// Whether it is bad.
    pub fn is_bad(&self) -> bool {
        matches!(self, Self::Bad { .. })
    }
}

/// The state of a release, on its two axes. It is never derived from what lies on disk.
///
/// It is written flat, as `{"build":"sealed","verdict":"confirmed","verified":true}`; a failed or bad
/// release has a `reason`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "flat::Flat", into = "flat::Flat")]
pub struct ReleaseState {
    /// How complete it is.
    pub build: BuildState,
    /// How good it has proved.
    pub verdict: Verdict,
}

impl ReleaseState {
    /// Whether a rollback may choose it by itself: confirmed, or adopted and not bad.
    pub fn is_trusted(&self) -> bool {
        match self.build {
            BuildState::Sealed => self.verdict.is_confirmed(),
            BuildState::Adopted => !self.verdict.is_bad(),
            BuildState::Building | BuildState::Failed { .. } => false,
        }
    }
}

impl fmt::Display for ReleaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.build, &self.verdict) {
            (BuildState::Building, _) => "building",
            (BuildState::Failed { .. }, _) => "failed",
            (_, Verdict::Bad { .. }) => "bad",
            (_, Verdict::Probation) => "probation",
            (_, Verdict::Confirmed { verified: true }) => "confirmed",
            (_, Verdict::Confirmed { verified: false }) => "confirmed, unchecked",
            (BuildState::Sealed, Verdict::None) => "not confirmed",
            (BuildState::Adopted, Verdict::None) => "adopted",
        })
    }
}

/// A read-only view of a release.
pub trait Release: Send + Sync + Debug {
    /// Its name, unique in the application.
    fn id(&self) -> &ReleaseId;

    /// What was checked out.
    fn source(&self) -> &SourceId;

    /// Its directory, as an absolute path with no symbolic link in it.
    fn root(&self) -> &Utf8Path;

    /// Its state.
    fn state(&self) -> &ReleaseState;
}
