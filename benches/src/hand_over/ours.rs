//! By deploykit.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use deploykit_testkit::git_repo::GitRepo;

use super::sample::Sample;
use super::{Way, until};
use crate::Result;

/// An application under `up`.
pub(super) struct Ours {
    program: PathBuf,
    app: PathBuf,
    repo: GitRepo,
    address: SocketAddr,
    is_restarted: bool,
    up: Child,
}

impl Ours {
    /// With this in the description of its service.
    pub(super) fn begin(
        program: &Path,
        sample: &Sample,
        directory: &Path,
        more: &str,
    ) -> Result<Self> {
        let (repo, app) = (GitRepo::new(), directory.join("app"));
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        std::fs::create_dir_all(&app)?;
        let text = format!(
            "repo.url = {:?}\n[probation]\nduration = \"0s\"\n[disk]\nmin_free = 0\n\
             [[service]]\nname = \"web\"\ncommand = [{:?}]\nlisten = [\"{address}\"]\nready = \"notify\"\n{more}",
            repo.url(),
            sample.program()
        );
        std::fs::write(app.join("deploykit.toml"), text)?;
        let up = command(program, &app, &["up", "--no-deploy"]).spawn()?;
        let is_restarted = !more.is_empty();
        let ours = Self { program: program.to_owned(), app, repo, address, is_restarted, up };
        until("it is up", || ours.call(&["ps"]).status().is_ok_and(|status| status.success()))?;
        Ok(ours)
    }

    fn call(&self, arguments: &[&str]) -> Command {
        command(&self.program, &self.app, arguments)
    }
}

fn command(program: &Path, app: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg("-C").arg(app).arg("-q").args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Way for Ours {
    fn name(&self) -> String {
        let how = if self.is_restarted { ", `on_deploy = \"restart\"`" } else { "" };
        format!("`deploykit deploy`{how}")
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn prepare(&mut self, version: &str) -> Result<()> {
        self.repo.write("VERSION", version).commit(version);
        Ok(())
    }

    fn switch(&mut self, _version: &str) -> Result<()> {
        if self.call(&["deploy"]).status()?.success() {
            return Ok(());
        }
        Err("the deployment has failed".into())
    }

    fn settle(&mut self) -> Result<()> {
        until("nothing drains", || {
            let told = self.call(&["ps", "--json"]).stdout(Stdio::piped()).output();
            told.is_ok_and(|told| !String::from_utf8_lossy(&told.stdout).contains("draining"))
        })
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        let _ = self.call(&["down"]).status();
        let _ = self.up.wait();
    }
}
