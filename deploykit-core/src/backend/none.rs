//! The supervisor `none`: deploykit does not run the service.

use std::collections::BTreeSet;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use crate::context::Context;
use crate::id::ReleaseId;
use crate::process;
use crate::registry::BackendRequest;
use crate::state::Layout;
use crate::traits::{
    BoxError, Manner, Release, ServiceState, ServiceStatus, Supervisor, SupervisorError, Switching,
};

/// Activation is all; whoever runs the service, deploykit does not know. Releases in which a process
/// runs are found all the same.
#[derive(Debug)]
pub(crate) struct NoService {
    layout: Layout,
}

impl NoService {
    pub(crate) fn construct(request: &BackendRequest<'_>) -> Result<Arc<dyn Supervisor>, BoxError> {
        Ok(Arc::new(Self { layout: request.layout.clone() }))
    }
}

impl Supervisor for NoService {
    fn name(&self) -> &str {
        "none"
    }

    fn switching(&self) -> Switching {
        Switching::Nothing
    }

    fn observes(&self) -> bool {
        false
    }

    fn restart(&self, _: &Context, _: &dyn Release, _: Manner) -> Result<(), SupervisorError> {
        Ok(())
    }

    fn stop(&self, _: &Context) -> Result<(), SupervisorError> {
        Ok(())
    }

    fn status(&self, _: &Context) -> Result<ServiceStatus, SupervisorError> {
        Ok(ServiceStatus::new(ServiceState::Unknown, "no service backend is configured"))
    }

    fn releases_in_use(&self, _: &Context) -> Result<Vec<ReleaseId>, SupervisorError> {
        releases_in_use(&self.layout)
    }
}

/// The releases in whose directories a process works or has its program: those below `releases/`,
/// and adopted ones, which lie in the application's directory itself. For supervisors: what they
/// answer to [`Supervisor::releases_in_use`].
///
/// # Errors
/// When the processes cannot be listed. Those that this user may not look at are passed over.
pub fn releases_in_use(layout: &Layout) -> Result<Vec<ReleaseId>, SupervisorError> {
    let used = process::in_use(layout.root()).map_err(|source| SupervisorError::Foreign {
        operation: "find the processes of",
        source: source.into(),
    })?;
    let root = layout.root().canonicalize_utf8().unwrap_or_else(|_| layout.root().to_owned());
    let releases: BTreeSet<ReleaseId> =
        used.iter().filter_map(|(_, path)| release_of(&root, path)).collect();
    Ok(releases.into_iter().collect())
}

/// The release in whose directory a process works; nothing when it is none, or this user may not see
/// it.
pub fn release_of_process(layout: &Layout, process: u32) -> Option<ReleaseId> {
    let cwd = std::fs::read_link(format!("/proc/{process}/cwd")).ok()?;
    let cwd = Utf8PathBuf::from_path_buf(cwd).ok()?;
    let root = layout.root().canonicalize_utf8().unwrap_or_else(|_| layout.root().to_owned());
    release_of(&root, &cwd)
}

/// The release that a path lies in.
fn release_of(root: &Utf8Path, path: &Utf8PathBuf) -> Option<ReleaseId> {
    let mut components = path.strip_prefix(root).ok()?.components().map(|c| c.as_str());
    match components.next()? {
        "releases" => components.next()?.parse().ok(),
        "shared" | "active" => None,
        name => name.parse().ok(),
    }
}
