//! HTTP as health checks and notices speak it: one request, one answer, within a time. (The git source
//! has a client of its own, which streams.)

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::time::Duration;

use camino::Utf8Path;
use ureq::config::AutoHeaderValue;
use ureq::http::Uri;
use ureq::{Agent, Body, Proxy};

use crate::causes::chain;
use crate::config::EnvValue;
use crate::secret::Masker;
use crate::secret_source::read_secret;
use crate::tls::tls_config;
use crate::traits::BoxError;

/// How much of a body is read, in bytes.
const MOST: u64 = 1 << 20;

/// Whether a proxy is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseProxy {
    /// Never: it is asked who is here.
    Never,
    /// The one that the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`), if it
    /// does.
    AsEnvironment,
}

/// What is sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// Where to.
    pub url: String,
    /// Headers. Secrets may be in them: do not print them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long all of it may take.
    pub within: Duration,
    /// Whether the body of a successful answer is wanted. That of any other is read as far as it is at hand.
    pub wants_body: bool,
}

impl HttpRequest {
    /// A request without headers and body.
    pub fn new(method: impl Into<String>, url: impl Into<String>, within: Duration) -> Self {
        let (method, url) = (method.into(), url.into());
        Self { method, url, headers: Vec::new(), body: Vec::new(), within, wants_body: false }
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// The headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, a mebibyte at the most.
    pub body: Vec<u8>,
    /// There was more of it.
    pub cut: bool,
}

/// What it means that no whole answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpErrorKind {
    /// None came in time.
    Late,
    /// Nobody is there (yet): refused, closed, not found.
    Unreachable,
    /// Whoever is there says something that is not HTTP, has a wrong certificate, or could not be asked at
    /// all. It does not get better by waiting.
    Wrong,
}

/// No whole answer came. Its text may quote what was sent: mask it before it is shown.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct HttpError {
    kind: HttpErrorKind,
    text: String,
}

impl HttpError {
    /// What it means.
    pub fn kind(&self) -> HttpErrorKind {
        self.kind
    }

    fn of(error: &ureq::Error) -> Self {
        let kind = match error {
            ureq::Error::Timeout(_) => HttpErrorKind::Late,
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Unreachable,
            ureq::Error::Io(error) if !is_wrong(error) => HttpErrorKind::Unreachable,
            _ => HttpErrorKind::Wrong,
        };
        Self { kind, text: chain(error) }
    }
}

/// Whether an error of the connection comes of what was said on it, and not of its loss.
fn is_wrong(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
        || error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

/// A client. Every request has a connection of its own; redirections are answers, and are not followed.
#[derive(Debug, Clone)]
pub struct HttpClient {
    agent: Agent,
}

impl HttpClient {
    /// One that trusts the system's authorities, and those of `ca_file`.
    ///
    /// # Errors
    /// When that file cannot be read, or the environment names a proxy that cannot be one.
    pub fn new(ca_file: Option<&Utf8Path>, proxy: UseProxy) -> Result<Self, BoxError> {
        let proxy = match proxy {
            UseProxy::Never => None,
            UseProxy::AsEnvironment => Proxy::try_from_env(),
        };
        let agent = Agent::config_builder()
            .tls_config(tls_config(ca_file)?)
            .proxy(proxy)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .max_idle_connections(0)
            .accept_encoding(AutoHeaderValue::None)
            .user_agent(concat!("deploykit/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Self { agent })
    }

    /// Asks once.
    ///
    /// # Errors
    /// [`HttpError`], when there is no whole answer. Every status is an answer.
    pub fn ask(&self, request: HttpRequest) -> Result<HttpAnswer, HttpError> {
        let wrong = |error: &dyn std::fmt::Display| HttpError {
            kind: HttpErrorKind::Wrong,
            text: error.to_string(),
        };
        let url: Uri = request.url.parse().map_err(|error| wrong(&error))?;
        let mut builder = ureq::http::Request::builder()
            .method(request.method.as_str())
            .uri(url)
            .header("Connection", "close");
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let failed = |error: ureq::Error| HttpError::of(&error);
        let answer = if request.body.is_empty() {
            let sent = builder.body(()).map_err(|error| wrong(&error))?;
            self.agent.run(self.within(sent, request.within))
        } else {
            let sent = builder.body(request.body).map_err(|error| wrong(&error))?;
            self.agent.run(self.within(sent, request.within))
        };
        take(answer.map_err(failed)?, request.wants_body).map_err(failed)
    }

    fn within<S: ureq::AsSendBody>(
        &self,
        request: ureq::http::Request<S>,
        within: Duration,
    ) -> ureq::http::Request<S> {
        self.agent.configure_request(request).timeout_global(Some(within)).build()
    }
}

/// Headers as the configuration has them, with secrets read now and learnt by the maskers. Relative paths
/// of secrets are below `app`.
///
/// # Errors
/// Which header cannot be sent, and why, in words.
pub fn read_headers(
    configured: &BTreeMap<String, EnvValue>,
    app: &Utf8Path,
    maskers: &[&Masker],
) -> Result<Vec<(String, String)>, String> {
    let value = |(name, value): (&String, &EnvValue)| match value {
        EnvValue::Plain(text) => Ok((name.clone(), text.clone())),
        EnvValue::Secret(reference) => {
            let secret = read_secret(&reference.below(app))
                .map_err(|error| format!("cannot send the header {name}: {}", chain(&error)))?;
            maskers.iter().for_each(|masker| masker.learn(&secret));
            Ok((name.clone(), secret.expose().to_owned()))
        }
    };
    configured.iter().map(value).collect()
}

fn take(response: ureq::http::Response<Body>, wants_body: bool) -> Result<HttpAnswer, ureq::Error> {
    let status = response.status().as_u16();
    let text = |value: &ureq::http::HeaderValue| {
        String::from_utf8_lossy(value.as_bytes()).trim().to_owned()
    };
    let headers =
        response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    // The body of a failure tells why, as far as it is at hand; it must not make it worse.
    let failed = !response.status().is_success();
    let (body, cut) = match read(response.into_body(), wants_body || failed) {
        Err(_) if !wants_body => (Vec::new(), false),
        read => read?,
    };
    Ok(HttpAnswer { status, headers, body, cut })
}

fn read(body: Body, wanted: bool) -> Result<(Vec<u8>, bool), ureq::Error> {
    let mut bytes = Vec::new();
    if wanted {
        body.into_reader().take(MOST + 1).read_to_end(&mut bytes)?;
    }
    let cut = bytes.len() as u64 > MOST;
    bytes.truncate(usize::try_from(MOST).unwrap_or(usize::MAX));
    Ok((bytes, cut))
}
