//! Starting the process of an instance.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use deploykit_core::process::{self, ProcessError, ProcessSpec};
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

use super::Surroundings;
use super::instance::Process;
use super::ledger;
use crate::definition::{Definition, Readiness};
use crate::listen::inode;
use crate::spawn::{Identity, Launch, Passed, Spawned, spawn_known};
use crate::table::{MARKER, SCOPE};

/// A number that nobody foresees.
pub(super) fn random() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(0)
}

/// Where programs are looked for when the environment does not say it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What this process was told by others that is not meant for what it starts.
const NOT_PASSED_ON: [&str; 7] = [
    crate::inherited::VARIABLE,
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
];

/// What an instance is started with, and all that is done around it.
#[derive(Debug)]
pub(super) struct Prepared {
    /// What tells its processes from all others. Nobody who does not know it speaks for it.
    pub(super) marker: String,
    pub(super) identity: Option<Identity>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) outputs: [Option<OwnedFd>; 2],
}

impl Prepared {
    /// The same once more. An output of which there is no second descriptor goes nowhere.
    pub(super) fn try_clone(&self) -> Self {
        let output =
            |index: usize| self.outputs[index].as_ref().and_then(|output| output.try_clone().ok());
        Self {
            marker: self.marker.clone(),
            identity: self.identity.clone(),
            env: self.env.clone(),
            outputs: [output(0), output(1)],
        }
    }
}

/// Prepares it. The error is why it cannot be started, in words.
pub(super) fn prepare(
    definition: &Definition,
    scope: &str,
    surroundings: &dyn Surroundings,
) -> Result<Prepared, String> {
    let marker = format!("{}-{:016x}", definition.name(), random());
    let identity = Identity::find(definition.user.as_deref(), definition.group.as_deref());
    let identity = identity.map_err(|error| deploykit_core::chain(&error))?;
    let mut env = environment(definition, identity.as_ref(), &surroundings.withheld())?;
    // What another manager has told this process is not true of what this one starts.
    env.retain(|(name, _)| name != SCOPE);
    env.push((MARKER.into(), marker.clone().into()));
    if !scope.is_empty() {
        env.push((SCOPE.into(), scope.into()));
    }
    let outputs = surroundings.outputs(definition, &marker);
    let outputs = outputs.map_err(|error| format!("where it is to write: {error}"))?;
    Ok(Prepared { marker, identity, env, outputs })
}

/// Starts its process. The error is why it cannot be, in words.
pub(super) fn start(
    definition: &Definition,
    prepared: Prepared,
    groups: Vec<OwnedFd>,
    sockets: Vec<Passed>,
    outlives: bool,
    on_born: &mut dyn FnMut(&Process),
) -> Result<Process, String> {
    let Prepared { marker, identity, mut env, outputs: [stdout, stderr] } = prepared;
    let notify = match definition.readiness {
        Readiness::Notify => {
            let (socket, name) = listen(&marker).map_err(|error| {
                format!("the socket on which it is to say that it is ready: {error}")
            })?;
            env.push(("NOTIFY_SOCKET".into(), name.into()));
            Some(socket)
        }
        _ => None,
    };
    let user = identity.as_ref().map_or_else(nix::unistd::Uid::effective, Identity::uid);
    let in_words = |error: ProcessError| deploykit_core::chain(&error);
    let spec = as_program(definition, &env);
    let launch = Launch {
        program: process::find(&spec).map_err(in_words)?,
        arguments: definition.command.iter().skip(1).cloned().collect(),
        dir: definition.dir.clone(),
        env,
        identity,
        umask: definition.umask,
        limits: definition.limits,
        stdout,
        stderr,
        groups,
        sockets,
        // It keeps what it has said until somebody hears it.
        held: notify
            .as_ref()
            .filter(|_| outlives)
            .and_then(|socket| socket.try_clone().ok())
            .into_iter()
            .collect(),
        is_bound: definition.is_bound,
    };
    let names = definition.listen.iter().cloned();
    let given = names.zip(&launch.sockets);
    let given: BTreeMap<String, u64> =
        given.filter_map(|(name, one)| Some((name, inode(&one.socket).ok()?))).collect();
    let mut born = None;
    let mut keep = |spawned: Spawned| {
        let process = Process {
            pid: spawned.pid,
            id: ledger::identity(spawned.pid),
            handle: spawned.handle,
            started: Instant::now(),
            marker: marker.clone(),
            user: user.as_raw(),
            notify: notify.as_ref().and_then(|socket| socket.try_clone().ok()),
            ready_since: None,
            ready: None,
            asked: None,
            sockets: given.clone(),
            is_killed: false,
            ended: None,
        };
        on_born(&process);
        born = Some(process);
    };
    spawn_known(&launch, &mut keep).map_err(|error| match process::preflight(&spec) {
        Err(error) => in_words(error),
        Ok(()) => deploykit_core::chain(&error),
    })?;
    born.ok_or_else(|| "nobody took note of it".to_owned())
}

