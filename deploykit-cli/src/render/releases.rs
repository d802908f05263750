//! Lists: of releases, and of deployments.

use std::collections::BTreeSet;

use deploykit::state::DeploymentRecord;
use deploykit::traits::{BuildState, Verdict};
use deploykit::{Outcome, ReleaseId, ReleaseView};

use super::paint::Paint;
use super::table::{Cell, Look, table};
use super::text::{bytes, clean};
use super::time::{self, Times};

/// The lines that mfd prints: the full hash of a commit, and ` (active)` behind the one that is
/// active; one line a commit, the newest release first.
pub(crate) fn lines(releases: &[ReleaseView]) -> String {
    let active = releases.iter().find(|release| release.active).map(|r| &r.record.source);
    let mut told = BTreeSet::new();
    let mut text = String::new();
    for release in releases {
        let source = &release.record.source;
        if told.insert(source) {
            let mark = if active == Some(source) { " (active)" } else { "" };
            text.push_str(&format!("{}{mark}\n", source.digest()));
        }
    }
    text
}

/// A table of releases, as text that ends with a line end.
pub(crate) fn releases(
    releases: &[ReleaseView],
    times: Times,
    paint: Paint,
    limit: Option<usize>,
) -> String {
    let row = |release: &ReleaseView| {
        let record = &release.record;
        let mark = match (release.active, release.rollback) {
            (true, _) => Cell::new("active").look(Look::Good),
            (_, true) => Cell::new("rollback goes here").or_short("rollback").look(Look::Dim),
            _ => Cell::new(""),
        };
        let size = if record.bytes == 0 { String::new() } else { bytes(record.bytes) };
        vec![
            release_cell(&record.id).look(Look::Name),
            Cell::new(record.source.short()),
            Cell::new(short_name(&record.name)),
            Cell::new(times.past(record.created)),
            Cell::new(size),
            state(release),
            mark,
        ]
    };
    let rows: Vec<_> = releases.iter().map(row).collect();
    let heading = ["release", "commit", "name", "made", "size", "state", ""];
    // The beginning of an id or of a hash names what the whole does.
    let narrower = [(6, 8), (5, 9), (0, 16), (2, 6), (1, 8), (3, 5), (5, 5), (6, 4)];
    table(&heading, &rows, paint, limit, &narrower)
}

fn state(release: &ReleaseView) -> Cell {
    let state = &release.record.state;
    let look = match (&state.build, &state.verdict) {
        (_, Verdict::Bad { .. }) => Look::Bad,
        (_, Verdict::Probation) => Look::Warn,
        (_, Verdict::Confirmed { .. }) | (BuildState::Adopted, _) => Look::Plain,
        _ => Look::Dim,
    };
    let cell = Cell::new(state.to_string()).look(look);
    match state.verdict {
        Verdict::Confirmed { verified: false } => cell.or_short("unchecked"),
        _ => cell,
    }
}

/// The id; without its hash, which has a column of its own, where it is too long.
fn release_cell(id: &ReleaseId) -> Cell {
    let text = short_id(id);
    match text.rsplit_once(['-', '_']) {
        Some((time, _)) => Cell::new(&text).or_short(format!("{time}…")),
        None => Cell::new(text),
    }
}

/// The id; only the hash at its end, by which a person knows it, where it is too long.
fn end_cell(id: Option<&ReleaseId>) -> Cell {
    let Some(id) = id else { return Cell::new("-") };
    let text = short_id(id);
    match text.rsplit_once(['-', '_']) {
        Some((_, hash)) => Cell::new(&text).or_short(format!("…{hash}")),
        None => Cell::new(text),
    }
}

