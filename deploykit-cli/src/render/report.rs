//! What came of a deployment or a rollback, in a few lines.

use deploykit::{Failure, Outcome, ReleaseId, Report, Request};

use super::error::Explained;
use super::paint::Paint;
use super::text::{stopped_by, stopped_by_signal};
use super::time;

/// What is told of a report: a result, or an error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// For standard output.
    Result(String),
    /// For standard error.
    Error(String),
    /// Nothing was to be done: for standard output, unless it is to be quiet.
    Nothing(String),
}

/// Tells of a report. Texts end without a line end.
pub(crate) fn tell(report: &Report, paint: Paint, error_paint: Paint) -> Told {
    match &report.outcome {
        None => Told::Nothing(nothing(report)),
        Some(Outcome::Deployed { verified }) => Told::Result(success(report, *verified, paint)),
        Some(outcome) => Told::Error(failure(report, outcome).render(error_paint)),
    }
}

fn nothing(report: &Report) -> String {
    let why = report.nothing.as_deref().unwrap_or("what is asked for is active");
    format!("Nothing to do: {why}.")
}

fn success(report: &Report, verified: bool, paint: Paint) -> String {
    let took = time::millis(report.millis);
    let active = report.active.as_ref().or(report.to.as_ref());
    let release = active.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let release = paint.strong(&release);
    let what = what(report);
    let changed = report.from != report.to;
    let mut text = match (&report.request, changed) {
        (Request::Restart, _) => {
            format!("The service of release {release} was started again ({took}).")
        }
        (Request::Reload, _) if report.from == report.to => format!(
            "The service of release {release} was brought to the changed configuration ({took})."
        ),
        (_, false) => format!(
            "Release {release} stays active; its service was brought to the changed configuration ({took})."
        ),
        (Request::Rollback { .. }, true) => {
            format!("Went back to {what} in {took}: release {release} is active.")
        }
        _ => format!("Deployed {what} in {took}: release {release} is active."),
    };
    if let (Some(from), true) = (&report.from, changed) {
        text.push_str(&match &report.request {
            _ if report.marked.as_ref() == Some(from) => format!(
                "\nIt replaces {from}, which is marked bad now: only `deploykit deploy REV --retry` deploys that again."
            ),
            _ => format!("\nIt replaces {from}; `deploykit rollback` goes back."),
        });
    }
    if !verified {
        text.push_str(&format!(
            "\n{} nothing has looked whether it works: no health check is configured.",
            paint.warn("Unchecked:")
        ));
    }
    text
}

/// `92965fdb8a7c (main)`.
fn what(report: &Report) -> String {
    let commit = report.source.as_ref().map_or("it", |source| source.short());
    let name = match &report.request {
        Request::Deploy { revision, .. } => revision.name(),
        _ => None,
    };
    match name.filter(|name| !commit.starts_with(name)) {
        Some(name) => format!("{commit} ({name})"),
        None => commit.to_owned(),
    }
}

fn failure(report: &Report, outcome: &Outcome) -> Explained {
    let mut explained = Explained::default();
    match &report.failure {
        Some(Failure { cancelled: Some(cause), .. }) => {
            explained.message = format!("{} was {}", report.request, stopped_by(*cause));
        }
        Some(failure) => {
            explained.message = format!("{} failed: {}", failure.step, failure.error);
            explained.causes.clone_from(&failure.causes);
            explained.tail.clone_from(&failure.tail);
            explained.hint.clone_from(&failure.hint);
        }
        None => {
            explained.message =
                outcome.reason().map_or_else(|| outcome.to_string(), ToString::to_string);
        }
    }
    explained.log = match (&report.log, report.deployment) {
        (Some(path), Some(id)) => Some((path.clone(), format!("deploykit show {id}"))),
        _ => None,
    };
    explained.now = Some(match outcome {
        Outcome::Interrupted { signal } => {
            explained.message = format!("{} was {}", report.request, stopped_by_signal(*signal));
            explained.causes.clear();
            format!("Nothing was activated, and all is cleaned up; {}.", still(report))
        }
        Outcome::RolledBack { .. } if report.unsettled => {
            explained.hint = Some("`deploykit recover` goes on with it".to_owned());
            format!(
                "What has rolled it back was broken off. {}",
                active_now(report.active.as_ref())
            )
        }
        Outcome::RolledBack { .. } if report.from == report.to => format!(
            "The changed configuration of the service was taken back; release {} stays active.",
            report.active.as_ref().map_or("(none)", |active| active.as_str())
        ),
        Outcome::RolledBack { .. } => rolled_back(report),
        Outcome::Broken { reason } => {
            let interrupted = report.failure.as_ref().is_some_and(|f| f.cancelled.is_some());
            let hint = match report.unsettled {
                true if interrupted => "`deploykit recover` finishes it",
                true => "mend the cause; then `deploykit recover` finishes it",
                false if report.active.is_none() => "mend the cause; then deploy again",
                false => {
                    "mend the cause; then `deploykit restart` starts the service again, or \
                          deploy another release"
                }
            };
            explained.hint.get_or_insert_with(|| hint.to_owned());
            let beyond = beyond(reason, &explained);
            format!("This is not in a good state{beyond}. {}", active_now(report.active.as_ref()))
        }
        _ if report.active.is_none() => "Nothing is active.".to_owned(),
        _ if report.active != report.from => active_now(report.active.as_ref()),
        _ => format!("Nothing has changed: {}.", still(report)),
    });
    explained
}