/// The program as others would run it, for finding it and for saying why it cannot be run.
fn as_program(definition: &Definition, env: &[(OsString, OsString)]) -> ProcessSpec {
    let path = env.iter().rev().find(|(key, _)| key == "PATH");
    let path = path.and_then(|(_, value)| value.to_str()).unwrap_or(PATH);
    let command = definition.command.iter().take(1);
    let mut spec = ProcessSpec::new(&*definition.service, command, &*definition.dir);
    spec.env = vec![("PATH".to_owned(), path.to_owned())];
    spec
}

/// Whether the program of an instance could be run, where it lies in the release: what is looked for in
/// `PATH` is looked for in that of the manager.
pub(crate) fn preflight(definition: &Definition) -> Result<(), ProcessError> {
    let is_inside = definition.command.first().is_some_and(|program| program.contains('/'));
    if is_inside { process::preflight(&as_program(definition, &[])) } else { Ok(()) }
}

/// Its whole environment: the last entry of a name counts.
fn environment(
    definition: &Definition,
    identity: Option<&Identity>,
    withheld: &[String],
) -> Result<Vec<(OsString, OsString)>, String> {
    let mut env: Vec<(OsString, OsString)> = Vec::new();
    if definition.clean_env {
        env.push(("PATH".into(), PATH.into()));
    } else {
        let is_ours = |name: &OsString| {
            NOT_PASSED_ON.iter().any(|not| name == not)
                || withheld.iter().any(|not| name == not.as_str())
        };
        let passed = |name: &OsString| !is_ours(name);
        env.extend(std::env::vars_os().filter(|(name, _)| passed(name)));
    }
    // Whoever runs as somebody else is not at home here.
    env.extend(identity.into_iter().flat_map(Identity::environment));
    env.extend(definition.env.iter().map(|(name, value)| (name.into(), value.into())));
    for file in &definition.env_files {
        let (path, may_be_missing) = match file.strip_prefix('-') {
            Some(path) => (path, true),
            None => (&**file, false),
        };
        match read_file(path) {
            Ok(text) => env.extend(assignments(&text)),
            Err(error) if may_be_missing && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("the environment file {path}: {error}")),
        }
    }
    Ok(env)
}

/// So long a file of an environment may be, in bytes.
const LONGEST_FILE: u64 = 1 << 20;

/// Reads a file, and nothing that could keep the manager waiting.
fn read_file(path: &str) -> io::Result<String> {
    let found = std::fs::metadata(path)?;
    match () {
        () if !found.is_file() => Err(io::Error::other("it is not a file")),
        () if found.len() > LONGEST_FILE => Err(io::Error::other("it is longer than 1 MiB")),
        () => std::fs::read_to_string(path),
    }
}

/// Lines `NAME=value`, with or without quotes around the value; comments and what is none are passed over.
fn assignments(text: &str) -> Vec<(OsString, OsString)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let one = |line: &str| {
        let (name, value) = line.split_once('=')?;
        let value = value.trim();
        let quoted = ['"', '\''].into_iter().find_map(|quote| {
            value.strip_prefix(quote).and_then(|value| value.strip_suffix(quote))
        });
        Some((name.trim().into(), quoted.unwrap_or(value).into()))
    };
    lines.filter_map(one).collect()
}

/// A socket on which a process says how it is. Its name is not a file: whoever runs as another user need
/// not be let into a directory.
pub(super) fn listen(marker: &str) -> io::Result<(OwnedFd, String)> {
    // The name of such a socket has 107 bytes.
    let secret = marker.rsplit('-').next().unwrap_or_default();
    let name = format!("deploykit/{secret}");
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    // Whoever speaks says who it is: the name of the socket is no secret (proc(5), `/proc/net/unix`).
    set_socket_passcred(&socket, true)?;
    bind(&socket, &address)?;
    Ok((socket, format!("@{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_environment_is_read_as_people_write_it() {
        let text =
            "# a comment\nA=1\n B = two words \nC=\"quoted # \"\nD='it''s'\nE=\nno assignment\n";
        let found: Vec<(String, String)> = assignments(text)
            .into_iter()
            .map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap()))
            .collect();
        let expected =
            [("A", "1"), ("B", "two words"), ("C", "quoted # "), ("D", "it''s"), ("E", "")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
