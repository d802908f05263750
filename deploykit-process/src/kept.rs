//! Keeping what services write.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::traits::Look;
use deploykit_core::{Context, chain};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use crate::action::Does;
use crate::awaited::Awaited;
use crate::definition::Definition;
use crate::log::{
    Collector, Echo, Listing, LogError, LogEvent, LogFormat, LogSettings, Pipe, SharedLog, Stream,
};
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
    /// The files that were there at the beginning, and the logs that have been opened since: of the others
    /// nobody has changed anything.
    begin: Mutex<(Listing, BTreeSet<String>)>,
    awaited: Awaited,
    then: Arc<S>,
}

/// How the log of a service is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LogPolicy {
    /// A file does not grow beyond this, in bytes.
    pub max_bytes: u64,
    /// A file whose first line is older is followed by a new one.
    pub max_age: Option<Duration>,
    /// So many are kept beside the one that is written.
    pub keep: u32,
    /// Whether these are compressed.
    pub compress: bool,
    /// What a line looks like.
    pub format: LogFormat,
    /// Where its standard output goes.
    pub stdout: Sink,
    /// Where its standard error goes.
    pub stderr: Sink,
}

impl Default for LogPolicy {
    fn default() -> Self {
        let LogSettings { max_bytes, max_age, keep, compress, format, .. } =
            LogSettings::new("", "");
        let (stdout, stderr) = (Sink::Log, Sink::Log);
        Self { max_bytes, max_age, keep, compress, format, stdout, stderr }
    }
}

/// Where what a service writes goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Sink {
    /// Into its log.
    #[default]
    Log,
    /// Nowhere.
    Null,
    /// To the end of a file, which is made when it is missing.
    File(Utf8PathBuf),
}

/// Who is told what happens to the files.
pub trait LogKeeper: Surroundings {
    /// Something has happened to a file of a service.
    fn log_event(&self, event: &LogEvent);

    /// Something has happened to an instance, whose process has last written this: [`Surroundings::tell`]
    /// with more.
    fn tell_with(&self, instance: &str, news: &News, last_words: LastWords) {
        let _ = last_words;
        self.tell(instance, news);
    }
}

/// What a process has written last to its standard error, also when another one runs in its place by now.
#[derive(Debug, Clone, Default)]
pub struct LastWords(Option<Arc<Pipe>>);

impl LastWords {
    /// The lines: at most 20, and 8 KiB. What is still in the pipe is waited for, a tenth of a second at the
    /// most.
    pub fn lines(&self) -> Vec<String> {
        let Some(pipe) = &self.0 else { return Vec::new() };
        pipe.catch_up(LAST_WORDS);
        pipe.last_lines()
    }
}

/// The log of an instance.
#[derive(Debug)]
struct Log {
    file: SharedLog,
    policy: LogPolicy,
    /// The standard error of its present process, or of the last one.
    errors: Option<Arc<Pipe>>,
}

