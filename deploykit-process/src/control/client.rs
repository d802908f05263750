//! Asking on a socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::path::near;
use super::protocol::{Answer, Done, LONGEST_LINE, Outcome, Request, Task};
use crate::definition::Definition;
use crate::machine::Phase;
use crate::manager::{InstanceStatus, ManagerError, Preparation};

/// So long an answer may take that waits for nothing.
const ANSWER: Duration = Duration::from_secs(30);

/// How long what gets ready is waited for by one question.
const GLANCE: Duration = Duration::from_millis(200);

/// Why a manager was not asked, or did not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody answers there.
    #[error("no process manager answers on {path}")]
    Nobody {
        /// The socket.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The connection was lost, or it takes too long.
    #[error("the process manager does not answer")]
    Silent {
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It says something that is no answer.
    #[error("the process manager answers what is not understood: {what}")]
    Answer {
        /// What.
        what: String,
    },
    /// It does not do it.
    #[error(transparent)]
    Manager(#[from] ManagerError),
}

/// A connection to a process manager. Its methods are those of [`Manager`](crate::Manager).
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    /// An answer may still come that nobody waits for any more: the next one would be taken for it.
    is_spent: bool,
}

impl Client {
    /// Connects to the manager that answers on a socket.
    ///
    /// # Errors
    /// When nobody does.
    pub fn connect(path: &Utf8Path) -> Result<Self, ClientError> {
        let failed = |source| ClientError::Nobody { path: path.to_owned(), source };
        let (_dir, near) = near(path).map_err(failed)?;
        let stream = UnixStream::connect(&near).map_err(failed)?;
        // What nobody reads is not waited for without an end.
        stream.set_write_timeout(Some(ANSWER)).map_err(failed)?;
        Ok(Self { stream: BufReader::new(stream), is_spent: false })
    }

    /// The process that answers, where the system tells.
    pub fn peer(&self) -> Option<u32> {
        let by = rustix::net::sockopt::socket_peercred(self.stream.get_ref()).ok()?;
        u32::try_from(by.pid.as_raw_nonzero().get()).ok()
    }

    /// As [`Manager::define`](crate::Manager::define).
    ///
    /// # Errors
    /// As there, and when it cannot be asked.
    pub fn define(&mut self, definitions: Vec<Definition>) -> Result<(), ClientError> {
        self.ask(Task::Define { definitions }, ANSWER).map(drop)
    }

    /// As [`Manager::up`](crate::Manager::up).
    ///
    /// # Errors
    /// As there, and when it cannot be asked.
    pub fn up(&mut self, names: &[String]) -> Result<(), ClientError> {
        self.ask(Task::Up { names: names.to_vec() }, ANSWER).map(drop)
    }

    /// As [`Manager::down`](crate::Manager::down).
    ///
    /// # Errors
    /// As there, and when it cannot be asked.
    pub fn down(&mut self, names: &[String]) -> Result<(), ClientError> {
        self.ask(Task::Down { names: names.to_vec() }, ANSWER).map(drop)
    }

    /// As [`Manager::restart`](crate::Manager::restart).
    ///
    /// # Errors
    /// As there, and when it cannot be asked.
    pub fn restart(&mut self, names: &[String]) -> Result<(), ClientError> {
        self.ask(Task::Restart { names: names.to_vec() }, ANSWER).map(drop)
    }

    /// As [`Manager::renew`](crate::Manager::renew).
    ///
    /// # Errors
    /// As there, and when it cannot be asked.
    pub fn renew(&mut self, names: &[String]) -> Result<(), ClientError> {
        self.ask(Task::Renew { names: names.to_vec() }, ANSWER).map(drop)
    }

    /// As [`Manager::signal`](crate::Manager::signal).
    ///
    /// # Errors
    /// As there, and when it cannot be asked.
    pub fn signal(&mut self, signal: i32, names: &[String]) -> Result<(), ClientError> {
        self.ask(Task::Signal { signal, names: names.to_vec() }, ANSWER).map(drop)
    }

    /// As [`Manager::status`](crate::Manager::status).
    ///
    /// # Errors
    /// As there, and when it cannot be asked.
    pub fn status(&mut self) -> Result<Vec<InstanceStatus>, ClientError> {
        self.instances(Task::Status, ANSWER)
    }

    /// As [`Manager::settle`](crate::Manager::settle).
    ///
    /// # Errors
    /// As there, and when it cannot be asked.
    pub fn settle(
        &mut self,
        names: &[String],
        longest: Duration,
    ) -> Result<Vec<InstanceStatus>, ClientError> {
        let within = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.instances(
            Task::Settle { names: names.to_vec(), within },
            longest.saturating_add(ANSWER),
        )
    }

    /// As [`Manager::prepare`](crate::Manager::prepare).
    ///
    /// # Errors
    /// As there, and when it cannot be asked.
    pub fn prepare(&mut self, preparation: Preparation) -> Result<(), ClientError> {
        self.ask(Task::Prepare(preparation), ANSWER).map(drop)
    }

    /// As [`Manager::settle_prepared`](crate::Manager::settle_prepared).
    ///
    /// # Errors
    /// As there, and when it cannot be asked.
    pub fn settle_prepared(
        &mut self,
        token: &str,
        longest: Duration,
    ) -> Result<Vec<InstanceStatus>, ClientError> {
        let within = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        let task = Task::SettlePrepared { token: token.to_owned(), within };
        self.instances(task, longest.saturating_add(ANSWER))
    }

    /// As [`Manager::commit`](crate::Manager::commit).
    ///
    /// # Errors
    /// As there, and when it cannot be asked.
    pub fn commit(&mut self, token: &str) -> Result<(), ClientError> {
        self.ask(Task::Commit { token: token.to_owned() }, ANSWER).map(drop)
    }

    /// As [`Manager::abort`](crate::Manager::abort).
    ///
    /// # Errors
    /// As there, and when it cannot be asked.
    pub fn abort(&mut self, token: &str) -> Result<(), ClientError> {
        self.ask(Task::Abort { token: token.to_owned() }, ANSWER).map(drop)
    }

    /// Runs instances anew that [hand over](InstanceStatus::hands_over), one by one: each starts beside the one
    /// that runs, and takes its place when it is ready. How those are that were started; the last one may not
    /// have got ready, and is not there any more, while the one before runs on.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn hand_over(&mut self, names: &[String]) -> Result<Vec<InstanceStatus>, ClientError> {
        let mut all = Vec::new();
        for name in names {
            let token = format!("{name} anew");
            self.prepare(Preparation::again(&*token, std::slice::from_ref(name)))?;
            let begun = loop {
                let found = self.settle_prepared(&token, GLANCE)?;
                let is_over = |one: &InstanceStatus| {
                    one.restarts > 0 || matches!(one.phase, Phase::Running | Phase::Down(_))
                };
                if found.iter().all(is_over) {
                    break found;
                }
            };
            let is_ready = begun.iter().all(|one| one.phase == Phase::Running);
            if is_ready {
                self.commit(&token)?;
            } else {
                self.abort(&token)?;
            }
            all.extend(begun);
            if !is_ready {
                break;
            }
        }
        Ok(all)
    }

    /// Has the program that runs the manager replaced by another one, as the same process: everything runs on.
    /// It may not have begun yet when this returns.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn replace(&mut self, program: &Utf8Path) -> Result<(), ClientError> {
        self.ask(Task::Replace { program: program.to_owned() }, ANSWER).map(drop)
    }

    /// Waits until the connection is closed at its other end, or for so long; whether it is. Behind
    /// [`replace`](Self::replace): the other program answers on another connection.
    pub fn has_gone(&mut self, longest: Duration) -> bool {
        let is_late = |error: &std::io::Error| {
            matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        };
        self.stream.get_ref().set_read_timeout(Some(longest)).is_ok()
            && !self.stream.read(&mut [0; 64]).is_err_and(|error| is_late(&error))
    }

    /// Has it end, with all that it runs. It may run still when this returns.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn end(&mut self) -> Result<(), ClientError> {
        self.ask(Task::End, ANSWER).map(drop)
    }

    fn instances(
        &mut self,
        task: Task,
        longest: Duration,
    ) -> Result<Vec<InstanceStatus>, ClientError> {
        match self.ask(task, longest)? {
            Done::Instances(instances) => Ok(instances),
            Done::Done => Err(ClientError::Answer { what: "done".into() }),
        }
    }

    fn ask(&mut self, task: Task, longest: Duration) -> Result<Done, ClientError> {
        let silent = |source| ClientError::Silent { source };
        if std::mem::replace(&mut self.is_spent, true) {
            return Err(silent(std::io::ErrorKind::NotConnected.into()));
        }
        let mut text =
            serde_json::to_vec(&Request::new(task)).map_err(|error| silent(error.into()))?;
        text.push(b'\n');
        self.stream.get_ref().set_read_timeout(Some(longest)).map_err(silent)?;
        self.stream.get_mut().write_all(&text).map_err(silent)?;
        let mut line = Vec::new();
        let length = self.stream.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        if length.map_err(silent)? == 0 {
            return Err(silent(std::io::ErrorKind::UnexpectedEof.into()));
        }
        let answer: Answer = serde_json::from_slice(&line)
            .map_err(|error| ClientError::Answer { what: error.to_string() })?;
        self.is_spent = false;
        match answer.result {
            Outcome::Ok(done) => Ok(done),
            Outcome::Error(error) => Err(error.into()),
            Outcome::Refused(what) => Err(ClientError::Answer { what }),
        }
    }
}
