//! `up --detach`: the same in the background.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use deploykit::supervisor::control::Client;
use deploykit::supervisor::socket;
use deploykit::traits::{Instance, LogRequest, ServiceState};
use deploykit::{Application, DeployRequest, Step};

use super::super::deploy::conclude;
use super::super::supervise::{failed, rows, settled};
use super::keep::own;
use super::wait;
use crate::args::UpArgs;
use crate::exit::Exit;
use crate::render::error::CliError;
use crate::render::processes;
use crate::render::text::clean;
use crate::shell::Shell;

/// How often it is looked whether it answers.
const GLANCE: Duration = Duration::from_millis(10);

/// So many lines tell what went wrong.
const LAST_LINES: usize = 10;

/// What it tells is kept in files that are not much longer.
const LONGEST: u64 = 1 << 20;

/// So long the services have to start while somebody waits for them.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn detached(
    shell: &Shell,
    application: &Application,
    args: &UpArgs,
    is_procfile: bool,
) -> Result<Exit, CliError> {
    let path = socket(application.layout());
    let (mut client, is_new) = match wait::for_somebody(&path) {
        Some(client) => (client, false),
        None => (start(shell, application, &path)?, true),
    };
    if !is_new {
        shell.note("It is up already.");
    }
    let is_active = is_procfile || application.runtimes()?.active.is_some();
    if !is_active && !args.no_deploy {
        let live = shell.live(true)?;
        live.expect(Step::Resolve);
        let result = application.deploy(&live.ctx, &DeployRequest::default().retry(args.retry));
        let exit = live.end(result).map(|report| conclude(shell, &report));
        if !matches!(exit, Ok(Exit::DONE)) && is_new {
            // What was begun for it ends with it.
            let _ = client.end();
        }
        return exit;
    }
    if !is_new && !is_procfile {
        super::note_changed(shell, application);
    }
    let found = settled(&mut client, &[], Some(PATIENCE)).map_err(|error| failed(&error))?;
    let rows = rows(&found);
    shell.answer(&rows, || processes::lines(&rows, shell.paint()));
    for ill in rows.iter().filter(|one| one.state == ServiceState::Failed) {
        tell_last_lines(shell, application, &ill.name);
    }
    let is_up = |one: &Instance| one.state == ServiceState::Running;
    Ok(if rows.iter().all(is_up) { Exit::DONE } else { Exit::FAILED })
}

/// Tells what one that has failed has said last.
fn tell_last_lines(shell: &Shell, application: &Application, name: &str) {
    let mut request = LogRequest::default();
    (request.lines, request.of) = (Some(LAST_LINES), vec![name.to_owned()]);
    let mut lines = Vec::new();
    let read = shell
        .look()
        .map(|ctx| application.logs(&ctx, &request, &mut |line| lines.push(clean(&line.line))));
    if matches!(read, Ok(Ok(()))) && !lines.is_empty() {
        shell.note(&format!("The last lines of {name}:\n  | {}", lines.join("\n  | ")));
        shell.note(&format!("When its cause is mended: `deploykit retry {name}`."));
    }
}

/// Starts it, and waits until it has started the services that are active.
fn start(shell: &Shell, application: &Application, path: &Utf8Path) -> Result<Client, CliError> {
    let log = application.layout().private().join("up.log");
    let unable = |error: std::io::Error| CliError::io("cannot start `deploykit up`", &error);
    let (output, begin) = open(application, &log).map_err(unable)?;
    let errors = output.try_clone().map_err(unable)?;
    let mut command = own(shell).map_err(unable)?;
    command.args(["up", "--apart", "--no-deploy"]).stdout(output).stderr(errors);
    // It says that it is ready as it would say it to a systemd.
    let heard = Heard::listen(&mut command).map_err(unable)?;
    let mut child = command.spawn().map_err(unable)?;
    loop {
        if heard.is_ready() {
            return Client::connect(path).map_err(|error| failed(&error));
        }
        if let Some(status) = child.try_wait().map_err(unable)? {
            let told = told(&log, begin);
            let message = format!("`deploykit up` has ended: {status}");
            let hint = format!("what it has said: {}", told.trim_end());
            return Err(CliError::of(
                deploykit::ErrorKind::Failed,
                &std::io::Error::other(message),
                Some(hint),
            ));
        }
    }
}

/// Where it says that it is ready; see sd_notify(3).
struct Heard(UnixDatagram);

impl Heard {
    fn listen(command: &mut Command) -> std::io::Result<Self> {
        use std::hash::{BuildHasher as _, RandomState};
        let name = format!("deploykit/up-{:016x}", RandomState::new().hash_one(0));
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        socket.set_read_timeout(Some(GLANCE))?;
        command.env("NOTIFY_SOCKET", format!("@{name}"));
        Ok(Self(socket))
    }

    /// Whether it has said so; waits a moment for it.
    fn is_ready(&self) -> bool {
        let mut buffer = [0_u8; 256];
        let heard = self.0.recv(&mut buffer).map(|length| &buffer[..length]);
        heard.is_ok_and(|heard| heard.starts_with(b"READY=1"))
    }
}

/// Where it writes what it has to tell, and where that begins.
fn open(application: &Application, log: &Utf8PathBuf) -> std::io::Result<(File, u64)> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut private = std::fs::DirBuilder::new();
    private.recursive(true).mode(0o700).create(application.layout().private())?;
    if log.metadata().is_ok_and(|file| file.len() > LONGEST) {
        std::fs::rename(log, log.with_extension("log.1"))?;
    }
    let mut file = File::options().create(true).append(true).mode(0o600).open(log)?;
    let begin = file.seek(SeekFrom::End(0))?;
    Ok((file, begin))
}

fn told(log: &Utf8Path, begin: u64) -> String {
    let read = || {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(begin))?;
        let mut text = String::new();
        file.take(16 << 10).read_to_string(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    read().unwrap_or_default()
}
