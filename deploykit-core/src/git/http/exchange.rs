//! One request and its answer.

use std::io::{self, Read};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use gix::protocol::transport::client::AuthenticationRequired;

use super::Shared;
use super::redirect::{self, Target};
use crate::git::fault::{Fault, FirstFault};

/// More redirections than this are a loop.
const MOST_REDIRECTS: usize = 5;

/// What is asked of the server.
pub(super) struct Request {
    post: bool,
    url: String,
    base_url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub(super) fn get(
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        let headers = headers.into_iter().filter_map(|line| {
            let (name, value) = line.as_ref().split_once(':')?;
            Some((name.trim().to_owned(), value.trim().to_owned()))
        });
        Self {
            post: false,
            url: url.to_owned(),
            base_url: base_url.to_owned(),
            headers: headers.collect(),
            body: Vec::new(),
        }
    }

    pub(super) fn post(
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        Self { post: true, ..Self::get(url, base_url, headers) }
    }

    fn send(&self, agent: &ureq::Agent) -> Result<Answer, ureq::Error> {
        if self.post {
            let request = agent.post(&self.url);
            let request =
                self.headers.iter().fold(request, |r, (name, value)| r.header(name, value));
            request.send(&self.body[..])
        } else {
            let request = agent.get(&self.url);
            let request =
                self.headers.iter().fold(request, |r, (name, value)| r.header(name, value));
            request.call()
        }
    }
}

type Answer = ureq::http::Response<ureq::Body>;

enum State {
    Unsent(Box<Request>),
    Answered { headers: Vec<u8>, body: Option<BodyReader> },
    Over,
}

/// One request and its answer: it is sent when the answer is first asked for.
pub(super) struct Exchange {
    agent: ureq::Agent,
    shared: Arc<Shared>,
    state: State,
}

impl Exchange {
    pub(super) fn new(agent: ureq::Agent, shared: Arc<Shared>, request: Request) -> Self {
        Self { agent, shared, state: State::Unsent(Box::new(request)) }
    }

    /// Adds to what is posted.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Unsent(request) => {
                request.body.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            _ => Err(io::Error::other("the request has been sent already")),
        }
    }

    /// The headers of the answer, a line each.
    pub(super) fn headers(&mut self) -> io::Result<Vec<u8>> {
        self.perform()?;
        match &self.state {
            State::Answered { headers, .. } => Ok(headers.clone()),
            _ => Err(io::Error::other("the request has failed already")),
        }
    }

    /// The body of the answer.
    pub(super) fn body(&mut self) -> io::Result<BodyReader> {
        self.perform()?;
        match &mut self.state {
            State::Answered { body, .. } => {
                body.take().ok_or_else(|| io::Error::other("the answer has been taken already"))
            }
            _ => Err(io::Error::other("the request has failed already")),
        }
    }

    fn perform(&mut self) -> io::Result<()> {
        let mut request = match std::mem::replace(&mut self.state, State::Over) {
            State::Unsent(request) => request,
            sent => {
                self.state = sent;
                return Ok(());
            }
        };
        for _ in 0..=MOST_REDIRECTS {
            let host = host_of(&request.url);
            let answer = request
                .send(&self.agent)
                .map_err(|error| self.shared.faults.record(self.fault(&request, &host, error)))?;
            let status = answer.status().as_u16();
            if (200..300).contains(&status) {
                self.expect_git(&answer)?;
                self.state = self.answered(answer, host);
                return Ok(());
            }
            if !matches!(status, 301 | 302 | 303 | 307 | 308) {
                return Err(self.refused(&answer));
            }
            self.follow(&mut request, &answer)?;
        }
        let why = "there are too many redirections";
        Err(self.shared.faults.record(Fault::Redirect { to: request.url, why }))
    }

    fn fault(&self, request: &Request, host: &str, error: ureq::Error) -> Fault {
        let silence = self.shared.silence;
        let Some(proxy) = &self.shared.proxy else { return Fault::of_ureq(error, host, silence) };
        let host = proxy.host_for(&request.url).unwrap_or(host);
        proxy.blame(&request.url, Fault::of_ureq(error, host, silence))
    }

    /// A page for people comes with a good status, too.
    fn expect_git(&self, answer: &Answer) -> io::Result<()> {
        let kind = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        let kind = kind.unwrap_or("a page of no kind").trim();
        if kind.starts_with("application/x-git-") {
            return Ok(());
        }
        let kind = kind.chars().take(80).collect();
        Err(self.shared.faults.record(Fault::NoRepository { kind }))
    }

    fn answered(&self, answer: Answer, host: String) -> State {
        let mut headers = Vec::new();
        for (name, value) in answer.headers() {
            headers.extend_from_slice(name.as_str().as_bytes());
            headers.extend_from_slice(b": ");
            headers.extend_from_slice(value.as_bytes());
            headers.push(b'\n');
        }
        let body = BodyReader {
            inner: answer.into_body().into_reader(),
            host,
            silence: self.shared.silence,
            faults: self.shared.faults.clone(),
        };
        State::Answered { headers, body: Some(body) }
    }

    fn refused(&self, answer: &Answer) -> io::Error {
        let status = answer.status().as_u16();
        let error = self.shared.faults.record(Fault::Status { status });
        if status != 401 {
            return error;
        }
        let challenges = answer.headers().get_all("www-authenticate").iter();
        let www_authenticate = challenges.map(|value| value.as_bytes().into()).collect();
        io::Error::new(io::ErrorKind::PermissionDenied, AuthenticationRequired { www_authenticate })
    }

    fn follow(&self, request: &mut Request, answer: &Answer) -> io::Result<()> {
        let location = answer.headers().get("location").and_then(|value| value.to_str().ok());
        let location = location.unwrap_or_default();
        let refuse =
            |why| self.shared.faults.record(Fault::Redirect { to: location.to_owned(), why });
        if request.post {
            // As in git: only the first request of a conversation may be redirected.
            return Err(refuse("a request that sends data cannot be redirected"));
        }
        let Target { url, base_url, same_server } =
            redirect::target(&request.url, &request.base_url, location).map_err(refuse)?;
        if !same_server {
            request.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
        }
        *self.shared.redirected.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(base_url.clone());
        request.url = url;
        request.base_url = base_url;
        Ok(())
    }
}

fn host_of(url: &str) -> String {
    let uri: Option<ureq::http::Uri> = url.parse().ok();
    uri.and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default()
}

/// The body of an answer, which remembers what went wrong.
pub(crate) struct BodyReader {
    inner: ureq::BodyReader<'static>,
    host: String,
    silence: Duration,
    faults: FirstFault,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let kind = error.kind();
            let text = self.faults.record(Fault::of_io(error, &self.host, self.silence));
            io::Error::new(kind, text.to_string())
        })
    }
}
