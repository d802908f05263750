//! Deploys with two backends of this program's own, chosen by name in `deploykit.toml`: a web server
//! that serves static files is told where they lie by a file that it includes, and the site counts
//! as well when its pages are there.
//!
//! ```toml
//! [service]
//! backend = "snippet"
//! [service.settings]
//! file = "/etc/nginx/snippets/site.conf"
//! public = "public"
//!
//! [[health.check]]
//! type = "page"
//! settings = { path = "public/index.html", contains = "</html>" }
//! ```
//!
//! ```sh
//! cargo run --example custom_backend -- /srv/site
//! ```
#![allow(clippy::print_stdout, reason = "it is a program, not a library")]

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use deploykit::traits::{
    BoxError, HealthCheck, Look, Manner, Release, ServiceState, ServiceStatus, Supervisor,
    SupervisorError, Switching,
};
use deploykit::{Application, Context, DeployRequest, Registry, ReleaseId};

/// Keeps a file with `root DIRECTORY;` for the web server.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snippet {
    /// The file that the web server includes.
    pub file: PathBuf,
    /// The directory of a release that is served.
    pub public: String,
}

impl Snippet {
    /// The release that is served. It is read from the file each time: deploykit may have been
    /// started anew since it was written.
    fn serving(&self) -> std::io::Result<Option<ReleaseId>> {
        let text = match std::fs::read_to_string(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let named = text.lines().find_map(|line| line.strip_prefix("# release "));
        Ok(named.and_then(|name| name.parse().ok()))
    }

    /// Replaces the file by rename, so that the web server never reads half of it.
    fn write(&self, release: &dyn Release) -> std::io::Result<()> {
        let public = release.root().join(&self.public).canonicalize_utf8()?;
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("# release {}\nroot {public};\n", release.id()))?;
        std::fs::rename(new, &self.file)
    }
}

fn failed(operation: &'static str) -> impl Fn(std::io::Error) -> SupervisorError {
    move |source| SupervisorError::Foreign { operation, source: source.into() }
}

impl Supervisor for Snippet {
    fn name(&self) -> &'static str {
        "snippet"
    }

    fn switching(&self) -> Switching {
        Switching::Restart
    }

    fn restart(
        &self,
        ctx: &Context,
        release: &dyn Release,
        _: Manner,
    ) -> Result<(), SupervisorError> {
        ctx.check()?;
        self.write(release).map_err(failed("point the web server to"))
    }

    fn stop(&self, _: &Context) -> Result<(), SupervisorError> {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("stop")(error)),
            _ => Ok(()),
        }
    }

    fn status(&self, _: &Context) -> Result<ServiceStatus, SupervisorError> {
        Ok(match self.serving().map_err(failed("look at"))? {
            Some(release) => ServiceStatus::new(ServiceState::Running, format!("serves {release}")),
            None => ServiceStatus::new(ServiceState::Stopped, "serves nothing"),
        })
    }

    fn releases_in_use(&self, _: &Context) -> Result<Vec<ReleaseId>, SupervisorError> {
        Ok(self.serving().map_err(failed("look at"))?.into_iter().collect())
    }
}

/// A page that must be there, with a text in it.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(skip)]
    name: String,
    path: String,
    contains: String,
}

impl HealthCheck for Page {
    fn name(&self) -> &str {
        &self.name
    }

    fn look(&self, _: &Context, release: &dyn Release) -> Look {
        match std::fs::read_to_string(release.root().join(&self.path)) {
            Ok(text) if text.contains(&self.contains) => {
                Look::Well(format!("{} bytes", text.len()))
            }
            Ok(_) => Look::Ill(format!("{} does not contain {:?}", self.path, self.contains)),
            Err(error) => Look::Ill(format!("{}: {error}", self.path)),
        }
    }
}

/// The built-in backends and those of this program.
fn registry() -> Registry {
    let mut registry = Registry::built_in();
    registry
        .service(
            "snippet",
            Arc::new(|request| -> Result<Arc<dyn Supervisor>, BoxError> {
                Ok(Arc::new(request.config.service.settings.read::<Snippet>()?))
            }),
        )
        .check(
            "page",
            Arc::new(|_, config| -> Result<Arc<dyn HealthCheck>, BoxError> {
                let page = config.settings.read::<Page>()?;
                Ok(Arc::new(Page { name: config.label(), ..page }))
            }),
        );
    registry
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: custom_backend DIRECTORY")?;
    let application = Application::at(directory).registry(registry()).open()?;
    let report = application.deploy(&Context::new()?, &DeployRequest::latest())?;
    if let Some(failure) = &report.failure {
        println!("{}: {}", failure.step, failure.error);
    }
    println!("active: {}", report.active.as_ref().map_or("nothing", |release| release.as_str()));
    Ok(if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
