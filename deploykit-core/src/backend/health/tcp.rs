//! The check `tcp`: a port that accepts a connection.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Instant;

use super::look::{interruptible, time_left};
use crate::config::{CheckConfig, split_address};
use crate::context::Context;
use crate::registry::BackendRequest;
use crate::traits::{BoxError, HealthCheck, Look, Release};

/// Connects to a host and a port, and closes the connection again.
#[derive(Debug)]
pub(super) struct TcpCheck {
    name: String,
    host: String,
    port: u16,
}

impl TcpCheck {
    pub(super) fn construct(
        _: &BackendRequest<'_>,
        config: &CheckConfig,
    ) -> Result<Arc<dyn HealthCheck>, BoxError> {
        let address = config.address.as_deref().ok_or("it needs an address")?;
        let (host, port) = split_address(address)
            .ok_or_else(|| format!("{address:?} does not have the form host:port"))?;
        Ok(Arc::new(Self { name: config.label(), host: host.to_owned(), port }))
    }
}

impl HealthCheck for TcpCheck {
    fn name(&self) -> &str {
        &self.name
    }

    fn look(&self, ctx: &Context, _: &dyn Release) -> Look {
        let (host, port) = (self.host.clone(), self.port);
        let begin = Instant::now();
        let end = begin + time_left(ctx);
        interruptible(ctx, move || match connect(&host, port, end) {
            Ok(address) => {
                Look::Well(format!("{address} connected in {} ms", begin.elapsed().as_millis()))
            }
            Err(error) => Look::NotYet(error.to_string()),
        })
    }
}

/// The first of the host's addresses that accepts; each gets a fair share of the time, so that one
/// that swallows packets does not hide the others.
fn connect(host: &str, port: u16, end: Instant) -> io::Result<SocketAddr> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for (index, address) in addresses.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let others = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = left / others;
        if share.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        match TcpStream::connect_timeout(address, share) {
            Ok(_) => return Ok(*address),
            Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::backend::health::testing::{TestRelease, construct};

    fn look(address: &str) -> Look {
        let check =
            construct(TcpCheck::construct, &format!("type = \"tcp\"\naddress = \"{address}\""));
        check.look(&Context::new().unwrap(), &TestRelease::default())
    }

    #[test]
    fn whoever_accepts_is_well_and_whoever_refuses_is_not_yet() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            let look = look(&format!("{host}:{port}"));
            assert!(look.is_well() && look.detail().contains("connected in"), "{look:?}");
        }
        drop(listener);
        let look = look(&format!("127.0.0.1:{port}"));
        assert!(matches!(&look, Look::NotYet(why) if why.contains("refused")), "{look:?}");
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        // A host without IPv6 has nothing to test here.
        let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
        let look = look(&format!("[::1]:{}", listener.local_addr().unwrap().port()));
        assert!(look.is_well(), "{look:?}");
    }

    #[test]
    fn an_unknown_name_is_not_yet() {
        let look = look("name.invalid:80");
        assert!(matches!(look, Look::NotYet(_)), "{look:?}");
    }
}
