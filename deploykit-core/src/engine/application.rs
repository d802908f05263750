//! One application: its directory, its configuration, its backends.

use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::stored::StoredRelease;
use super::{Error, adopt};
use crate::backend::{Symlink, service_backend_name};
use crate::config::{self, CheckConfig, Config, RuntimeConfig};
use crate::context::Context;
use crate::id::Revision;
use crate::registry::{BackendRequest, Registry, RegistryError};
use crate::secret::Masker;
use crate::state::{Actor, Connection, Layout, State, read_state};
use crate::traits::{
    Activator, Builder, HealthCheck, InstanceName, Release, Resolved, Source, Supervisor,
};

/// One application: a directory with a configuration, its releases and its active link.
///
/// ```no_run
/// use deploykit_core::{Application, Context, DeployRequest};
///
/// let application = Application::at("/srv/app").open()?;
/// let context = Context::new()?;
/// let report = application.deploy(&context, &DeployRequest::revision("v1.2.0".parse()?))?;
/// assert!(report.is_success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Application {
    pub(super) layout: Layout,
    pub(super) config: Config,
    config_path: Option<Utf8PathBuf>,
    registry: Registry,
    pub(super) actor: Actor,
    pub(super) connection: Connection,
    masker: Masker,
}

/// Makes an [`Application`].
#[derive(Debug)]
#[must_use]
pub struct ApplicationBuilder {
    directory: Utf8PathBuf,
    config: Option<Config>,
    config_path: Option<Utf8PathBuf>,
    registry: Registry,
    actor: Option<Actor>,
    connection: Option<Connection>,
    masker: Masker,
}

impl ApplicationBuilder {
    /// Takes this configuration instead of a file.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Reads this file instead of the directory's `deploykit.toml` or `mfd.toml`.
    pub fn config_file(mut self, path: impl Into<Utf8PathBuf>) -> Self {
        self.config_path = Some(path.into());
        self
    }

    /// Chooses the backends from this registry instead of the built-in one.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// What is done is recorded as done by `actor`.
    pub fn actor(mut self, actor: Actor) -> Self {
        self.actor = Some(actor);
        self
    }

    /// What is done is asked for over this connection: by it is told whether who confirms a deployment
    /// came over a new one. Without it, that of this process.
    pub fn connection(mut self, connection: Connection) -> Self {
        self.connection = Some(connection);
        self
    }

    /// Secrets are learnt by this masker, too.
    pub fn masker(mut self, masker: Masker) -> Self {
        self.masker = masker;
        self
    }

    /// Reads the configuration. Changes nothing on disk.
    ///
    /// # Errors
    /// [`Error::Directory`] when there is no such directory, [`Error::Config`] when the
    /// configuration is missing or wrong.
    pub fn open(self) -> Result<Application, Error> {
        let root = self
            .directory
            .canonicalize_utf8()
            .map_err(|source| Error::Directory { path: self.directory.clone(), source })?;
        let (config, config_path) = match self.config {
            Some(config) => (config, None),
            None => {
                let path = self.config_path.map_or_else(|| config::find(&root), Ok)?;
                (config::read_file_for(&path, &self.registry)?.config, Some(path))
            }
        };
        let actor = self.actor.unwrap_or_else(|| Actor::current("library"));
        Ok(Application {
            layout: Layout::new(root),
            config,
            config_path,
            registry: self.registry,
            actor,
            connection: self.connection.unwrap_or_else(Connection::current),
            masker: self.masker,
        })
    }
}

