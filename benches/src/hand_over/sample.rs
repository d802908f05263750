//! The application: the sample of `examples/drain` in Rust, and a way to run it by hand.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{PATIENCE, Way, until};
use crate::Result;

/// What has it take its socket from standard input, as its third descriptor.
const PASS: &str = "exec 3<&0 0</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\"";

/// The application.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    program: PathBuf,
}

impl Sample {
    pub(super) fn new(program: &Path) -> Self {
        Self { program: program.to_owned() }
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    /// Makes a directory of a version of it.
    pub(super) fn version(&self, directory: &Path, version: &str) -> Result<PathBuf> {
        let path = directory.join(version);
        std::fs::create_dir_all(&path)?;
        std::fs::write(path.join("VERSION"), version)?;
        Ok(path)
    }

    /// Starts a version with a socket.
    pub(super) fn start(&self, version: &Path, socket: &TcpListener) -> Result<Running> {
        let socket: OwnedFd = socket.try_clone()?.into();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", PASS]).arg(&self.program).current_dir(version);
        Ok(Running(command.stdin(Stdio::from(socket)).spawn()?))
    }

    /// Starts one of which nobody asks anything.
    pub(super) fn start_aside(&self) -> Result<Running> {
        self.start(Path::new("/"), &TcpListener::bind("127.0.0.1:0")?)
    }
}

/// Asks once, and waits for the answer.
pub(super) fn ask(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err("it does not answer".into()) }
}

/// A process of it, killed at the end.
#[derive(Debug)]
pub(super) struct Running(Child);

impl Running {
    /// Asks it to end.
    pub(super) fn ask_to_end(&self) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.0.id())?), Signal::SIGTERM)?)
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|ended| ended.is_some())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Stopped, and then started again, with a socket of its own each time.
pub(super) struct ByHand {
    sample: Sample,
    directory: PathBuf,
    address: SocketAddr,
    running: Option<Running>,
}

impl ByHand {
    pub(super) fn begin(sample: &Sample, directory: &Path) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (sample, directory) = (sample.clone(), directory.to_owned());
        Ok(Self { sample, directory, address, running: None })
    }
}

impl Way for ByHand {
    fn name(&self) -> String {
        "stopped, then started".to_owned()
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn switch(&mut self, version: &str) -> Result<()> {
        if let Some(mut old) = self.running.take() {
            old.ask_to_end()?;
            until("it ends", || old.has_ended())?;
        }
        let version = self.sample.version(&self.directory, version)?;
        let socket = TcpListener::bind(self.address)?;
        self.running = Some(self.sample.start(&version, &socket)?);
        ask(self.address)
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}
