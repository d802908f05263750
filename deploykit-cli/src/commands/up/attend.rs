//! Looking after what runs, until somebody wants an end.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use deploykit::process::Exit as Ended;
use deploykit::supervisor::machine::{News, Phase, Reason};
use deploykit::supervisor::policy::Ending;
use deploykit::supervisor::{Children, Happening, InstanceStatus, Manager, ManagerError};
use serde_json::json;

use super::super::supervise::are_settled;
use super::heard::Heard;
use super::{After, Up, keep};
use crate::exit::Exit;
use crate::render::error::CliError;
use crate::render::json;
use crate::render::text::clean;

/// How often it is looked whether somebody wants an end meanwhile.
const GLANCE: Duration = Duration::from_millis(200);

/// When nothing has happened for so long, memory is given back.
const REST: Duration = Duration::from_secs(2);

/// What is killed at the end, and still there after this time, waits for something that nobody can hurry.
const STUCK: Duration = Duration::from_secs(5);

/// Waits until all have started, as far as they do, or until it is over; how they are then.
pub(super) fn settled(
    manager: &Manager,
    is_over: &dyn Fn() -> bool,
) -> Result<Vec<InstanceStatus>, ManagerError> {
    loop {
        let all = manager.settle(&[], GLANCE)?;
        if is_over() || are_settled(&all, &all) {
            return Ok(all);
        }
    }
}

impl Up<'_> {
    /// Looks after what runs, until that is over.
    pub(super) fn attend(&self, has_releases: bool) -> Result<After, CliError> {
        if has_releases {
            keep::begin(self.shell, self.application, self.supervision.manager().children());
        }
        self.follower.let_go();
        loop {
            let essential = self.essential_end();
            if let Some(one) = essential.as_ref().filter(|_| !(has_releases && self.is_deploying()))
            {
                return Ok(After::End(self.end_with(one)));
            }
            // A deployment that is under way may go back: then it runs again.
            let Some(heard) = self.hear(essential.is_some())? else { continue };
            match heard {
                Heard::Reload => keep::reload(self.shell, self.supervision.manager().children()),
                Heard::End => return Ok(After::End(Exit::DONE)),
                Heard::Happening(Happening::EndAsked) => return Ok(After::End(Exit::DONE)),
                Heard::Happening(Happening::ReplaceAsked(program)) => {
                    return Ok(After::Another(program));
                }
                Heard::Happening(Happening::Over) => return Err(gone()),
                Heard::Happening(Happening::Log(what)) => self.warn(&what),
                Heard::Happening(Happening::News { instance, news, .. }) => {
                    self.tell(&instance, &news);
                }
                Heard::Happening(_) => {}
            }
        }
    }

    /// What happens next; nothing, where it is only waited for a moment.
    fn hear(&self, is_short: bool) -> Result<Option<Heard>, CliError> {
        if !is_short && !self.is_warm.get() {
            self.is_warm.set(true);
            return self.heard.recv().map(Some).map_err(|_| gone());
        }
        match self.heard.recv_timeout(if is_short { GLANCE } else { REST }) {
            Ok(heard) => Ok(Some(heard)),
            Err(RecvTimeoutError::Timeout) => {
                // Nothing goes on any more: what was needed for it is given back.
                if !is_short {
                    deploykit::supervisor::let_go();
                    self.is_warm.set(false);
                }
                Ok(None)
            }
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }

    /// Whether a deployment has begun that is not decided.
    fn is_deploying(&self) -> bool {
        self.application.state().is_ok_and(|state| !state.open.is_empty())
    }

    fn tell(&self, instance: &str, news: &News) {
        if self.shell.global.json {
            let value = json!({ "by": instance, "news": news });
            return self.follower.tell(&json::line(&value, &self.shell.masker));
        }
        let text = clean(&format!("{instance} {news}"));
        match news {
            News::Ready if !self.shell.global.verbose => {}
            News::ExitedNoRetry { .. }
            | News::Killed
            | News::ExitedRetry { .. }
            | News::WatchFailed { .. }
            | News::NotLimited { .. }
            | News::Unwell { .. } => self.warn(&text),
            _ => self.note(&text),
        }
    }

    /// A service that has ended, and is not started again, whose end is that of all.
    fn essential_end(&self) -> Option<InstanceStatus> {
        let all = self.supervision.manager().status().ok()?;
        all.into_iter().find(|one| {
            let is_down = matches!(one.phase, Phase::Down(Reason::Done | Reason::Failed(_)));
            one.essential && is_down
        })
    }

    /// The exit code that follows from its end.
    fn end_with(&self, one: &InstanceStatus) -> Exit {
        let end = one.last_end.as_deref().unwrap_or("has ended");
        self.note(&clean(&format!("{} is essential, and {end}: ending.", one.name)));
        match &one.last_ending {
            Some(Ending::Ended(Ended::Code(code))) => {
                Exit::of_service(u8::try_from(*code).unwrap_or(1))
            }
            Some(Ending::Ended(Ended::Signal(signal))) => {
                Exit::signal(u8::try_from(*signal).unwrap_or(0))
            }
            Some(_) => Exit::FAILED,
            None => Exit::DONE,
        }
    }
}

fn gone() -> CliError {
    let error = std::io::Error::other("its thread has ended");
    CliError::io("the process manager has failed", &error)
}

/// Ends what services have left that this process has become the parent of.
pub(super) fn end_what_is_left(children: &Children) {
    let begun = std::time::Instant::now();
    while begun.elapsed() < STUCK && children.end_others() {
        std::thread::sleep(Duration::from_millis(10));
    }
}
