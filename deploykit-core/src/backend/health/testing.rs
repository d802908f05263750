//! What the tests of the checks share.

use std::path::Path;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use crate::config::{self, CheckConfig, Config};
use crate::id::{ReleaseId, SourceId};
use crate::registry::BackendRequest;
use crate::secret::Masker;
use crate::state::Layout;
use crate::traits::{BoxError, BuildState, HealthCheck, Release, ReleaseState, Verdict};

#[derive(Debug)]
pub(super) struct TestRelease {
    id: ReleaseId,
    source: SourceId,
    root: Utf8PathBuf,
    state: ReleaseState,
}

impl TestRelease {
    pub(super) fn at(root: &Path) -> Self {
        Self {
            id: "20261121-091530-92965fdb8a7c".parse().unwrap(),
            source: SourceId::new("git", "92965fdb8a7c8da1fd1532ab9e3497990eee0519").unwrap(),
            root: Utf8Path::from_path(&root.canonicalize().unwrap()).unwrap().to_owned(),
            state: ReleaseState { build: BuildState::Sealed, verdict: Verdict::None },
        }
    }
}

impl Default for TestRelease {
    fn default() -> Self {
        Self::at(Path::new("/"))
    }
}

impl Release for TestRelease {
    fn id(&self) -> &ReleaseId {
        &self.id
    }

    fn source(&self) -> &SourceId {
        &self.source
    }

    fn root(&self) -> &Utf8Path {
        &self.root
    }

    fn state(&self) -> &ReleaseState {
        &self.state
    }
}

fn config(keys: &str) -> Config {
    let text = format!("repo.url = \"/r\"\n[[health.check]]\n{keys}");
    config::parse(&text, "deploykit.toml".into()).unwrap_or_else(|error| panic!("{error:#}"))
}

/// A check with these keys, as it is configured.
pub(super) fn check(keys: &str) -> CheckConfig {
    config(keys).health.checks[0].clone()
}

/// A check with these keys.
pub(super) fn construct(
    constructor: impl Fn(&BackendRequest<'_>, &CheckConfig) -> Result<Arc<dyn HealthCheck>, BoxError>,
    keys: &str,
) -> Arc<dyn HealthCheck> {
    let (config, layout, masker) = (config(keys), Layout::new("/".into()), Masker::default());
    let request = BackendRequest { config: &config, layout: &layout, masker: &masker };
    constructor(&request, &config.health.checks[0]).unwrap()
}