impl Application {
    /// The application in this directory.
    pub fn at(directory: impl Into<Utf8PathBuf>) -> ApplicationBuilder {
        ApplicationBuilder {
            directory: directory.into(),
            config: None,
            config_path: None,
            registry: Registry::built_in(),
            actor: None,
            connection: None,
            masker: Masker::default(),
        }
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The file that it was read from.
    pub fn config_path(&self) -> Option<&Utf8Path> {
        self.config_path.as_deref()
    }

    /// Knows the secrets that have been read.
    pub fn masker(&self) -> &Masker {
        &self.masker
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Finds what `revision` means now. Changes nothing.
    ///
    /// # Errors
    /// What the source says.
    pub fn resolve(&self, ctx: &Context, revision: &Revision) -> Result<Resolved, Error> {
        let ctx = self.masked(ctx);
        Ok(self.source()?.resolve(&ctx, &self.effective(revision)?)?)
    }

    /// The state as it is recorded, and what is there already and will be taken over by the next
    /// command that changes something.
    ///
    /// # Errors
    /// When the journal or the active link cannot be read.
    pub fn state(&self) -> Result<State, Error> {
        adopt::foreseen(self, read_state(&self.layout)?)
    }

    /// The revision, or the configured one when none is named.
    pub(super) fn effective(&self, revision: &Revision) -> Result<Revision, Error> {
        match (&self.config.repo.revision, revision.is_named()) {
            (Some(configured), false) => configured
                .parse()
                .map_err(|error| Error::Unsettled { what: format!("repo.revision: {error}") }),
            _ => Ok(revision.clone()),
        }
    }

    /// The context with this application's masks.
    pub(super) fn masked(&self, ctx: &Context) -> Context {
        self.config.teach(self.layout.root(), &self.masker);
        ctx.clone().with_masker(self.masker.clone())
    }

    pub(super) fn activator(&self) -> Arc<dyn Activator> {
        Arc::new(Symlink::new(self.layout.clone()))
    }

    fn request<'a>(&'a self, config: &'a Config) -> BackendRequest<'a> {
        BackendRequest { config, layout: &self.layout, masker: &self.masker }
    }

    pub(super) fn source(&self) -> Result<Arc<dyn Source>, Error> {
        let request = self.request(&self.config);
        Ok(self.registry.make_source(&self.config.repo.backend, &request)?)
    }

    pub(super) fn builder(&self) -> Result<Arc<dyn Builder>, Error> {
        let request = self.request(&self.config);
        Ok(self.registry.make_builder(&self.config.build.backend, &request)?)
    }

    pub(super) fn health_check(&self, check: &CheckConfig) -> Result<Arc<dyn HealthCheck>, Error> {
        Ok(self.registry.make_check(&self.request(&self.config), check)?)
    }

    pub(super) fn operation(&self, runtime: &RuntimeConfig) -> Result<Operation, Error> {
        let config = self.config.with_runtime(runtime);
        let request = self.request(&config);
        let supervisor = self.registry.make_service(service_backend_name(&config), &request)?;
        let make = |(of, check): (Option<InstanceName>, CheckConfig)| {
            let timeout = check.timeout.unwrap_or(config.health.timeout).get();
            Ok::<_, RegistryError>(Check {
                check: self.registry.make_check(&request, &check)?,
                of,
                timeout,
            })
        };
        let instances = supervisor.instances();
        let mut checks = Vec::new();
        for check in &config.health.checks {
            for one in of_each(check, &instances)? {
                checks.push(make(one)?);
            }
        }
        Ok(Operation { supervisor, checks, runtime: runtime.clone() })
    }
}

/// A check for every instance that it is asked of, or once for all.
fn of_each(
    check: &CheckConfig,
    instances: &[InstanceName],
) -> Result<Vec<(Option<InstanceName>, CheckConfig)>, RegistryError> {
    if !check.is_of_instances() {
        return Ok(vec![(None, check.clone())]);
    }
    let meant = |of: &&InstanceName| check.service.as_ref().is_none_or(|name| *name == of.service);
    let numbered =
        instances.iter().filter(meant).filter_map(|of| Some((of, of.instance.as_ref()?)));
    let each: Vec<_> =
        numbered.map(|(of, number)| (Some(of.clone()), check.of_instance(number, of))).collect();
    if each.is_empty() {
        let why =
            format!("the check {:?} is of instances, and the service has none", check.label());
        let (kind, name) = ("health check", check.kind().to_owned());
        return Err(RegistryError::Construct { kind, name, source: why.into() });
    }
    Ok(each)
}

/// A health check, and how long one look may take.
#[derive(Debug, Clone)]
pub(super) struct Check {
    pub(super) check: Arc<dyn HealthCheck>,
    /// The one instance that it looks at.
    pub(super) of: Option<InstanceName>,
    pub(super) timeout: Duration,
}

/// How the service of one release is run and watched: the backends made of what is recorded with
/// it.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) supervisor: Arc<dyn Supervisor>,
    pub(super) checks: Vec<Check>,
    pub(super) runtime: RuntimeConfig,
}

impl Operation {
    /// Looks whether all is there that bringing the service over needs; without a release, all that
    /// lies outside of releases.
    pub(super) fn preflight(
        &self,
        ctx: &Context,
        release: Option<&StoredRelease>,
    ) -> Result<(), Error> {
        let release = release.map(|release| release as &dyn Release);
        self.supervisor.preflight(ctx, release)?;
        for check in &self.checks {
            check
                .check
                .preflight(release)
                .map_err(|source| Error::Check { check: check.check.name().to_owned(), source })?;
        }
        Ok(())
    }

    /// How the service gets to the release.
    pub(super) fn way(&self) -> super::transition::Way {
        super::transition::Way {
            switching: self.supervisor.switching(),
            watched: !self.checks.is_empty() || self.supervisor.observes(),
        }
    }
}
