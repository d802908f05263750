//! The steps of a deployment, in the order in which they happen.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One step of a deployment. The order of the variants is the order of the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Step {
    /// Find the source id that the revision means.
    Resolve,
    /// Bring the source into the cache.
    Fetch,
    /// Write its tree into the release's directory.
    Checkout,
    /// Link the shared files.
    LinkFiles,
    /// Run the build.
    Build,
    /// Link the shared directories.
    LinkDirectories,
    /// Put the release on disk durably and declare it complete.
    Seal,
    /// Start the new instances beside the old ones (where the service's backend can).
    Prepare,
    /// Switch the active link.
    Activate,
    /// Bring the service to the active release: restart it, or drain the old instances.
    Service,
    /// Watch the health of the active release.
    Verify,
    /// Declare it good.
    Confirm,
    /// Return to the previous release.
    Revert,
    /// Remove what is no longer kept.
    Prune,
}

impl Step {
    /// The name as it stands in events, logs and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Fetch => "fetch",
            Self::Checkout => "checkout",
            Self::LinkFiles => "link-files",
            Self::Build => "build",
            Self::LinkDirectories => "link-directories",
            Self::Seal => "seal",
            Self::Prepare => "prepare",
            Self::Activate => "activate",
            Self::Service => "service",
            Self::Verify => "verify",
            Self::Confirm => "confirm",
            Self::Revert => "revert",
            Self::Prune => "prune",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
