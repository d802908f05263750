//! What `up` itself has to say, between the lines of the services.

use deploykit::{Masker, Timestamp};

use super::follow::Follower;
use crate::render::error::warning;
use crate::render::json;
use crate::render::paint::Paint;
use crate::render::time::local;
use crate::shell::Shell;

/// Says it, in the order of everything else. Nobody waits until it is read. Clones speak for the same.
#[derive(Debug, Clone)]
pub(super) struct Voice {
    follower: Follower,
    paint: Paint,
    masker: Masker,
    is_quiet: bool,
    is_json: bool,
    /// In the background what is told is read later.
    has_times: bool,
}

impl Voice {
    pub(super) fn new(shell: &Shell, follower: Follower, is_apart: bool) -> Self {
        Self {
            follower,
            paint: shell.error_paint(),
            masker: shell.masker.clone(),
            is_quiet: shell.global.quiet,
            is_json: shell.global.json,
            has_times: is_apart,
        }
    }

    /// Tells something that is worth knowing.
    pub(super) fn note(&self, text: &str) {
        if !self.is_quiet && !self.is_json {
            self.follower.say(&format!("{}{}", self.time(), self.masker.mask(text)));
        }
    }

    /// Tells of something that is not as it should be.
    pub(super) fn warn(&self, message: &str) {
        if !self.is_json {
            let text = warning(message, self.paint, &self.masker);
            self.follower.say(&format!("{}{text}", self.time()));
        }
    }

    /// The same of what programs want to know, too.
    pub(super) fn trouble(&self, message: &str) {
        if self.is_json {
            let value = serde_json::json!({ "trouble": message });
            return self.follower.tell(&json::line(&value, &self.masker));
        }
        self.warn(message);
    }

    fn time(&self) -> String {
        if self.has_times { format!("{} ", local(Timestamp::now())) } else { String::new() }
    }
}
