//! Backends by name: the built-in ones, and those that an embedding program adds.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use crate::config::{CheckConfig, Config, NotifierConfig, ServiceSpec};
use crate::secret::Masker;
use crate::state::Layout;
use crate::traits::{BoxError, Builder, HealthCheck, Notifier, Source, Supervisor};

/// What a constructor of a backend is given.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BackendRequest<'a> {
    /// The whole configuration; a foreign backend finds its own in the `settings` of its section.
    pub config: &'a Config,
    /// Where everything lies.
    pub layout: &'a Layout,
    /// Learns the secrets that the backend reads.
    pub masker: &'a Masker,
}

impl<'a> BackendRequest<'a> {
    /// A request.
    pub fn new(config: &'a Config, layout: &'a Layout, masker: &'a Masker) -> Self {
        Self { config, layout, masker }
    }
}

/// Makes a backend.
pub type Constructor<T> =
    Arc<dyn Fn(&BackendRequest<'_>) -> Result<Arc<T>, BoxError> + Send + Sync>;

/// Makes a health check of its configuration.
pub type CheckConstructor = Arc<
    dyn Fn(&BackendRequest<'_>, &CheckConfig) -> Result<Arc<dyn HealthCheck>, BoxError>
        + Send
        + Sync,
>;

/// Makes a notifier of its configuration.
pub type NotifierConstructor = Arc<
    dyn Fn(&BackendRequest<'_>, &NotifierConfig) -> Result<Arc<dyn Notifier>, BoxError>
        + Send
        + Sync,
>;

/// What is wrong with a description of a service, for the backend that is to run it: the key, and an index
/// where it is a list; and why.
pub type Complaint = (Vec<String>, String);

/// Looks at a description of a service, without a release and without the host.
pub type ServiceRule = Arc<dyn Fn(&ServiceSpec) -> Vec<Complaint> + Send + Sync>;

/// A backend could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Nobody registered that name.
    #[error("there is no {kind} backend {name:?}")]
    Unknown {
        /// `source`, `builder`, `service`, `health check` or `notifier`.
        kind: &'static str,
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// Its constructor failed.
    #[error("cannot set up the {kind} backend {name:?}")]
    Construct {
        /// `source`, `builder`, `service`, `health check` or `notifier`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl RegistryError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { name, .. } if name == "systemd" => Some(
                "the crate deploykit has it with its feature `systemd`, in the registry that \
                 `deploykit::registry()` makes"
                    .to_owned(),
            ),
            Self::Unknown { name, kind: "notifier", .. }
                if ["mail", "http", "file"].contains(&&**name) =>
            {
                Some(
                    "the crate deploykit has it with its feature `notify`, in the registry that \
                     `deploykit::registry()` makes"
                        .to_owned(),
                )
            }
            Self::Unknown { known, .. } => Some(format!("there are: {}", known.join(", "))),
            Self::Construct { .. } => None,
        }
    }
}

/// Backends by name.
///
/// ```
/// use deploykit_core::Registry;
///
/// let registry = Registry::built_in();
/// assert!(registry.service_names().any(|name| name == "command"));
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    sources: BTreeMap<String, Constructor<dyn Source>>,
    builders: BTreeMap<String, Constructor<dyn Builder>>,
    services: BTreeMap<String, Constructor<dyn Supervisor>>,
    service_rules: BTreeMap<String, ServiceRule>,
    checks: BTreeMap<String, CheckConstructor>,
    notifiers: BTreeMap<String, NotifierConstructor>,
}

impl Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("sources", &self.sources.keys())
            .field("builders", &self.builders.keys())
            .field("services", &self.services.keys())
            .field("checks", &self.checks.keys())
            .field("notifiers", &self.notifiers.keys())
            .finish()
    }
}

fn make<C: ?Sized, T>(
    kind: &'static str,
    name: &str,
    table: &BTreeMap<String, Arc<C>>,
    call: impl FnOnce(&C) -> Result<T, BoxError>,
) -> Result<T, RegistryError> {
    let constructor = table.get(name).ok_or_else(|| RegistryError::Unknown {
        kind,
        name: name.to_owned(),
        known: table.keys().cloned().collect(),
    })?;
    call(constructor).map_err(|source| RegistryError::Construct {
        kind,
        name: name.to_owned(),
        source,
    })
}

impl Registry {
    /// Without any backend.
    pub fn empty() -> Self {
        Self::default()
    }

