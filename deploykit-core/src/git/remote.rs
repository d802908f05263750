//! A conversation with a git server.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use camino::Utf8Path;
use gix::protocol::handshake::Ref;
use gix::protocol::ls_refs::RefPrefixes;
use gix::protocol::transport::client::blocking_io;
use gix::protocol::transport::{Protocol, Service, client::TransportWithoutIO as _};
use gix::protocol::{Handshake, LsRefsCommand};

use super::credentials::{Account, nothing_else};
use super::fault::{Fault, FirstFault, connect_timeout};
use super::http;
use super::names::RefEntry;
use super::ssh;
use super::url::{Remote, Transport};
use super::watch::Watch;

/// How deploykit names itself to the server, behind `git/`, which some servers look for.
const AGENT: &str = concat!("git/deploykit-", env!("CARGO_PKG_VERSION"));

/// What is needed to reach a server.
#[derive(Debug)]
pub(crate) struct Access<'a> {
    pub(crate) remote: &'a Remote,
    pub(crate) account: Option<Account>,
    pub(crate) ca_file: Option<&'a Utf8Path>,
    /// The longest silence.
    pub(crate) silence: Duration,
}

pub(super) type DynTransport = Box<dyn blocking_io::Transport + Send>;

/// A server that has said hello.
pub(crate) struct Session {
    pub(super) transport: DynTransport,
    pub(super) handshake: Handshake,
    pub(super) faults: FirstFault,
}

/// The name that is sent with every command.
pub(super) fn agent() -> (&'static str, Option<String>) {
    ("agent", Some(AGENT.into()))
}

impl Session {
    /// Connects and says hello. The watch breaks the connection when it is time.
    pub(crate) fn open(access: &Access<'_>, watch: &Watch) -> Result<Self, Fault> {
        let faults = FirstFault::default();
        let mut transport = connect(access, watch, &faults)?;
        let handshake = gix::protocol::handshake(
            &mut transport,
            Service::UploadPack,
            nothing_else,
            Vec::new(),
            &mut gix::progress::Discard,
        )
        .map_err(|error| faults.explain(error))?;
        let session = Self { transport, handshake, faults };
        session.check_object_format()?;
        Ok(session)
    }

    fn check_object_format(&self) -> Result<(), Fault> {
        let format = self.handshake.capabilities.capability("object-format");
        match format.and_then(|capability| capability.value().map(|value| value == "sha256")) {
            Some(true) => Err(Fault::Sha256),
            _ => Ok(()),
        }
    }

