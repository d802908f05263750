//! Answering on a socket.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::Deserialize;

use super::path::near;
use super::protocol::{Answer, Done, LONGEST_LINE, Outcome, Request, Task, VERSION};
use crate::manager::Manager;

/// Why nobody can be answered on a socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Somebody else answers there.
    #[error("another process manager answers on {path}")]
    Taken {
        /// The socket.
        path: Utf8PathBuf,
    },
    /// There is something that is no socket.
    #[error("{path} is there, and is no socket")]
    NoSocket {
        /// What is there.
        path: Utf8PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {path}")]
    Listen {
        /// The socket.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Answers on a socket for a manager, each client in a thread of its own, as long as it lives.
#[derive(Debug)]
pub struct Server {
    path: Utf8PathBuf,
    listener: Arc<UnixListener>,
    /// Kept for as long as it answers: whoever has it, nobody else answers there.
    _lock: Arc<File>,
    clients: Clients,
    thread: Option<JoinHandle<()>>,
    /// Nobody is answered any more.
    is_over: Arc<AtomicBool>,
}

/// What somebody asks for that is for whoever has the manager to bring about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// The end of everything.
    End,
    /// That this program takes the place of the present one.
    Replace(Utf8PathBuf),
}

/// Called when somebody has asked for such.
type OnAsked = Arc<dyn Fn(Asked) + Send + Sync>;

/// The right to answer on a socket: nobody else has it as long as this is there.
#[derive(Debug, Clone)]
pub struct Claim {
    path: Utf8PathBuf,
    lock: Arc<File>,
}

impl Claim {
    /// Takes it.
    ///
    /// # Errors
    /// When somebody else answers there already, or is about to. What a manager that was killed has left is
    /// taken away.
    pub fn take(path: &Utf8Path) -> Result<Self, ServerError> {
        let lock = lock(path)?;
        clear(path)?;
        Ok(Self { path: path.to_owned(), lock: Arc::new(lock) })
    }
}

impl Server {
    /// Begins to answer. Only the user of this process, and root, may ask. `on_asked` is called when somebody
    /// asks for what is for whoever has the manager to bring about.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(
        manager: Arc<Manager>,
        claim: Claim,
        on_asked: impl Fn(Asked) + Send + Sync + 'static,
    ) -> Result<Self, ServerError> {
        let Claim { path, lock } = claim;
        let failed = |source| ServerError::Listen { path: path.clone(), source };
        let (_dir, near) = near(&path).map_err(failed)?;
        let listener = Arc::new(UnixListener::bind(&near).map_err(failed)?);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let on_asked: OnAsked = Arc::new(on_asked);
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, accepts) = (Arc::clone(&is_over), Arc::clone(&listener));
        let clients = Clients::default();
        let those = clients.clone();
        let thread = std::thread::Builder::new()
            .name("deploykit-control".into())
            .spawn(move || serve(&accepts, &manager, &on_asked, &over, &those))
            .map_err(failed)?;
        Ok(Self { path, listener, _lock: lock, clients, thread: Some(thread), is_over })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Whoever waits for the next client is woken by that, wherever the socket is by now.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        let _ = std::fs::remove_file(&self.path);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // They have the manager still, which is to end.
        self.clients.end();
    }
}

/// Whoever is connected.
#[derive(Debug, Default, Clone)]
struct Clients(Arc<Mutex<Vec<Connected>>>);

/// A client, and the thread that answers it.
type Connected = (UnixStream, JoinHandle<()>);

impl Clients {
    fn add(&self, stream: UnixStream, thread: JoinHandle<()>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, thread)| !thread.is_finished());
        all.push((stream, thread));
    }

    fn end(&self) {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (stream, thread) in all {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            let _ = thread.join();
        }
    }
}

/// Somebody may only look whether the lock is free: it is tried so often.
const TRIES: u32 = 10;

/// The pause between two tries.
const MOMENT: Duration = Duration::from_millis(5);

/// Takes the lock beside the socket.
fn lock(path: &Utf8Path) -> Result<File, ServerError> {
    let failed = |source| ServerError::Listen { path: path.to_owned(), source };
    let name = Utf8PathBuf::from(format!("{path}.lock"));
    let mut options = File::options();
    options.create(true).append(true).mode(0o600);
    let file = options.open(name).map_err(failed)?;
    for _ in 0..TRIES {
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(MOMENT),
            Err(error) => return Err(failed(error.into())),
        }
    }
    Err(ServerError::Taken { path: path.to_owned() })
}

