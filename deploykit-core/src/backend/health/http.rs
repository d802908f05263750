//! The check `http`: a GET whose answer must be as expected.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use ureq::config::AutoHeaderValue;
use ureq::http::Uri;
use ureq::{Agent, Body, Error};

use super::expect::{Answer, Expected};
use super::look::{excerpt, interruptible, time_left};
use crate::config::{CheckConfig, EnvValue};
use crate::context::Context;
use crate::registry::BackendRequest;
use crate::secret::Masker;
use crate::secret_source::read_secret;
use crate::tls::tls_config;
use crate::traits::{BoxError, HealthCheck, Look, Release};

/// How much of a body is read.
const MOST: u64 = 1 << 20;

/// Asks a URL with GET. Redirections are answers of their own, a proxy is never used, and every look
/// makes a connection of its own: on an old one, the old process could answer.
#[derive(Debug)]
pub(super) struct HttpCheck {
    name: String,
    url: Uri,
    agent: Agent,
    send: BTreeMap<String, EnvValue>,
    expected: Expected,
    /// What paths of secrets are relative to.
    app: Utf8PathBuf,
    masker: Masker,
}

impl HttpCheck {
    pub(super) fn construct(
        request: &BackendRequest<'_>,
        config: &CheckConfig,
    ) -> Result<Arc<dyn HealthCheck>, BoxError> {
        let url = config.url.as_deref().ok_or("it needs a url")?;
        let ca_file = config.ca_file.as_deref().map(|file| request.layout.root().join(file));
        Ok(Arc::new(Self {
            name: config.label(),
            url: url.parse().map_err(|error| format!("{url:?} is not a URL: {error}"))?,
            agent: agent(ca_file.as_deref())?,
            send: config.send.clone(),
            app: request.layout.root().to_owned(),
            expected: Expected::new(config),
            masker: request.masker.clone(),
        }))
    }

    /// The headers to send. Secrets are read for every look: a rotated one is used at once.
    fn headers(&self, ctx: &Context) -> Result<Vec<(String, String)>, String> {
        let value = |name: &String, value: &EnvValue| -> Result<String, String> {
            match value {
                EnvValue::Plain(text) => Ok(text.clone()),
                EnvValue::Secret(reference) => {
                    let secret = read_secret(&reference.below(&self.app)).map_err(|error| {
                        let cause = error.source().map(|cause| format!(": {cause}"));
                        format!(
                            "cannot send the header {name}: {error}{}",
                            cause.unwrap_or_default()
                        )
                    })?;
                    self.masker.learn(&secret);
                    ctx.masker().learn(&secret);
                    Ok(secret.expose().to_owned())
                }
            }
        };
        self.send.iter().map(|(name, v)| Ok((name.clone(), value(name, v)?))).collect()
    }
}

fn agent(ca_file: Option<&Utf8Path>) -> Result<Agent, BoxError> {
    Ok(Agent::config_builder()
        .tls_config(tls_config(ca_file)?)
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .max_idle_connections(0)
        .accept_encoding(AutoHeaderValue::None)
        .user_agent(concat!("deploykit/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent())
}

impl HealthCheck for HttpCheck {
    fn name(&self) -> &str {
        &self.name
    }

    fn look(&self, ctx: &Context, release: &dyn Release) -> Look {
        let expected = match self.expected.of(release) {
            Ok(expected) => expected,
            Err(why) => return Look::Ill(why),
        };
        let headers = match self.headers(ctx) {
            Ok(headers) => headers,
            Err(why) => return Look::Ill(why),
        };
        let (agent, url, left) = (self.agent.clone(), self.url.clone(), time_left(ctx));
        let masker = ctx.masker().clone();
        interruptible(ctx, move || {
            let begin = Instant::now();
            let answer = ask(&agent, &url, headers, left, expected.reads_body());
            // Shortened texts are masked before they are shortened: half a secret is not known.
            let answer = answer.map(|answer| masked(answer, &masker));
            match answer.map(|answer| (expected.judge(&answer), answer.status)) {
                Ok((Ok(()), status)) => {
                    Look::Well(format!("{status} in {} ms", begin.elapsed().as_millis()))
                }
                Ok((Err(wrong), _)) => Look::Ill(masker.mask(&wrong).into_owned()),
                Err(error) => no_answer(&error, &masker),
            }
        })
    }
}

fn ask(
    agent: &Agent,
    url: &Uri,
    headers: Vec<(String, String)>,
    left: Duration,
    with_body: bool,
) -> Result<Answer, Error> {
    let mut request = agent.get(url).header("Connection", "close");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = request.config().timeout_global(Some(left)).build().call()?;
    let status = response.status().as_u16();
    let text = |value: &ureq::http::HeaderValue| {
        String::from_utf8_lossy(value.as_bytes()).trim().to_owned()
    };
    let headers =
        response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    // The body of a failure tells why, as far as it is at hand; it must not make it worse.
    let failed = !response.status().is_success();
    let (body, cut) = match read(response.into_body(), with_body || failed) {
        Err(_) if !with_body => (Vec::new(), false),
        read => read?,
    };
    Ok(Answer { status, headers, body, cut })
}

fn read(body: Body, wanted: bool) -> Result<(Vec<u8>, bool), Error> {
    let mut bytes = Vec::new();
    if wanted {
        body.into_reader().take(MOST + 1).read_to_end(&mut bytes)?;
    }
    let cut = bytes.len() as u64 > MOST;
    bytes.truncate(usize::try_from(MOST).unwrap_or(usize::MAX));
    Ok((bytes, cut))
}

fn masked(mut answer: Answer, masker: &Masker) -> Answer {
    if let std::borrow::Cow::Owned(text) = masker.mask(&String::from_utf8_lossy(&answer.body)) {
        answer.body = text.into_bytes();
    }
    answer
}

/// What it means that no whole answer came. Whoever has just been started refuses, or closes, or is
/// silent; whoever answers something that is not HTTP, or has a wrong certificate, will not get
/// better by waiting.
fn no_answer(error: &Error, masker: &Masker) -> Look {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    let text = excerpt(&masker.mask(&text));
    match error {
        Error::Timeout(_) => Look::NotYet(format!("no answer in time ({text})")),
        Error::HostNotFound | Error::ConnectionFailed => Look::NotYet(text),
        Error::Io(error) if !is_wrong(error) => Look::NotYet(text),
        _ => Look::Ill(text),
    }
}

/// Whether an error of the connection comes of what was said on it, and not of its loss.
fn is_wrong(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
        || error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

#[cfg(test)]
mod tests;
