//! Over which connection somebody came: who deploys over one that stood before cannot tell by it
//! whether a new one can still be made.

use serde::{Deserialize, Serialize};

use crate::config::Period;
use crate::process::ProcessId;

/// What the kernel says of a process that came in through no login.
const NO_AUDIT_SESSION: u32 = u32::MAX;

/// Over which connection somebody came to this host: what can be known of it.
///
/// ```
/// use deploykit_core::state::Connection;
///
/// let this = Connection::current();
/// assert!(!this.is_new_beside(&this.clone()));
/// assert!(Connection::named("tls 7").is_new_beside(&Connection::named("tls 6")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Connection {
    /// What an embedding program calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The kernel's audit session (`/proc/self/sessionid`): one a login, and none that is started by
    /// the host itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_session: Option<u32>,
    /// `SSH_CONNECTION`: both addresses and ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
    /// The leader of the process session.
    pub session: ProcessId,
}

impl Connection {
    /// That of this process.
    pub fn current() -> Self {
        let audit_session = std::fs::read_to_string("/proc/self/sessionid").ok();
        let audit_session = audit_session.and_then(|text| text.trim().parse().ok());
        Self {
            name: None,
            audit_session: audit_session.filter(|session| *session != NO_AUDIT_SESSION),
            ssh: std::env::var("SSH_CONNECTION").ok().filter(|text| !text.is_empty()),
            session: ProcessId::of_session(),
        }
    }

    /// One that an embedding program knows, by a name that no other has: for a service that takes its
    /// orders over the network, and whose process is always the same.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::current() }
    }

    /// Whether somebody who comes over this one shows that connections can be made, since it is another
    /// than the one that was there already. Of what both have the first counts: the name, the audit
    /// session, ssh's addresses and ports, the process session. Where ssh was seen before and is not now,
    /// it may be hidden, and nothing is new. What was before a reboot has ended with it.
    pub fn is_new_beside(&self, before: &Self) -> bool {
        if self.session.boot_id != before.session.boot_id {
            return true;
        }
        fn both<T: PartialEq>(one: Option<&T>, other: Option<&T>) -> Option<bool> {
            Some(one? != other?)
        }
        both(self.name.as_ref(), before.name.as_ref())
            .or_else(|| both(self.audit_session.as_ref(), before.audit_session.as_ref()))
            .or_else(|| both(self.ssh.as_ref(), before.ssh.as_ref()))
            // `sudo` hides it, and begins a session: that is no new login.
            .or_else(|| before.ssh.as_ref().filter(|_| self.ssh.is_none()).map(|_| false))
            .unwrap_or(self.session != before.session)
    }
}

/// Somebody must confirm a deployment over a new connection, or it is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Demand {
    /// How long there is time for it, from the beginning of the probation.
    pub within: Period,
    /// The connection over which it was deployed.
    pub connection: Connection,
}

impl Demand {
    /// That it is confirmed within this time, over another connection than that.
    pub fn new(within: Period, connection: Connection) -> Self {
        Self { within, connection }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn connection(
        (name, audit, ssh, pid, start_time, boot): (
            Option<bool>,
            Option<u32>,
            Option<bool>,
            u32,
            u64,
            bool,
        ),
    ) -> Connection {
        let text = |yes: bool| if yes { "a".to_owned() } else { "b".to_owned() };
        let mut session = ProcessId::current();
        (session.pid, session.start_time, session.boot_id) = (pid, start_time, text(boot));
        Connection { name: name.map(text), audit_session: audit, ssh: ssh.map(text), session }
    }

    fn any_connection() -> impl Strategy<Value = Connection> {
        let pieces = (
            prop::option::weighted(0.3, any::<bool>()),
            prop::option::of(0..2u32),
            prop::option::of(any::<bool>()),
            0..2u32,
            0..2u64,
            prop::bool::weighted(0.9),
        );
        pieces.prop_map(connection)
    }

    fn at(audit: Option<u32>, ssh: Option<bool>, pid: u32) -> Connection {
        connection((None, audit, ssh, pid, 7, true))
    }

    #[test]
    fn the_audit_session_counts_before_all_that_a_shell_can_change() {
        // Another terminal of tmux, and another environment, in the same login.
        assert!(!at(Some(3), Some(true), 10).is_new_beside(&at(Some(3), Some(false), 20)));
        assert!(at(Some(4), Some(true), 10).is_new_beside(&at(Some(3), Some(true), 10)));
    }

    #[test]
    fn without_an_audit_session_ssh_tells_and_then_the_process_session() {
        assert!(!at(None, Some(true), 10).is_new_beside(&at(Some(3), Some(true), 20)));
        assert!(at(None, Some(true), 10).is_new_beside(&at(None, Some(false), 10)));
        assert!(!at(None, None, 10).is_new_beside(&at(None, Some(true), 10)));
        assert!(at(None, Some(true), 10).is_new_beside(&at(None, None, 20)));
        assert!(!at(None, None, 10).is_new_beside(&at(None, Some(true), 20)), "sudo hid it");
        let later = connection((None, None, None, 10, 8, true));
        assert!(later.is_new_beside(&at(None, None, 10)), "the number was given to another one");
    }

    #[test]
    fn after_a_reboot_every_connection_is_new() {
        let before = connection((None, Some(1), None, 10, 7, false));
        assert!(at(Some(1), None, 10).is_new_beside(&before));
    }

    proptest! {
        #[test]
        fn who_came_the_same_way_is_never_new_and_the_order_matters_only_where_ssh_is_hidden(
            one in any_connection(),
            other in any_connection(),
        ) {
            prop_assert!(!one.is_new_beside(&one));
            if one.ssh.is_some() == other.ssh.is_some() {
                prop_assert_eq!(one.is_new_beside(&other), other.is_new_beside(&one));
            }
            let text = serde_json::to_string(&one).unwrap();
            prop_assert_eq!(serde_json::from_str::<Connection>(&text).unwrap(), one);
        }
    }
}
