//! Looking after what runs, until somebody wants an end.

use std::time::Duration;

use deploykit::process::Exit as Ended;
use deploykit::supervisor::machine::{News, Phase};
use deploykit::supervisor::policy::Ending;
use deploykit::supervisor::{Children, Happening, InstanceStatus, Manager, ManagerError};
use serde_json::json;

use super::heard::Heard;
use super::{Up, keep};
use crate::exit::Exit;
use crate::render::error::CliError;
use crate::render::json;
use crate::render::text::clean;

/// How often it is looked whether somebody wants an end meanwhile.
const GLANCE: Duration = Duration::from_millis(200);

/// What is killed at the end, and still there after this time, waits for something that nobody can hurry.
const STUCK: Duration = Duration::from_secs(5);

/// Waits until all have started, as far as they do, or until it is over; how they are then.
pub(super) fn settled(
    manager: &Manager,
    is_over: &dyn Fn() -> bool,
) -> Result<Vec<InstanceStatus>, ManagerError> {
    loop {
        let all = manager.settle(&[], GLANCE)?;
        let is_settled = |one: &InstanceStatus| match one.phase {
            Phase::Running | Phase::Down(_) => true,
            _ => one.restarts > 0,
        };
        if is_over() || all.iter().all(is_settled) {
            return Ok(all);
        }
    }
}

impl Up<'_> {
    /// Looks after what runs. The exit code, when it is over.
    pub(super) fn attend(&self, has_releases: bool) -> Result<Exit, CliError> {
        if has_releases {
            keep::begin(self.shell, self.application, self.supervision.manager().children());
        }
        self.follower.let_go();
        deploykit::supervisor::let_go_of_code();
        // What has happened before is seen now: it may have been the end of an essential one.
        if let Some(exit) = self.essential_end() {
            return Ok(exit);
        }
        for heard in &self.heard {
            match heard {
                Heard::Reload => keep::reload(self.shell, self.supervision.manager().children()),
                Heard::End => return Ok(Exit::DONE),
                Heard::Happening(Happening::EndAsked) => return Ok(Exit::DONE),
                Heard::Happening(Happening::Over) => break,
                Heard::Happening(Happening::Log(what)) => self.warn(&what),
                Heard::Happening(Happening::News { instance, news }) => {
                    self.tell(&instance, &news);
                    let may_be_over = matches!(news, News::Done | News::ExitedNoRetry { .. });
                    if let Some(exit) = self.essential_end().filter(|_| may_be_over) {
                        return Ok(exit);
                    }
                }
                Heard::Happening(_) => {}
            }
        }
        let error = std::io::Error::other("its thread has ended");
        Err(CliError::io("the process manager has failed", &error))
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
            | News::ExitedRetry { .. }
            | News::WatchFailed { .. }
            | News::NotLimited { .. }
            | News::Unwell { .. } => self.warn(&text),
            _ => self.note(&text),
        }
    }

    /// The exit code, when a service has ended, and is not started again, whose end is that of all.
    fn essential_end(&self) -> Option<Exit> {
        let all = self.supervision.manager().status().ok()?;
        let has_ended = |one: &&InstanceStatus| {
            use deploykit::supervisor::machine::Reason;
            let is_down = matches!(one.phase, Phase::Down(Reason::Done | Reason::Failed(_)));
            one.essential && is_down
        };
        let one = all.iter().find(has_ended)?;
        let end = one.last_end.as_deref().unwrap_or("has ended");
        self.note(&clean(&format!("{} is essential, and {end}: ending.", one.name)));
        Some(match &one.last_ending {
            Some(Ending::Ended(Ended::Code(code))) => {
                Exit::of_service(u8::try_from(*code).unwrap_or(1))
            }
            Some(Ending::Ended(Ended::Signal(signal))) => {
                Exit::signal(u8::try_from(*signal).unwrap_or(0))
            }
            Some(_) => Exit::FAILED,
            None => Exit::DONE,
        })
    }
}

/// Ends what services have left that this process has become the parent of.
pub(super) fn end_what_is_left(children: &Children) {
    let begun = std::time::Instant::now();
    while begun.elapsed() < STUCK && children.end_others() {
        std::thread::sleep(Duration::from_millis(10));
    }
}
