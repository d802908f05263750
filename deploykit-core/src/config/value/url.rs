//! The address of a repository.

use std::fmt;

use serde::{Deserialize, Serialize};

const NO_PASSWORD: &str = "the address must not contain a password: use repo.username and \
                           repo.password, or repo.token";

/// The address of a repository, without secrets: `https://host/path`, `ssh://…`, `git://…`,
/// `file:///path`, `user@host:path`, or a local path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoUrl(String);

impl RepoUrl {
    /// The address as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RepoUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("the address of the repository must not be empty".into());
        }
        if text.starts_with('-') {
            return Err("the address of the repository must not start with a dash".into());
        }
        if text.chars().any(char::is_control) {
            return Err("the address of the repository must not contain control characters".into());
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
            let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
            if user.contains(':') {
                return Err(NO_PASSWORD.into());
            }
            // An unescaped slash in a password makes the rest of it look like a path: what stands
            // before the slash is then no port.
            let host = host.rsplit_once(']').map_or(host, |(_, port)| port);
            let port = host.split_once(':').map_or("", |(_, port)| port);
            if port.parse::<u16>().is_err() && !port.is_empty() {
                return Err(if rest.contains('@') {
                    NO_PASSWORD.into()
                } else {
                    "the port in the address is not a number from 0 to 65535".into()
                });
            }
            if matches!(scheme, "http" | "https" | "ssh" | "git") && authority.is_empty() {
                return Err("the address has no host".into());
            }
        }
        Ok(Self(text))
    }
}

impl From<RepoUrl> for String {
    fn from(url: RepoUrl) -> Self {
        url.0
    }
}

impl fmt::Display for RepoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for url in ["https://me:S3CRET@host/x", "https://me:S3/CRET@host/x", "ssh://git:S3@h:22/x"]
        {
            let error = RepoUrl::try_from(url.to_owned()).unwrap_err();
            assert_eq!(error, NO_PASSWORD, "{url}");
        }
    }

    #[test]
    fn what_people_use_is_accepted() {
        for url in [
            "https://github.com/o/r.git",
            "https://org@dev.azure.com/org/p/_git/r",
            "ssh://git@host:2222/o/r",
            "ssh://git@[::1]:22/r",
            "git@github.com:o/r.git",
            "file:///srv/git/r.git",
            "../r.git",
            "/srv/git/with space",
            "http://127.0.0.1:8080/r/a@b",
        ] {
            assert!(RepoUrl::try_from(url.to_owned()).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for url in ["", " ", "-x", "https://", "https:///x", "https://host:port/x", "a\nb"] {
            assert!(RepoUrl::try_from(url.to_owned()).is_err(), "{url:?}");
        }
    }
}
