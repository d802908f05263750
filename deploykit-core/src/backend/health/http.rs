//! The check `http`: a GET whose answer must be as expected.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use camino::Utf8PathBuf;

use super::expect::Expected;
use super::look::{excerpt, interruptible, time_left};
use crate::config::{CheckConfig, EnvValue};
use crate::context::Context;
use crate::http::{
    HttpAnswer, HttpClient, HttpError, HttpErrorKind, HttpRequest, UseProxy, read_headers,
};
use crate::registry::BackendRequest;
use crate::secret::Masker;
use crate::traits::{BoxError, HealthCheck, Look, Release};

/// Asks a URL with GET. Redirections are answers of their own, a proxy is never used, and every look
/// makes a connection of its own: on an old one, the old process could answer.
#[derive(Debug)]
pub(super) struct HttpCheck {
    name: String,
    url: String,
    client: HttpClient,
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
        let parsed: Result<ureq::http::Uri, _> = url.parse();
        parsed.map_err(|error| format!("{url:?} is not a URL: {error}"))?;
        let ca_file = config.ca_file.as_deref().map(|file| request.layout.root().join(file));
        Ok(Arc::new(Self {
            name: config.label(),
            url: url.to_owned(),
            client: HttpClient::new(ca_file.as_deref(), UseProxy::Never)?,
            send: config.send.clone(),
            app: request.layout.root().to_owned(),
            expected: Expected::new(config),
            masker: request.masker.clone(),
        }))
    }
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
        // Secrets are read for every look: a rotated one is used at once.
        let maskers = [&self.masker, ctx.masker()];
        let headers = match read_headers(&self.send, &self.app, &maskers) {
            Ok(headers) => headers,
            Err(why) => return Look::Ill(why),
        };
        let mut request = HttpRequest::new("GET", &*self.url, time_left(ctx));
        (request.headers, request.wants_body) = (headers, expected.reads_body());
        let (client, masker) = (self.client.clone(), ctx.masker().clone());
        interruptible(ctx, move || {
            let begin = Instant::now();
            // Shortened texts are masked before they are shortened: half a secret is not known.
            let answer = client.ask(request).map(|answer| masked(answer, &masker));
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

fn masked(mut answer: HttpAnswer, masker: &Masker) -> HttpAnswer {
    if let std::borrow::Cow::Owned(text) = masker.mask(&String::from_utf8_lossy(&answer.body)) {
        answer.body = text.into_bytes();
    }
    answer
}

/// Whoever has just been started refuses, or closes, or is silent; whoever answers something that is not
/// HTTP, or has a wrong certificate, will not get better by waiting.
fn no_answer(error: &HttpError, masker: &Masker) -> Look {
    let text = excerpt(&masker.mask(&error.to_string()));
    match error.kind() {
        HttpErrorKind::Late => Look::NotYet(format!("no answer in time ({text})")),
        HttpErrorKind::Unreachable => Look::NotYet(text),
        HttpErrorKind::Wrong => Look::Ill(text),
    }
}

#[cfg(test)]
mod tests;
