//! What the address of a repository means.

use camino::{Utf8Path, Utf8PathBuf};
use gix::url::Scheme;

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// In this directory (absolute).
    Local(Utf8PathBuf),
    /// Elsewhere.
    Remote(Remote),
}

/// A repository that is reached over the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) url: gix::Url,
    pub(crate) transport: Transport,
}

/// How it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Https,
    Http,
    Git,
    Ssh,
}

/// An address that means nothing here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AddressError {
    #[error("{url:?} is not the address of a repository")]
    Invalid {
        url: String,
        #[source]
        source: gix::Error,
    },
    #[error("{url:?} has the scheme {scheme:?}, which is not supported")]
    Scheme { url: String, scheme: String },
    #[error("{url:?} is not UTF-8")]
    NotText { url: String },
    #[error("{url:?} names a host; the path of a file URL begins with a third slash")]
    FileHost { url: String },
    #[error("{url:?} contains a password; it belongs into repo.password or repo.token")]
    Password { url: String },
}

/// Reads an address. A relative path is relative to `base`.
pub(crate) fn locate(text: &str, base: &Utf8Path) -> Result<Location, AddressError> {
    let url = gix::url::parse(text)
        .map_err(|source| AddressError::Invalid { url: text.to_owned(), source })?;
    if url.password().is_some() {
        // The whole address is left out of the error, since it contains the secret.
        let url = format!("{}://…", url.scheme);
        return Err(AddressError::Password { url });
    }
    let transport = match url.scheme {
        Scheme::File => return local(text, &url, base),
        Scheme::Https => Transport::Https,
        Scheme::Http => Transport::Http,
        Scheme::Git => Transport::Git,
        Scheme::Ssh => Transport::Ssh,
        _ => {
            return Err(AddressError::Scheme {
                url: text.to_owned(),
                scheme: url.scheme.to_string(),
            });
        }
    };
    Ok(Location::Remote(Remote { url, transport }))
}

fn local(text: &str, url: &gix::Url, base: &Utf8Path) -> Result<Location, AddressError> {
    if url.host().is_some_and(|host| !host.is_empty()) {
        return Err(AddressError::FileHost { url: text.to_owned() });
    }
    let path = std::str::from_utf8(&url.path)
        .map_err(|_| AddressError::NotText { url: text.to_owned() })?;
    Ok(Location::Local(base.join(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Location {
        locate(text, Utf8Path::new("/srv/app")).unwrap()
    }

    fn transport(text: &str) -> Transport {
        match at(text) {
            Location::Remote(remote) => remote.transport,
            Location::Local(path) => panic!("{text} is {path}"),
        }
    }

    #[test]
    fn paths_and_file_addresses_are_local() {
        assert_eq!(at("/var/repo.git"), Location::Local("/var/repo.git".into()));
        assert_eq!(at("file:///var/repo.git"), Location::Local("/var/repo.git".into()));
        assert_eq!(at("repo"), Location::Local("/srv/app/repo".into()));
        assert_eq!(at("../repo"), Location::Local("/srv/app/../repo".into()));
    }

    #[test]
    fn every_scheme_has_its_transport() {
        assert_eq!(transport("https://example.org/a.git"), Transport::Https);
        assert_eq!(transport("http://example.org/a.git"), Transport::Http);
        assert_eq!(transport("git://example.org/a.git"), Transport::Git);
        assert_eq!(transport("ssh://git@example.org:22/a.git"), Transport::Ssh);
        assert_eq!(transport("git@example.org:a.git"), Transport::Ssh);
    }

    #[test]
    fn what_cannot_be_reached_is_refused_without_repeating_a_password() {
        let base = Utf8Path::new("/");
        assert!(matches!(
            locate("ftp://example.org/a", base),
            Err(AddressError::Scheme { .. } | AddressError::Invalid { .. })
        ));
        assert!(matches!(locate("file://host/a", base), Err(AddressError::FileHost { .. })));
        let error = locate("https://me:hunter2@example.org/a", base).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
