//! Finding, reading and checking a configuration file.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::Config;
use super::diagnose::{self, Diagnosis};
use super::error::{ConfigError, ConfigErrorKind, Problem};
use super::exposure;
use super::rules;
use super::tree::{self, Node};
use super::value::SecretValue;
use crate::registry::Registry;

/// The name of deploykit's configuration file.
pub const DEPLOYKIT_TOML: &str = "deploykit.toml";

/// The name of mfd's, which is read when there is no other.
pub const MFD_TOML: &str = "mfd.toml";

/// The largest file that is read, in bytes. A configuration is a few kilobytes; more is a mistake in
/// the file's name.
const LARGEST: u64 = 1 << 20;

/// Whose configuration file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigKind {
    /// deploykit's own.
    Deploykit,
    /// mfd's: it has only mfd's keys.
    Mfd,
}

impl ConfigKind {
    /// By the name of the file.
    pub fn of(path: &Utf8Path) -> Self {
        if path.file_name() == Some(MFD_TOML) { Self::Mfd } else { Self::Deploykit }
    }
}

/// A configuration that was read from a file.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The file.
    pub path: Utf8PathBuf,
    /// Whose file it is.
    pub kind: ConfigKind,
    /// What a person should know about the file, though it can be used.
    pub warnings: Vec<String>,
}

/// Finds the configuration of the application in `dir`: `deploykit.toml`, or else `mfd.toml`.
///
/// # Errors
/// [`ConfigErrorKind::NotFound`] when there is neither.
pub fn find(dir: &Utf8Path) -> Result<Utf8PathBuf, ConfigError> {
    for name in [DEPLOYKIT_TOML, MFD_TOML] {
        let path = dir.join(name);
        // A link that leads nowhere is found, too: reading it then says what is wrong.
        if path.as_std_path().symlink_metadata().is_ok() {
            return Ok(path);
        }
    }
    let message = format!("there is no {DEPLOYKIT_TOML} (and no {MFD_TOML}) in this directory");
    let hint = "`deploykit init URL` writes one; `-C DIR` looks in another directory";
    let problem = Problem::new(ConfigErrorKind::NotFound, message).hint(Some(hint));
    Err(ConfigError::of_file(dir, problem, None))
}

/// Reads a configuration file. One called `mfd.toml` is read as mfd's. Any name of a backend or of a
/// type of check is accepted: [`read_file_for`] knows which there are.
///
/// # Errors
/// [`ConfigError`]: the file cannot be read, holds a secret that others can read, or what it says is
/// wrong.
pub fn read_file(path: &Utf8Path) -> Result<Loaded, ConfigError> {
    read(path, None)
}

/// Reads a configuration file, as [`read_file`] does, for a program that has these backends: the name
/// of another one, or of another type of check, is a mistake that is shown with its place.
///
/// # Errors
/// Those of [`read_file`], and a backend or a type of check that is not in the registry.
pub fn read_file_for(path: &Utf8Path, registry: &Registry) -> Result<Loaded, ConfigError> {
    read(path, Some(registry))
}

fn read(path: &Utf8Path, registry: Option<&Registry>) -> Result<Loaded, ConfigError> {
    let (text, metadata) = read_text(path)?;
    let (config, root) = parse_tree(&text, path, registry)?;
    let me = nix::unistd::geteuid().as_raw();
    refuse_exposed(path, &text, &config, &root, &metadata, me)?;
    Ok(Loaded {
        config,
        path: path.to_owned(),
        kind: ConfigKind::of(path),
        warnings: warnings(path, &metadata, me),
    })
}

/// Reads a configuration from a text. `origin` is named in errors; if it is called `mfd.toml`, the
/// text is read as mfd's.
///
/// ```
/// use deploykit_core::config;
///
/// let config = config::parse("repo.url = \"/srv/app.git\"", "deploykit.toml".into())?;
/// assert_eq!(config.releases.keep, 3);
/// # Ok::<(), config::ConfigError>(())
/// ```
///
/// # Errors
/// [`ConfigError`], with every mistake that could be found at once.
pub fn parse(text: &str, origin: &Utf8Path) -> Result<Config, ConfigError> {
    parse_tree(text, origin, None).map(|(config, _)| config)
}

