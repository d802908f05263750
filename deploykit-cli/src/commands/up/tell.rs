//! Telling whom `[notify]` names of what happens to the services, by the configuration as it is.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use camino::Utf8Path;
use deploykit::notify::Notices;
use deploykit::supervisor::Happening;
use deploykit::{Application, Masker};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::voice::Voice;
use crate::render::error::CliError;
use crate::shell::Shell;

/// So long the last notices may take at the end. What is not told then is told by the next `up`.
const LAST: Duration = Duration::from_secs(5);

/// What changes a file may be written in several steps.
const PAUSE: Duration = Duration::from_millis(100);

/// Who tells; nobody, until it has begun. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Telling(Arc<OnceLock<Notices>>);

impl Telling {
    /// Begins. Another `up` of this application must have ended.
    pub(super) fn begin(
        &self,
        shell: &Shell,
        application: &Application,
        voice: Voice,
    ) -> Result<(), CliError> {
        let notices = Notices::begin(application, move |trouble| voice.trouble(&trouble));
        let notices =
            notices.map_err(|error| CliError::of(deploykit::ErrorKind::Failed, &error, None))?;
        let _ = self.0.set(notices);
        // Where there is a Procfile there is none.
        let Ok(path) = shell.config_path() else { return Ok(()) };
        let failed = |error: std::io::Error| CliError::io("cannot watch the configuration", &error);
        // From now on: what is written while it is read is seen, too.
        let changes = Changes::of(&path).map_err(failed)?;
        let (own, root) = (self.clone(), application.layout().root().to_owned());
        let masker = shell.masker.clone();
        let thread = std::thread::Builder::new().name("configuration".into());
        let follow = move || own.follow(changes, &path, &root, &masker);
        thread.spawn(follow).map(drop).map_err(failed)
    }

    /// Something has happened. Nobody waits for anything.
    pub(super) fn happened(&self, what: &Happening) {
        if let (Some(notices), Happening::News { instance, news, last_words }) =
            (self.0.get(), what)
        {
            notices.happened(instance, news, last_words.clone());
        }
    }

    /// Tells what is left to tell.
    pub(super) fn end(&self) {
        if let Some(notices) = self.0.get() {
            notices.end(LAST);
        }
    }

    /// Has a changed configuration say who is told. One that is wrong says nothing; whoever has changed it
    /// hears that from the next command.
    fn follow(&self, mut changes: Changes, path: &Utf8Path, root: &Utf8Path, masker: &Masker) {
        while changes.wait().is_ok() {
            std::thread::sleep(PAUSE);
            // A link may lead elsewhere now: that is watched before it is read.
            if let Ok(new) = Changes::of(path) {
                changes = new;
            }
            let builder = Application::at(root).registry(deploykit::registry());
            let read = builder.config_file(path).masker(masker.clone()).open();
            if let (Ok(application), Some(notices)) = (read, self.0.get()) {
                notices.renew(&application);
            }
        }
    }
}

/// The changes of a file, and of what it leads to, where it is a link.
#[derive(Debug)]
struct Changes {
    watch: OwnedFd,
    names: Vec<String>,
}

impl Changes {
    fn of(path: &Utf8Path) -> std::io::Result<Self> {
        let watch = inotify::init(CreateFlags::CLOEXEC)?;
        let mut names = Vec::new();
        let real = path.canonicalize_utf8().ok();
        for one in std::iter::once(path).chain(real.as_deref()) {
            let (Some(dir), Some(name)) = (one.parent(), one.file_name()) else { continue };
            let dir = if dir.as_str().is_empty() { Utf8Path::new(".") } else { dir };
            let flags = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE;
            inotify::add_watch(&watch, dir.as_std_path(), flags)?;
            names.push(name.to_owned());
        }
        Ok(Self { watch, names })
    }

    /// Waits until it is written, or another one is put in its place.
    fn wait(&self) -> std::io::Result<()> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.watch, &mut buffer);
        loop {
            let event = events.next()?;
            let is_it = |found: &std::ffi::CStr| {
                self.names.iter().any(|name| found.to_bytes() == name.as_bytes())
            };
            if event.file_name().is_some_and(is_it) {
                return Ok(());
            }
        }
    }
}