/// What the reason says beyond the error, which begins it as a rule.
fn beyond(reason: &str, explained: &Explained) -> String {
    let said = explained.message.split_once(" failed: ").map_or("", |(_, error)| error);
    let mut rest = reason.strip_prefix(said).unwrap_or(reason);
    for cause in &explained.causes {
        rest = rest.strip_prefix(&format!(": {cause}")).unwrap_or(rest);
    }
    match rest.trim_start_matches("; ") {
        _ if reason == explained.message => String::new(),
        "" => String::new(),
        more => format!(": {more}"),
    }
}

fn rolled_back(report: &Report) -> String {
    let what = report.to.as_ref().map_or_else(|| "It".to_owned(), |to| format!("Release {to}"));
    match &report.active {
        Some(active) if report.to.as_ref() == Some(active) => {
            format!("{what} was rolled back, and is active again since.")
        }
        Some(active) => {
            format!(
                "{what} was activated and rolled back: the previous release {active} serves again."
            )
        }
        None => format!("{what} was activated and withdrawn: nothing is active."),
    }
}

fn still(report: &Report) -> String {
    match &report.active {
        Some(active) => format!("release {active} is still active"),
        None => "nothing is active".to_owned(),
    }
}

fn active_now(active: Option<&ReleaseId>) -> String {
    active.map_or_else(|| "Nothing is active.".into(), |id| format!("Release {id} is active."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const OLD: &str = "20261120-080000-aaaaaaaaaaaa";
    const NEW: &str = "20261121-091530-92965fdb8a7c";

    fn report(change: &serde_json::Value) -> Report {
        let mut report = json!({
            "deployment": 7,
            "request": { "verb": "deploy", "revision": "main" },
            "outcome": { "outcome": "deployed", "verified": true },
            "from": OLD,
            "to": NEW,
            "source": format!("git:92965fdb8a7c{}", "0".repeat(28)),
            "active": NEW,
            "millis": 12_345,
            "log": "/srv/app/.deploykit/logs/7.log",
        });
        for (key, value) in change.as_object().unwrap() {
            report[key] = value.clone();
        }
        serde_json::from_value(report).unwrap()
    }

    fn told(change: &serde_json::Value) -> Told {
        tell(&report(change), Paint::new(false), Paint::new(false))
    }

    #[test]
    fn success_tells_what_is_active_and_how_to_go_back() {
        let expected = "\
Deployed 92965fdb8a7c (main) in 12.3 s: release 20261121-091530-92965fdb8a7c is active.
It replaces 20261120-080000-aaaaaaaaaaaa; `deploykit rollback` goes back.";
        assert_eq!(told(&json!({})), Told::Result(expected.into()));
    }

    #[test]
    fn a_first_unchecked_deployment_says_so() {
        let change = json!({
            "from": null,
            "request": { "verb": "deploy", "revision": null },
            "outcome": { "outcome": "deployed", "verified": false },
        });
        let expected = "\
Deployed 92965fdb8a7c in 12.3 s: release 20261121-091530-92965fdb8a7c is active.
Unchecked: nothing has looked whether it works: no health check is configured.";
        assert_eq!(told(&change), Told::Result(expected.into()));
    }

    #[test]
    fn a_rollback_tells_what_became_of_what_it_left() {
        let change = json!({ "request": { "verb": "rollback" }, "from": NEW, "to": OLD, "active": OLD, "marked": NEW });
        let Told::Result(text) = told(&change) else { panic!("no result") };
        assert!(
            text.starts_with("Went back to 92965fdb8a7c in 12.3 s: release 20261120-"),
            "{text}"
        );
        assert!(text.contains("which is marked bad now"), "{text}");
    }

    #[test]
    fn a_failed_build_ends_with_its_output_and_where_the_rest_is() {
        let change = json!({
            "outcome": { "outcome": "failed", "reason": "npm: no such file" },
            "active": OLD,
            "failure": {
                "step": "build",
                "error": "step \"npm ci\" exited with code 1",
                "causes": [],
                "tail": ["npm ERR! one", "npm ERR! two"],
                "hint": "is npm installed?",
            },
        });
        let expected = "\
error: build failed: step \"npm ci\" exited with code 1
the last lines of its output:
  | npm ERR! one
  | npm ERR! two
the whole output: `deploykit show 7`, /srv/app/.deploykit/logs/7.log
Nothing has changed: release 20261120-080000-aaaaaaaaaaaa is still active.
hint: is npm installed?";
        assert_eq!(told(&change), Told::Error(expected.into()));
    }

    #[test]
    fn a_release_that_was_rolled_back_tells_which_one_serves() {
        let change = json!({
            "outcome": { "outcome": "rolled-back", "reason": "not well within 60 s" },
            "active": OLD,
        });
        let expected = "\
error: not well within 60 s
the whole output: `deploykit show 7`, /srv/app/.deploykit/logs/7.log
Release 20261121-091530-92965fdb8a7c was activated and rolled back: the previous release 20261120-080000-aaaaaaaaaaaa serves again.";
        assert_eq!(told(&change), Told::Error(expected.into()));
    }

    #[test]
    fn an_interruption_after_the_activation_is_no_failure_of_a_step() {
        let change = json!({
            "outcome": { "outcome": "rolled-back", "reason": "interrupted (SIGINT)" },
            "active": OLD,
            "failure": {
                "step": "verify", "error": "interrupted (SIGINT)", "causes": [], "tail": [],
                "hint": null, "cancelled": "interrupt",
            },
        });
        let Told::Error(text) = told(&change) else { panic!("no error") };
        assert!(
            text.starts_with("error: deploy main was interrupted (Ctrl-C, SIGINT)\n"),
            "{text}"
        );
        assert!(!text.contains("failed"), "{text}");
        assert!(text.contains("was activated and rolled back"), "{text}");
    }

    #[test]
    fn an_interruption_and_a_broken_state_cannot_be_confused() {
        let interrupted =
            json!({ "outcome": { "outcome": "interrupted", "signal": 2 }, "active": OLD });
        let Told::Error(text) = told(&interrupted) else { panic!("no error") };
        assert!(
            text.starts_with("error: deploy main was interrupted (Ctrl-C, SIGINT)\n"),
            "{text}"
        );
        assert!(text.contains("Nothing was activated, and all is cleaned up"), "{text}");
        let broken =
            json!({ "outcome": { "outcome": "broken", "reason": "both are ill" }, "active": NEW });
        let Told::Error(text) = told(&broken) else { panic!("no error") };
        assert!(text.starts_with("error: both are ill\n"), "{text}");
        assert!(text.contains("\nThis is not in a good state. Release"), "{text}");
        assert!(text.contains("hint: mend the cause; then `deploykit restart`"), "{text}");
    }

    #[test]
    fn a_reason_is_told_once() {
        let change = json!({
            "outcome": { "outcome": "broken", "reason": "cannot x: y; the old one did not start: z" },
            "failure": { "step": "verify", "error": "cannot x", "causes": ["y"], "tail": [], "hint": null },
            "active": OLD,
        });
        let Told::Error(text) = told(&change) else { panic!("no error") };
        assert!(text.starts_with("error: verify failed: cannot x\n  caused by: y\n"), "{text}");
        let now = "This is not in a good state: the old one did not start: z. Release";
        assert!(text.contains(now) && text.matches("cannot x").count() == 1, "{text}");
    }

    #[test]
    fn nothing_to_do_is_told_apart() {
        let change = json!({ "outcome": null, "nothing": "92965fdb8a7c is active already" });
        let expected = "Nothing to do: 92965fdb8a7c is active already.";
        assert_eq!(told(&change), Told::Nothing(expected.into()));
    }
}
