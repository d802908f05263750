//! Starting a process: as whom, where, with what limits and sockets, and knowing why when it cannot be.

mod child;
mod identity;

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use camino::Utf8PathBuf;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use serde::{Deserialize, Serialize};

use child::{Image, fork};
pub use identity::Identity;

/// What is to be started.
#[derive(Debug)]
#[non_exhaustive]
pub struct Launch {
    /// The program, with its path.
    pub program: Utf8PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Where it works.
    pub dir: Utf8PathBuf,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// As whom it runs; as whoever starts it, where nobody is given.
    pub identity: Option<Identity>,
    /// What others may not do with the files that it makes.
    pub umask: u32,
    /// How much it may use.
    pub limits: Limits,
    /// Where its output goes; nowhere, where nothing is given.
    pub stdout: Option<OwnedFd>,
    /// Where its errors go.
    pub stderr: Option<OwnedFd>,
    /// `cgroup.procs` of the control groups that it joins, open for writing.
    pub groups: Vec<OwnedFd>,
    /// Sockets that it gets as descriptors 3, 4, …, and hears of as sd_listen_fds(3) has it.
    pub sockets: Vec<Passed>,
    /// Descriptors that it holds open without being told of them, behind the sockets.
    pub held: Vec<OwnedFd>,
    /// It ends when the thread that starts it does: SIGKILL, for its main process.
    pub is_bound: bool,
}

/// A socket that is passed on.
#[derive(Debug)]
pub struct Passed {
    /// What it is called in `LISTEN_FDNAMES`.
    pub name: String,
    /// The socket.
    pub socket: OwnedFd,
}

/// How much of the host a process may use, each in the unit of setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limits {
    /// How many files it may have open.
    pub open_files: Option<u64>,
    /// The size of the stack, in bytes.
    pub stack: Option<u64>,
}

/// Why a process was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no such user.
    #[error("there is no user {name:?}")]
    NoUser {
        /// The name.
        name: String,
    },
    /// There is no such group.
    #[error("there is no group {name:?}")]
    NoGroup {
        /// The name.
        name: String,
    },
    /// It is to run as somebody else, which only root can bring about.
    #[error("only root can run it as {name}")]
    NotRoot {
        /// As whom it is to run.
        name: String,
    },
    /// The system does not start it.
    #[error("cannot start {program} in {dir}")]
    System {
        /// The program.
        program: Utf8PathBuf,
        /// Where it was to work.
        dir: Utf8PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A process that runs.
#[derive(Debug)]
pub struct Spawned {
    /// Its number, which is that of its session and of its process group, too.
    pub pid: u32,
    /// By this its end is noticed, and nobody else is ever signalled in its place.
    pub handle: OwnedFd,
}

/// Starts it, in a session of its own. When this returns, its program runs: whatever kept it from that is
/// an error here, and no process is left.
///
/// # Errors
/// What kept it from being started.
pub fn spawn(launch: &Launch) -> Result<Spawned, SpawnError> {
    let mut born = None;
    spawn_known(launch, &mut |spawned| born = Some(spawned))?;
    born.ok_or_else(|| SpawnError::System {
        program: launch.program.clone(),
        dir: launch.dir.clone(),
        source: io::ErrorKind::NotFound.into(),
    })
}

/// The same; but `on_born` gets the process before its program runs. When this process is killed before
/// that has returned, the program never runs: nothing runs of which nobody has taken note.
///
/// # Errors
/// As [`spawn`]; `on_born` may have got the process, which is gone.
pub fn spawn_known(launch: &Launch, on_born: &mut dyn FnMut(Spawned)) -> Result<(), SpawnError> {
    begin(launch, on_born).map_err(|source| {
        let (program, dir) = (launch.program.clone(), launch.dir.clone());
        SpawnError::System { program, dir, source }
    })
}

fn begin(launch: &Launch, on_born: &mut dyn FnMut(Spawned)) -> io::Result<()> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let image = image(launch, null.as_fd(), &theirs)?;
    let pid = fork(&image)?;
    // The end of the other one is what tells that the program runs.
    drop((image, theirs));
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // It cannot be another one by now: nobody has waited for it.
    let handle = number.map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let handle = handle.ok_or(io::ErrorKind::InvalidData)?;
    let take_note = || {
        let id = number.map(WaitId::Pid);
        let _ = id.map(|id| waitid(id, WaitIdOptions::EXITED));
    };
    let spawned = match handle {
        Ok(handle) => Spawned { pid, handle },
        Err(error) => {
            // Nobody could follow it. It waits for a word that does not come.
            drop(ours);
            take_note();
            return Err(error.into());
        }
    };
    on_born(spawned);
    // It fails when the process has ended: what it has said of that is read next.
    let _ = rustix::net::send(&ours, b"!", SendFlags::NOSIGNAL);
    match verdict(&ours)? {
        None => Ok(()),
        Some(error) => {
            take_note();
            Err(error)
        }
    }
}

