//! Releases from which something runs that this user may not look at.

use std::io::ErrorKind;

use deploykit_core::{Context, ReleaseId, Timestamp};

use crate::error::SystemdError;
use crate::supervisor::Systemd;

/// Those in which a process may work that only reloads, and so goes on in the release that was active when
/// it was started: every one that there was then. What is restarted by every deployment works in the active
/// one.
pub(crate) fn unseen(systemd: &Systemd, ctx: &Context) -> Result<Vec<ReleaseId>, SystemdError> {
    let mut started: Option<Timestamp> = None;
    for unit in systemd.units.all().filter(|unit| systemd.units.reloads(unit)) {
        let facts = systemd.facts(ctx, unit)?;
        if facts.pid.is_some_and(is_hidden) {
            started = started.max(Some(facts.started.unwrap_or_else(|| ctx.now())));
        }
    }
    let Some(started) = started else { return Ok(Vec::new()) };
    let entries = systemd.layout.releases().read_dir_utf8();
    let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name().to_owned());
    let ids = names.filter_map(|name| name.parse::<ReleaseId>().ok());
    Ok(ids.filter(|id| is_before(id, started)).collect())
}

fn is_hidden(pid: u32) -> bool {
    let link = std::fs::read_link(format!("/proc/{pid}/cwd"));
    link.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Whether a release was made by then: its id begins with the time.
fn is_before(id: &ReleaseId, then: Timestamp) -> bool {
    let (id, then) = (id.as_str(), then.compact());
    !id.starts_with(|first: char| first.is_ascii_digit()) || id <= format!("{then}~").as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_later_is_not_used_by_what_was_started_before() {
        let then = Timestamp::from_millis(1_795_255_200_000);
        let is_before = |id: &str| is_before(&id.parse().unwrap(), then);
        let compact = then.compact();
        assert!(is_before(&format!("{compact}-0123456789ab")), "in the same second");
        assert!(is_before("20261120-235959-0123456789ab"));
        assert!(is_before("adopted"));
        assert!(!is_before("20261121-100001-0123456789ab"));
    }
}
