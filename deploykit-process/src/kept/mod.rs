//! Keeping what services write.

mod named;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
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
use crate::definition::{Definition, Readiness};
use crate::hold::Holder;
use crate::log::{
    Collector, Echo, End, Listing, LogError, LogEvent, LogFormat, LogSettings, Pipe, SharedLog,
    Stream, open_to_read,
};
use crate::machine::News;
use crate::manager::{Heard, Surroundings};
use named::{PIPES, fifo, held, is_empty, pipe_name};

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
    /// Where the pipes have names, by which whoever comes after this process finds them again.
    named: Option<Utf8PathBuf>,
    /// Who else holds the pipes, so that what is in them is not gone with who has written it.
    holder: Option<Arc<Holder>>,
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
    /// The standard error of the process that was started last.
    errors: Option<Arc<Pipe>>,
    /// A line of that process that is waited for.
    awaited: Awaited,
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
        let collector = Collector::start(move |event| told.log_event(&event))?.with_echo(echo);
        let listing =
            Listing::read(&dir).map_err(|source| LogError::Open { path: dir.clone(), source })?;
        let begin = Mutex::new((listing, BTreeSet::new()));
        Ok(Self { dir, collector, logs: Mutex::default(), begin, named: None, holder: None, then })
    }

    /// The same; but the pipes have names in this directory. Each is held open by the process that writes to
    /// it, at both ends: what that writes is not lost, and does not end it, when this process is killed, and
    /// whoever comes next goes on reading.
    #[must_use]
    pub(crate) fn named(self, dir: impl Into<Utf8PathBuf>, holder: Option<Arc<Holder>>) -> Self {
        let dir = dir.into();
        self.collector.put_right(&dir, &self.dir);
        Self { named: Some(dir), holder, ..self }
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
        (marker, awaited): (&str, &Awaited),
    ) -> Result<(Option<OwnedFd>, Option<Pipe>), LogError> {
        let policy = &definition.logs;
        match (if stream == Stream::Err { &policy.stderr } else { &policy.stdout }, log) {
            (Sink::Log, Some(log)) => {
                let Ends { from, to, name } = self.ends(marker, stream, definition)?;
                let end = End { pipe: from, name };
                let pipe = self.collector.add_end(end, stream, log, awaited.clone())?;
                Ok((Some(to), Some(pipe)))
            }
            (Sink::File(path), _) => {
                let mut options = File::options();
                options.append(true).create(true).mode(0o640);
                let file = options
                    .open(path)
                    .map_err(|source| LogError::Open { path: path.clone(), source })?;
                Ok((Some(file.into()), None))
            }
            _ => Ok((None, None)),
        }
    }

    /// A pipe for the output of a process.
    fn ends(
        &self,
        marker: &str,
        stream: Stream,
        definition: &Definition,
    ) -> Result<Ends, LogError> {
        if let Some(dir) = &self.named {
            let name = pipe_name(dir, marker, stream);
            // Not every file system has such files.
            if let Ok((from, to)) = fifo(&name, definition) {
                if let Some(holder) = &self.holder {
                    holder.keep(&held(marker, stream), &to);
                }
                return Ok(Ends { from, to, name: Some(name) });
            }
        }
        let pipe = pipe_with(PipeFlags::CLOEXEC);
        let (from, to) = pipe.map_err(|error| LogError::Collect { source: error.into() })?;
        Ok(Ends { from, to, name: None })
    }

    /// Goes on reading what a process writes that another one has started.
    fn adopt_outputs(
        &self,
        definition: &Definition,
        marker: &str,
        heard: Option<Heard>,
    ) -> Result<(), LogError> {
        let Some(dir) = &self.named else { return Ok(()) };
        let awaited = Awaited::default();
        // Before anything is read.
        if let (Readiness::Line(text), Some(heard)) = (&definition.readiness, heard) {
            awaited.set(text, heard);
        }
        self.adopt_pipes(dir, &definition.name(), &definition.logs, (marker, awaited))
    }

    /// The same for an instance of which no more is known.
    fn adopt_pipes(
        &self,
        dir: &Utf8Path,
        instance: &str,
        policy: &LogPolicy,
        (marker, awaited): (&str, Awaited),
    ) -> Result<(), LogError> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let known = logs.remove(instance);
        let (mut file, mut errors) = (known.map(|log| log.file), None);
        for stream in PIPES {
            let path = pipe_name(dir, marker, stream);
            let Ok(pipe) = open_to_read(&path) else { continue };
            let log = match &file {
                Some(log) => log.clone(),
                None => file.insert(self.open(instance, policy)?).clone(),
            };
            let end = End { pipe, name: Some(path) };
            let pipe = self.collector.add_end(end, stream, &log, awaited.clone())?;
            if stream == Stream::Err {
                errors = Some(Arc::new(pipe));
            }
        }
        if let Some(file) = file {
            logs.insert(instance.to_owned(), Log { file, policy: policy.clone(), errors, awaited });
        }
        Ok(())
    }

    /// Writes what is left in the pipes of processes that are not on record any more.
    fn adopt_others(&self, dir: &Utf8Path, known: &[(&Definition, Option<&str>)]) {
        let mut others = BTreeSet::new();
        for file in dir.read_dir_utf8().into_iter().flatten().flatten() {
            let of = PIPES
                .iter()
                .find_map(|of| file.file_name().strip_suffix(of.as_str())?.strip_suffix('.'));
            others.extend(
                of.filter(|of| known.iter().all(|one| one.1 != Some(*of))).map(str::to_owned),
            );
        }
        for marker in others {
            let Some((instance, _)) = marker.rsplit_once('-') else { continue };
            let definition = known.iter().map(|one| one.0).find(|one| one.name() == instance);
            let policy = definition.map(|one| one.logs.clone()).unwrap_or_default();
            // Nobody is to wonder at the empty log of a service that nobody knows.
            let is_empty = |of| is_empty(&pipe_name(dir, &marker, of));
            if definition.is_none() && PIPES.into_iter().all(is_empty) {
                let _ = PIPES.map(|of| std::fs::remove_file(pipe_name(dir, &marker, of)).ok());
            } else if let Err(error) =
                self.adopt_pipes(dir, instance, &policy, (&marker, Awaited::default()))
            {
                self.dropping(instance.to_owned(), &error);
            }
            self.ended(&marker);
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

    fn not_heard(&self, definition: &Definition, error: &LogError) {
        self.dropping(definition.name(), error);
    }

    fn dropping(&self, name: String, error: &LogError) {
        let error = io::Error::other(chain(error));
        self.then.log_event(&LogEvent::Dropping { name, error });
    }

    fn outputs_of(
        &self,
        definition: &Definition,
        marker: &str,
    ) -> Result<[Option<OwnedFd>; 2], LogError> {
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
        let awaited = Awaited::default();
        let (out, _) = self.output(definition, file.as_ref(), Stream::Out, (marker, &awaited))?;
        let (err, errors) =
            self.output(definition, file.as_ref(), Stream::Err, (marker, &awaited))?;
        if let Some(file) = file {
            let (policy, errors) = (policy.clone(), errors.map(Arc::new));
            logs.insert(name, Log { file, policy, errors, awaited });
        }
        Ok([out, err])
    }
}

/// A pipe for the output of a process.
struct Ends {
    /// Where it is read.
    from: OwnedFd,
    /// Where the process writes.
    to: OwnedFd,
    /// Its name, where it has one.
    name: Option<Utf8PathBuf>,
}

/// How the log of an instance is kept in a directory.
pub fn settings(dir: &Utf8Path, instance: &str, policy: &LogPolicy) -> LogSettings {
    let LogPolicy { max_bytes, max_age, keep, compress, format, .. } = policy.clone();
    LogSettings { max_bytes, max_age, keep, compress, format, ..LogSettings::new(dir, instance) }
}

impl<S: LogKeeper + 'static> Surroundings for Kept<S> {
    fn outputs(&self, definition: &Definition, marker: &str) -> io::Result<[Option<OwnedFd>; 2]> {
        Ok(self.outputs_of(definition, marker).unwrap_or_else(|error| {
            // A service that serves and is not heard is better than one that does not.
            self.not_heard(definition, &error);
            [None, None]
        }))
    }

    fn adopt(&self, definition: &Definition, marker: &str, heard: Option<Heard>) {
        if let Err(error) = self.adopt_outputs(definition, marker, heard) {
            self.not_heard(definition, &error);
        }
    }

    fn succeed(&self, known: &[(&Definition, Option<&str>)]) {
        if let Some(dir) = &self.named {
            self.adopt_others(dir, known);
        }
    }

    fn ended(&self, marker: &str) {
        let (Some(dir), Some(holder)) = (&self.named, &self.holder) else { return };
        for stream in PIPES {
            // What is in it would be gone with this process before it is written.
            let (holder, held) = (Arc::clone(holder), held(marker, stream));
            self.collector.after(pipe_name(dir, marker, stream), move || holder.let_go_of(&held));
        }
    }

    fn await_line(&self, instance: &str, text: &str, heard: Heard) {
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = logs.get(instance) {
            log.awaited.set(text, heard);
        }
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
        self.then.forget(instance);
    }

    fn over(&self) {
        self.then.over();
    }
}

#[cfg(test)]
mod tests;
