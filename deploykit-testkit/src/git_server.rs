//! Git servers on the loopback interface.
//!
//! [`GitServer`] speaks smart HTTP, with or without TLS, through `git http-backend`, and records
//! what it is asked and how much it answers. [`GitDaemon`] is `git daemon`.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::git_repo::git;

/// What a server does other than hand out its repositories.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Wants this user name and password.
    pub account: Option<(String, String)>,
    /// Answers everything with this status.
    pub status: Option<u16>,
    /// Redirects everything to this address, with what was asked for behind it.
    pub redirect: Option<String>,
    /// Breaks the connection after so many bytes of an answer that hands out objects.
    pub cut_after: Option<usize>,
    /// Falls silent, with the connection open, after so many bytes of such an answer.
    pub stall_after: Option<usize>,
    /// Does not hear that the client knows the present protocol.
    pub old_protocol: bool,
    /// Options for git, as after `-c`.
    pub config: Vec<String>,
}

/// One request that a server got.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method and the path.
    pub request: String,
    /// The header with the credentials, if there was one.
    pub authorization: Option<String>,
    /// How many bytes the answer's body had.
    pub answered: usize,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    behaviour: Mutex<Behaviour>,
    seen: Mutex<Vec<Seen>>,
    ending: AtomicBool,
    tls: Option<Arc<ServerConfig>>,
}

/// A server that speaks smart HTTP.
#[derive(Debug)]
pub struct GitServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl GitServer {
    /// A server of the repositories below `root`, over TLS if there is a set-up for it.
    pub fn start(root: &Path, tls: Option<Arc<ServerConfig>>, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            behaviour: Mutex::new(behaviour),
            seen: Mutex::default(),
            ending: AtomicBool::new(false),
            tls,
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if theirs.ending.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&theirs);
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        Self { shared, address, thread: Some(thread) }
    }

    /// The address of a repository below the root.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/{path}", self.address)
    }

    /// Changes what the server does from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The requests since the last time that this was asked.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The bytes that were answered since the last time that this or the requests were asked.
    pub fn take_bytes(&self) -> usize {
        self.take_seen().iter().map(|seen| seen.answered).sum()
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        // Wakes the thread, which waits for a connection.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

fn serve(shared: &Shared, stream: TcpStream) {
    let stream: Box<dyn Both> = match &shared.tls {
        None => Box::new(stream),
        Some(config) => {
            let connection = ServerConnection::new(Arc::clone(config)).expect("a connection");
            Box::new(StreamOwned::new(connection, stream))
        }
    };
    // One request a connection. A client that goes away in the middle is no failure of the server.
    let _ = answer(shared, &mut BufReader::new(stream));
}

struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &mut BufReader<Box<dyn Both>>) -> std::io::Result<Self> {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let mut words = line.split_whitespace();
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.push((name.trim().to_lowercase(), value.trim().to_owned()));
            }
        }
        let mut request = Self { method, path, query, headers, body: Vec::new() };
        let length = request.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        request.body.resize(length, 0);
        stream.read_exact(&mut request.body)?;
        Ok(request)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

