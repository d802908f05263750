//! Starting a process: as whom, where, with what limits, and knowing why when it cannot be.

use std::ffi::OsString;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use camino::Utf8PathBuf;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

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
}

/// As whom something runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    uid: Uid,
    gid: Gid,
    others: Vec<Gid>,
    name: String,
    home: PathBuf,
    shell: PathBuf,
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
        source: std::io::Error,
    },
}

impl Identity {
    /// The number of the user.
    pub fn uid(&self) -> Uid {
        self.uid
    }

    /// A user, with a group in the place of the user's own where one is given, and with all other groups
    /// that the user has. Nothing where that is who this process is already.
    ///
    /// # Errors
    /// When one of them does not exist, and when only root could bring that about.
    pub fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Self>, SpawnError> {
        if user.is_none() && group.is_none() {
            return Ok(None);
        }
        let found = match user {
            Some(name) => {
                let by_number =
                    || nix::unistd::User::from_uid(Uid::from_raw(name.parse().ok()?)).ok()?;
                let by_name = nix::unistd::User::from_name(name).ok().flatten();
                by_name
                    .or_else(by_number)
                    .ok_or_else(|| SpawnError::NoUser { name: name.into() })?
            }
            None => nix::unistd::User::from_uid(Uid::effective())
                .ok()
                .flatten()
                .ok_or_else(|| SpawnError::NoUser { name: Uid::effective().to_string() })?,
        };
        let gid = match group {
            Some(name) => {
                let by_number = || Some(Gid::from_raw(name.parse().ok()?));
                let by_name =
                    nix::unistd::Group::from_name(name).ok().flatten().map(|group| group.gid);
                by_name
                    .or_else(by_number)
                    .ok_or_else(|| SpawnError::NoGroup { name: name.into() })?
            }
            None => found.gid,
        };
        let same = found.uid == Uid::effective() && gid == Gid::effective();
        if !Uid::effective().is_root() {
            let name = found.name;
            return if same { Ok(None) } else { Err(SpawnError::NotRoot { name }) };
        }
        if same {
            return Ok(None);
        }
        let name = std::ffi::CString::new(&*found.name).unwrap_or_default();
        let others = nix::unistd::getgrouplist(&name, gid).unwrap_or_else(|_| vec![gid]);
        let (home, shell) = (found.dir, found.shell);
        Ok(Some(Self { uid: found.uid, gid, others, name: found.name, home, shell }))
    }
}

impl Identity {
    /// What the environment says of who somebody is.
    pub fn environment(&self) -> [(OsString, OsString); 4] {
        let name = || OsString::from(&self.name);
        [
            ("HOME".into(), self.home.clone().into()),
            ("SHELL".into(), self.shell.clone().into()),
            ("USER".into(), name()),
            ("LOGNAME".into(), name()),
        ]
    }
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
    let Launch { program, arguments, dir, env, stdout, stderr, .. } = launch;
    let failed = |source| SpawnError::System { program: program.clone(), dir: dir.clone(), source };
    let stream = |to: &Option<OwnedFd>| match to {
        Some(to) => to.try_clone().map(Stdio::from),
        None => Ok(Stdio::null()),
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).env_clear().envs(env.iter().map(|(k, v)| (k, v)));
    command.stdin(Stdio::null());
    command.stdout(stream(stdout).map_err(failed)?).stderr(stream(stderr).map_err(failed)?);
    let setup = Setup::of(launch);
    run_before(&mut command, setup);
    let mut child = command.spawn().map_err(failed)?;
    let pid = child.id();
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // It cannot be another one by now: nobody has waited for it.
    let handle = number.map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let error = match handle {
        Some(Ok(handle)) => return Ok(Spawned { pid, handle }),
        Some(Err(error)) => error.into(),
        None => std::io::ErrorKind::InvalidData.into(),
    };
    // Nobody could follow it.
    let _ = child.kill();
    let _ = child.wait();
    Err(failed(error))
}

/// What is done in the new process before its program runs.
#[derive(Debug, Clone)]
struct Setup {
    groups: Vec<RawFd>,
    identity: Option<Identity>,
    umask: u32,
    limits: Limits,
}

impl Setup {
    fn of(launch: &Launch) -> Self {
        Self {
            groups: launch.groups.iter().map(|group| group.as_fd().as_raw_fd()).collect(),
            identity: launch.identity.clone(),
            umask: launch.umask,
            limits: launch.limits,
        }
    }

    /// Only calls of the system, which may be made between fork and exec of a program with threads
    /// (signal-safety(7)); nothing is allocated.
    fn apply(&self) -> std::io::Result<()> {
        nix::unistd::setsid()?;
        hear_all_signals();
        for group in &self.groups {
            join(*group)?;
        }
        umask(Mode::from_bits_truncate(self.umask));
        for (limit, resource) in [
            (self.limits.open_files, Resource::RLIMIT_NOFILE),
            (self.limits.stack, Resource::RLIMIT_STACK),
        ] {
            if let Some(limit) = limit {
                set_limit(resource, limit)?;
            }
        }
        if let Some(identity) = &self.identity {
            nix::unistd::setgroups(&identity.others)?;
            nix::unistd::setresgid(identity.gid, identity.gid, identity.gid)?;
            nix::unistd::setresuid(identity.uid, identity.uid, identity.uid)?;
        }
        close_the_rest();
        Ok(())
    }
}

/// Sets a limit, or as much of it as this process may give away: who is not root raises nothing above what
/// they were given.
fn set_limit(resource: Resource, limit: u64) -> nix::Result<()> {
    match setrlimit(resource, limit, limit) {
        Err(nix::errno::Errno::EPERM) => {
            let (_, most) = getrlimit(resource)?;
            setrlimit(resource, limit.min(most), most)
        }
        result => result,
    }
}

/// The only code of this crate that the compiler cannot check: std offers a child no other way to a
/// session, a mask and limits of its own.
#[allow(unsafe_code, reason = "there is no safe way to act between fork and exec")]
mod between {
    use super::*;

    pub(super) fn run_before(command: &mut Command, setup: Setup) {
        // SAFETY: what `apply` calls are system calls alone; it allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(move || setup.apply());
        }
    }

    /// Undoes what this process, or whoever has started it, ignores: a shell lets what it starts in the
    /// background ignore SIGINT.
    pub(super) fn hear_all_signals() {
        for number in 1..=64 {
            // SAFETY: it sets the default. Those that cannot be changed are refused.
            unsafe {
                nix::libc::signal(number, nix::libc::SIG_DFL);
            }
        }
    }

    pub(super) fn join(group: RawFd) -> std::io::Result<()> {
        // SAFETY: the descriptor is one of `Launch::groups`, which outlive the start.
        let group = unsafe { std::os::fd::BorrowedFd::borrow_raw(group) };
        // "0" is whoever writes it (cgroups(7)).
        rustix::io::write(group, b"0")?;
        Ok(())
    }

    /// Marks all other descriptors, so that they are closed when the program runs: an embedding program
    /// may have opened some that would go on to the service.
    pub(super) fn close_the_rest() {
        // A kernel before 5.11 does not know it; our own descriptors are marked anyway.
        // SAFETY: it changes a flag of descriptors and nothing else.
        unsafe {
            nix::libc::syscall(nix::libc::SYS_close_range, 3_u32, u32::MAX, 4_u32);
        }
    }
}
use between::{close_the_rest, hear_all_signals, join, run_before};
