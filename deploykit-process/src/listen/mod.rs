//! Sockets that services are given: opened once, and passed on from release to release.

mod owners;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with, sockopt,
};

pub(crate) use owners::{owners, why};

/// So many connections wait until somebody accepts them, where the system lets them (`somaxconn`).
const BACKLOG: i32 = 4096;

/// Where somebody listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// This port of every address of the host.
    Port(u16),
    /// One address.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(Utf8PathBuf),
}

impl Address {
    /// Reads it as the configuration has it: a port, `address:port`, or an absolute path.
    ///
    /// ```
    /// use deploykit_process::listen::Address;
    ///
    /// assert_eq!(Address::parse("8080"), Some(Address::Port(8080)));
    /// assert!(matches!(Address::parse("[::1]:80"), Some(Address::Tcp(_))));
    /// assert_eq!(Address::parse("web.sock"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(port) => Some(Self::Port(port)),
            Err(_) if text.starts_with('/') => Some(Self::Unix(text.into())),
            Err(_) => text.parse().ok().map(Self::Tcp),
        }
    }

    /// Opens it, and listens.
    ///
    /// # Errors
    /// What the system says: somebody else listens there, or it needs more rights.
    pub fn open(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Port(port) => match tcp((Ipv6Addr::UNSPECIFIED, *port).into()) {
                // Without IPv6 there are only the others.
                Err(error)
                    if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
                        || error.raw_os_error() == Some(Errno::ADDRNOTAVAIL.raw_os_error()) =>
                {
                    tcp((Ipv4Addr::UNSPECIFIED, *port).into())
                }
                opened => opened,
            },
            Self::Tcp(address) => tcp(*address),
            Self::Unix(path) => unix(path),
        }
    }

    /// Takes away what is left of it when it is closed: the file of a unix socket.
    pub(crate) fn clear(&self) {
        if let Self::Unix(path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn tcp(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // What of connections is left that have ended keeps nobody from listening.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // Whoever asks by IPv4 is answered, too, where it is every address.
        sockopt::set_ipv6_v6only(&socket, !address.ip().is_unspecified())?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn unix(path: &Utf8Path) -> io::Result<OwnedFd> {
    clear_left(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrUnix::new(path.as_std_path())?)?;
    // As systemd has it: who may connect is a matter of the directory.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Takes away a socket on which nobody listens any more.
fn clear_left(path: &Utf8Path) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is there"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path)
        }
        _ => Err(Errno::ADDRINUSE.into()),
    }
}

/// By what a socket is known again in another process: the number of its inode.
pub(crate) fn inode(socket: impl AsFd) -> io::Result<u64> {
    Ok(rustix::fs::fstat(socket)?.st_ino)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn every_address_answers_by_both_protocols_and_nobody_else_gets_it() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let socket = Address::Port(port).open().unwrap();
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
        let again = Address::Tcp(([127, 0, 0, 1], port).into()).open().unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        drop(socket);
        // Right behind a connection that has just ended.
        let socket = Address::Tcp(([127, 0, 0, 1], port).into()).open().unwrap();
        let end = TcpListener::from(socket);
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        drop(end.accept().unwrap());
        drop((end, client));
        assert!(Address::Port(port).open().is_ok());
    }

    #[test]
    fn a_unix_socket_that_nobody_listens_on_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().join("s")).unwrap();
        let address = Address::Unix(path.clone());
        let first = address.open().unwrap();
        assert_eq!(address.open().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let second = address.open().unwrap();
        assert_ne!(inode(&second).unwrap(), 0);
        address.clear();
        std::fs::write(&path, "a file").unwrap();
        assert!(address.open().is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "a file");
    }
}