fn answer(shared: &Shared, stream: &mut BufReader<Box<dyn Both>>) -> std::io::Result<()> {
    let request = Request::read(stream)?;
    let behaviour = shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (status, headers, body) = decide(shared, &behaviour, &request);
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(Seen {
        request: format!("{} {}", request.method, request.path),
        authorization: request.header("authorization").map(str::to_owned),
        answered: body.len(),
    });
    let stream = stream.get_mut();
    write!(stream, "HTTP/1.1 {status} -\r\n{headers}")?;
    write!(stream, "Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    let lists = request.body.windows(15).any(|part| part == b"command=ls-refs");
    let hands_out = request.method == "POST" && !lists;
    let limit = behaviour.cut_after.or(behaviour.stall_after).filter(|_| hands_out);
    stream.write_all(&body[..limit.unwrap_or(body.len()).min(body.len())])?;
    stream.flush()?;
    if hands_out && behaviour.stall_after.is_some() {
        // Until the client has had enough.
        let _ = stream.read(&mut [0]);
    }
    Ok(())
}

type Answer = (u16, String, Vec<u8>);

fn decide(shared: &Shared, behaviour: &Behaviour, request: &Request) -> Answer {
    if let Some(status) = behaviour.status {
        return (status, String::new(), b"no".to_vec());
    }
    if let Some(to) = &behaviour.redirect {
        let location = format!("{to}{}?{}", request.path, request.query);
        return (302, format!("Location: {location}\r\n"), Vec::new());
    }
    if let Some((user, password)) = &behaviour.account {
        let wanted = format!("Basic {}", base64(format!("{user}:{password}").as_bytes()));
        if request.header("authorization") != Some(&wanted) {
            let challenge = "WWW-Authenticate: Basic realm=\"test\"\r\n".to_owned();
            return (401, challenge, b"who are you?".to_vec());
        }
    }
    backend(shared, behaviour, request)
}

/// Runs `git http-backend`, which is a CGI program.
fn backend(shared: &Shared, behaviour: &Behaviour, request: &Request) -> Answer {
    let mut command = git(&shared.root);
    for option in &behaviour.config {
        command.args(["-c", option]);
    }
    let protocol = request.header("git-protocol").filter(|_| !behaviour.old_protocol);
    let mut child = command
        .args(["-c", "safe.directory=*", "http-backend"])
        .env("GIT_PROJECT_ROOT", &shared.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", &request.path)
        .env("QUERY_STRING", &request.query)
        .env("CONTENT_TYPE", request.header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .env("GIT_PROTOCOL", protocol.unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("git http-backend runs");
    let mut stdin = child.stdin.take().expect("its standard input");
    let body = request.body.clone();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(&body);
    });
    let output = child.wait_with_output().expect("its output").stdout;
    let _ = writer.join();
    let end = output.windows(4).position(|w| w == b"\r\n\r\n").map_or(output.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: "));
    let status = status.and_then(|s| s.split(' ').next()?.parse().ok()).unwrap_or(200);
    let headers: String = head
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("Status:"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    (status, headers, output[end..].to_vec())
}

/// In the form of RFC 4648, with padding.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..=group.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
        text.extend(std::iter::repeat_n('=', 3 - group.len()));
    }
    text
}

/// A git daemon.
#[derive(Debug)]
pub struct GitDaemon {
    child: Child,
    port: u16,
}

impl GitDaemon {
    /// A daemon of the repositories below `root`.
    pub fn start(root: &Path) -> Self {
        // A port that was free a moment ago: git daemon cannot be told to choose one itself.
        for _ in 0..20 {
            let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = probe.local_addr().expect("its address").port();
            drop(probe);
            // The program itself, not `git daemon`, which would run it as a child of its own: that
            // child would stay when this one is killed.
            let path = git(root).arg("--exec-path").output().expect("git runs").stdout;
            let path = String::from_utf8(path).expect("a path of UTF-8");
            let mut child = daemon(root, Path::new(path.trim_end()))
                .args(["--reuseaddr", "--export-all"])
                .args(["--listen=127.0.0.1", &format!("--port={port}"), "--log-destination=none"])
                .arg(format!("--base-path={}", root.display()))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("git daemon runs");
            loop {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { child, port };
                }
                if child.try_wait().expect("its state").is_some() {
                    break;
                }
                std::thread::yield_now();
            }
        }
        panic!("git daemon does not start")
    }

    /// The address of a repository below the root.
    pub fn url(&self, path: &str) -> String {
        format!("git://127.0.0.1:{}/{path}", self.port)
    }
}

/// The git daemon, cut off from the configuration of whoever runs the tests as [`git`] is.
fn daemon(root: &Path, programs: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(programs.join("git-daemon"));
    command.current_dir(root).stdin(Stdio::null());
    for (name, value) in git(root).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // As `git -c safe.directory=*`.
    command.env("GIT_CONFIG_COUNT", "1");
    command.env("GIT_CONFIG_KEY_0", "safe.directory").env("GIT_CONFIG_VALUE_0", "*");
    command
}

impl Drop for GitDaemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