    /// The references whose names begin with one of `prefixes`.
    pub(crate) fn refs(&mut self, prefixes: &[String]) -> Result<Vec<RefEntry>, Fault> {
        let refs = match &self.handshake.refs {
            // Servers that know only the old protocol have sent all of them already.
            Some(refs) => refs.clone(),
            None => {
                let mut wanted = RefPrefixes::new();
                wanted.extend(prefixes.iter().map(|prefix| prefix.as_str().into()));
                LsRefsCommand::new(Some(wanted), &self.handshake.capabilities, agent())
                    .invoke_blocking(&mut self.transport, &mut gix::progress::Discard, false)
                    .map_err(|error| self.faults.explain(error))?
            }
        };
        let named = refs.into_iter().map(entry);
        Ok(named.filter(|r| prefixes.iter().any(|p| r.name.starts_with(p.as_str()))).collect())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A daemon or an ssh server waits for the next command; this tells it that there is none.
        // After a fault it would only wait for a connection that is gone.
        if !self.faults.is_set() {
            let _ = gix::protocol::indicate_end_of_interaction(&mut self.transport, false);
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("handshake", &self.handshake).finish_non_exhaustive()
    }
}

fn entry(reference: Ref) -> RefEntry {
    let text = |name: gix::bstr::BString| String::from_utf8_lossy(&name).into_owned();
    match reference {
        Ref::Peeled { full_ref_name, tag, object } => {
            RefEntry::new(text(full_ref_name), Some(tag), Some(object), None)
        }
        Ref::Direct { full_ref_name, object } => {
            RefEntry::new(text(full_ref_name), Some(object), Some(object), None)
        }
        Ref::Symbolic { full_ref_name, target, tag, object } => RefEntry::new(
            text(full_ref_name),
            Some(tag.unwrap_or(object)),
            Some(object),
            Some(text(target)),
        ),
        Ref::Unborn { full_ref_name, target } => {
            RefEntry::new(text(full_ref_name), None, None, Some(text(target)))
        }
    }
}

fn connect(access: &Access<'_>, watch: &Watch, faults: &FirstFault) -> Result<DynTransport, Fault> {
    match access.remote.transport {
        Transport::Http if access.account.is_some() => Err(Fault::PlainCredentials),
        Transport::Http | Transport::Https => http(access, watch, faults),
        Transport::Git => daemon(access, watch, faults),
        Transport::Ssh => ssh::connect(access, watch, faults),
    }
}

fn http(access: &Access<'_>, watch: &Watch, faults: &FirstFault) -> Result<DynTransport, Fault> {
    let client =
        http::Client::new(access.remote.transport, access.ca_file, access.silence, faults.clone())?;
    watch.on_stop(client.breaker());
    let mut url = access.remote.url.clone();
    // The name goes into the header with the password; in the address it would be sent as well
    // where that is not.
    url.set_user(None);
    let mut transport = blocking_io::http::connect_http(client, url, Protocol::V2, false);
    if let Some(account) = &access.account {
        // Sent with the first request already: waiting to be asked costs a round trip.
        transport
            .set_identity(account.identity())
            .map_err(|error| Fault::Protocol(gix::Error::from_error(error)))?;
    }
    Ok(Box::new(transport))
}

/// The protocol of the git daemon. The connection is made here, since gix sets no time limits.
fn daemon(access: &Access<'_>, watch: &Watch, faults: &FirstFault) -> Result<DynTransport, Fault> {
    use gix::protocol::transport::client::git::{ConnectMode, blocking_io::Connection};
    let url = &access.remote.url;
    let (host, port) = (url.host().unwrap_or_default(), url.port);
    let stream = dial(host, port.unwrap_or(9418), access.silence)?;
    let another = || {
        let stream = stream.try_clone();
        stream.map_err(|error| Fault::of_io(error, host, access.silence))
    };
    let recorded = |stream| Recorded {
        stream,
        host: host.to_owned(),
        silence: access.silence,
        faults: faults.clone(),
    };
    let (write, breaker) = (another()?, another()?);
    watch.on_stop(move || {
        let _ = breaker.shutdown(std::net::Shutdown::Both);
    });
    let connection = Connection::new(
        recorded(stream),
        recorded(write),
        Protocol::V2,
        url.path.clone(),
        Some((host, port)),
        ConnectMode::Daemon,
        false,
    );
    Ok(Box::new(connection.custom_url(Some(url.to_bstring()))))
}

/// A connection that remembers what went wrong.
struct Recorded {
    stream: TcpStream,
    host: String,
    silence: Duration,
    faults: FirstFault,
}

impl Recorded {
    fn record<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| self.faults.record(Fault::of_io(error, &self.host, self.silence)))
    }
}

impl Read for Recorded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The daemon sends small parts, each of which waits for the acknowledgement of the one before
        // it, and that is held back for 40 ms. The kernel forgets this again, so it is told each time.
        let _ = rustix::net::sockopt::set_tcp_quickack(&self.stream, true);
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return self.record(result),
            }
        }
    }
}

impl Write for Recorded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes);
        self.record(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn dial(host: &str, port: u16, silence: Duration) -> Result<TcpStream, Fault> {
    let fault = |error| Fault::of_io(error, host, silence);
    let mut last = Fault::HostNotFound { host: host.to_owned() };
    for address in (host, port).to_socket_addrs().map_err(fault)? {
        match TcpStream::connect_timeout(&address, connect_timeout(silence)) {
            Ok(stream) => {
                stream.set_read_timeout(Some(silence)).map_err(fault)?;
                stream.set_write_timeout(Some(silence)).map_err(fault)?;
                // A request is written in several small parts, each of which would otherwise wait
                // for the acknowledgement of the one before it: 40 ms for nothing.
                stream.set_nodelay(true).map_err(fault)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                last = Fault::ConnectTimeout { after: connect_timeout(silence) };
            }
            Err(error) => last = fault(error),
        }
    }
    Err(last)
}
