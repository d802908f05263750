//! Why the engine refused or could not begin something.

use std::collections::BTreeSet;

use camino::{Utf8Path, Utf8PathBuf};

use crate::cancel::{Cancelled, Cause};
use crate::config::{Argv, ConfigError};
use crate::id::{DeploymentId, ReleaseId, SourceId};
use crate::process::ProcessError;
use crate::registry::RegistryError;
use crate::state::{FileError, Hold, JournalError, LockError, ProbationRecord};
use crate::time::Timestamp;
use crate::traits::{ActivatorError, BoxError, SourceError, SupervisorError};

/// What an error means for whoever called: the exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request makes no sense here.
    Usage,
    /// The configuration is wrong.
    Config,
    /// Another deployment is going on.
    Busy,
    /// It was cancelled.
    Cancelled(Cause),
    /// It could not be done; what was active still is.
    Failed,
    /// It is not in a good state: a person must look.
    Broken,
}

/// Why the engine refused or could not begin something. What goes wrong once a deployment has
/// begun is in its [`Report`](crate::Report).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong.
    #[error("the configuration is wrong")]
    Config(#[from] ConfigError),
    /// The application's directory cannot be used.
    #[error("cannot use {path} as an application's directory")]
    Directory {
        /// Which.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A path is not UTF-8.
    #[error("the path of {path:?} is not UTF-8")]
    NotUtf8 {
        /// Which.
        path: std::path::PathBuf,
    },
    /// A backend cannot be set up.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The lock could not be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A release is on probation, and somebody is watching it.
    #[error("deployment {} is on probation until {}", probation.deployment, probation.deadline)]
    OnProbation {
        /// The probation.
        probation: Box<ProbationRecord>,
    },
    /// The journal could not be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The active link could not be read or switched.
    #[error(transparent)]
    Activator(#[from] ActivatorError),
    /// The service could not be looked at or changed.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// A health check could not be made.
    #[error("the health check {check} cannot look")]
    Check {
        /// Which.
        check: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is asked for is marked bad.
    #[error("{source_id} is marked bad: {reason}", source_id = source_id.short())]
    Bad {
        /// What.
        source_id: SourceId,
        /// Why.
        reason: String,
    },
    /// The release to go back to is marked bad.
    #[error("release {release} is marked bad: {reason}")]
    BadRelease {
        /// Which.
        release: ReleaseId,
        /// Why.
        reason: String,
    },
    /// The present release is pinned.
    #[error("{hold}")]
    Held {
        /// The pin.
        hold: Box<Hold>,
    },
    /// Nothing is active whose service could be started.
    #[error("nothing is active")]
    NothingActive,
    /// There is no service that could be started again.
    #[error("no service is configured")]
    NoService,
    /// There is no release to go back to.
    #[error("there is no earlier confirmed release to go back to")]
    NothingToRollBackTo,
    /// There is no such release.
    #[error("there is no release {name:?}")]
    NoSuchRelease {
        /// As it was typed.
        name: String,
    },
    /// More than one release is meant.
    #[error("{name:?} fits {} releases", candidates.len())]
    AmbiguousRelease {
        /// As it was typed.
        name: String,
        /// Their names.
        candidates: Vec<ReleaseId>,
    },
    /// That release was never confirmed.
    #[error("release {release} was never confirmed")]
    Unconfirmed {
        /// Which.
        release: ReleaseId,
    },
    /// That release is active already.
    #[error("release {release} is active already")]
    AlreadyActive {
        /// Which.
        release: ReleaseId,
    },
    /// There is no probation that could be confirmed.
    #[error("nothing is on probation")]
    NoProbation,
    /// Who confirms came over the connection that has deployed: that proves nothing.
    #[error(
        "deployment {deployment} must be confirmed over a new connection, and this one was there before"
    )]
    SameConnection {
        /// Which.
        deployment: DeploymentId,
        /// What to type in a new login.
        command: String,
    },
    /// The time to confirm it is over.
    #[error("deployment {deployment} was to be confirmed until {deadline}: it is taken back")]
    TooLate {
        /// Which.
        deployment: DeploymentId,
        /// When that was.
        deadline: Timestamp,
    },
    /// There is no such deployment.
    #[error("there is no deployment {}", id.map_or_else(|| "yet".to_owned(), |id| id.to_string()))]
    NoSuchDeployment {
        /// Its number; none when there is no deployment at all.
        id: Option<DeploymentId>,
    },
    /// A shared file is missing.
    #[error("shared files are missing: {}", paths.join(", "))]
    SharedMissing {
        /// Which, relative to `shared/`.
        paths: Vec<String>,
        /// Where they should be.
        directory: Utf8PathBuf,
    },
    /// Something shared is of another kind than the configuration says.
    #[error("{path} is no {wanted}")]
    SharedKind {
        /// Which.
        path: Utf8PathBuf,
        /// What it should be: `file` or `directory`.
        wanted: &'static str,
    },
    /// None of the releases is there, though the active link leads to one.
    #[error(
        "none of the {number} releases is there any more, neither in {directory} nor elsewhere"
    )]
    ReleasesMissing {
        /// How many there should be.
        number: usize,
        /// Where they should be.
        directory: Utf8PathBuf,
        /// The active link.
        link: Utf8PathBuf,
    },
    /// A deployment could be brought neither to its end nor back, and what is asked for does not mend
    /// that.
    #[error("deployment {deployment} could be brought neither to its end nor back")]
    Stuck {
        /// Which.
        deployment: DeploymentId,
    },
    /// There is not enough room on the disk.
    #[error("{path} has not enough room: {what}")]
    Disk {
        /// Where.
        path: Utf8PathBuf,
        /// The numbers.
        what: String,
    },
    /// Something is still going on that must end first.
    #[error("{what}")]
    Unsettled {
        /// What.
        what: String,
    },
    /// It was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl Error {
    /// What it means for whoever called.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config(_) | Self::Registry(_) => ErrorKind::Config,
            Self::Lock(LockError::Held { .. }) | Self::OnProbation { .. } => ErrorKind::Busy,
            Self::Lock(LockError::Cancelled(Cancelled(cause)))
            | Self::Source(SourceError::Cancelled(Cancelled(cause)))
            | Self::Supervisor(SupervisorError::Cancelled(Cancelled(cause)))
            | Self::Cancelled(Cancelled(cause)) => ErrorKind::Cancelled(*cause),
            Self::Journal(JournalError::File(_)) => ErrorKind::Failed,
            Self::Journal(_) | Self::ReleasesMissing { .. } | Self::Stuck { .. } => {
                ErrorKind::Broken
            }
            Self::NotUtf8 { .. } => ErrorKind::Usage,
            _ => ErrorKind::Failed,
        }
    }

    /// Whether those who did not see it are told: not of what will pass by itself, and not of what was
    /// told when it came about.
    pub(super) fn is_to_be_told(&self) -> bool {
        match self.kind() {
            ErrorKind::Busy | ErrorKind::Cancelled(_) | ErrorKind::Usage => false,
            ErrorKind::Config | ErrorKind::Failed | ErrorKind::Broken => {
                !matches!(self, Self::Stuck { .. })
            }
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Registry(error) => error.hint(),
            Self::Journal(error) => error.hint(),
            Self::Source(error) => error.hint(),
            Self::Activator(error) => error.hint(),
            Self::Supervisor(error) => error.hint(),
            Self::Check { source, .. } => source.downcast_ref::<ProcessError>()?.hint(),
            Self::Lock(LockError::File(error)) | Self::File(error)
                if error.source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Some("run deploykit as the user who deploys: it needs to write here".into())
            }
            Self::Lock(LockError::Held { .. }) => {
                Some("wait for it with --wait, or look at `deploykit status`".into())
            }
            Self::OnProbation { .. } => Some(
                "wait for it with --wait; or decide it: `deploykit confirm`, `deploykit rollback`"
                    .into(),
            ),
            Self::Bad { .. } => Some("deploy it all the same with --retry".into()),
            Self::BadRelease { release, .. } | Self::Unconfirmed { release } => {
                Some(format!("`deploykit rollback {release} --retry` goes there all the same"))
            }
            Self::Held { .. } => {
                Some("`deploykit unhold` ends that; a revision that is named is deployed".into())
            }
            Self::NothingActive => Some("`deploykit deploy` activates a release".into()),
            Self::NoService => {
                Some("[service] of the configuration says how it is started and stopped".into())
            }
            Self::NothingToRollBackTo => {
                Some("`deploykit list` shows what there is; name a release to go to it".into())
            }
            Self::NoSuchRelease { .. } | Self::AmbiguousRelease { .. } => {
                Some("`deploykit list` shows what there is".into())
            }
            Self::SameConnection { command, .. } => Some(format!(
                "that this shell still works shows nothing of a new login; there, type: {command}"
            )),
            Self::TooLate { .. } => Some(
                "if nobody is watching it, `deploykit recover` takes it back now; \
                 `deploykit deploy --retry` tries it again"
                    .into(),
            ),
            Self::NoSuchDeployment { id: Some(_) } => {
                Some("`deploykit history` shows what there is".into())
            }
            Self::SharedMissing { paths, directory } => Some(how_to_share(paths, directory)),
            Self::SharedKind { .. } => Some(
                "move it away; shared.files and shared.dirs of the configuration say what is what"
                    .into(),
            ),
            Self::Stuck { .. } => Some(
                "mend the cause; then `deploykit recover` finishes it, or deploy another commit"
                    .into(),
            ),
            Self::ReleasesMissing { link, .. } => Some(format!(
                "mount the file system that they are on; if they are lost, remove the link {link} \
                 and deploy again"
            )),
            Self::Disk { .. } => Some(
                "`deploykit prune` removes what is not kept; disk.min_free and releases.keep are \
                 in the configuration"
                    .into(),
            ),
            _ => None,
        }
    }
}

/// How missing shared files come to be there: commands that work whatever is there already.
fn how_to_share(paths: &[String], directory: &Utf8Path) -> String {
    let files: Vec<Utf8PathBuf> = paths.iter().map(|path| directory.join(path)).collect();
    let parents: BTreeSet<&Utf8Path> = files.iter().filter_map(|file| file.parent()).collect();
    let quoted = |words: Vec<&str>| {
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        Argv::try_from(words).map(|command| command.to_string()).unwrap_or_default()
    };
    let mkdir = ["mkdir", "-p"].into_iter().chain(parents.into_iter().map(Utf8Path::as_str));
    let mut commands = vec![quoted(mkdir.collect())];
    commands.extend(files.iter().map(|file| quoted(vec!["cp", "FILE", file.as_str()])));
    let commands: Vec<_> = commands.iter().map(|command| format!("`{command}`")).collect();
    format!(
        "put them there: {}; or into the repository, from which the first copy is taken",
        commands.join(", ")
    )
}