/// What the new process says: nothing, when its program runs, or what kept it from that.
fn verdict(ours: &OwnedFd) -> io::Result<Option<io::Error>> {
    let mut code = [0_u8; 4];
    loop {
        match rustix::net::recv(ours, &mut code[..], RecvFlags::WAITALL) {
            Ok((0, _)) => return Ok(None),
            Ok((4, _)) => {
                return Ok(Some(io::Error::from_raw_os_error(i32::from_ne_bytes(code))));
            }
            Err(rustix::io::Errno::INTR) => {}
            // It was killed between two words.
            Ok(_) => return Ok(Some(io::ErrorKind::Interrupted.into())),
            // It has not read ours, and was killed.
            Err(rustix::io::Errno::CONNRESET) => {
                return Ok(Some(io::ErrorKind::Interrupted.into()));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// What a process is told of its sockets: sd_listen_fds(3).
const LISTEN: [&str; 3] = ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"];

/// All that the new process is made of.
fn image(launch: &Launch, null: BorrowedFd<'_>, word: &OwnedFd) -> io::Result<Image> {
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::from);
    let program = text(launch.program.as_str().as_ref())?;
    let mut arguments = vec![program.clone()];
    for argument in &launch.arguments {
        arguments.push(text(argument.as_ref())?);
    }
    // The last entry of a name counts.
    let mut env: BTreeMap<&OsStr, &OsStr> =
        launch.env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str())).collect();
    if !launch.sockets.is_empty() {
        env.retain(|name, _| !LISTEN.iter().any(|own| name == own));
    }
    let mut environment = Vec::new();
    for (name, value) in env {
        let mut entry = name.to_owned();
        entry.push("=");
        entry.push(value);
        environment.push(text(&entry)?);
    }
    if !launch.sockets.is_empty() {
        let names: Vec<&str> = launch.sockets.iter().map(|one| one.name.as_str()).collect();
        environment.push(text(format!("LISTEN_FDS={}", names.len()).as_ref())?);
        environment.push(text(format!("LISTEN_FDNAMES={}", names.join(":")).as_ref())?);
    }
    let output = |to: &Option<OwnedFd>| to.as_ref().map_or(null, OwnedFd::as_fd).as_raw_fd();
    let mut fds = vec![null.as_raw_fd(), output(&launch.stdout), output(&launch.stderr)];
    fds.extend(launch.sockets.iter().map(|one| one.socket.as_raw_fd()));
    fds.extend(launch.held.iter().map(|one| one.as_raw_fd()));
    // With the word, which comes behind all others.
    fds.push(word.as_raw_fd());
    Image::new(child::Parts {
        program,
        arguments,
        environment,
        dir: text(launch.dir.as_str().as_ref())?,
        fds,
        groups: launch.groups.iter().map(|group| group.as_fd().as_raw_fd()).collect(),
        identity: launch.identity.clone(),
        umask: launch.umask,
        limits: launch.limits,
        is_bound: launch.is_bound,
        has_sockets: !launch.sockets.is_empty(),
    })
}

#[cfg(test)]
mod tests;
