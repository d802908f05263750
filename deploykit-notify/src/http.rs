//! The notifier `http`: one request to somebody's address.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use deploykit_core::config::{EnvValue, NotifierConfig};
use deploykit_core::http::{
    HttpAnswer, HttpClient, HttpErrorKind, HttpRequest, UseProxy, read_headers,
};
use deploykit_core::traits::{BoxError, Notifier, NotifierError};
use deploykit_core::{
    BackendRequest, Context, Interrupted, Masker, Message, Secret, chain, interruptible,
    percent_encoded, read_secret,
};

use crate::seconds;

/// How long it may take when the context has no deadline.
const LONGEST: Duration = Duration::from_secs(30);

/// How much of a refusal is told, in characters.
const EXCERPT: usize = 200;

/// So long a part of a secret address is at least to be secret itself, in bytes: shorter ones are words.
const SHORTEST: usize = 8;

/// How values are written into a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Json,
    Form,
    Plain,
}

#[derive(Debug)]
pub(crate) struct Http {
    name: String,
    url: EnvValue,
    method: String,
    send: BTreeMap<String, EnvValue>,
    body: Option<String>,
    encoding: Encoding,
    client: HttpClient,
    app: Utf8PathBuf,
    masker: Masker,
}

impl Http {
    pub(crate) fn construct(
        request: &BackendRequest<'_>,
        config: &NotifierConfig,
    ) -> Result<Arc<dyn Notifier>, BoxError> {
        let app = request.layout.root().to_owned();
        let ca_file = config.ca_file.as_deref().map(|file| app.join(file));
        let method = config.method.clone().unwrap_or_else(|| "POST".to_owned());
        Ok(Arc::new(Self {
            name: config.label(),
            url: config.url.clone().ok_or("it needs a url")?,
            method,
            send: config.send.clone(),
            body: config.body.clone(),
            encoding: encoding(&config.send),
            client: HttpClient::new(ca_file.as_deref(), UseProxy::AsEnvironment)?,
            app,
            masker: request.masker.clone(),
        }))
    }

    fn request(&self, ctx: &Context, message: &Message) -> Result<HttpRequest, String> {
        let maskers = [&self.masker, ctx.masker()];
        let url = match &self.url {
            EnvValue::Plain(url) => Cow::Borrowed(url.as_str()),
            EnvValue::Secret(reference) => {
                let secret = read_secret(&reference.below(&self.app))
                    .map_err(|error| format!("its address: {}", chain(&error)))?;
                maskers.iter().for_each(|masker| learn(masker, &secret));
                Cow::Owned(secret.expose().to_owned())
            }
        };
        let within = ctx.remaining().unwrap_or(LONGEST);
        let mut request =
            HttpRequest::new(&*self.method, message.fill(&url, &percent_encoded), within);
        request.headers = read_headers(&self.send, &self.app, &maskers)?;
        if self.method != "GET" {
            request.body = match &self.body {
                Some(template) => message.fill(template, &|text| self.encode(text)),
                None => message.story.to_string(),
            }
            .into_bytes();
            let is_typed = request.headers.iter().any(|(name, _)| is_content_type(name));
            if !is_typed {
                request.headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
            }
        }
        Ok(request)
    }

    fn encode(&self, text: &str) -> String {
        match self.encoding {
            Encoding::Json => {
                let quoted = serde_json::Value::from(text).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
            Encoding::Form => percent_encoded(text),
            Encoding::Plain => text.to_owned(),
        }
    }
}

impl Notifier for Http {
    fn name(&self) -> &str {
        &self.name
    }

    fn send(&self, ctx: &Context, message: &Message) -> Result<(), NotifierError> {
        let refused = |why: String| NotifierError::Refused { why: self.masker.mask(&why).into() };
        let request = self.request(ctx, message).map_err(refused)?;
        let (client, within) = (self.client.clone(), request.within);
        let late = || {
            let within = seconds(within);
            NotifierError::Late { what: format!("no answer within {within} s") }
        };
        match interruptible(ctx, within, move || client.ask(request)) {
            Ok(Ok(answer)) if (200..300).contains(&answer.status) => Ok(()),
            Ok(Ok(answer)) => Err(refused(refusal(&answer, &self.masker))),
            Ok(Err(error)) if error.kind() == HttpErrorKind::Late => Err(late()),
            Ok(Err(error)) => Err(refused(error.to_string())),
            Err(Interrupted::Cancelled(_)) => Err(NotifierError::Cancelled),
            Err(Interrupted::Late) => Err(late()),
            Err(error) => Err(refused(chain(&error))),
        }
    }
}

/// Masks an address, and what is secret in it: a server that refuses may repeat its path.
fn learn(masker: &Masker, url: &Secret) {
    masker.learn(url);
    let behind = url.expose().split_once("://").map_or("", |(_, rest)| rest);
    if let Some((_, path)) = behind.split_once('/') {
        masker.learn(&Secret::new(path));
        // Placeholders stand in it, and a server may repeat a part of it.
        let pieces = path.split(['/', '?', '&', '=', '#', '{', '}']);
        for piece in pieces.filter(|piece| piece.len() >= SHORTEST) {
            masker.learn(&Secret::new(piece));
        }
    }
}

/// What an answer says that is no consent.
fn refusal(answer: &HttpAnswer, masker: &Masker) -> String {
    let to = answer.headers.iter().find(|(name, _)| name == "location");
    // Half a secret is not known: it is masked before it is cut.
    let text = String::from_utf8_lossy(&answer.body);
    let text = masker.mask(&text);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said: String = words.chars().filter(|c| !c.is_control()).take(EXCERPT).collect();
    match (to, said.is_empty()) {
        (Some((_, to)), _) if (300..400).contains(&answer.status) => {
            format!("it answered {}: it is to be asked at {to}", answer.status)
        }
        (_, true) => format!("it answered {}", answer.status),
        (_, false) => format!("it answered {}: {said}", answer.status),
    }
}

fn is_content_type(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-type")
}

fn encoding(send: &BTreeMap<String, EnvValue>) -> Encoding {
    let given = send.iter().find(|(name, _)| is_content_type(name));
    match given.map(|(_, value)| value) {
        None => Encoding::Json,
        Some(EnvValue::Plain(kind)) if kind.contains("json") => Encoding::Json,
        Some(EnvValue::Plain(kind)) if kind.contains("urlencoded") => Encoding::Form,
        Some(_) => Encoding::Plain,
    }
}
