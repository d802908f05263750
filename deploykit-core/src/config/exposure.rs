//! Files with secrets that others can read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;

use super::telling::is_telling_name;
use super::value::{EnvValue, SecretValue};
use super::{Argv, Config};
use crate::secret::{Masker, Secret};
use crate::secret_source::read_secret;

impl Config {
    /// What a person should know about the files that hold secrets: one that others can use, a line
    /// each. They are used all the same, since who may reach them is a matter of the host's set-up.
    /// Relative paths are below `app`, the application's directory.
    ///
    /// ```
    /// use deploykit_core::config;
    ///
    /// let text = "repo.url = \"/r\"\nrepo.token = { file = \"/etc/hostname\" }";
    /// let config = config::parse(text, "deploykit.toml".into())?;
    /// for warning in config.exposed_secrets("/srv/app".into()) {
    ///     assert!(warning.starts_with("/etc/hostname (repo.token) is a secret"));
    /// }
    /// # Ok::<(), config::ConfigError>(())
    /// ```
    pub fn exposed_secrets(&self, app: &Utf8Path) -> Vec<String> {
        let me = nix::unistd::geteuid().as_raw();
        let files = self.secrets().into_iter().filter_map(|(key, secret)| match secret {
            SecretValue::File(path) => Some((key, app.join(path))),
            _ => None,
        });
        let environments = self.service.services.iter().flat_map(|spec| {
            let path = |file: &String| app.join(file.strip_prefix('-').unwrap_or(file));
            spec.env_files
                .iter()
                .map(move |file| (format!("env_files of {}", spec.name), path(file)))
        });
        let files = files.chain(environments.filter(|(_, path)| holds_secrets(path)));
        let mut warnings: Vec<String> =
            files.filter_map(|(key, path)| exposed(&key, &path, me)).collect();
        warnings.dedup();
        warnings
    }

    /// Has the masker know every secret that can be read now: a program may write one of them that this
    /// process itself never needs. In the files of a service's environment those are meant whose names
    /// tell it.
    pub(crate) fn teach(&self, app: &Utf8Path, masker: &Masker) {
        for (_, secret) in self.secrets() {
            let found = match secret {
                SecretValue::File(path) => read_secret(&SecretValue::File(app.join(path))),
                other => read_secret(other),
            };
            // That it cannot be read is an error of whoever needs it.
            found.iter().for_each(|secret| masker.learn(secret));
        }
        let files = self.service.services.iter().flat_map(|spec| &spec.env_files);
        for file in files {
            let path = app.join(file.strip_prefix('-').unwrap_or(file));
            let Ok(text) = std::fs::read_to_string(path) else { continue };
            let values = text.lines().filter_map(|line| line.trim().split_once('='));
            for (_, value) in values.filter(|(name, _)| is_telling_name(name)) {
                let value = value.trim().trim_matches(['"', '\'']);
                masker.learn(&Secret::new(value));
            }
        }
    }

    /// The variables of the environment in which the configuration says that secrets are which deploykit
    /// itself needs, and no service: those of `[repo]` and `[notify]`.
    pub fn own_secret_variables(&self) -> Vec<String> {
        let own = self
            .secrets()
            .into_iter()
            .filter(|(key, _)| key.starts_with("repo.") || key.starts_with("notify."));
        let variables = own.filter_map(|(_, secret)| match secret {
            SecretValue::Env(name) => Some(name.clone()),
            _ => None,
        });
        variables.collect()
    }

    /// Every secret, with the key that it stands behind.
    fn secrets(&self) -> Vec<(String, &SecretValue)> {
        let repo = [("repo.token", &self.repo.token), ("repo.password", &self.repo.password)];
        let repo =
            repo.into_iter().filter_map(|(key, secret)| Some((key.into(), secret.as_ref()?)));
        let smtp = self.notify.smtp.iter().filter_map(|smtp| smtp.password.as_ref());
        let smtp = smtp.map(|password| ("notify.smtp.password".into(), password));
        let urls = self.notify.to.iter().filter_map(|to| match &to.url {
            Some(EnvValue::Secret(url)) => Some(("notify.to.url".into(), url)),
            _ => None,
        });
        let build = [("build.env", &self.build.env)];
        let steps = self.build.steps.iter().map(|step| ("build.step.env", &step.env));
        let checks = self.health.checks.iter().map(|check| ("health.check.send", &check.send));
        let told = self.notify.to.iter().map(|to| ("notify.to.send", &to.send));
        let tables = build.into_iter().chain(steps).chain(checks).chain(told);
        let values = tables.flat_map(|(table, values)| {
            values.iter().filter_map(move |(name, value)| match value {
                EnvValue::Secret(secret) => Some((format!("{table}.{name}"), secret)),
                EnvValue::Plain(_) => None,
            })
        });
        repo.chain(smtp).chain(urls).chain(values).collect()
    }
}

