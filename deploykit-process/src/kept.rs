//! Keeping what services write.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::definition::Definition;
use crate::log::{Collector, Echo, LogError, LogEvent, LogSettings, Pipe, SharedLog, Stream};
use crate::machine::News;
use crate::manager::Surroundings;

/// So long the last lines of a process that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Surroundings in which the output of every instance is kept in a file of its own, `DIR/NAME.log`, beside
/// what else is to be done with what happens.
///
/// What cannot be opened is told, and keeps no service from running.
#[derive(Debug)]
pub struct Kept<S> {
    dir: Utf8PathBuf,
    collector: Collector,
    logs: Mutex<BTreeMap<String, Log>>,
    then: Arc<S>,
}

/// Who is told what happens to the files.
pub trait LogKeeper: Surroundings {
    /// Something has happened to a file of a service.
    fn log_event(&self, event: &LogEvent);
}

/// The log of an instance.
#[derive(Debug)]
struct Log {
    file: SharedLog,
    /// The standard error of its present process, or of the last one.
    errors: Option<Arc<Pipe>>,
}

impl<S: LogKeeper + 'static> Kept<S> {
    /// Keeps it in a directory, which is made when it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made, and when there are no threads or descriptors left.
    pub fn new(dir: impl Into<Utf8PathBuf>, then: S) -> Result<Self, LogError> {
        Self::echoed(dir, then, None)
    }

    /// The same, and shows what is written to somebody else, too.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn echoed(
        dir: impl Into<Utf8PathBuf>,
        then: S,
        echo: Option<Echo>,
    ) -> Result<Self, LogError> {
        let (dir, then) = (dir.into(), Arc::new(then));
        std::fs::create_dir_all(&dir)
            .map_err(|source| LogError::Open { path: dir.clone(), source })?;
        let told = Arc::clone(&then);
        let collector = Collector::start(move |event| told.log_event(&event))?.with_echo(echo);
        Ok(Self { dir, collector, logs: Mutex::default(), then })
    }

    /// The last lines that an instance has written to its standard error.
    pub fn last_lines(&self, instance: &str) -> Vec<String> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = logs.get(instance).and_then(|log| log.errors.clone());
        // The manager does not wait for that.
        drop(logs);
        let Some(pipe) = pipe else { return Vec::new() };
        pipe.catch_up(LAST_WORDS);
        pipe.last_lines()
    }

    /// At its end: writes what is in the pipes still, and keeps nothing any more. Whether that was done in
    /// time.
    pub fn drain(&self, longest: Duration) -> bool {
        self.collector.drain(longest)
    }

    fn open(&self, name: &str) -> Result<SharedLog, LogError> {
        self.collector.open(settings(&self.dir, name))
    }

    fn pipes(&self, log: &mut Log) -> Result<[Option<OwnedFd>; 2], LogError> {
        let failed = |source: rustix::io::Errno| LogError::Collect { source: source.into() };
        let (out_from, out) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        let (err_from, err) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        drop(self.collector.add(out_from, Stream::Out, &log.file)?);
        log.errors = Some(Arc::new(self.collector.add(err_from, Stream::Err, &log.file)?));
        Ok([Some(out), Some(err)])
    }
}

/// How the log of an instance is kept in a directory.
pub fn settings(dir: &Utf8Path, instance: &str) -> LogSettings {
    LogSettings::new(dir, instance)
}

impl<S: LogKeeper + 'static> Surroundings for Kept<S> {
    fn outputs(&self, definition: &Definition) -> io::Result<[Option<OwnedFd>; 2]> {
        let name = definition.name();
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = match logs.entry(name.clone()) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                self.open(&name).map(|file| entry.insert(Log { file, errors: None }))
            }
        };
        let pipes = opened.and_then(|log| self.pipes(log));
        Ok(pipes.unwrap_or_else(|error| {
            // A service that serves and is not heard is better than one that does not.
            let error = io::Error::other(deploykit_core::chain(&error));
            self.then.log_event(&LogEvent::Dropping { name, error });
            [None, None]
        }))
    }

    fn tell(&self, instance: &str, news: &News) {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = logs.get(instance).filter(|_| news.is_of_trouble()) {
            self.collector.note(&log.file, news.to_string());
        }
        drop(logs);
        self.then.tell(instance, news);
    }

    fn forget(&self, instance: &str) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).remove(instance);
        self.then.forget(instance);
    }

    fn over(&self) {
        self.then.over();
    }
}
