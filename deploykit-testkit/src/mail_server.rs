//! A real mail server on the loopback interface: exim, which takes what it is sent and delivers nothing.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

use crate::certificates::Authority;

const EXIM: &str = "/usr/sbin/exim4";

/// Who may send, and with which password.
pub const USER: &str = "deploy";
/// See [`USER`].
pub const PASSWORD: &str = "s3cret-of-mail";

/// To whom nobody can send.
pub const NOBODY: &str = "nobody@example.org";

/// The variable by which a test fails that would pass over itself where there is no exim.
const REQUIRED: &str = "DEPLOYKIT_TEST_MAIL";

/// The server. It ends with this.
#[derive(Debug)]
pub struct MailServer {
    directory: tempfile::TempDir,
    process: Child,
    /// Where it speaks plainly, and changes to TLS when it is asked to.
    pub port: u16,
    /// Where it speaks TLS from the first byte on.
    pub tls_port: u16,
}

impl MailServer {
    /// Starts one with a certificate for `localhost`, that takes mail from [`USER`] only, over TLS. `None`
    /// where there is no exim, or this is not root.
    pub fn start(authority: &Authority) -> Option<Self> {
        let is_root = std::fs::metadata("/proc/self")
            .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        if !is_root || !Utf8Path::new(EXIM).exists() {
            let required = std::env::var_os(REQUIRED).is_some_and(|value| value == "required");
            assert!(!required, "{REQUIRED}=required, and there is no {EXIM}, or this is not root");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let dir = Utf8Path::from_path(directory.path()).expect("UTF-8");
        let (certificate, key) = authority.server_pem("localhost");
        std::fs::write(dir.join("certificate"), certificate).expect("the certificate");
        std::fs::write(dir.join("key"), key).expect("its key");
        std::fs::create_dir(dir.join("spool")).expect("the spool");
        let [port, tls_port] = free_ports();
        let configuration = dir.join("configuration");
        std::fs::write(&configuration, text(dir, port, tls_port)).expect("the configuration");
        let mut command = Command::new(EXIM);
        command.args(["-C", configuration.as_str(), "-bdf"]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().expect("exim starts");
        let mut server = Self { directory, process, port, tls_port };
        server.wait();
        Some(server)
    }

    fn wait(&mut self) {
        let give_up = Instant::now() + Duration::from_secs(30);
        let answers = |port| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        while !(answers(self.port) && answers(self.tls_port)) {
            let ended = self.process.try_wait().expect("its state");
            assert!(
                ended.is_none() && Instant::now() < give_up,
                "exim does not answer: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn spool(&self) -> Utf8PathBuf {
        Utf8Path::from_path(self.directory.path()).expect("UTF-8").join("spool")
    }

    /// What it says of itself.
    pub fn log(&self) -> String {
        ["mainlog", "paniclog", "rejectlog"]
            .map(|name| std::fs::read_to_string(self.spool().join(name)).unwrap_or_default())
            .concat()
    }

    /// The mails that it has taken: headers with the envelope before them, as exim keeps them, and bodies.
    pub fn mails(&self) -> Vec<(String, String)> {
        let entries = self.spool().join("input").read_dir_utf8();
        let entries = entries.into_iter().flatten().flatten();
        let mut headers: Vec<Utf8PathBuf> = entries
            .map(|entry| entry.path().to_owned())
            .filter(|path| path.as_str().ends_with("-H"))
            .collect();
        headers.sort();
        let read = |path: Utf8PathBuf| {
            let body = Utf8PathBuf::from(format!("{}D", path.as_str().trim_end_matches('H')));
            let header = std::fs::read_to_string(&path).ok()?;
            Some((header, std::fs::read_to_string(body).ok()?))
        };
        headers.into_iter().filter_map(read).collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two that nobody listens on. Somebody else could take them meanwhile; then exim does not start.
fn free_ports() -> [u16; 2] {
    let listeners = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).expect("a port"));
    listeners.map(|one| one.local_addr().expect("its address").port())
}

fn text(dir: &Utf8Path, port: u16, tls_port: u16) -> String {
    let encrypted = "${if eq{$tls_in_cipher}{}{}{*}}";
    let right = format!("${{if and{{{{eq{{$auth2}}{{{USER}}}}}{{eq{{$auth3}}{{{PASSWORD}}}}}}}}}");
    let (nobody, _) = NOBODY.split_once('@').expect("an address");
    format!(
        "exim_user = root
exim_group = root
primary_hostname = mail.test
spool_directory = {dir}/spool
log_file_path = {dir}/spool/%slog
pid_file_path = {dir}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port} : {tls_port}
tls_on_connect_ports = {tls_port}
tls_advertise_hosts = *
tls_certificate = {dir}/certificate
tls_privatekey = {dir}/key
acl_smtp_rcpt = rcpt
auth_advertise_hosts = {encrypted}
queue_only = true
keep_environment =
begin acl
rcpt:
  deny !authenticated = *
       message = not without a login
  deny local_parts = {nobody}
       message = nobody is called that
  accept
begin routers
begin transports
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = {right}
  server_set_id = $auth2
"
    )
}
