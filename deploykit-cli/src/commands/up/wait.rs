//! Waiting for another `up` of the same application that is just ending, or just beginning.

use std::time::{Duration, Instant};

use camino::Utf8Path;
use deploykit::supervisor::control::{Claim, Client, ServerError};
use deploykit::supervisor::{Supervision, SupervisionError};

use super::heard::Ends;

/// So long another one may take to end, or to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked.
const GLANCE: Duration = Duration::from_millis(20);

/// Begins as soon as it can: where another one is there and answers nobody, it is about to end. One that was
/// killed while it started a service has left a process that has its socket and its lock for a moment still.
pub(super) fn for_turn(
    socket: &Utf8Path,
    ends: &Ends,
    begin: impl Fn() -> Result<Supervision, SupervisionError>,
) -> Result<Supervision, SupervisionError> {
    let begun = Instant::now();
    loop {
        match begin() {
            Err(SupervisionError::Server(ServerError::Taken { .. }))
                if answering(socket).is_none()
                    && begun.elapsed() < PATIENCE
                    && !ends.is_asked() =>
            {
                std::thread::sleep(GLANCE);
            }
            result => return result,
        }
    }
}

/// One that answers, or nobody: not one that is about to end or to begin.
pub(in crate::commands) fn for_somebody(socket: &Utf8Path) -> Option<Client> {
    let begun = Instant::now();
    loop {
        match answering(socket) {
            Some(client) => return Some(client),
            _ if is_free(socket) || begun.elapsed() > PATIENCE => return None,
            _ => std::thread::sleep(GLANCE),
        }
    }
}

/// One that answers.
fn answering(socket: &Utf8Path) -> Option<Client> {
    let mut client = Client::connect(socket).ok()?;
    client.status().is_ok().then_some(client)
}

/// Whether nobody runs the services, nor is about to.
pub(in crate::commands) fn is_free(socket: &Utf8Path) -> bool {
    let is_there = socket.parent().is_some_and(Utf8Path::exists);
    !is_there || !matches!(Claim::take(socket), Err(ServerError::Taken { .. }))
}
