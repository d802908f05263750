//! Notices: what is told, outside of the terminal, of deployments that nobody watches.
//!
//! That a notice is owed is recorded together with the end of the deployment, and that it was sent
//! after that. So it is sent at least once, whatever is killed in between.

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::record::{Actor, Outcome};
use super::{DeploymentRecord, State};
use crate::id::{DeploymentId, ReleaseId};
use crate::message::{Topic, without_numbers};
use crate::step::Step;
use crate::time::Timestamp;
use crate::traits::ServiceStatus;

/// How often it is tried to send a notice, in all.
pub const NOTICE_TRIES: u32 = 5;

/// The version of a [`Notice`] as it is written to the command's standard input.
pub const NOTICE_FORMAT: u32 = 1;

/// The name of this host, as notices tell it; empty where it has none.
pub fn host_name() -> String {
    let name = nix::unistd::gethostname().ok();
    name.and_then(|name| name.into_string().ok()).unwrap_or_default()
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NoticeEvent {
    /// Something ended badly.
    Failure,
    /// The first that ended well after a failure that was told of.
    Recovery,
}

impl std::fmt::Display for NoticeEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Failure => "failure",
            Self::Recovery => "recovery",
        })
    }
}

/// A release in a notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NoticeRelease {
    /// Its name.
    pub id: ReleaseId,
    /// What it was made of: the full hash of the commit.
    pub commit: Option<String>,
    /// The name by which the commit was found: `refs/heads/main`. None for adopted releases, and for
    /// what is gone.
    pub name: Option<String>,
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NoticeFailure {
    /// The step that failed; none when it was refused before its first step, or was killed.
    pub step: Option<Step>,
    /// The error.
    pub error: String,
    /// Its causes, the nearest first.
    pub causes: Vec<String>,
    /// The last lines of the output of the process that failed.
    pub tail: Vec<String>,
    /// What a person can do.
    pub hint: Option<String>,
}

/// The failure that a recovery ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Told {
    /// The number of the notice that told of it.
    pub notice: u64,
    /// The deployment that failed; none when it did not even begin.
    pub deployment: Option<DeploymentId>,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

impl Told {
    /// Whether this is told of already, but for figures.
    pub(crate) fn covers(&self, reason: &str) -> bool {
        without_numbers(&self.reason) == without_numbers(reason)
    }
}

/// How things stand when a notice is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NoticeNow {
    /// The release that is active.
    pub active: Option<NoticeRelease>,
    /// What its service does; none when that cannot be seen.
    pub service: Option<ServiceStatus>,
}

/// The whole story of one deployment, for those who did not see it. The book documents each field as
/// it is in JSON; none is ever left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Notice {
    /// The version of this format.
    pub format: u32,
    /// The number of the notice. One that comes twice has the same.
    pub number: u64,
    /// What it is about.
    pub event: NoticeEvent,
    /// The application's directory.
    pub application: Utf8PathBuf,
    /// The name of the host.
    pub host: String,
    /// The deployment; none when it did not even begin.
    pub deployment: Option<DeploymentId>,
    /// What was asked for, in words: `deploy main`.
    pub request: String,
    /// By whom.
    pub by: Actor,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How it ended; none when nothing had to be done.
    pub outcome: Option<Outcome>,
    /// What failed.
    pub failure: Option<NoticeFailure>,
    /// What was active before.
    pub from: Option<NoticeRelease>,
    /// What was to be active.
    pub to: Option<NoticeRelease>,
    /// It is not in a good state: a person must look.
    pub must_look: bool,
    /// The failure that is over.
    pub recovers: Option<Told>,
    /// How things stand now; told when it is sent.
    pub now: Option<NoticeNow>,
    /// Where the whole output is.
    pub log: Option<Utf8PathBuf>,
    /// The last lines of that; told when it is sent.
    pub log_end: Vec<String>,
}

impl Notice {
    /// What it is about.
    pub fn topic(&self) -> Topic {
        match (self.event, &self.outcome) {
            (NoticeEvent::Recovery, _) => Topic::DeploymentRecovered,
            (NoticeEvent::Failure, Some(Outcome::RolledBack { .. })) => Topic::RolledBack,
            (NoticeEvent::Failure, _) => Topic::DeploymentFailed,
        }
    }

    /// Why it failed, in one line.
    pub fn reason(&self) -> &str {
        let reason = self.outcome.as_ref().and_then(Outcome::reason);
        reason.or_else(|| Some(&*self.failure.as_ref()?.error)).unwrap_or_default()
    }

    /// Whether it did not get as far as knowing what to deploy: that is over as soon as one does.
    fn is_of_a_look(&self) -> bool {
        let step = self.failure.as_ref().and_then(|failure| failure.step);
        self.deployment.is_none() || step == Some(Step::Resolve)
    }
}