/// Whether one of the names in a file of an environment tells of a secret.
fn holds_secrets(path: &Utf8Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once('=')).any(|(name, _)| is_telling_name(name))
}

/// Who can use a file that should not: nobody but the owner may, if the owner is who runs deploykit. A
/// file of somebody else is read by right of its group, so the group may read it then.
pub(super) fn forbidden(metadata: &Metadata, me: u32) -> Option<(&'static str, &'static str)> {
    let (forbidden, mode) = if metadata.uid() == me { (0o077, "600") } else { (0o007, "o=") };
    match metadata.mode() & forbidden {
        0 => None,
        given if given & 0o007 == 0 => Some(("its group", mode)),
        _ => Some(("everybody", mode)),
    }
}

/// The command that mends it.
pub(super) fn chmod(mode: &str, path: &Utf8Path) -> String {
    let command = ["chmod", mode, path.as_str()].map(str::to_owned).to_vec();
    Argv::try_from(command).map(|command| command.to_string()).unwrap_or_default()
}

fn exposed(key: &str, path: &Utf8Path, me: u32) -> Option<String> {
    // That it cannot be read is an error of whoever needs it.
    let metadata = std::fs::metadata(path).ok().filter(Metadata::is_file)?;
    let (who, mode) = forbidden(&metadata, me).filter(|_| is_reachable(path))?;
    Some(format!(
        "{path} ({key}) is a secret, and {who} can use the file (mode {:03o}): {}",
        metadata.mode() & 0o777,
        chmod(mode, path)
    ))
}

/// Whether others get to the file: not, where a directory above it keeps them out.
fn is_reachable(path: &Utf8Path) -> bool {
    let Ok(real) = path.canonicalize_utf8() else { return true };
    let is_open = |directory: &Utf8Path| {
        std::fs::metadata(directory).is_ok_and(|metadata| metadata.mode() & 0o011 != 0)
    };
    real.ancestors().skip(1).all(is_open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    fn set(path: &Utf8Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_secret_in_a_file_that_others_can_use_is_told_wherever_it_stands() {
        let directory = tempfile::tempdir().unwrap();
        let app = Utf8Path::from_path(directory.path()).unwrap();
        for name in ["token", "npm", "step", "head", "mine"] {
            std::fs::write(app.join(name), "s3cret").unwrap();
            set(&app.join(name), if name == "mine" { 0o600 } else { 0o644 });
        }
        let text = format!(
            "repo.url = \"/r\"\nrepo.token = {{ file = \"token\" }}\n\
             [build.env]\nA = {{ file = \"{app}/npm\" }}\nB = {{ file = \"mine\" }}\n\
             C = {{ file = \"none\" }}\nD = \"plain\"\nE = {{ env = \"E\" }}\n\
             [[build.step]]\ncommand = [\"x\"]\nenv = {{ S = {{ file = \"step\" }} }}\n\
             [[health.check]]\ntype = \"http\"\nurl = \"http://h\"\n\
             send = {{ X = {{ file = \"head\" }} }}\n"
        );
        let config = crate::config::parse(&text, "deploykit.toml".into()).unwrap();
        set(app, 0o700);
        assert_eq!(config.exposed_secrets(app), [""; 0], "nobody gets into the directory");
        set(app, 0o755);
        let told = config.exposed_secrets(app);
        let keys = ["repo.token", "build.env.A", "build.step.env.S", "health.check.send.X"];
        assert_eq!(told.len(), keys.len(), "{told:#?}");
        for (warning, key) in told.iter().zip(keys) {
            assert!(warning.contains(&format!("({key}) is a secret, and everybody")), "{warning}");
        }
        assert!(told[0].ends_with(&format!("(mode 644): chmod 600 {app}/token")), "{}", told[0]);
        set(&app.join("token"), 0o640);
        assert!(config.exposed_secrets(app)[0].contains("its group"));
    }

    #[test]
    fn the_group_may_read_what_belongs_to_somebody_else() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = Utf8Path::from_path(file.path()).unwrap();
        set(path, 0o640);
        let metadata = std::fs::metadata(path).unwrap();
        assert!(forbidden(&metadata, metadata.uid()).is_some());
        assert_eq!(forbidden(&metadata, metadata.uid() + 1), None);
        set(path, 0o644);
        let metadata = std::fs::metadata(path).unwrap();
        assert_eq!(forbidden(&metadata, metadata.uid() + 1), Some(("everybody", "o=")));
    }
}
