//! Unit files made of the configuration: what they say, how they differ from those that are there, and
//! putting them in their place.

mod file;
mod install;
mod refresh;
mod section;
mod service;
mod text;
mod timers;

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::config::{Config, ManagerKind, RuntimeConfig};
use deploykit_core::{Context, Layout};

pub use file::{Present, UnitFile};
pub use install::Installed;
pub(crate) use install::disable;
pub(crate) use refresh::{file_of_another, refresh, stray_service_files, stray_units};
pub(crate) use timers::{poll_timer, recover_timer, up_service};

use crate::access::Who;
use crate::error::SystemdError;
use crate::units::Units;
use service::{Place, file_name};
use timers::{Timers, runs_up};

/// The unit files of an application, and what is to be done with their units.
///
/// ```
/// use camino::Utf8Path;
/// use deploykit_core::{Layout, config};
/// use deploykit_systemd::{UnitRequest, UnitSet};
///
/// let text = r#"
///     repo.url = "https://example.org/shop.git"
///     systemd.manager = "user"
///     [[service]]
///     name = "shop"
///     command = ["./bin/shop", "--port", "8080"]
/// "#;
/// let config = config::parse(text, "deploykit.toml".into())?;
/// let layout = Layout::new("/home/ann/shop".into());
/// let program = Utf8Path::new("/usr/local/bin/deploykit");
/// let set = UnitSet::of(&UnitRequest::new(&config, &layout, program))?;
/// let unit = set.files().iter().find(|file| file.name == "shop.service").unwrap();
/// assert!(unit.text.contains("WorkingDirectory=/home/ann/shop/active"));
/// assert!(unit.text.contains("ExecStart=/home/ann/shop/active/bin/shop --port 8080"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct UnitSet {
    root: Utf8PathBuf,
    manager: ManagerKind,
    directory: Utf8PathBuf,
    files: Vec<UnitFile>,
    /// The units of the services.
    units: Vec<String>,
    /// Started at boot.
    enabled: Vec<String>,
    /// Started as soon as they are there.
    started: Vec<String>,
    /// What runs the services where systemd does not: started, and left alone when it runs.
    up: Option<String>,
    /// What the active release is run by: files and units.
    active: Option<(Vec<UnitFile>, Vec<String>)>,
    /// Files that are not wanted now and that a release which is kept is run by.
    kept: Vec<Utf8PathBuf>,
    /// Whoever deploys may write unit files, and have units started at boot.
    is_deployed_by_root: bool,
    /// Why the timers could not run deploykit.
    barred: Option<UnitError>,
}

/// What unit files are made of.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct UnitRequest<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// Where the application lies.
    pub layout: &'a Layout,
    /// The program `deploykit`, which the timers run.
    pub program: &'a Utf8Path,
    /// Where the configuration is, if not in the application's directory under its usual name.
    pub config_path: Option<&'a Utf8Path>,
    /// How the active release is run, if there is one.
    pub active: Option<&'a RuntimeConfig>,
    /// How the releases are run that are kept: the units of them stay, so that there is a way back.
    pub kept: &'a [RuntimeConfig],
}

impl<'a> UnitRequest<'a> {
    /// A request.
    pub fn new(config: &'a Config, layout: &'a Layout, program: &'a Utf8Path) -> Self {
        Self { config, layout, program, config_path: None, active: None, kept: &[] }
    }
}

/// What went wrong with unit files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnitError {
    /// Nobody is named as whom a service runs.
    #[error(
        "nobody is named as whom the service {service:?} is to run, and {root} belongs to root"
    )]
    NoUser {
        /// The service.
        service: String,
        /// The application's directory.
        root: Utf8PathBuf,
    },
    /// The path of the application cannot stand in a unit file.
    #[error("the path {root:?} cannot stand in a unit file")]
    Path {
        /// The application's directory.
        root: Utf8PathBuf,
    },
    /// It is not known where the unit files of this user are.
    #[error(
        "the directory of this user's unit files is not known: neither XDG_CONFIG_HOME nor HOME is set"
    )]
    NoHome,
    /// Files are in the way that somebody else has made or changed.
    #[error("{} in the way: {}", if files.len() == 1 { "a file is" } else { "files are" }, listed(files))]
    InTheWay {
        /// Which, and what they are.
        files: Vec<(Utf8PathBuf, Present)>,
    },
    /// A file could not be read or written.
    #[error("cannot {operation} {path}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Whoever the timers run as may not run deploykit.
    #[error("the timers run {program} as {user}, who may not: {barred} keeps them out")]
    Program {
        /// The program.
        program: Utf8PathBuf,
        /// As whom it runs.
        user: String,
        /// The directory, or the program itself, whose mode says so.
        barred: Utf8PathBuf,
    },
    /// systemd did not do what it was asked for.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
}

