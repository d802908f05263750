//! The check `unix`: a socket in the file system that accepts a connection.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::look::time_left;
use crate::config::CheckConfig;
use crate::context::Context;
use crate::registry::BackendRequest;
use crate::traits::{BoxError, HealthCheck, Look, Release};

/// Connects to a stream socket, and closes the connection again.
#[derive(Debug)]
pub(super) struct UnixCheck {
    name: String,
    path: Utf8PathBuf,
}

impl UnixCheck {
    pub(super) fn construct(
        _: &BackendRequest<'_>,
        config: &CheckConfig,
    ) -> Result<Arc<dyn HealthCheck>, BoxError> {
        let path = config.path.as_deref().ok_or("it needs a path")?;
        Ok(Arc::new(Self { name: config.label(), path: path.into() }))
    }
}

impl HealthCheck for UnixCheck {
    fn name(&self) -> &str {
        &self.name
    }

    fn look(&self, ctx: &Context, release: &dyn Release) -> Look {
        if let Err(cancelled) = ctx.check() {
            return Look::NotYet(cancelled.to_string());
        }
        if time_left(ctx).is_zero() {
            return Look::NotYet("no time was left to look".into());
        }
        let path = release.root().join(&self.path);
        match try_connect(&path) {
            Ok(_) => Look::Well(format!("{path} accepts connections")),
            Err(Errno::NOENT) => Look::NotYet(format!("there is no {path}")),
            Err(Errno::CONNREFUSED) => Look::NotYet(format!("nobody listens on {path}")),
            Err(Errno::AGAIN) => Look::NotYet(format!("the queue of {path} is full")),
            Err(Errno::PROTOTYPE) => Look::Ill(format!("{path} is not a stream socket")),
            Err(errno) => Look::Ill(format!("cannot connect to {path}: {errno}")),
        }
    }
}

/// Connects without waiting: a socket whose queue is full would make `connect` wait until somebody
/// accepts, which may be never.
fn try_connect(path: &Utf8Path) -> Result<OwnedFd, Errno> {
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    match SocketAddrUnix::new(path.as_std_path()) {
        Ok(address) => connect(&socket, &address)?,
        Err(Errno::NAMETOOLONG) => connect_below(&socket, path)?,
        Err(errno) => return Err(errno),
    }
    Ok(socket)
}

/// The address of a socket has room for 108 bytes. A longer path is reached through its directory.
fn connect_below(socket: &OwnedFd, path: &Utf8Path) -> Result<(), Errno> {
    use std::os::fd::AsRawFd as _;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NAMETOOLONG);
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(parent.as_std_path(), flags, Mode::empty())?;
    let short = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    connect(socket, &SocketAddrUnix::new(short)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener};

    use super::*;
    use crate::backend::health::testing::{TestRelease, construct};

    fn look(path: &str, release: &TestRelease) -> Look {
        let check = construct(UnixCheck::construct, &format!("type = \"unix\"\npath = \"{path}\""));
        check.look(&Context::new().unwrap(), release)
    }

    #[test]
    fn a_relative_path_lies_in_the_release_and_an_absolute_one_where_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let release = TestRelease::at(dir.path());
        let path = release.root().join("app.sock");
        let missing = look("app.sock", &release);
        assert!(
            matches!(&missing, Look::NotYet(why) if why.contains("there is no")),
            "{missing:?}"
        );
        let listener = UnixListener::bind(&path).unwrap();
        assert!(look("app.sock", &release).is_well());
        assert!(look(path.as_str(), &TestRelease::default()).is_well());
        drop(listener);
        let gone = look("app.sock", &release);
        assert!(matches!(&gone, Look::NotYet(why) if why.contains("nobody listens")), "{gone:?}");
    }

    #[test]
    fn a_path_longer_than_an_address_holds_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let release = TestRelease::at(dir.path());
        let long = format!("{}/{}", "d".repeat(100), "e".repeat(100));
        std::fs::create_dir_all(release.root().join(&long)).unwrap();
        // The listener has the same difficulty: it is bound by a short name and moved.
        let short = release.root().join("s");
        let _listener = UnixListener::bind(&short).unwrap();
        std::fs::rename(&short, release.root().join(&long).join("s")).unwrap();
        let found = look(&format!("{long}/s"), &release);
        assert!(found.is_well(), "{found:?}");
        assert!(matches!(look(&format!("{long}/x"), &release), Look::NotYet(_)));
    }

    #[test]
    fn a_full_queue_is_not_yet_and_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let release = TestRelease::at(dir.path());
        let listener = UnixListener::bind(release.root().join("s")).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let mut held = Vec::new();
        while let Ok(connection) = try_connect(&release.root().join("s")) {
            held.push(connection);
            assert!(held.len() < 10_000, "the queue never fills");
        }
        let full = look("s", &release);
        assert!(matches!(&full, Look::NotYet(why) if why.contains("queue")), "{full:?}");
    }

    #[test]
    fn what_is_no_stream_socket_is_ill() {
        let dir = tempfile::tempdir().unwrap();
        let release = TestRelease::at(dir.path());
        let _datagrams = UnixDatagram::bind(release.root().join("s")).unwrap();
        let wrong = look("s", &release);
        assert!(matches!(&wrong, Look::Ill(why) if why.contains("stream")), "{wrong:?}");
    }
}