/// A notice that has not been sent yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OwedNotice {
    /// The notice.
    pub notice: Notice,
    /// How often somebody could not be told.
    pub failures: u32,
    /// Who has been told, by label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub told: Vec<String>,
}

/// What was told, and what is to be.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Notices {
    /// The number of the last one.
    pub last: u64,
    /// Those that have not been sent yet, the oldest first.
    pub owed: Vec<OwedNotice>,
    /// The failure of a deployment that was told of, and is not over.
    pub failure: Option<Told>,
    /// The same of what did not get as far as knowing what to deploy.
    pub look: Option<Told>,
}

/// So many notices wait at the most; older ones are dropped.
const WAITING: usize = 50;

impl Notices {
    /// A failure that was told of and is not over.
    pub fn told(&self) -> Option<&Told> {
        self.failure.as_ref().or(self.look.as_ref())
    }

    pub(super) fn owe(&mut self, notice: Notice) {
        self.last = notice.number;
        let told = Told {
            notice: notice.number,
            deployment: notice.deployment,
            at: notice.ended,
            reason: notice.reason().to_owned(),
        };
        match notice.event {
            NoticeEvent::Failure if notice.is_of_a_look() => self.look = Some(told),
            // What got further than that has not to be told of once more.
            NoticeEvent::Failure => (self.failure, self.look) = (Some(told), None),
            NoticeEvent::Recovery if notice.deployment.is_none() => self.look = None,
            NoticeEvent::Recovery => (self.failure, self.look) = (None, None),
        }
        self.owed.push(OwedNotice { notice, failures: 0, told: Vec::new() });
        if self.owed.len() > WAITING {
            self.owed.remove(0);
        }
    }

    pub(super) fn sent(&mut self, number: u64) {
        self.owed.retain(|owed| owed.notice.number != number);
    }

    pub(super) fn failed(&mut self, number: u64, told: Vec<String>) {
        let failed = self.owed.iter_mut().find(|owed| owed.notice.number == number);
        let Some(owed) = failed else { return };
        owed.failures += 1;
        owed.told.extend(told);
        if owed.failures >= NOTICE_TRIES {
            self.sent(number);
        }
    }
}

impl State {
    /// A release as a notice tells of it. Of one that is gone the deployment tells what is known.
    pub(crate) fn noticed(
        &self,
        id: Option<&ReleaseId>,
        deployment: Option<&DeploymentRecord>,
    ) -> Option<NoticeRelease> {
        let id = id?;
        let release = self.release(id);
        let source = release.map(|release| &release.source);
        let made = deployment.filter(|deployment| deployment.to.as_ref() == Some(id));
        let source = source.or_else(|| made?.source.as_ref());
        let name = release.map(|release| release.name.clone()).filter(|name| !name.is_empty());
        Some(NoticeRelease {
            id: id.clone(),
            commit: source.map(|source| source.digest().to_owned()),
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Record;
    use crate::state::model::testing::{notice, state};

    fn owed(number: u64, begun: bool, well: bool) -> Record {
        Record::NoticeOwed { notice: Box::new(notice(number, begun, well)) }
    }

    #[test]
    fn a_notice_is_owed_until_it_is_sent_or_has_failed_five_times() {
        let failed = || {
            let (reason, told) = ("no mail".into(), vec!["hook".to_owned()]);
            Record::NoticeFailed { notice: 1, reason, told }
        };
        let after = |failures: u32| {
            let records = (0..failures).map(|_| failed());
            state([owed(1, true, false), owed(2, true, false)].into_iter().chain(records))
        };
        let numbers = |state: &State| -> Vec<u64> {
            state.notices.owed.iter().map(|owed| owed.notice.number).collect()
        };
        assert_eq!(numbers(&after(NOTICE_TRIES - 1)), [1, 2]);
        assert_eq!(numbers(&after(NOTICE_TRIES)), [2]);
        let sent = state([owed(1, true, false), Record::NoticeSent { notice: 1 }]);
        assert!(sent.notices.owed.is_empty() && sent.notices.told().is_some());
    }

    #[test]
    fn a_look_that_is_in_order_again_says_nothing_of_a_deployment_that_failed() {
        let both = state([owed(1, true, false), owed(2, false, false), owed(3, false, true)]);
        assert_eq!(both.notices.told().map(|told| told.notice), Some(1));
        let over = state([owed(1, true, false), owed(2, false, false), owed(3, true, true)]);
        assert_eq!(over.notices.told(), None);
    }

    #[test]
    fn numbers_are_no_news_and_words_are() {
        let told = Told {
            notice: 1,
            deployment: None,
            at: Timestamp::from_millis(0),
            reason: "10.0.0.7:5123 is gone for 7 s".into(),
        };
        assert!(told.covers("10.0.0.8:49 is gone for 123 s"));
        assert!(!told.covers("10.0.0.7:5123 is back for 7 s"));
    }
}
