//! Smart HTTP for gix, over ureq.
//!
//! gix knows the protocol and leaves the HTTP to an implementation of its trait. Requests of a
//! fetch are a few lines each, so a request is sent when its answer is first read; answers are
//! streamed.

mod exchange;
mod proxy;
mod redirect;

use std::io::{self, BufRead, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::Utf8Path;
use gix::protocol::transport::client::blocking_io::http::{
    GetResponse, Http, PostBodyDataKind, PostResponse,
};

use super::fault::{Fault, FirstFault, connect_timeout};
use super::url::Transport;
use exchange::{Exchange, Request};

/// An HTTP client for gix.
pub(crate) struct Client {
    agent: ureq::Agent,
    shared: Arc<Shared>,
}

/// What the exchanges of a client share.
struct Shared {
    silence: Duration,
    faults: FirstFault,
    proxy: Option<proxy::Chosen>,
    /// Where the server redirected to, to be put in the place of the repository's address.
    redirected: Mutex<Option<String>>,
}

impl Client {
    /// A client for addresses of the kind `transport` that trusts the system's authorities and those
    /// in `ca_file`, and gives up after a silence of `silence`.
    pub(crate) fn new(
        transport: Transport,
        ca_file: Option<&Utf8Path>,
        silence: Duration,
        faults: FirstFault,
    ) -> Result<Self, Fault> {
        let proxy = proxy::choose(transport)?;
        let config = ureq::Agent::config_builder()
            .proxy(proxy.as_ref().map(|chosen| chosen.proxy.clone()))
            .tls_config(crate::tls::tls_config(ca_file).map_err(Fault::TlsSetup)?)
            // Redirections are followed here, where it is known what they mean for credentials.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_resolve(Some(connect_timeout(silence)))
            .timeout_connect(Some(connect_timeout(silence)))
            .timeout_per_read(Some(silence))
            .timeout_per_write(Some(silence))
            .build();
        let shared = Shared { silence, faults, proxy, redirected: Mutex::new(None) };
        Ok(Self { agent: config.new_agent(), shared: Arc::new(shared) })
    }

    /// Something that breaks every connection of this client.
    pub(crate) fn breaker(&self) -> impl FnOnce() + Send + use<> {
        let agent = self.agent.clone();
        move || agent.shutdown()
    }

    fn exchange(&self, request: Request) -> Arc<Mutex<Exchange>> {
        Arc::new(Mutex::new(Exchange::new(self.agent.clone(), Arc::clone(&self.shared), request)))
    }
}

impl Http for Client {
    type Headers = Headers;
    type ResponseBody = Body;
    type PostBody = PostBody;

    fn get(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<GetResponse<Headers, Body>> {
        let exchange = self.exchange(Request::get(url, base_url, headers));
        Ok(GetResponse { headers: Headers::of(&exchange), body: Body::of(&exchange) })
    }

    fn post(
        &mut self,
        url: &str,
        base_url: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _: PostBodyDataKind,
    ) -> gix::Result<PostResponse<Headers, Body, PostBody>> {
        let exchange = self.exchange(Request::post(url, base_url, headers));
        Ok(PostResponse {
            post_body: PostBody(Arc::clone(&exchange)),
            headers: Headers::of(&exchange),
            body: Body::of(&exchange),
        })
    }

    fn configure(&mut self, _: &dyn std::any::Any) -> gix::Result {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.shared.redirected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn locked(exchange: &Mutex<Exchange>) -> std::sync::MutexGuard<'_, Exchange> {
    exchange.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is to be posted.
pub(crate) struct PostBody(Arc<Mutex<Exchange>>);

impl Write for PostBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        locked(&self.0).append(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The headers of an answer, a line each.
pub(crate) struct Headers {
    exchange: Arc<Mutex<Exchange>>,
    lines: Option<io::Cursor<Vec<u8>>>,
}

impl Headers {
    fn of(exchange: &Arc<Mutex<Exchange>>) -> Self {
        Self { exchange: Arc::clone(exchange), lines: None }
    }

    fn lines(&mut self) -> io::Result<&mut io::Cursor<Vec<u8>>> {
        if self.lines.is_none() {
            self.lines = Some(io::Cursor::new(locked(&self.exchange).headers()?));
        }
        Ok(self.lines.get_or_insert_default())
    }
}

impl Read for Headers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.lines()?.read(buffer)
    }
}

impl BufRead for Headers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.lines()?.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Some(lines) = &mut self.lines {
            lines.consume(amount);
        }
    }
}

/// The body of an answer.
pub(crate) struct Body {
    exchange: Arc<Mutex<Exchange>>,
    reader: Option<io::BufReader<exchange::BodyReader>>,
}

impl Body {
    fn of(exchange: &Arc<Mutex<Exchange>>) -> Self {
        Self { exchange: Arc::clone(exchange), reader: None }
    }

    fn reader(&mut self) -> io::Result<&mut io::BufReader<exchange::BodyReader>> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => io::BufReader::with_capacity(64 * 1024, locked(&self.exchange).body()?),
        };
        Ok(self.reader.insert(reader))
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader()?.read(buffer)
    }
}

impl BufRead for Body {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader()?.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        if let Some(reader) = &mut self.reader {
            reader.consume(amount);
        }
    }
}