impl Log {
    fn last_words(&self) -> LastWords {
        LastWords(self.errors.clone())
    }
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
        let awaited = Awaited::default();
        let collector = Collector::start(move |event| told.log_event(&event))?
            .with_echo(Some(awaited.beside(echo)));
        let listing =
            Listing::read(&dir).map_err(|source| LogError::Open { path: dir.clone(), source })?;
        let begin = Mutex::new((listing, BTreeSet::new()));
        Ok(Self { dir, collector, logs: Mutex::default(), begin, awaited, then })
    }

    /// The last lines that an instance has written to its standard error.
    pub fn last_lines(&self, instance: &str) -> Vec<String> {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let last_words = logs.get(instance).map(Log::last_words).unwrap_or_default();
        // The manager does not wait for that.
        drop(logs);
        last_words.lines()
    }

    /// At its end: writes what is in the pipes still, and keeps nothing any more. Whether that was done in
    /// time.
    pub fn drain(&self, longest: Duration) -> bool {
        self.collector.drain(longest)
    }

    /// Where one of the outputs of an instance goes.
    fn output(
        &self,
        definition: &Definition,
        log: Option<&SharedLog>,
        stream: Stream,
    ) -> Result<(Option<OwnedFd>, Option<Pipe>), LogError> {
        let failed = |source: io::Error| LogError::Collect { source };
        let policy = &definition.logs;
        match (if stream == Stream::Err { &policy.stderr } else { &policy.stdout }, log) {
            (Sink::Log, Some(log)) => {
                let pipe = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()));
                let (from, to) = pipe?;
                Ok((Some(to), Some(self.collector.add(from, stream, log)?)))
            }
            (Sink::File(path), _) => {
                let mut options = std::fs::File::options();
                options.append(true).create(true).mode(0o640);
                let file = options
                    .open(path)
                    .map_err(|source| LogError::Open { path: path.clone(), source })?;
                Ok((Some(file.into()), None))
            }
            _ => Ok((None, None)),
        }
    }

    /// Opens a log. A thousand that are opened for the first time do not list a directory of thousands each.
    fn open(&self, name: &str, policy: &LogPolicy) -> Result<SharedLog, LogError> {
        let settings = settings(&self.dir, name, policy);
        let mut begin = self.begin.lock().unwrap_or_else(PoisonError::into_inner);
        let (listing, opened) = &mut *begin;
        if opened.insert(name.to_owned()) && self.dir.is_dir() {
            self.collector.open_among(settings, listing)
        } else {
            self.collector.open(settings)
        }
    }

    fn outputs_of(&self, definition: &Definition) -> Result<[Option<OwnedFd>; 2], LogError> {
        let (name, policy) = (definition.name(), &definition.logs);
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        // One that is kept otherwise now is opened anew.
        let known = logs.remove(&name).filter(|log| log.policy == *policy);
        let is_kept = policy.stdout == Sink::Log || policy.stderr == Sink::Log;
        let file = match known {
            Some(log) => Some(log.file),
            None if is_kept => Some(self.open(&name, policy)?),
            None => None,
        };
        let (out, _) = self.output(definition, file.as_ref(), Stream::Out)?;
        let (err, errors) = self.output(definition, file.as_ref(), Stream::Err)?;
        if let Some(file) = file {
            let (policy, errors) = (policy.clone(), errors.map(Arc::new));
            logs.insert(name, Log { file, policy, errors });
        }
        Ok([out, err])
    }
}

/// How the log of an instance is kept in a directory.
pub fn settings(dir: &Utf8Path, instance: &str, policy: &LogPolicy) -> LogSettings {
    let LogPolicy { max_bytes, max_age, keep, compress, format, .. } = policy.clone();
    LogSettings { max_bytes, max_age, keep, compress, format, ..LogSettings::new(dir, instance) }
}

impl<S: LogKeeper + 'static> Surroundings for Kept<S> {
    fn outputs(&self, definition: &Definition) -> io::Result<[Option<OwnedFd>; 2]> {
        Ok(self.outputs_of(definition).unwrap_or_else(|error| {
            // A service that serves and is not heard is better than one that does not.
            let (name, error) = (definition.name(), io::Error::other(chain(&error)));
            self.then.log_event(&LogEvent::Dropping { name, error });
            [None, None]
        }))
    }

    fn await_line(&self, instance: &str, text: &str, heard: Box<dyn Fn() + Send + Sync>) {
        self.awaited.set(instance, text, heard);
    }

    fn ask(&self, ctx: &Context, what: &Does) -> Look {
        self.then.ask(ctx, what)
    }

    fn tell(&self, instance: &str, news: &News) {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = logs.get(instance).filter(|_| news.is_of_trouble()) {
            self.collector.note(&log.file, news.to_string());
        }
        let last_words = logs.get(instance).map(Log::last_words).unwrap_or_default();
        drop(logs);
        self.then.tell_with(instance, news, last_words);
    }

    fn withheld(&self) -> Vec<String> {
        self.then.withheld()
    }

    fn forget(&self, instance: &str) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).remove(instance);
        self.awaited.forget(instance);
        self.then.forget(instance);
    }

    fn over(&self) {
        self.then.over();
    }
}