fn listed(files: &[(Utf8PathBuf, Present)]) -> String {
    let one = |(path, present): &(Utf8PathBuf, Present)| format!("{path} {}", present.why_not());
    files.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl UnitError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoUser { .. } => {
                "user = \"…\" beside its name, or let the directory belong to whom it is to run as"
                    .to_owned()
            }
            Self::Path { .. } => {
                "a path with control characters or a leading blank is none that systemd reads"
                    .to_owned()
            }
            Self::NoHome => "HOME=… in the environment".to_owned(),
            Self::InTheWay { files } if files.iter().any(|(_, present)| present.is_of_others()) => {
                "the name of a service is that of its unit, on the whole host: give it another one; \
                 `--force` takes the place of what is there"
                    .to_owned()
            }
            Self::InTheWay { .. } => {
                "`deploykit unit diff` shows what would change; `--force` replaces them, and keeps \
                 each as NAME.before-deploykit"
                    .to_owned()
            }
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                "unit files of the host are written by root: `sudo deploykit unit install`"
                    .to_owned()
            }
            Self::Program { program, .. } => {
                let name = program.file_name().unwrap_or("deploykit");
                format!(
                    "`install -m 755 {program} /usr/local/bin/`, then \
                     `/usr/local/bin/{name} unit install`"
                )
            }
            Self::File { .. } => return None,
            Self::Systemd(error) => return error.hint(),
        })
    }
}

impl UnitSet {
    /// The units of a configuration. Looks at who owns the directory and where homes are, and at nothing
    /// else.
    ///
    /// # Errors
    /// When something is missing that they need.
    pub fn of(request: &UnitRequest<'_>) -> Result<Self, UnitError> {
        let UnitRequest { config, layout, program, config_path, active, kept } = *request;
        let mut set = Self::of_services(config, layout)?;
        for runtime in kept.iter().chain(active) {
            // What cannot be made of a description today is not made, and so not kept.
            let other = Self::of_services(&config.with_runtime(runtime), layout);
            let other = other.ok().filter(|other| other.directory == set.directory);
            set.kept.extend(other.into_iter().flat_map(|other| other.files).map(|file| file.name));
        }
        let root = layout.root();
        let owner = owner(&layout.private()).or_else(|| owner(root));
        let (owner, manager) = (owner.as_deref(), set.manager);
        set.is_deployed_by_root =
            manager == ManagerKind::User || owner.is_none_or(|name| name == "root");
        if let Some(active) = active {
            let config = config.with_runtime(active);
            let units = unit_names(&config);
            if set.is_deployed_by_root {
                // What no deployment has started yet is started at boot from its first one on.
                set.enabled.retain(|unit| units.contains(unit));
            }
            let files = Self::of_services(&config, layout).map(|set| set.files);
            set.active = Some((files.unwrap_or_default(), units));
        }
        let timers = Timers { config, root, config_path, manager, owner, program };
        set.files.extend(timers.files());
        set.enabled.extend(timers.enabled());
        set.started = timers.started();
        set.up = runs_up(config).then(|| up_service(root));
        set.barred = owner.filter(|_| manager == ManagerKind::System).and_then(|owner| {
            let (barred, _) = Who::named(owner, None)?.barred_from(program)?;
            let (program, user) = (program.to_owned(), owner.to_owned());
            Some(UnitError::Program { program, user, barred })
        });
        Ok(set)
    }

    /// The same, without what acts when nobody is there.
    fn of_services(config: &Config, layout: &Layout) -> Result<Self, UnitError> {
        let (root, manager) = (layout.root(), manager_of(config));
        if root.as_str().contains(char::is_control) || root.as_str().ends_with(' ') {
            return Err(UnitError::Path { root: root.to_owned() });
        }
        let homes = |user: &str| {
            let found = nix::unistd::User::from_name(user).ok().flatten()?;
            Utf8PathBuf::from_path_buf(found.dir).ok()
        };
        let place = Place { config, root, manager, owner: owner(root), homes: &homes };
        let mut files = Vec::new();
        let described = config.service.services.iter().filter(|_| !runs_up(config));
        for spec in described {
            let text = place.service(spec)?;
            files.push(UnitFile::of(root, file_name(spec, ".service"), &text));
            if !spec.listen.is_empty() {
                files.push(UnitFile::of(root, file_name(spec, ".socket"), &place.socket(spec)?));
            }
        }
        let units = unit_names(config);
        Ok(Self {
            root: root.to_owned(),
            manager,
            directory: directory(manager)?,
            files,
            enabled: units.clone(),
            units,
            started: Vec::new(),
            up: None,
            active: None,
            kept: Vec::new(),
            is_deployed_by_root: true,
            barred: None,
        })
    }

    /// Where the files belong.
    pub fn directory(&self) -> &Utf8Path {
        &self.directory
    }

    /// The files.
    pub fn files(&self) -> &[UnitFile] {
        &self.files
    }

