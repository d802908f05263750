//! Reading a secret from where the configuration says it is.

use std::fs::File;
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::config::SecretValue;
use crate::secret::Secret;

/// The variable by which systemd tells where a service's credentials are.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// The longest file that is read, in bytes; the largest keys have a few thousand.
const LONGEST: u64 = 64 << 10;

/// Why a secret could not be read. It names the place, never the value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The environment variable does not exist.
    #[error("the environment variable {name} is not set")]
    NotSet {
        /// Its name.
        name: String,
    },
    /// There is no directory of credentials.
    #[error("there are no credentials: {CREDENTIALS_DIRECTORY} is not set")]
    NoCredentials {
        /// The name of the credential that was asked for.
        name: String,
    },
    /// It is there, but holds nothing.
    #[error("{place} is empty")]
    Empty {
        /// Where it should be.
        place: String,
    },
    /// It is not text.
    #[error("{place} is not UTF-8 text")]
    NotText {
        /// Where it is.
        place: String,
    },
    /// A device, a pipe or a directory: reading it may never end.
    #[error("{path} is not a file")]
    NotFile {
        /// Which path.
        path: Utf8PathBuf,
    },
    /// It is longer than any secret.
    #[error("{path} is longer than {LONGEST} bytes: that is no secret")]
    TooLong {
        /// Which file.
        path: Utf8PathBuf,
    },
    /// The file cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// Which file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl SecretError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotSet { name } => Some(format!("set it for deploykit: export {name}=…")),
            Self::NoCredentials { name } => Some(format!(
                "systemd sets it for services with LoadCredential={name}:…; elsewhere use \
                 {{ file = … }} or {{ env = … }}"
            )),
            _ => None,
        }
    }
}

/// Reads a secret: as it stands, from an environment variable, from a file, or from a credential of
/// systemd (a file of that name below `$CREDENTIALS_DIRECTORY`). White space at the end of a file
/// is dropped.
///
/// ```
/// use deploykit_core::config::SecretValue;
/// use deploykit_core::{Secret, read_secret};
///
/// let token = read_secret(&SecretValue::Literal(Secret::new("ghp_s3cret")))?;
/// assert_eq!(token.expose(), "ghp_s3cret");
/// # Ok::<(), deploykit_core::SecretError>(())
/// ```
///
/// # Errors
/// [`SecretError`], when it is missing, empty, or cannot be read.
pub fn read_secret(value: &SecretValue) -> Result<Secret, SecretError> {
    match value {
        SecretValue::Literal(secret) => not_empty(secret.clone(), || "the secret".into()),
        SecretValue::Env(name) => from_environment(name),
        SecretValue::File(path) => from_file(path),
        SecretValue::Credential(name) => {
            let directory = std::env::var(CREDENTIALS_DIRECTORY)
                .map_err(|_| SecretError::NoCredentials { name: name.clone() })?;
            from_file(&Utf8Path::new(&directory).join(name))
        }
    }
}

fn from_environment(name: &str) -> Result<Secret, SecretError> {
    let place = || format!("the environment variable {name}");
    match std::env::var(name) {
        Ok(text) => not_empty(Secret::new(text), place),
        Err(std::env::VarError::NotPresent) => Err(SecretError::NotSet { name: name.to_owned() }),
        Err(std::env::VarError::NotUnicode(_)) => Err(SecretError::NotText { place: place() }),
    }
}

fn from_file(path: &Utf8Path) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::Read { path: path.to_owned(), source };
    // Before it is opened: a named pipe would be waited for.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(SecretError::NotFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(SecretError::TooLong { path: path.to_owned() });
    }
    let text =
        String::from_utf8(bytes).map_err(|_| SecretError::NotText { place: path.to_string() })?;
    not_empty(Secret::new(text.trim_end()), || path.to_string())
}

fn not_empty(secret: Secret, place: impl FnOnce() -> String) -> Result<Secret, SecretError> {
    if secret.expose().is_empty() {
        return Err(SecretError::Empty { place: place() });
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_file(bytes: &[u8]) -> Result<Secret, SecretError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let path = Utf8PathBuf::from_path_buf(file.path().to_owned()).unwrap();
        read_secret(&SecretValue::File(path))
    }

    #[test]
    fn white_space_at_the_end_of_a_file_is_dropped_and_at_its_start_kept() {
        assert_eq!(in_file(b" s3cret \r\n\n").unwrap().expose(), " s3cret");
    }

    #[test]
    fn an_empty_or_binary_or_missing_secret_is_an_error_that_names_the_place() {
        assert!(matches!(in_file(b"\n"), Err(SecretError::Empty { .. })));
        assert!(matches!(in_file(b"\xff\xfe"), Err(SecretError::NotText { .. })));
        let missing = read_secret(&SecretValue::File("/nowhere/token".into())).unwrap_err();
        assert_eq!(missing.to_string(), "failed to read /nowhere/token");
        let unset = SecretValue::Env("DEPLOYKIT_TEST_NEVER_SET".into());
        let error = read_secret(&unset).unwrap_err();
        assert!(error.to_string().contains("DEPLOYKIT_TEST_NEVER_SET"), "{error}");
        let empty = SecretValue::Literal(Secret::new(""));
        assert!(matches!(read_secret(&empty), Err(SecretError::Empty { .. })));
    }

    #[test]
    fn what_may_never_end_is_not_read() {
        let zero = read_secret(&SecretValue::File("/dev/zero".into()));
        assert!(matches!(zero, Err(SecretError::NotFile { .. })), "{zero:?}");
        assert!(in_file(&[b'x'; 64 << 10]).is_ok());
        assert!(matches!(in_file(&[b'x'; (64 << 10) + 1]), Err(SecretError::TooLong { .. })));
        let directory = tempfile::tempdir().unwrap();
        let pipe = Utf8PathBuf::from_path_buf(directory.path().join("pipe")).unwrap();
        nix::unistd::mkfifo(pipe.as_std_path(), nix::sys::stat::Mode::S_IRUSR).unwrap();
        let waiting = read_secret(&SecretValue::File(pipe));
        assert!(matches!(waiting, Err(SecretError::NotFile { .. })), "{waiting:?}");
    }

    #[test]
    fn a_variable_of_the_environment_is_read() {
        // Cargo sets this one for every test.
        let secret = read_secret(&SecretValue::Env("CARGO_PKG_NAME".into())).unwrap();
        assert_eq!(secret.expose(), "deploykit-core");
    }
}
