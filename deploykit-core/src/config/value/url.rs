//! The address of a repository.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::telling::{is_telling_name, is_token_as_user};

const NO_PASSWORD: &str = "the address must not contain a password: use repo.username and \
                           repo.password, or repo.token";

const TOKEN_AS_USER: &str = "the user name in the address has the form of a token: use repo.token";
const SECRET_IN_QUERY: &str = "the address must not contain a secret behind its question mark: use \
                               repo.token";

/// What is wrong with the secret that an address of the web contains, if it contains one.
fn secret_in(user: &str, rest: &str) -> Option<&'static str> {
    if is_token_as_user(user) {
        return Some(TOKEN_AS_USER);
    }
    let (_, query) = rest.split_once('?')?;
    let mut names = query.split(['&', '#']).filter_map(|part| Some(part.split_once('=')?.0));
    names.any(is_telling_name).then_some(SECRET_IN_QUERY)
}

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
            if scheme.starts_with("http")
                && let Some(wrong) = secret_in(user, rest)
            {
                return Err(wrong.into());
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
    fn a_token_is_refused_and_not_repeated() {
        for url in [
            "https://ghp_S3CRET@host/x",
            "https://glpat-S3CRET@host/x",
            "https://host/x.git?private_token=S3CRET",
            "http://host/x?a=b&Access-Token=S3CRET#x",
        ] {
            let error = RepoUrl::try_from(url.to_owned()).unwrap_err();
            assert!(error.contains("repo.token") && !error.contains("S3CRET"), "{url}: {error}");
        }
    }

    #[test]
    fn what_people_use_is_accepted() {
        for url in [
            "https://host/x?path=a",
            "ssh://APKAEIBAERJR2EXAMPLE@git-codecommit.us-east-1.amazonaws.com/v1/repos/x",
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
