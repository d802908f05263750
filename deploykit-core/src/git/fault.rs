//! What can go wrong between here and the server, so that each has its words and its hint.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::traits::{BoxError, SourceError};

/// A fault of the transport.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Fault {
    #[error("there is no host {host:?}")]
    HostNotFound { host: String },
    #[error("no answer for {} s", after.as_secs())]
    Silence { after: Duration },
    #[error("no connection within {} s", after.as_secs())]
    ConnectTimeout { after: Duration },
    #[error("the server's certificate is not trusted: {why}")]
    Untrusted { why: String },
    #[error("the TLS connection failed: {why}")]
    Tls { why: String },
    #[error("TLS cannot be set up")]
    TlsSetup(#[source] crate::tls::TlsError),
    #[error("the server answered with status {status}")]
    Status { status: u16 },
    #[error("the server redirected to {to}: {why}")]
    Redirect { to: String, why: &'static str },
    #[error("credentials are not sent over plain http")]
    PlainCredentials,
    #[error("the time for it ran out")]
    Deadline,
    #[error("no connection to {host}")]
    Connect {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("the proxy of {variable} cannot be used")]
    Proxy {
        variable: &'static str,
        #[source]
        source: Box<Fault>,
    },
    #[error("the proxy does not connect: {said}")]
    ProxyRefused { said: String },
    #[error("the variable {variable} cannot be used: {why}")]
    ProxyVariable { variable: &'static str, why: &'static str },
    #[error("the server answered with {kind}, and not as it does for a git repository")]
    NoRepository { kind: String },
    #[error("ssh failed: {said}")]
    Ssh { said: String },
    #[error("the server refused it")]
    Denied(#[source] gix::Error),
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    #[error("{0}")]
    Http(String),
    #[error("the server uses SHA-256 object names, which are not supported yet")]
    Sha256,
    #[error(transparent)]
    Protocol(gix::Error),
}

impl Fault {
    /// What a person can do about it.
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::HostNotFound { .. } => {
                "look at the host's name in repo.url, and whether this machine resolves names"
                    .into()
            }
            Self::Untrusted { .. } => "if the server has a certificate of a private authority, \
                                       name that authority's file in repo.ca_file"
                .into(),
            Self::Status { status: 404 } => {
                "look at the path in repo.url; servers also say this of a repository that the \
                 credentials may not read"
                    .into()
            }
            Self::NoRepository { .. } => {
                "look at the path in repo.url; some servers answer with a page for people where \
                 they want credentials"
                    .into()
            }
            Self::Status { status: 500..=599 } | Self::Broken(_) => {
                "the fault is on the way or at the server: try again later".into()
            }
            Self::Silence { .. } => "repo.timeout says how long a silence may last".into(),
            Self::Ssh { .. } => {
                "ssh is run without asking: look whether `ssh -o BatchMode=yes HOST` works \
                             for this user (key, known host)"
                    .into()
            }
            Self::Proxy { variable, .. } | Self::ProxyVariable { variable, .. } => {
                format!("look at {variable}; no_proxy names hosts that are reached without a proxy")
            }
            Self::PlainCredentials => "use https in repo.url".into(),
            _ => return None,
        })
    }

    /// Whether it stays until somebody changes the configuration or the environment.
    fn is_of_this_host(&self) -> bool {
        matches!(
            self,
            Self::PlainCredentials
                | Self::TlsSetup(_)
                | Self::ProxyVariable { .. }
                | Self::NoRepository { .. }
                | Self::Sha256
        )
    }

    /// The fault in an error of ureq.
    pub(crate) fn of_ureq(error: ureq::Error, host: &str, silence: Duration) -> Self {
        use ureq::{Error, Timeout};
        match error {
            Error::HostNotFound => Self::HostNotFound { host: host.to_owned() },
            Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                Self::ConnectTimeout { after: connect_timeout(silence) }
            }
            Error::Timeout(_) => Self::Silence { after: silence },
            Error::Rustls(error) => Self::of_rustls(&error),
            Error::Tls(why) => Self::Tls { why: why.to_owned() },
            Error::ConnectProxyFailed(said) => Self::ProxyRefused { said },
            Error::Io(error) => Self::of_io(error, host, silence),
            other => Self::Http(other.to_string()),
        }
    }

    /// The fault in an error of reading or writing.
    pub(crate) fn of_io(error: io::Error, host: &str, silence: Duration) -> Self {
        if let Some(inner) = error.get_ref() {
            if let Some(tls) = inner.downcast_ref::<rustls::Error>() {
                return Self::of_rustls(tls);
            }
            if inner.is::<ureq::Error>() {
                return Self::of_ureq(ureq::Error::from(error), host, silence);
            }
        }
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Silence { after: silence },
            // What the look-up of a name says has no kind of its own.
            _ if is_lookup_failure(&error) => Self::HostNotFound { host: host.to_owned() },
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => {
                Self::Connect { host: host.to_owned(), source: error }
            }
            _ => Self::Broken(error),
        }
    }

    fn of_rustls(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::InvalidCertificate(_) => Self::Untrusted { why: error.to_string() },
            _ => Self::Tls { why: error.to_string() },
        }
    }

    /// As an error of the source.
    pub(crate) fn into_error(self, url: &str, had_credentials: bool) -> SourceError {
        let url = url.to_owned();
        match self {
            Self::Status { status: 401 | 403 } | Self::Denied(_) => {
                SourceError::Access { url, had_credentials, source: Some(Box::new(self)) }
            }
            fault => SourceError::Transport { url, source: Box::new(fault) },
        }
    }
}

fn is_lookup_failure(error: &io::Error) -> bool {
    error.to_string().starts_with("failed to lookup address information")
}

/// How long connecting may take when a silence may last so long.
pub(crate) fn connect_timeout(silence: Duration) -> Duration {
    silence.min(Duration::from_secs(30))
}

/// The hint of a fault that is the cause of a [`SourceError`].
pub(crate) fn hint(cause: &BoxError) -> Option<String> {
    cause.downcast_ref::<Fault>().and_then(Fault::hint)
}

/// Whether the cause of a [`SourceError`] is how deploykit itself is set up, and not the server or the
/// way to it.
pub(crate) fn is_of_this_host(cause: &BoxError) -> bool {
    cause.downcast_ref::<Fault>().is_some_and(Fault::is_of_this_host)
}

/// Keeps the first fault of a connection: gix hands on errors of transports wrapped several times,
/// and not all of them whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct FirstFault(Arc<Mutex<Option<Fault>>>);

impl FirstFault {
    /// Keeps `fault` if it is the first, and returns it as an error of reading.
    pub(crate) fn record(&self, fault: Fault) -> io::Error {
        let text = fault.to_string();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
        io::Error::other(text)
    }

    /// The fault that made `error` happen.
    pub(crate) fn explain(&self, error: gix::Error) -> Fault {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.unwrap_or_else(|| {
            if error.is_unauthenticated() || error.is_permission_denied() {
                Fault::Denied(error)
            } else {
                Fault::Protocol(error)
            }
        })
    }

    /// Whether there was any.
    pub(crate) fn is_set(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// Whether the server said that it does not hand out what was asked for.
pub(crate) fn is_refused_want(error: &gix::Error) -> bool {
    error.iter_errors().any(|cause| {
        let text = cause.to_string();
        text.contains("not our ref") || text.contains("unadvertised object")
    })
}
