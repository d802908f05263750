//! A connection to the manager that outlives the manager: one that was killed begins again, and has all that
//! it had.

use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use deploykit_core::Context;
use deploykit_core::traits::{BackendError, SupervisorError};

use crate::control::{Client, ClientError};

/// So long a manager that was there is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// So long one is waited for that was killed before.
const SHORT: Duration = Duration::from_secs(5);

/// How often it is looked whether it is there again.
const GLANCE: Duration = Duration::from_millis(20);

/// The way to the manager of an application. What is asked must bear to be asked twice.
#[derive(Debug)]
pub(super) struct Line {
    path: Utf8PathBuf,
    client: Option<Client>,
    /// How often somebody was found there: whoever is new may not know what the other one was told.
    pub(super) connected: u64,
    /// Somebody is expected: services run that only a manager starts.
    is_expected: bool,
}

impl Line {
    /// A line to a socket, on which nobody is waited for.
    pub(super) fn impatient(path: Utf8PathBuf) -> Self {
        Self::new(path, false)
    }

    /// A line to a socket; where `is_expected`, somebody is waited for who is not there yet.
    pub(super) fn new(path: Utf8PathBuf, is_expected: bool) -> Self {
        Self { path, client: None, connected: 0, is_expected }
    }

    /// Asks, as often as it needs.
    pub(super) fn ask<T>(
        &mut self,
        ctx: &Context,
        ask: &mut dyn FnMut(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, SupervisorError> {
        let begun = Instant::now();
        loop {
            let error = match self.client() {
                Ok(client) => match ask(client) {
                    // Whoever was asked is gone.
                    Err(error @ ClientError::Silent { .. }) => error,
                    other => return other.map_err(failed),
                },
                Err(error) => error,
            };
            self.client = None;
            let longest = if self.connected > 0 { PATIENCE } else { SHORT };
            if !self.is_expected || begun.elapsed() > longest {
                return Err(failed(error));
            }
            ctx.check()?;
            std::thread::sleep(GLANCE);
        }
    }

    fn client(&mut self) -> Result<&mut Client, ClientError> {
        if self.client.is_none() {
            let client = Client::connect(&self.path)?;
            self.client = Some(client);
            (self.connected, self.is_expected) = (self.connected + 1, true);
        }
        self.client.as_mut().ok_or_else(|| ClientError::Nobody {
            path: self.path.clone(),
            source: std::io::ErrorKind::NotConnected.into(),
        })
    }
}

fn failed(error: ClientError) -> SupervisorError {
    let hint = match &error {
        ClientError::Nobody { .. } => {
            Some("`deploykit up` runs the services, and is asked by every other command".to_owned())
        }
        _ => None,
    };
    BackendError::new(error).hint(hint).of_the_host().into()
}