    /// What is there in the place of every file, and the text of that; and the files that were made for
    /// this application and that nothing is run by any more, no release that is kept either.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn compare(&self) -> Result<Comparison, UnitError> {
        let one = |file: &UnitFile| {
            let (present, text) = file.present(&self.directory)?;
            Ok(Compared { file: file.clone(), present, there: text })
        };
        let files = self.files.iter().map(one).collect::<Result<Vec<_>, UnitError>>()?;
        let made = file::made_for(&self.root, &self.directory)?;
        let wanted = |name: &Utf8Path| {
            self.files.iter().any(|file| file.name == name)
                || self.kept.iter().any(|kept| kept == name)
        };
        let obsolete = made.into_iter().filter(|file| !wanted(&file.name)).collect();
        Ok(Comparison { files, obsolete })
    }

    /// The files that are to be there before the next deployment: what the active release is run by stays
    /// as it is, where deployments bring the rest themselves.
    fn before_the_deployment(&self) -> Vec<UnitFile> {
        let active: &[UnitFile] = self.active.as_ref().map_or(&[], |(files, _)| files);
        let of_active = |name: &Utf8Path| active.iter().find(|file| file.name == name);
        let one = |file: &UnitFile| match of_active(&file.name) {
            Some(present) if self.is_deployed_by_root => present.clone(),
            _ => file.clone(),
        };
        let is_new = |file: &&UnitFile| !self.files.iter().any(|other| other.name == file.name);
        self.files.iter().map(one).chain(active.iter().filter(is_new).cloned()).collect()
    }

    /// Puts the files in their place, lets systemd read them, and has it start their units at boot. The
    /// services themselves are started by the next deployment, and what the active release is run by is
    /// not ended, nor changed where deployments change it.
    ///
    /// # Errors
    /// [`UnitError::InTheWay`] before anything is changed, unless `force`d; what went wrong.
    pub fn install(mut self, ctx: &Context, force: bool) -> Result<Installed, UnitError> {
        match self.barred.take() {
            Some(error) => Err(error),
            None => install::install(&self, ctx, force),
        }
    }

    /// Ends the units of this application and removes their files. Those that all applications share
    /// stay.
    ///
    /// # Errors
    /// What went wrong.
    pub fn remove(&self, ctx: &Context) -> Result<Installed, UnitError> {
        install::remove(self, ctx, &file::made_for(&self.root, &self.directory)?)
    }

    /// Ends what acts for this application when nobody is there, and leaves its services alone: for whoever
    /// leaves deploykit.
    ///
    /// # Errors
    /// What went wrong.
    pub fn remove_timers(&self, ctx: &Context) -> Result<Installed, UnitError> {
        let mut made = file::made_for(&self.root, &self.directory)?;
        made.retain(|file| timers::is_of_one(&file.name));
        if made.is_empty() { Ok(Installed::default()) } else { install::remove(self, ctx, &made) }
    }
}

/// The units of the services that are described.
fn unit_names(config: &Config) -> Vec<String> {
    let is_described = !config.service.services.is_empty() && !runs_up(config);
    if is_described { Units::of(config).names() } else { Vec::new() }
}

/// Which of the service managers: where systemd does not run the services, that of whoever installs.
fn manager_of(config: &Config) -> ManagerKind {
    match config.systemd.manager {
        None if runs_up(config) && !nix::unistd::Uid::effective().is_root() => ManagerKind::User,
        manager => manager.unwrap_or_default(),
    }
}

/// How the files that there should be differ from those that there are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Comparison {
    /// Every file that there should be.
    pub files: Vec<Compared>,
    /// Files that deploykit has made for this application, and that are not wanted any more.
    pub obsolete: Vec<UnitFile>,
}

impl Comparison {
    /// Whether there is nothing to do.
    pub fn is_same(&self) -> bool {
        self.obsolete.is_empty() && self.files.iter().all(|file| file.present == Present::Same)
    }
}

/// A file that there should be, and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compared {
    /// The file that there should be.
    pub file: UnitFile,
    /// What is there.
    pub present: Present,
    /// The text of what is there.
    pub there: String,
}

/// Whether this user may write unit files.
pub(crate) fn may_write(manager: ManagerKind) -> bool {
    let Ok(directory) = directory(manager) else { return false };
    let there = directory.ancestors().find(|path| path.is_dir());
    there.is_some_and(|path| {
        nix::unistd::access(path.as_std_path(), nix::unistd::AccessFlags::W_OK).is_ok()
    })
}

/// Who owns a directory.
pub(crate) fn owner(path: &Utf8Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let uid = std::fs::metadata(path).ok()?.uid();
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok()??;
    Some(user.name)
}

/// Where unit files belong that an administrator, or a user, has made (systemd.unit(5), "Unit File
/// Load Path").
fn directory(manager: ManagerKind) -> Result<Utf8PathBuf, UnitError> {
    if manager == ManagerKind::System {
        return Ok("/etc/systemd/system".into());
    }
    let given = |name: &str| std::env::var(name).ok().filter(|value| value.starts_with('/'));
    let config = given("XDG_CONFIG_HOME").map(Utf8PathBuf::from);
    let config =
        config.or_else(|| given("HOME").map(|home| Utf8PathBuf::from(home).join(".config")));
    Ok(config.ok_or(UnitError::NoHome)?.join("systemd/user"))
}