/// Takes away what a manager that was killed has left.
fn clear(path: &Utf8Path) -> Result<(), ServerError> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(ServerError::NoSocket { path: path.to_owned() });
    }
    let near =
        near(path).map_err(|source| ServerError::Listen { path: path.to_owned(), source })?;
    match UnixStream::connect(&near.1) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
        // Who does not let us in is there all the same.
        _ => return Err(ServerError::Taken { path: path.to_owned() }),
    }
    std::fs::remove_file(path)
        .map_err(|source| ServerError::Listen { path: path.to_owned(), source })
}

fn serve(
    listener: &UnixListener,
    manager: &Arc<Manager>,
    on_asked: &OnAsked,
    is_over: &AtomicBool,
    clients: &Clients,
) {
    for stream in listener.incoming() {
        if is_over.load(Ordering::SeqCst) {
            return;
        }
        // One that has gone already, or for which there is no descriptor left.
        let Ok(stream) = stream else {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        let (manager, on_asked) = (Arc::clone(manager), Arc::clone(on_asked));
        let thread = std::thread::Builder::new().name("deploykit-client".into());
        // Without a thread for it, the client sees the end of the connection.
        let (Ok(other), own) = (stream.try_clone(), stream) else { continue };
        let spawned = thread.spawn(move || {
            converse(&own, &manager, &on_asked);
            // Its other end is open still, for whoever ends the server.
            let _ = own.shutdown(std::net::Shutdown::Both);
        });
        if let Ok(thread) = spawned {
            clients.add(other, thread);
        }
    }
}

/// Answers one client until it goes.
fn converse(stream: &UnixStream, manager: &Manager, on_asked: &OnAsked) {
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let read = lines.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        if !matches!(read, Ok(length) if length > 0) {
            return;
        }
        let (outcome, asked) = answer(&line, manager);
        let written = serde_json::to_vec(&Answer::new(outcome)).ok().map(|mut text| {
            text.push(b'\n');
            let mut to = stream;
            to.write_all(&text)
        });
        // Whoever has asked for the end hears that it comes, before it does.
        if let Some(asked) = asked {
            on_asked(asked);
        }
        if !matches!(written, Some(Ok(()))) {
            return;
        }
    }
}

/// Only the version, in whatever form the rest is.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// What comes of a request, and what is asked for that is not for the manager.
fn answer(line: &[u8], manager: &Manager) -> (Outcome, Option<Asked>) {
    let request = match request(line) {
        Ok(request) => request,
        Err(why) => return (Outcome::Refused(why), None),
    };
    let asked = match &request.task {
        Task::End => Some(Asked::End),
        Task::Replace { program } => Some(Asked::Replace(program.clone())),
        _ => None,
    };
    (perform(request.task, manager), asked)
}

fn request(line: &[u8]) -> Result<Request, String> {
    match serde_json::from_slice::<Versioned>(line) {
        Ok(Versioned { version }) if version > VERSION => {
            return Err(format!(
                "version {version} of the protocol is not spoken here, but {VERSION}"
            ));
        }
        Ok(_) => {}
        Err(error) => return Err(format!("that is no request: {error}")),
    }
    serde_json::from_slice(line).map_err(|error| format!("that is no request: {error}"))
}

fn perform(task: Task, manager: &Manager) -> Outcome {
    let done = match task {
        Task::Define { definitions } => manager.define(definitions).map(|()| Done::Done),
        Task::Up { names } => manager.up(&names).map(|()| Done::Done),
        Task::Down { names } => manager.down(&names).map(|()| Done::Done),
        Task::Renew { names } => manager.renew(&names).map(|()| Done::Done),
        Task::Restart { names } => manager.restart(&names).map(|()| Done::Done),
        Task::Signal { signal, names } => manager.signal(signal, &names).map(|()| Done::Done),
        Task::Status => manager.status().map(Done::Instances),
        Task::Settle { names, within } => {
            manager.settle(&names, Duration::from_millis(within)).map(Done::Instances)
        }
        Task::Prepare(preparation) => manager.prepare(preparation).map(|()| Done::Done),
        Task::SettlePrepared { token, within } => {
            let within = Duration::from_millis(within);
            manager.settle_prepared(&token, within).map(Done::Instances)
        }
        Task::Commit { token } => manager.commit(&token).map(|()| Done::Done),
        Task::Abort { token } => manager.abort(&token).map(|()| Done::Done),
        Task::End | Task::Replace { .. } => Ok(Done::Done),
    };
    done.map_or_else(Outcome::Error, Outcome::Ok)
}