    /// With the backends of this crate, as far as its features say.
    pub fn built_in() -> Self {
        let mut registry = Self::empty();
        crate::backend::register(&mut registry);
        registry
    }

    /// Adds a source, or puts it in the place of the one of that name.
    pub fn source(&mut self, name: &str, constructor: Constructor<dyn Source>) -> &mut Self {
        self.sources.insert(name.to_owned(), constructor);
        self
    }

    /// Adds a builder, or puts it in the place of the one of that name.
    pub fn builder(&mut self, name: &str, constructor: Constructor<dyn Builder>) -> &mut Self {
        self.builders.insert(name.to_owned(), constructor);
        self
    }

    /// Adds a supervisor, or puts it in the place of the one of that name.
    pub fn service(&mut self, name: &str, constructor: Constructor<dyn Supervisor>) -> &mut Self {
        self.services.insert(name.to_owned(), constructor);
        self
    }

    /// Has a service backend look at the entries of `[[service]]` that it is to run, when a configuration is
    /// read for this registry: what it complains of is shown in its place.
    pub fn service_rule(&mut self, name: &str, rule: ServiceRule) -> &mut Self {
        self.service_rules.insert(name.to_owned(), rule);
        self
    }

    /// What a service backend has to say of a description.
    pub(crate) fn complaints(&self, backend: &str, service: &ServiceSpec) -> Vec<Complaint> {
        self.service_rules.get(backend).map(|rule| rule(service)).unwrap_or_default()
    }

    /// Adds a health check, or puts it in the place of the one of that name.
    pub fn check(&mut self, name: &str, constructor: CheckConstructor) -> &mut Self {
        self.checks.insert(name.to_owned(), constructor);
        self
    }

    /// Adds a notifier, or puts it in the place of the one of that name.
    pub fn notifier(&mut self, name: &str, constructor: NotifierConstructor) -> &mut Self {
        self.notifiers.insert(name.to_owned(), constructor);
        self
    }

    /// The names of the sources.
    pub fn source_names(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().map(String::as_str)
    }

    /// The names of the builders.
    pub fn builder_names(&self) -> impl Iterator<Item = &str> {
        self.builders.keys().map(String::as_str)
    }

    /// The types of health checks.
    pub fn check_names(&self) -> impl Iterator<Item = &str> {
        self.checks.keys().map(String::as_str)
    }

    /// The types of notifiers.
    pub fn notifier_names(&self) -> impl Iterator<Item = &str> {
        self.notifiers.keys().map(String::as_str)
    }

    /// The names of the supervisors.
    pub fn service_names(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// Makes the source of that name.
    ///
    /// # Errors
    /// [`RegistryError`], when there is none or it cannot be set up.
    pub fn make_source(
        &self,
        name: &str,
        request: &BackendRequest<'_>,
    ) -> Result<Arc<dyn Source>, RegistryError> {
        make("source", name, &self.sources, |c| c(request))
    }

    /// Makes the builder of that name.
    ///
    /// # Errors
    /// [`RegistryError`], when there is none or it cannot be set up.
    pub fn make_builder(
        &self,
        name: &str,
        request: &BackendRequest<'_>,
    ) -> Result<Arc<dyn Builder>, RegistryError> {
        make("builder", name, &self.builders, |c| c(request))
    }

    /// Makes the supervisor of that name.
    ///
    /// # Errors
    /// [`RegistryError`], when there is none or it cannot be set up.
    pub fn make_service(
        &self,
        name: &str,
        request: &BackendRequest<'_>,
    ) -> Result<Arc<dyn Supervisor>, RegistryError> {
        make("service", name, &self.services, |c| c(request))
    }

    /// Makes a health check.
    ///
    /// # Errors
    /// [`RegistryError`], when there is none or it cannot be set up.
    pub fn make_check(
        &self,
        request: &BackendRequest<'_>,
        config: &CheckConfig,
    ) -> Result<Arc<dyn HealthCheck>, RegistryError> {
        make("health check", config.kind(), &self.checks, |c| c(request, config))
    }

    /// Makes a notifier.
    ///
    /// # Errors
    /// [`RegistryError`], when there is none or it cannot be set up.
    pub fn make_notifier(
        &self,
        request: &BackendRequest<'_>,
        config: &NotifierConfig,
    ) -> Result<Arc<dyn Notifier>, RegistryError> {
        make("notifier", config.kind(), &self.notifiers, |c| c(request, config))
    }
}