/// `main` of `refs/heads/main`; nothing of a hash, which has its own column.
pub(crate) fn short_name(name: &str) -> String {
    let short = ["refs/heads/", "refs/tags/", "refs/"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    let is_hash = short.len() >= 40 && short.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { String::new() } else { clean(short) }
}

/// The id, a full hash at its end cut to twelve digits: what mfd called its releases is too long for
/// a table. The beginning of an id names a release, too.
fn short_id(id: &ReleaseId) -> String {
    match id.as_str().rsplit_once('_') {
        Some((before, hash)) if hash.len() == 40 => format!("{before}_{}", &hash[..12]),
        _ => id.to_string(),
    }
}

/// A table of deployments, as text that ends with a line end.
pub(crate) fn history(
    deployments: &[DeploymentRecord],
    times: Times,
    paint: Paint,
    limit: Option<usize>,
) -> String {
    let row = |record: &DeploymentRecord| {
        let took = record.ended.map(|ended| time::duration(ended.since(record.started)));
        vec![
            Cell::new(record.id.to_string()).look(Look::Name),
            Cell::new(times.past(record.started)),
            Cell::new(clean(&record.by.user)),
            Cell::new(clean(&record.request.to_string())),
            end_cell(record.from.as_ref()).look(Look::Dim),
            end_cell(record.to.as_ref()),
            Cell::new(took.unwrap_or_default()),
            outcome(record.outcome.as_ref()),
        ]
    };
    let rows: Vec<_> = deployments.iter().map(row).collect();
    let heading = ["id", "when", "who", "what", "from", "to", "took", "outcome"];
    let narrower = [(4, 13), (5, 13), (7, 11), (3, 8), (2, 4), (4, 6), (1, 5), (7, 8), (5, 8)];
    table(&heading, &rows, paint, limit, &narrower)
}

/// How a deployment ended, in a word or two.
pub(crate) fn outcome(outcome: Option<&Outcome>) -> Cell {
    match outcome {
        None => Cell::new("unfinished").look(Look::Warn),
        Some(outcome @ Outcome::Deployed { verified: true }) => {
            Cell::new(outcome.to_string()).look(Look::Good)
        }
        Some(outcome @ Outcome::Deployed { .. }) => {
            Cell::new(outcome.to_string()).or_short("unchecked")
        }
        Some(outcome @ Outcome::Interrupted { .. }) => {
            Cell::new(outcome.to_string()).look(Look::Warn)
        }
        Some(outcome) => Cell::new(outcome.to_string()).look(Look::Bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deploykit::Timestamp;
    use serde_json::json;

    fn release(id: &str, digit: &str, active: bool) -> ReleaseView {
        serde_json::from_value(json!({
            "id": id,
            "source": format!("git:{}", digit.repeat(40)),
            "name": "refs/heads/main",
            "path": format!("releases/{id}"),
            "created": "2026-11-21T10:00:00.000Z",
            "state": { "build": "sealed", "verdict": "confirmed", "verified": true },
            "bytes": 1536,
            "active": active,
            "activated": null,
            "rollback": !active && id == "first",
        }))
        .unwrap()
    }

    fn times() -> Times {
        let now = Timestamp::try_from("2026-11-21T10:03:00.000Z".to_owned()).unwrap();
        Times { now, absolute: false }
    }

    #[test]
    fn scripts_get_one_line_a_commit_and_the_active_one_wins() {
        // The newest release is a rebuild of the commit of which an older one is active.
        let releases = [
            release("third", "a", false),
            release("second", "b", false),
            release("first", "a", true),
        ];
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        assert_eq!(lines(&releases), format!("{a} (active)\n{b}\n"));
    }

    #[test]
    fn people_get_a_table() {
        let releases = [release("second", "b", true), release("first", "a", false)];
        let expected = "\
release  commit        name  made       size     state
second   bbbbbbbbbbbb  main  3 min ago  1.5 KiB  confirmed  active
first    aaaaaaaaaaaa  main  3 min ago  1.5 KiB  confirmed  rollback goes here
";
        assert_eq!(super::releases(&releases, times(), Paint::new(false), None), expected);
    }

    #[test]
    fn history_tells_who_did_what_and_how_it_ended() {
        let deployment = |value: serde_json::Value| -> DeploymentRecord {
            let mut record = json!({
                "by": { "user": "ann", "via": "deploykit" },
                "request": { "verb": "deploy", "revision": "main" },
                "started": "2026-11-21T10:00:00.000Z",
            });
            record.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
            serde_json::from_value(record).unwrap()
        };
        let deployments = [
            deployment(json!({ "id": 2, "from": "first" })),
            deployment(json!({
                "id": 1, "to": "first", "ended": "2026-11-21T10:00:12.300Z",
                "outcome": { "outcome": "failed", "reason": "x" },
            })),
        ];
        let expected = "\
id  when       who  what         from   to     took    outcome
2   3 min ago  ann  deploy main  first  -              unfinished
1   3 min ago  ann  deploy main  -      first  12.3 s  failed
";
        assert_eq!(history(&deployments, times(), Paint::new(false), None), expected);
    }

    #[test]
    fn the_ids_of_mfd_are_cut() {
        let id: ReleaseId = format!("mfd_1700000000_{}", "ab".repeat(20)).parse().unwrap();
        assert_eq!(short_id(&id), "mfd_1700000000_abababababab");
    }

    #[test]
    fn names_are_short_and_hashes_are_no_names() {
        assert_eq!(short_name("refs/heads/feature/x"), "feature/x");
        assert_eq!(short_name("refs/tags/v1"), "v1");
        assert_eq!(short_name(&"a".repeat(40)), "");
    }
}
