//! By systemd: a socket unit holds the socket, and the service is restarted.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use camino::Utf8Path;
use deploykit_testkit::load::{Load, MIXTURE};
use deploykit_testkit::systemd::Sandbox;
use nix::sched::{CloneFlags, setns};

use super::Way;
use super::sample::Sample;
use crate::Result;

const PORT: u16 = 18080;

/// The application as a service of a systemd of its own.
pub(super) struct Socket {
    sandbox: Sandbox,
    /// In which the version is that is to run.
    directory: PathBuf,
}

impl Socket {
    /// Boots one; nothing where none can be had.
    pub(super) fn begin(sample: &Sample, directory: &Path) -> Result<Option<Self>> {
        let shared = Utf8Path::from_path(directory).ok_or("the path is not UTF-8")?;
        std::fs::copy(sample.program(), directory.join("drain"))?;
        let Some(sandbox) = Sandbox::boot(&[shared]) else { return Ok(None) };
        let address = SocketAddr::from(([127, 0, 0, 1], PORT));
        sandbox.write_unit(
            "web.socket",
            &format!("[Socket]\nListenStream={address}\nBacklog=4096\n[Install]\nWantedBy=sockets.target\n"),
        );
        sandbox.write_unit(
            "web.service",
            &format!(
                "[Unit]\nRequires=web.socket\nAfter=web.socket\n[Service]\nType=notify\nStandardInput=null\n\
                 WorkingDirectory={shared}\nExecStart={shared}/drain\nTimeoutStopSec=60\n"
            ),
        );
        let way = Self { sandbox, directory: directory.to_owned() };
        std::fs::write(way.directory.join("VERSION"), "v0")?;
        way.systemctl(&["daemon-reload"])?;
        way.systemctl(&["start", "web.socket", "web.service"])?;
        Ok(Some(way))
    }

    fn systemctl(&self, arguments: &[&str]) -> Result<()> {
        let told = self.sandbox.command("systemctl").args(arguments).output()?;
        if told.status.success() {
            return Ok(());
        }
        let journal =
            self.sandbox.command("journalctl").args(["-u", "web.service", "-n", "20"]).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stderr, journal) = (text(&told.stderr), text(&journal.stdout));
        Err(format!("systemctl {arguments:?} has failed: {stderr}\n{journal}").into())
    }
}

impl Way for Socket {
    fn name(&self) -> String {
        "systemd, a socket unit, `systemctl restart`".to_owned()
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], PORT).into()
    }

    fn switch(&mut self, version: &str) -> Result<()> {
        std::fs::write(self.directory.join("VERSION"), version)?;
        self.systemctl(&["restart", "web.service"])
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    fn load(&self, version: &str) -> Load {
        let (address, init) = (self.address(), self.sandbox.init().unwrap_or(1));
        // It has a network of its own: what a thread starts is in the same one as that thread.
        let begun = std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let network = File::open(format!("/proc/{init}/ns/net"))?;
                setns(network, CloneFlags::CLONE_NEWNET)?;
                Ok::<_, std::io::Error>(Load::begin(address, &MIXTURE, &[version]))
            });
            inside.join()
        });
        begun.expect("the thread has ended").expect("the network of the sandbox")
    }
}