/// Reads a configuration from a text, as [`parse`] does, for a program that has these backends.
///
/// ```
/// use deploykit_core::{Registry, config};
///
/// let text = "repo.url = \"/srv/app.git\"\nservice.backend = \"comand\"";
/// let error = config::parse_for(text, "deploykit.toml".into(), &Registry::built_in()).unwrap_err();
/// assert_eq!(error.to_string(), "deploykit.toml:2:19: there is no service backend \"comand\"");
/// assert_eq!(error.hint().as_deref(), Some("did you mean \"command\"?"));
/// ```
///
/// # Errors
/// Those of [`parse`], and a backend or a type of check that is not in the registry.
pub fn parse_for(
    text: &str,
    origin: &Utf8Path,
    registry: &Registry,
) -> Result<Config, ConfigError> {
    parse_tree(text, origin, Some(registry)).map(|(config, _)| config)
}

fn parse_tree(
    text: &str,
    origin: &Utf8Path,
    registry: Option<&Registry>,
) -> Result<(Config, Node), ConfigError> {
    let wrong = |problems| ConfigError::in_text(origin, text, problems);
    let root = tree::parse(text).map_err(|problem| wrong(vec![*problem]))?;
    if let Some(problem) = diagnose::newer_format(&root) {
        return Err(wrong(vec![problem]));
    }
    let kind = ConfigKind::of(origin);
    let Diagnosis { config, mut problems, torn } = diagnose::read(&root, kind);
    if let Some(config) = &config {
        problems.extend(rules::broken(config, &root, kind, &torn, registry));
    }
    match config {
        Some(config) if problems.is_empty() => Ok((config, root)),
        _ => Err(wrong(problems)),
    }
}

fn read_text(path: &Utf8Path) -> Result<(String, Metadata), ConfigError> {
    let failed = |source: std::io::Error| {
        let (kind, message) = match source.kind() {
            std::io::ErrorKind::NotFound => {
                (ConfigErrorKind::NotFound, "there is no such configuration file")
            }
            _ => (ConfigErrorKind::Unreadable, "the configuration cannot be read"),
        };
        ConfigError::of_file(path, Problem::new(kind, message), Some(source))
    };
    let refused = |message: &str| {
        let problem = Problem::new(ConfigErrorKind::Unreadable, message);
        ConfigError::of_file(path, problem, None)
    };
    // A named pipe would be waited for, so the kind of file is looked at before it is opened; who
    // may read it is asked of the open file, which nobody can replace.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(refused("the configuration is not a file"));
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.len() > LARGEST {
        return Err(refused("the file is larger than 1 MiB: it is no configuration"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count() + 1;
        refused(&format!("line {line} is not UTF-8 text"))
    })?;
    Ok((text, metadata))
}

/// Refuses a file that holds a secret and can be read, or changed, by somebody who should not.
fn refuse_exposed(
    path: &Utf8Path,
    text: &str,
    config: &Config,
    root: &Node,
    metadata: &Metadata,
    me: u32,
) -> Result<(), ConfigError> {
    let repo = &config.repo;
    let secrets = [("token", &repo.token), ("password", &repo.password)];
    let literal = |value: &Option<SecretValue>| matches!(value, Some(SecretValue::Literal(_)));
    let Some((key, _)) = secrets.into_iter().find(|(_, value)| literal(value)) else {
        return Ok(());
    };
    let Some((who, mode)) = exposure::forbidden(metadata, me) else { return Ok(()) };
    let message = format!(
        "repo.{key} is a secret, and {who} can use this file (mode {:03o})",
        metadata.mode() & 0o777
    );
    let problem = Problem::new(ConfigErrorKind::Exposed, message)
        .at(root.find(&["repo", key]).map(|entry| entry.node.span.clone()))
        .hint(Some(exposure::chmod(mode, path)));
    Err(ConfigError::in_text(path, text, vec![problem]))
}

/// Whoever can change the configuration can run commands as the user who deploys. That is a matter
/// of the host's set-up, which may have its reasons: said, not refused.
fn warnings(path: &Utf8Path, metadata: &Metadata, me: u32) -> Vec<String> {
    let mode = metadata.mode();
    let who = if mode & 0o002 != 0 {
        "everybody on this host"
    } else if me == 0 && metadata.uid() != 0 {
        "a user other than root"
    } else {
        return Vec::new();
    };
    vec![format!("{path} can be changed by {who}, who can so run commands as the deploying user")]
}
