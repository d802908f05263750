//! Waiting for what is written to a log.

use std::os::fd::OwnedFd;
use std::time::Duration;

use camino::Utf8Path;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// The longest wait, after which it is asked whether to go on.
const GLANCE: Duration = Duration::from_millis(250);

/// Waits for changes in the directory of a log.
pub(super) struct Watch(Option<OwnedFd>);

impl Watch {
    /// Without a watch, of which a user has a limited number, it is looked four times a second.
    pub(super) fn new(dir: &Utf8Path) -> Self {
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).and_then(|watch| {
            let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
            inotify::add_watch(&watch, dir.as_std_path(), changes).map(|_| watch)
        });
        Self(watch.ok())
    }

    /// Waits until something has changed since the last time, but not for long.
    pub(super) fn wait(&mut self) {
        let Some(watch) = &self.0 else { return std::thread::sleep(GLANCE) };
        let timeout = Timespec::try_from(GLANCE).ok();
        let mut polled = [PollFd::new(watch, PollFlags::IN)];
        if poll(&mut polled, timeout.as_ref()).is_ok_and(|ready| ready > 0) {
            let mut events = [0_u8; 4096];
            while rustix::io::read(watch, &mut events).is_ok_and(|length| length > 0) {}
        }
    }
}
