//! The supervisors that are measured, each as its own manual has it set up.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use deploykit_testkit::git_repo::GitRepo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Service;
use crate::Result;

/// A supervisor.
pub(super) trait Peer {
    fn name(&self) -> &'static str;

    /// Describes these services to it.
    fn describe(&self, directory: &Path, services: &[Service]) -> Result<()>;

    /// Starts it, and with it the services that were described.
    fn start(&self, directory: &Path) -> Result<Running>;
}

/// One that runs.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    /// What its further processes are called.
    parts: &'static [&'static str],
    signal: Signal,
}

impl Running {
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn parts(&self) -> &'static [&'static str] {
        self.parts
    }

    /// Ends it, with its services.
    pub(super) fn end(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), self.signal)?;
        self.child.wait()?;
        Ok(())
    }
}

/// Those that are installed, ours first.
pub(super) fn installed(program: &Path) -> Vec<Box<dyn Peer>> {
    let is_there = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(name).exists())
    };
    let mut all: Vec<Box<dyn Peer>> = vec![Box::new(ours(program))];
    if is_there("runsvdir") {
        all.push(Box::new(Runit));
    }
    if is_there("s6-svscan") {
        all.push(Box::new(S6));
    }
    if is_there("supervisord") {
        all.push(Box::new(Supervisord));
    }
    all
}

/// deploykit itself.
pub(super) fn ours(program: &Path) -> Ours {
    Ours { program: program.to_owned() }
}

fn spawn(command: &mut Command, parts: &'static [&'static str], signal: Signal) -> Result<Running> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Running { child: command.spawn()?, parts, signal })
}

fn executable(path: &Path, text: &str) -> Result<()> {
    std::fs::create_dir_all(path.parent().ok_or("no parent")?)?;
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// `deploykit up` in the foreground, of a release that was deployed before.
pub(super) struct Ours {
    program: PathBuf,
}

impl Ours {
    fn command(&self, directory: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-C").arg(directory.join("app")).arg("-q").args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

impl Peer for Ours {
    fn name(&self) -> &'static str {
        "deploykit"
    }

    fn describe(&self, directory: &Path, services: &[Service]) -> Result<()> {
        let repo = GitRepo::new();
        repo.write("version", "1\n").commit("one");
        let mut text = format!(
            "repo.url = {:?}\n[probation]\nduration = \"0s\"\n[disk]\nmin_free = 0\n",
            repo.url()
        );
        for Service { name, script, .. } in services {
            // The others compress nothing.
            text.push_str(&format!(
                "[[service]]\nname = {name:?}\ncommand = [\"/bin/sh\", \"-c\", {script:?}]\nstable_after = \"1s\"\n\
                 logs.compress = false\n"
            ));
        }
        std::fs::create_dir_all(directory.join("app"))?;
        std::fs::write(directory.join("app/deploykit.toml"), text)?;
        for arguments in [&["up", "--detach"][..], &["down"]] {
            if !self.command(directory, arguments).status()?.success() {
                return Err(format!("deploykit {arguments:?} failed").into());
            }
        }
        Ok(())
    }

    fn start(&self, directory: &Path) -> Result<Running> {
        spawn(&mut self.command(directory, &["up"]), &[], Signal::SIGTERM)
    }
}

struct Runit;

impl Peer for Runit {
    fn name(&self) -> &'static str {
        "runit"
    }

    fn describe(&self, directory: &Path, services: &[Service]) -> Result<()> {
        let all = directory.join("service");
        for Service { name, script, is_logged } in services {
            executable(&all.join(name).join("run"), &format!("#!/bin/sh\n{script}\n"))?;
            if *is_logged {
                let to = directory.join("log");
                std::fs::create_dir_all(&to)?;
                let text = format!("#!/bin/sh\nexec svlogd {}\n", to.display());
                executable(&all.join(name).join("log/run"), &text)?;
            }
        }
        Ok(())
    }

    fn start(&self, directory: &Path) -> Result<Running> {
        let all = directory.join("service");
        // SIGHUP has it end its services, too.
        spawn(Command::new("runsvdir").arg(&all), &["runsv", "svlogd"], Signal::SIGHUP)
    }
}

struct S6;

impl Peer for S6 {
    fn name(&self) -> &'static str {
        "s6"
    }

    fn describe(&self, directory: &Path, services: &[Service]) -> Result<()> {
        let all = directory.join("service");
        for Service { name, script, is_logged } in services {
            executable(&all.join(name).join("run"), &format!("#!/bin/sh\n{script}\n"))?;
            if *is_logged {
                let to = directory.join("log");
                let text = format!("#!/bin/sh\nexec s6-log n5 s100000000 {}\n", to.display());
                executable(&all.join(name).join("log/run"), &text)?;
            }
        }
        Ok(())
    }

    fn start(&self, directory: &Path) -> Result<Running> {
        let all = directory.join("service");
        let mut command = Command::new("s6-svscan");
        command.args(["-c", "1100"]).arg(&all);
        spawn(&mut command, &["s6-supervise", "s6-log"], Signal::SIGTERM)
    }
}

struct Supervisord;

impl Peer for Supervisord {
    fn name(&self) -> &'static str {
        "supervisord"
    }

    fn describe(&self, directory: &Path, services: &[Service]) -> Result<()> {
        let mut text = format!(
            "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={0}/pid\nchildlogdir={0}\nminfds=4096\n",
            directory.display()
        );
        for Service { name, script, is_logged } in services {
            let file = directory.join(format!("{name}.sh"));
            executable(&file, &format!("#!/bin/sh\n{script}\n"))?;
            let log = if *is_logged { "AUTO\nstdout_logfile_maxbytes=100MB" } else { "NONE" };
            text.push_str(&format!(
                "[program:{name}]\ncommand={}\nstartsecs=1\nautorestart=true\nstdout_logfile={log}\nstderr_logfile=NONE\n",
                file.display()
            ));
        }
        Ok(std::fs::write(directory.join("supervisord.conf"), text)?)
    }

    fn start(&self, directory: &Path) -> Result<Running> {
        let file = directory.join("supervisord.conf");
        spawn(Command::new("supervisord").arg("-c").arg(&file), &[], Signal::SIGTERM)
    }
}
