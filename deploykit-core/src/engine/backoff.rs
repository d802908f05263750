//! Looking less often at a repository that cannot be reached: for timers only.
//!
//! It is kept in a small file and not in the journal: it is no fact about the application, changes
//! with every failed look, and may be lost without harm.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::application::Application;
use super::error::Error;
use crate::chain;
use crate::context::Context;
use crate::state::files::{At as _, replace_file};
use crate::state::{FileError, Layout};
use crate::time::Timestamp;
use crate::traits::SourceError;

/// The pause after the first failure. It doubles with each that follows.
const FIRST: Duration = Duration::from_secs(60);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(3600);

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Backoff {
    /// Which repository it is.
    url: String,
    /// How many looks in a row have failed.
    failures: u32,
    /// When the last one did.
    failed: Timestamp,
    /// The next look is not taken before.
    until: Timestamp,
    /// Why it failed.
    reason: String,
}

impl Backoff {
    /// What follows on a failed look. `dice` is any number.
    fn after(
        before: Option<&Self>,
        url: &str,
        failed: Timestamp,
        reason: String,
        dice: u64,
    ) -> Self {
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let until = failed + spread(pause(failures), dice);
        Self { url: url.to_owned(), failures, failed, until, reason }
    }

    /// Whether it is still to be waited. A clock that was set back is no reason to wait for it to come
    /// here again.
    fn holds(&self, now: Timestamp) -> bool {
        self.failed <= now && now < self.until
    }

    /// What the file says of this repository. One that is torn, or of another repository, says nothing.
    fn read(layout: &Layout, url: &str) -> Option<Self> {
        let text = std::fs::read(layout.backoff()).ok()?;
        serde_json::from_slice(&text).ok().filter(|found: &Self| found.url == url)
    }

    fn write(&self, layout: &Layout) -> Result<(), FileError> {
        let mut text = serde_json::to_vec(self).unwrap_or_default();
        text.push(b'\n');
        replace_file(&layout.backoff(), &text)
    }
}

/// The pause after so many failures in a row.
fn pause(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST.saturating_mul(doubled).min(LONGEST)
}

/// The same, a tenth longer or shorter at most: hosts that lost one server do not all come back to it
/// in the same second.
fn spread(pause: Duration, dice: u64) -> Duration {
    let thousandths = 900 + u32::try_from(dice % 201).unwrap_or_default();
    pause * thousandths / 1000
}

fn dice() -> u64 {
    let mut random = std::hash::RandomState::new().build_hasher();
    random.write_u32(std::process::id());
    random.finish()
}

/// Whether the repository cannot be reached now, or refuses. Looking again soon would change nothing,
/// and a server that has trouble is left alone.
fn is_out_of_reach(error: &Error) -> bool {
    let Error::Source(error) = error else { return false };
    match error {
        #[cfg(feature = "git")]
        SourceError::Transport { source, .. } if crate::git::is_of_this_host(source) => false,
        SourceError::Transport { .. } | SourceError::Access { .. } => true,
        _ => false,
    }
}

impl Application {
    /// Why a timer does not look at the repository now, if it does not.
    pub(super) fn holds_back(&self, ctx: &Context) -> Option<String> {
        let backoff = Backoff::read(&self.layout, self.config.repo.url.as_str())?;
        let left = backoff.until.since(ctx.now());
        let minutes = left.as_secs().div_ceil(60);
        backoff.holds(ctx.now()).then(|| {
            format!("{}; it is looked again in {minutes} min, at {}", backoff.reason, backoff.until)
        })
    }

    /// Whether the last look at the repository failed, and timers look less often.
    pub(super) fn looks_less_often(&self) -> bool {
        Backoff::read(&self.layout, self.config.repo.url.as_str()).is_some()
    }

    /// A timer could not look at the repository: the next ones look less often.
    pub(super) fn hold_back(&self, ctx: &Context, error: &Error) {
        if !is_out_of_reach(error) {
            return;
        }
        let url = self.config.repo.url.as_str();
        let before = Backoff::read(&self.layout, url);
        let reason = ctx.masker().mask(&chain(error)).into_owned();
        let backoff = Backoff::after(before.as_ref(), url, ctx.now(), reason, dice());
        match backoff.write(&self.layout) {
            Ok(()) if before.is_none() => ctx.warn(
                "as long as that is so, --if-changed looks less often: after one minute, then after \
                 two, at last once an hour; `deploykit deploy` looks at once",
            ),
            Ok(()) => {}
            Err(error) => ctx.warn(format!("that cannot be noted: {}", chain(&error))),
        }
    }

    /// The repository was reached.
    pub(super) fn hold_back_no_more(&self, ctx: &Context) {
        let path = self.layout.backoff();
        let known = self.looks_less_often();
        match std::fs::remove_file(&path) {
            Ok(()) if known => ctx.note("the repository can be reached again"),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let error = Err::<(), _>(error).at("remove", &path);
                ctx.warn(error.err().map(|error| chain(&error)).unwrap_or_default());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn pauses_double_from_a_minute_to_an_hour() {
        let minutes: Vec<u64> = (1..9).map(|failures| pause(failures).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX), LONGEST);
    }

    #[test]
    fn a_torn_file_and_one_of_another_repository_hold_nobody_back() {
        let directory = tempfile::tempdir().unwrap();
        let root = camino::Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
        let layout = Layout::new(root);
        std::fs::create_dir(layout.private()).unwrap();
        assert_eq!(Backoff::read(&layout, "a"), None);
        let backoff = Backoff::after(None, "a", at(100), "gone".into(), 0);
        backoff.write(&layout).unwrap();
        assert_eq!(Backoff::read(&layout, "a"), Some(backoff));
        assert_eq!(Backoff::read(&layout, "b"), None);
        let text = std::fs::read(layout.backoff()).unwrap();
        for cut in 0..text.len() - 1 {
            std::fs::write(layout.backoff(), &text[..cut]).unwrap();
            assert_eq!(Backoff::read(&layout, "a"), None, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn it_is_waited_for_a_tenth_more_or_less_from_the_last_failure(
            failures in 0..40u32,
            dice in any::<u64>(),
            after in 0..10_000i64,
        ) {
            let before = Backoff { failures, ..Backoff::after(None, "a", at(0), String::new(), 0) };
            let backoff = Backoff::after(Some(&before), "a", at(50_000), String::new(), dice);
            let pause = pause(failures + 1);
            let waited = backoff.until.since(at(50_000));
            prop_assert!(waited >= pause * 9 / 10 && waited <= pause * 11 / 10);
            let now = at(50_000 + after);
            prop_assert_eq!(backoff.holds(now), now < backoff.until);
            prop_assert!(!backoff.holds(at(49_999)), "the clock was set back");
        }
    }
}
