//! Through the host's `ssh`.
//!
//! gix could start it, but prints what it says, cannot be interrupted in a read, and keeps no word
//! of why it failed.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gix::bstr::ByteSlice as _;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::git::{ConnectMode, blocking_io::Connection};
use gix::url::ArgumentSafety;

use super::fault::{Fault, FirstFault, connect_timeout};
use super::remote::{Access, DynTransport};
use super::watch::Watch;
use crate::process::poll::{self, Interest};

/// As many of the last lines of what ssh says are kept.
const LINES: usize = 5;
/// What ssh said may still be on its way when its output ends.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// As many bytes are sure to fit into a pipe that is ready (`PIPE_BUF` of Linux).
const PIPE_BUF: usize = 4096;

/// Starts ssh, which runs git's service on the other host.
pub(super) fn connect(
    access: &Access<'_>,
    watch: &Watch,
    faults: &FirstFault,
) -> Result<DynTransport, Fault> {
    let url = &access.remote.url;
    let mut command = command(access)?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |error: io::Error| Fault::Ssh { said: error.to_string() };
    let mut child = command.spawn().map_err(failed)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(failed(io::ErrorKind::BrokenPipe.into()));
    };
    let process =
        Arc::new(Process { child: Mutex::new(child), said: listen(stderr).map_err(failed)? });
    let theirs = Arc::clone(&process);
    watch.on_stop(move || theirs.kill());
    let connection = Connection::new(
        Pipe::new(stdout, &process, access.silence, faults),
        Pipe::new(stdin, &process, access.silence, faults),
        Protocol::V2,
        url.path.clone(),
        None::<(&str, _)>,
        ConnectMode::Process,
        false,
    );
    Ok(Box::new(connection.custom_url(Some(url.to_bstring()))))
}

/// What is run. `GIT_SSH_COMMAND` and `GIT_SSH` are used as they stand, as git does; otherwise ssh
/// is told never to ask anything, and to give up after a silence.
fn command(access: &Access<'_>) -> Result<Command, Fault> {
    let url = &access.remote.url;
    let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let mut command = if let Some(line) = variable("GIT_SSH_COMMAND") {
        let mut script = line;
        script.push(" \"$@\"");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script).arg("ssh");
        shell
    } else if let Some(program) = variable("GIT_SSH") {
        Command::new(program)
    } else {
        let mut ssh = Command::new("ssh");
        let connecting = connect_timeout(access.silence).as_secs().max(1);
        let alive = (access.silence.as_secs() / 3).max(1);
        for option in [
            "BatchMode=yes".to_owned(),
            format!("ConnectTimeout={connecting}"),
            format!("ServerAliveInterval={alive}"),
            "ServerAliveCountMax=3".to_owned(),
        ] {
            ssh.args(["-o", &option]);
        }
        ssh
    };
    command.args(["-o", "SendEnv=GIT_PROTOCOL"]).env("GIT_PROTOCOL", "version=2");
    if let Some(port) = url.port {
        command.args(["-p", &port.to_string()]);
    }
    let path = gix::url::expand_path::for_shell(url.path.clone());
    let service = format!("git-upload-pack {}", gix::quote::single(path.as_ref()));
    command.arg(destination(url)?).arg(OsStr::new(&service));
    Ok(command)
}

/// `user@host`. A name that ssh would take for an option is refused.
fn destination(url: &gix::Url) -> Result<String, Fault> {
    let refused = |name: &str| Fault::Ssh { said: format!("{name:?} is not a name") };
    let host = match url.host_as_argument() {
        ArgumentSafety::Usable(host) => host,
        ArgumentSafety::Dangerous(host) => return Err(refused(host)),
        ArgumentSafety::Absent => return Err(refused("")),
    };
    match url.user_as_argument() {
        ArgumentSafety::Usable(user) => Ok(format!("{user}@{host}")),
        ArgumentSafety::Dangerous(user) => Err(refused(user)),
        ArgumentSafety::Absent => Ok(host.to_owned()),
    }
}

struct Process {
    child: Mutex<Child>,
    said: Mutex<Receiver<String>>,
}

impl Process {
    fn kill(&self) {
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).kill();
    }

    /// The last lines that it said; waits until it has said all.
    fn last_words(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.recv_timeout(LAST_WORDS).unwrap_or_else(|_| "it ended without a word".into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Otherwise a server that does not notice the end would keep it, and us, for ever.
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Reads what ssh says in a thread, so that it never waits for somebody to read it.
fn listen(stderr: ChildStderr) -> io::Result<Mutex<Receiver<String>>> {
    let (sender, receiver) = channel();
    std::thread::Builder::new().name("ssh-stderr".into()).spawn(move || {
        let mut last = VecDeque::new();
        for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
            let line = line.trim().to_str_lossy().into_owned();
            if !line.is_empty() {
                last.push_back(line);
            }
            if last.len() > LINES {
                last.pop_front();
            }
        }
        if !last.is_empty() {
            let _ = sender.send(last.make_contiguous().join("; "));
        }
    })?;
    Ok(Mutex::new(receiver))
}

/// One of ssh's pipes. When it ends before the conversation does, what ssh said is the reason.
struct Pipe<T> {
    end: T,
    process: Arc<Process>,
    silence: Duration,
    faults: FirstFault,
}

impl<T: AsFd> Pipe<T> {
    fn new(end: T, process: &Arc<Process>, silence: Duration, faults: &FirstFault) -> Self {
        Self { end, process: Arc::clone(process), silence, faults: faults.clone() }
    }

    fn ended(&self) {
        if !self.faults.is_set() {
            self.faults.record(Fault::Ssh { said: self.process.last_words() });
        }
    }

    /// Waits until the pipe is ready. ssh looks after the connection only, and only when it is not
    /// somebody's own command: the other side may be there and say nothing for ever.
    fn wait(&self, interest: Interest) -> io::Result<()> {
        let until = Instant::now().checked_add(self.silence);
        if poll::wait(&[(self.end.as_fd(), interest)], until)?.contains(&true) {
            return Ok(());
        }
        let error = self.faults.record(Fault::Silence { after: self.silence });
        self.process.kill();
        Err(error)
    }
}

impl Read for Pipe<ChildStdout> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(Interest::Readable)?;
        let result = self.end.read(buffer);
        if !matches!(result, Ok(1..)) && !buffer.is_empty() {
            self.ended();
        }
        result
    }
}

impl Write for Pipe<ChildStdin> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(Interest::Writable)?;
        // More than a pipe that is ready is sure to take would be waited for.
        let result = self.end.write(&bytes[..bytes.len().min(PIPE_BUF)]);
        if result.is_err() {
            self.ended();
        }
        result
    }

    fn flush(&mut self) -> io::Result<()> {
        self.end.flush()
    }
}
