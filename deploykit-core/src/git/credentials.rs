//! Who deploykit is to the server.

use camino::Utf8Path;
use gix::credentials::helper::Action;
use gix::credentials::protocol::Outcome;

use crate::config::{RepoConfig, SecretValue};
use crate::secret::{Masker, Secret, base64};
use crate::secret_source::{SecretError, read_secret};

/// The user name that goes with a token where none is configured. Hosts look at the token alone,
/// except GitLab, which wants this name for some kinds of token.
const TOKEN_USER: &str = "oauth2";

/// Credentials for https, as configured: the secrets themselves are read for each connection, so
/// that one which was rotated is not used, and commands that need no connection need no secret.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum GitCredentials {
    /// None: the repository is public, or ssh sees to it.
    #[default]
    None,
    /// An access token. Without a user name `oauth2` is sent, which every known host accepts.
    Token {
        /// The token.
        token: SecretValue,
        /// The name that goes with it, where the server wants a certain one.
        username: Option<String>,
    },
    /// A user name and a password.
    Password {
        /// The user's name.
        username: String,
        /// The password.
        password: SecretValue,
    },
}

/// A configuration whose keys do not fit together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("repo.token and repo.password cannot both be given")]
    Both,
    #[error("repo.password needs repo.username")]
    NoUser,
}

/// Credentials that can be sent.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    username: String,
    password: Secret,
}

impl GitCredentials {
    /// What the configuration says.
    pub(crate) fn from_config(repo: &RepoConfig, app: &Utf8Path) -> Result<Self, CredentialsError> {
        match (&repo.token, &repo.username, &repo.password) {
            (Some(_), _, Some(_)) => Err(CredentialsError::Both),
            (Some(token), username, None) => {
                Ok(Self::Token { token: token.below(app), username: username.clone() })
            }
            (None, Some(username), Some(password)) => {
                Ok(Self::Password { username: username.clone(), password: password.below(app) })
            }
            (None, None, Some(_)) => Err(CredentialsError::NoUser),
            (None, _, None) => Ok(Self::None),
        }
    }

    /// Whether there are any.
    pub(crate) fn are_given(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Reads the secret, which the masks learn before anybody can print it. `user` is the name in
    /// the repository's address, which goes with a token when no other is given.
    pub(crate) fn read(
        &self,
        user: Option<&str>,
        masks: &[&Masker],
    ) -> Result<Option<Account>, SecretError> {
        let (username, secret) = match self {
            Self::None => return Ok(None),
            Self::Token { token, username } => {
                let username = username.as_deref().or(user).unwrap_or(TOKEN_USER);
                (username.to_owned(), token)
            }
            Self::Password { username, password } => (username.clone(), password),
        };
        let password = read_secret(secret)?;
        // What is sent, too: of the password alone the mask would leave the ends in there.
        let sent = Secret::new(base64(format!("{username}:{}", password.expose()).as_bytes()));
        for masker in masks {
            masker.learn(&password);
            masker.learn(&sent);
        }
        Ok(Some(Account { username, password }))
    }
}

impl Account {
    /// In the form in which gix takes it.
    pub(crate) fn identity(&self) -> gix::sec::identity::Account {
        gix::sec::identity::Account {
            username: self.username.clone(),
            password: self.password.expose().to_owned(),
            oauth_refresh_token: None,
        }
    }
}

/// The answer when a server asks for credentials: what there is was sent already, so there is
/// nothing else to offer. Without this callback gix would ask on the terminal.
pub(crate) fn nothing_else(_: Action) -> gix::Result<Option<Outcome>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_was_read_is_masked() {
        let masker = Masker::default();
        let token = SecretValue::Literal(Secret::new("s3cret-token"));
        let credentials = GitCredentials::Token { token, username: None };
        let account = credentials.read(None, &[&masker]).unwrap().unwrap();
        assert_eq!(account.identity().username, "oauth2");
        let named = credentials.read(Some("me"), &[]).unwrap().unwrap();
        assert_eq!(named.identity().username, "me");
        assert_eq!(account.identity().password, "s3cret-token");
        assert_eq!(masker.mask("s3cret-token"), "***");
        // oauth2:s3cret-token
        assert_eq!(masker.mask("Basic b2F1dGgyOnMzY3JldC10b2tlbg=="), "Basic ***==");
        assert!(!format!("{credentials:?} {account:?}").contains("s3cret"));
    }

    #[test]
    fn a_password_needs_a_name_and_no_token_beside_it() {
        let read = |keys: &str| {
            let repo: RepoConfig = toml::from_str(&format!("url = 'x'\n{keys}")).unwrap();
            GitCredentials::from_config(&repo, Utf8Path::new("/srv/app"))
        };
        assert!(matches!(read(""), Ok(GitCredentials::None)));
        assert!(matches!(read("username = 'a'"), Ok(GitCredentials::None)));
        assert!(matches!(read("token = 'a'"), Ok(GitCredentials::Token { username: None, .. })));
        let Ok(GitCredentials::Token { token, .. }) = read("token = { file = 'token' }") else {
            panic!("a token");
        };
        assert_eq!(token, SecretValue::File("/srv/app/token".into()));
        let both = read("username = 'a'\npassword = { env = 'B' }");
        assert!(matches!(both, Ok(GitCredentials::Password { .. })));
        assert!(matches!(read("password = 'a'"), Err(CredentialsError::NoUser)));
        let all = read("token = 'a'\nusername = 'b'\npassword = 'c'");
        assert!(matches!(all, Err(CredentialsError::Both)));
    }
}
