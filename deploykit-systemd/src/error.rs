//! What can go wrong with systemd, each with what a person can do about it.

use deploykit_core::Cancelled;
use deploykit_core::config::ManagerKind;
use deploykit_core::traits::{BackendError, SupervisorError};

use crate::facts::Facts;
use crate::{exit, polkit};

/// What went wrong with systemd.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SystemdError {
    /// There is no bus at that address, or it does not let this user in.
    #[error("the {} bus cannot be reached at {address}", word(*manager))]
    NoBus {
        /// Whose bus.
        manager: ManagerKind,
        /// Where it was looked for.
        address: String,
        /// Why.
        #[source]
        source: BusError,
    },
    /// There is a bus, but systemd is not on it.
    #[error("the {} manager of systemd does not answer", word(*manager))]
    NoManager {
        /// Which manager.
        manager: ManagerKind,
        /// What the bus says.
        message: String,
    },
    /// This user may not do that.
    #[error("{user} may not {verb} {unit}")]
    NoPermission {
        /// Who asked.
        user: String,
        /// What was asked for.
        verb: &'static str,
        /// Of which unit.
        unit: String,
        /// All units that are asked of.
        units: Vec<String>,
    },
    /// This user may not do that, of no unit in particular.
    #[error("{user} may not let systemd {what}")]
    NotAllowed {
        /// Who asked.
        user: String,
        /// What was asked for, as a verb.
        what: &'static str,
    },
    /// There is no such unit.
    #[error("there is no unit {unit}")]
    Missing {
        /// The unit.
        unit: String,
        /// Of which manager.
        manager: ManagerKind,
        /// deploykit could make it.
        described: bool,
    },
    /// It is masked: nobody can start it.
    #[error("the unit {unit} is masked, so it cannot be started")]
    Masked {
        /// The unit.
        unit: String,
        /// Of which manager.
        manager: ManagerKind,
    },
    /// systemd cannot read its file.
    #[error("systemd cannot load the unit {unit}: {why}")]
    Unreadable {
        /// The unit.
        unit: String,
        /// What it says.
        why: String,
    },
    /// Its file was changed, and systemd works with what it was before.
    #[error("the file of the unit {unit} was changed since systemd has read it")]
    NotReloaded {
        /// The unit.
        unit: String,
        /// Of which manager.
        manager: ManagerKind,
    },
    /// systemd refuses to start it again so soon.
    #[error("systemd does not start {unit} any more: it was started too often in too short a time")]
    StartLimit {
        /// The unit.
        unit: String,
    },
    /// It does not run as it should.
    #[error("{unit} has failed: {what}")]
    Failed {
        /// The unit.
        unit: String,
        /// How, in words.
        what: String,
        /// What can be done about it, where that is known.
        hint: Option<&'static str>,
    },
    /// What was asked for was not done, although the unit has not failed.
    #[error("{unit} was not {done}: {why}")]
    NotDone {
        /// The unit.
        unit: String,
        /// What was asked for: `started`.
        done: &'static str,
        /// Why not.
        why: String,
    },
    /// It took too long.
    #[error("{unit} was not {done} within {seconds} s, and systemd still tries")]
    TimedOut {
        /// The unit.
        unit: String,
        /// What was asked for.
        done: &'static str,
        /// How long it was waited.
        seconds: u64,
    },
    /// systemd has not begun to do it: other units come first.
    #[error("{unit} waits in systemd's queue for other units, and was not begun to be started")]
    Queued {
        /// The unit.
        unit: String,
    },
    /// Something else that the manager said, or did not say.
    #[error("systemd does not {what}: {message}")]
    Call {
        /// What it was asked for, as a verb.
        what: String,
        /// What it says.
        message: String,
    },
    /// Something is not there that it needs to be started.
    #[error("{unit} needs {what}, which is not there")]
    Lacks {
        /// The unit.
        unit: String,
        /// What it needs: `the user "web"`.
        what: String,
        /// What mends that.
        hint: String,
    },
    /// A unit file of that name belongs to another application.
    #[error("{file} was made for another application")]
    OfAnother {
        /// The file.
        file: String,
    },
    /// There is a unit of that name that deploykit has not made.
    #[error("there is a unit {unit} already, which deploykit has not made: {file}")]
    NotOurs {
        /// The unit.
        unit: String,
        /// Its file.
        file: String,
    },
    /// Whom it runs as does not get to where it works.
    #[error("{unit} runs as {user}, who may not {what}")]
    Barred {
        /// The unit.
        unit: String,
        /// As whom it runs.
        user: String,
        /// What that user may not do: `enter /srv/app (mode 700)`.
        what: String,
    },
    /// Its program cannot be run.
    #[error("{unit} cannot be started")]
    CannotRun {
        /// The unit.
        unit: String,
        /// Why its program cannot be run.
        #[source]
        source: deploykit_core::process::ProcessError,
    },
    /// It was cancelled.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

/// Why a bus cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BusError(pub(crate) String);

fn word(manager: ManagerKind) -> &'static str {
    match manager {
        ManagerKind::System => "system",
        ManagerKind::User => "user",
    }
}

