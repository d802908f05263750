//! Two versions behind a proxy, which is told of the new one by a reload: as a careful person does it without
//! a container.

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::sample::{Running, Sample, ask};
use super::{Way, until};
use crate::Result;

/// So long after a reload the old version gets requests still: nothing says when that is over.
const RELOAD: Duration = Duration::from_secs(1);

/// A proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Nginx,
    HaProxy,
    /// It leaves idle connections open until their next answer.
    HaProxyIdle,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nginx => "a port each behind nginx, `nginx -s reload`",
            Self::HaProxy => "a port each behind HAProxy, reload by SIGUSR2",
            Self::HaProxyIdle => "the same with `option idle-close-on-response`",
        })
    }
}

/// Those that are installed.
pub(super) fn installed() -> Vec<Kind> {
    let is_there = |name: &str| Command::new(name).arg("-v").output().is_ok();
    let mut all = Vec::new();
    if is_there("nginx") {
        all.push(Kind::Nginx);
    }
    if is_there("haproxy") {
        all.extend([Kind::HaProxy, Kind::HaProxyIdle]);
    }
    all
}

/// The application behind a proxy.
pub(super) struct Proxied {
    kind: Kind,
    sample: Sample,
    directory: PathBuf,
    address: SocketAddr,
    proxy: Option<Child>,
    running: Option<Running>,
    old: Option<Running>,
}

impl Proxied {
    pub(super) fn begin(kind: Kind, sample: &Sample, directory: &Path) -> Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (sample, directory) = (sample.clone(), directory.to_owned());
        Ok(Self { kind, sample, directory, address, proxy: None, running: None, old: None })
    }

    fn config(&self, to: SocketAddr) -> String {
        let (address, dir) = (self.address, self.directory.display());
        match self.kind {
            Kind::Nginx => format!(
                "daemon off; master_process on; worker_processes 2; pid {dir}/pid; error_log {dir}/error.log;\n\
                 events {{ worker_connections 512; }}\n\
                 http {{ access_log off; client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;\n\
                 uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e; keepalive_requests 1000000;\n\
                 server {{ listen {address}; location / {{ proxy_pass http://{to}; }} }} }}\n"
            ),
            Kind::HaProxy | Kind::HaProxyIdle => {
                let idle = match self.kind {
                    Kind::HaProxyIdle => "    option idle-close-on-response\n",
                    _ => "",
                };
                format!(
                    "global\n    stats socket {dir}/s level admin expose-fd listeners\n\
                     defaults\n    mode http\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n{idle}\
                     frontend f\n    bind {address}\n    default_backend b\n\
                     backend b\n    server s {to}\n"
                )
            }
        }
    }

    /// Starts it, or has it read its configuration anew.
    fn tell_proxy(&mut self, to: SocketAddr) -> Result<()> {
        let file = self.directory.join("proxy.conf");
        std::fs::write(&file, self.config(to))?;
        let signal = if self.kind == Kind::Nginx { Signal::SIGHUP } else { Signal::SIGUSR2 };
        if let Some(proxy) = &self.proxy {
            kill(Pid::from_raw(i32::try_from(proxy.id())?), signal)?;
            std::thread::sleep(RELOAD);
            return Ok(());
        }
        let mut command = match self.kind {
            Kind::Nginx => Command::new("nginx"),
            _ => Command::new("haproxy"),
        };
        match self.kind {
            Kind::Nginx => command.arg("-c").arg(&file).arg("-p").arg(&self.directory),
            _ => command.args(["-W", "-q", "-f"]).arg(&file),
        };
        let log = std::fs::File::create(self.directory.join("proxy.log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.proxy = Some(command.spawn()?);
        until("the proxy answers", || ask(self.address).is_ok())
    }
}

impl Way for Proxied {
    fn name(&self) -> String {
        self.kind.to_string()
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn switch(&mut self, version: &str) -> Result<()> {
        let version = self.sample.version(&self.directory, version)?;
        let socket = TcpListener::bind("127.0.0.1:0")?;
        let to = socket.local_addr()?;
        let new = self.sample.start(&version, &socket)?;
        ask(to)?;
        self.tell_proxy(to)?;
        self.old = self.running.replace(new);
        if let Some(old) = &self.old {
            old.ask_to_end()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        let Some(mut old) = self.old.take() else { return Ok(()) };
        until("the old one ends", || old.has_ended())
    }
}

impl Drop for Proxied {
    fn drop(&mut self) {
        if let Some(proxy) = &mut self.proxy {
            if let Ok(pid) = i32::try_from(proxy.id()) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            let _ = proxy.wait();
        }
    }
}