/// `systemctl`, for the manager.
pub(crate) fn systemctl(manager: ManagerKind) -> &'static str {
    match manager {
        ManagerKind::System => "systemctl",
        ManagerKind::User => "systemctl --user",
    }
}

impl SystemdError {
    /// What a unit says of itself when it does not run as it should.
    pub(crate) fn of(facts: &Facts) -> Self {
        let unit = facts.unit.as_str().to_owned();
        if facts.result == "start-limit-hit" {
            return Self::StartLimit { unit };
        }
        let hint = exit::hint(facts.exit_code, facts.exit_status);
        Self::Failed { unit, what: format!("{}{}", facts.failure(), facts.again()), hint }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoBus { manager, .. } => hint_of_bus(*manager).to_owned(),
            Self::NoManager { manager: ManagerKind::System, .. } => {
                "systemd must be process 1 of this host".to_owned()
            }
            Self::NoManager { manager: ManagerKind::User, .. } => {
                "does `systemctl --user status` answer? dbus-user-session must be installed"
                    .to_owned()
            }
            Self::NoPermission { user, units, .. } => polkit::hint(user, units),
            Self::NotAllowed { .. } => "root may: the same with `sudo`".to_owned(),
            Self::Missing { described: true, manager: ManagerKind::System, .. }
                if !nix::unistd::geteuid().is_root() =>
            {
                "unit files of the host are written by root: `sudo deploykit unit install` makes it"
                    .to_owned()
            }
            Self::Missing { described: true, .. } => "`deploykit unit install` makes it".to_owned(),
            Self::Missing { unit, manager, .. } => hint_of_missing(unit, *manager),
            Self::Masked { unit, manager } => {
                format!("`{} unmask {unit}`", systemctl(*manager))
            }
            Self::Unreadable { unit, .. } => format!("`systemd-analyze verify {unit}` tells more"),
            Self::NotReloaded { manager, .. } => {
                format!("`{} daemon-reload`", systemctl(*manager))
            }
            Self::StartLimit { unit } => {
                format!("it ends right after its start: `journalctl -u {unit}` tells why")
            }
            Self::Failed { hint, .. } => (*hint)?.to_owned(),
            Self::Lacks { hint, .. } => hint.clone(),
            Self::CannotRun { source, .. } => return source.hint(),
            Self::OfAnother { .. } => {
                "the name of a service is that of its unit, on the whole host: give it another one"
                    .to_owned()
            }
            Self::NotOurs { .. } => {
                "the name of a service is that of its unit, on the whole host: give it another one; or \
                 let `deploykit unit install --force` put deploykit's own in its place"
                    .to_owned()
            }
            Self::Barred { .. } => {
                "every directory above it needs the right to be entered (`chmod o+x`); a release is made \
                 with the mask of whoever deploys: `umask 022`, then `deploykit deploy --rebuild`"
                    .to_owned()
            }
            Self::Queued { unit } => {
                format!("`systemctl list-jobs --after` tells what {unit} waits for")
            }
            Self::TimedOut { .. } => {
                "TimeoutStartSec= and TimeoutStopSec= of the unit are what systemd waits for"
                    .to_owned()
            }
            Self::NotDone { .. } | Self::Call { .. } | Self::Cancelled(_) => return None,
        })
    }

    /// Whether it tells nothing of what was to be run.
    fn is_of_the_host(&self) -> bool {
        !matches!(
            self,
            Self::StartLimit { .. }
                | Self::Failed { .. }
                | Self::NotDone { .. }
                | Self::TimedOut { .. }
        )
    }

    /// As the engine takes it, with the last lines that the unit has written.
    pub(crate) fn into_supervisor(self, tail: Vec<String>) -> SupervisorError {
        if let Self::Cancelled(cancelled) = self {
            return cancelled.into();
        }
        let (hint, host) = (self.hint(), self.is_of_the_host());
        let error = BackendError::new(self).hint(hint).tail(tail);
        if host { error.of_the_host().into() } else { error.into() }
    }
}

/// How a unit of one's own comes to be there.
fn hint_of_missing(unit: &str, manager: ManagerKind) -> String {
    let dir = match manager {
        ManagerKind::System => "/etc/systemd/system",
        ManagerKind::User => "~/.config/systemd/user",
    };
    let ctl = systemctl(manager);
    format!(
        "write {dir}/{unit} and run `{ctl} daemon-reload`, or describe it in [[service]], of which \
         `deploykit unit` makes it"
    )
}

/// What makes a bus answer.
fn hint_of_bus(manager: ManagerKind) -> &'static str {
    match manager {
        ManagerKind::System => "is this host run by systemd, with dbus installed?",
        ManagerKind::User if nix::unistd::geteuid().is_root() => {
            "it is root's own manager that is meant: run deploykit as the user whose units they are"
        }
        ManagerKind::User => {
            "the user's manager runs while the user is logged in, or always after \
             `loginctl enable-linger USER`; XDG_RUNTIME_DIR tells where its bus is"
        }
    }
}

impl From<SystemdError> for SupervisorError {
    fn from(error: SystemdError) -> Self {
        error.into_supervisor(Vec::new())
    }
}
