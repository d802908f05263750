//! What goes on in an application, on one screen.

use deploykit::state::{DeploymentRecord, Holder, ProbationRecord};
use deploykit::traits::ServiceState;
use deploykit::{BrokenOff, ReleaseView, Stage, Status};

use super::paint::Paint;
use super::releases::{outcome, short_name};
use super::table::labelled;
use super::text::{clean, clean_lines};
use super::time::{Times, rough};

/// The screen, as text that ends with a line end.
pub(crate) fn screen(status: &Status, times: Times, paint: Paint) -> String {
    let mut rows =
        vec![("application", status.root.to_string()), ("active", active(status, times, paint))];
    rows.extend(service(status, times, paint).map(|text| ("service", text)));
    rows.extend(checks(status, paint).map(|text| ("checks", text)));
    rows.extend(probation(status, times, paint).map(|text| ("probation", text)));
    rows.extend(busy(status, times).map(|text| ("busy", text)));
    rows.extend(unfinished(status, paint).map(|text| ("unfinished", text)));
    rows.extend(hold(status, times, paint).map(|text| ("hold", text)));
    rows.push(("rollback", rollback(status, times)));
    rows.extend(last(status, times, paint).map(|text| ("last", text)));
    let mut text = labelled(&rows, paint);
    for hint in hints(status) {
        text.push_str(&format!("{} {hint}\n", paint.hint_word("hint:")));
    }
    text
}

/// `20261121-… (92965fdb8a7c, main)`.
fn title(release: &ReleaseView, paint: Paint) -> String {
    let record = &release.record;
    let name = short_name(&record.name);
    let behind = if name.is_empty() { String::new() } else { format!(", {name}") };
    format!("{} ({}{behind})", paint.strong(record.id.as_str()), record.source.short())
}

fn active(status: &Status, times: Times, paint: Paint) -> String {
    let Some(release) = &status.active else {
        return match &status.link {
            Some(link) => format!("{link}, which is no release of deploykit"),
            None => "nothing".to_owned(),
        };
    };
    let state = &release.record.state;
    let word = state.to_string();
    let word = match () {
        () if state.verdict.is_bad() => paint.bad(&word),
        () if state.verdict.is_confirmed() => paint.good(&word),
        () => paint.warn(&word),
    };
    let since =
        release.activated.map_or_else(String::new, |at| format!(", activated {}", times.past(at)));
    let mut text = format!("{}\n{word}{since}", title(release, paint));
    if !status.intact {
        text.push_str(&format!("\n{}", paint.bad("its directory is gone")));
    }
    if let Some(broken) = status.broken_off.iter().find(|broken| is_unsettled(broken)) {
        let what = format!("deployment {} did not get to its end: see below", broken.deployment);
        text.push_str(&format!("\n{}", paint.warn(&what)));
    }
    text
}

/// Whether the service may run something else than what is active.
fn is_unsettled(broken: &BrokenOff) -> bool {
    !matches!(broken.stage, Stage::Preparing | Stage::Confirmed)
}

/// What was begun and not ended, and what is known of it.
fn unfinished(status: &Status, paint: Paint) -> Option<String> {
    let one = |broken: &BrokenOff| {
        let how = match (&broken.failure, broken.stage) {
            (Some(_), _) => "could be brought neither to its end nor back",
            (None, Stage::Preparing) => "broken off before anything was activated",
            (None, Stage::Confirmed) => "broken off when all was done but to record its end",
            (None, Stage::GoingBack) => "broken off on its way back: the service may not run",
            (None, _) => "broken off after it had activated its release: its service may not run",
        };
        let request = clean(&broken.request.to_string());
        let mut lines = vec![format!("#{} {request}: {}", broken.deployment, paint.warn(how))];
        let reason = broken.reason.as_deref().map(|why| format!("it was to go back: {why}"));
        let failure = broken.failure.clone();
        lines.extend(reason.into_iter().chain(failure).map(|line| clean_lines(&line)));
        lines.join("\n")
    };
    let lines: Vec<_> = status.broken_off.iter().map(one).collect();
    Some(lines.join("\n")).filter(|text| !text.is_empty())
}

fn service(status: &Status, times: Times, paint: Paint) -> Option<String> {
    let service = status.service.as_ref()?;
    let word = |state: ServiceState| match state {
        ServiceState::Running => paint.good("running"),
        ServiceState::Starting => paint.warn("starting"),
        ServiceState::Draining => paint.warn("draining"),
        ServiceState::Stopped => paint.warn("stopped"),
        ServiceState::Failed => paint.bad("failed"),
        _ => paint.dim("unknown"),
    };
    let mut text = word(service.state);
    if !service.detail.is_empty() {
        text.push_str(&format!("  {}", paint.dim(&clean(&service.detail))));
    }
    for instance in &service.instances {
        let pid = instance.pid.map_or_else(String::new, |pid| format!(", process {pid}"));
        let since = instance.since.map_or_else(String::new, |at| format!(", {}", times.past(at)));
        let again = match instance.restarts {
            0 => String::new(),
            1 => paint.warn(", started again once"),
            times => paint.warn(&format!(", started again {times} times")),
        };
        let (name, state) = (clean(&instance.name), word(instance.state));
        text.push_str(&format!("\n{name}: {state}{pid}{since}{again}"));
    }
    Some(text)
}

fn checks(status: &Status, paint: Paint) -> Option<String> {
    if status.checks.is_empty() {
        let unseen = status.active.is_some() && status.service.is_none();
        return unseen.then(|| paint.warn("none configured: nothing tells whether it works"));
    }
    let line = |check: &deploykit::CheckView| {
        let word = if check.look.is_well() { paint.good("well") } else { paint.bad("not well") };
        let detail = clean(check.look.detail());
        let detail = if detail.is_empty() { detail } else { format!("  {}", paint.dim(&detail)) };
        format!("{}: {word}{detail}", clean(&check.check))
    };
    Some(status.checks.iter().map(line).collect::<Vec<_>>().join("\n"))
}

fn holder(holder: &Holder, times: Times) -> String {
    format!("{} ({})", clean(&holder.doing), process_of(holder, times))
}

fn process_of(holder: &Holder, times: Times) -> String {
    let Holder { process, by, since, .. } = holder;
    format!("process {} of {}, began {}", process.pid, clean(&by.user), times.past(*since))
}

fn busy(status: &Status, times: Times) -> Option<String> {
    status.busy.as_ref().map(|busy| holder(busy, times))
}

fn probation(status: &Status, times: Times, paint: Paint) -> Option<String> {
    let probation = status.probation.as_ref()?;
    let watched = match &status.watching {
        Some(watching) => format!("watched by {}", process_of(watching, times)),
        None => paint.warn("nobody is watching it"),
    };
    if let Some(command) = &status.confirm_with {
        return Some(format!("{}\n{watched}", demanded(probation, command, times, paint)));
    }
    let decided = times.future(probation.deadline);
    let back = match &probation.predecessor {
        Some(release) if *release == probation.release => {
            "if it is ill, it stays active, under the configuration that is recorded".to_owned()
        }
        Some(release) => format!("if it is ill, {release} serves again"),
        None => "if it is ill, nothing is active".to_owned(),
    };
    Some(format!("decided {decided} (deployment {})\n{back}\n{watched}", probation.deployment))
}

/// What somebody has to do, until when, and what happens else.
fn demanded(probation: &ProbationRecord, command: &str, times: Times, paint: Paint) -> String {
    let left = probation.deadline.since(times.now);
    let what = if left.is_zero() {
        "it was not confirmed in time, and is taken back".to_owned()
    } else {
        format!("confirm it from a new login within {}: {}", rough(left), clean(command))
    };
    let back = match &probation.predecessor {
        Some(release) if *release == probation.release => {
            "else it goes back to the configuration that is recorded".to_owned()
        }
        Some(release) => format!("else {release} serves again"),
        None => "else nothing is active".to_owned(),
    };
    format!("{}\n{back} (deployment {})", paint.warn(&what), probation.deployment)
}

fn hold(status: &Status, times: Times, paint: Paint) -> Option<String> {
    let hold = status.hold.as_ref()?;
    let why = hold.reason.as_ref().map_or_else(String::new, |why| format!(": {}", clean(why)));
    let held = paint.warn(&format!("held by {}", clean(&hold.by.user)));
    Some(format!("{held}, {}{why}", times.past(hold.since)))
}

fn rollback(status: &Status, times: Times) -> String {
    if let Some(broken) = status.broken_off.iter().find(|broken| broken.finished_by_rollback) {
        let (what, to) = match broken.stage {
            Stage::GoingBack => ("the way back", &broken.back_to),
            _ => ("that", &broken.to),
        };
        let to = to.as_ref().map_or_else(String::new, |to| format!(", to {to}"));
        return format!(
            "would finish {what} of deployment {}{to}, and go no further",
            broken.deployment
        );
    }
    let Some(release) = &status.rollback else { return "there is nothing to go back to".into() };
    let last = release
        .activated
        .map_or_else(String::new, |at| format!(", last activated {}", times.past(at)));
    format!("would go to {}{last}", title(release, Paint::new(false)))
}

/// The last deployment: `#7 deploy main by ann, 3 min ago: failed` and why.
fn last(status: &Status, times: Times, paint: Paint) -> Option<String> {
    let last = status.last.as_ref()?;
    let (what, who) = (clean(&last.request.to_string()), clean(&last.by.user));
    let word = match status.unfinished {
        None if last.outcome.is_none() => "still running".to_owned(),
        _ => outcome(last.outcome.as_ref()).paint(paint),
    };
    let mut text = format!("#{} {what} by {who}, {}: {word}", last.id, times.past(last.started));
    if let Some(reason) = last.outcome.as_ref().and_then(|outcome| outcome.reason()) {
        text.push_str(&format!("\n{}", clean_lines(reason)));
    }
    Some(text)
}

fn hints(status: &Status) -> Vec<String> {
    let mut hints = Vec::new();
    let failed = |last: &DeploymentRecord| last.outcome.as_ref().is_some_and(|o| !o.is_success());
    if let Some(last) = status.last.as_ref().filter(|last| failed(last)) {
        hints.push(format!("`deploykit show {}` tells what happened", last.id));
    }
    hints.extend(status.broken_off.iter().map(|broken| match &broken.failure {
        Some(_) => format!(
            "mend the cause; then `deploykit recover` finishes deployment {}",
            broken.deployment
        ),
        None => format!(
            "deployment {} was broken off: `deploykit recover` puts that right, as does the next deployment",
            broken.deployment
        ),
    }));
    let down = |state| matches!(state, ServiceState::Stopped | ServiceState::Failed);
    let settled = status.broken_off.is_empty() && status.busy.is_none();
    if settled && status.service.as_ref().is_some_and(|service| down(service.state)) {
        hints.push("`deploykit restart` starts the service again".into());
    }
    if status.changed {
        hints.push(
            "the configuration of the service has changed: `deploykit reload` brings it there"
                .into(),
        );
    }
    if !status.intact {
        hints
            .push("`deploykit deploy` or `deploykit rollback` makes a release active again".into());
    }
    let demanded = status.confirm_with.is_some();
    if status.probation.is_some() && status.watching.is_some() && !demanded {
        hints.push("`deploykit confirm` or `deploykit rollback` decides at once".into());
    }
    if status.hold.is_some() {
        hints.push(
            "`deploykit unhold` ends the hold; a revision that is named is deployed all the same"
                .into(),
        );
    }
    if status.link.is_none() && status.unfinished.is_none() && status.busy.is_none() {
        hints.push("`deploykit deploy` makes the first release".into());
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::*;
    use deploykit::Timestamp;
    use serde_json::json;

    fn shown(value: &serde_json::Value) -> String {
        let mut status = json!({
            "root": "/srv/app", "link": null, "active": null, "intact": true, "service": null,
            "checks": [], "probation": null, "busy": null, "watching": null, "unfinished": null,
            "hold": null, "rollback": null, "activations": [], "last": null,
        });
        status.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        let status: Status = serde_json::from_value(status).unwrap();
        let now = Timestamp::try_from("2026-11-21T10:03:00.000Z".to_owned()).unwrap();
        screen(&status, Times { now, absolute: false }, Paint::new(false))
    }

    fn release(id: &str, verdict: &str) -> serde_json::Value {
        json!({
            "id": id, "source": format!("git:{}", "ab".repeat(20)), "name": "refs/heads/main",
            "path": format!("releases/{id}"), "created": "2026-11-21T10:00:00.000Z",
            "state": { "build": "sealed", "verdict": verdict, "verified": true },
            "active": true, "activated": "2026-11-21T10:01:00.000Z", "rollback": false,
        })
    }

    #[test]
    fn an_empty_application_tells_how_to_begin() {
        let expected = "\
application  /srv/app
active       nothing
rollback     there is nothing to go back to
hint: `deploykit deploy` makes the first release
";
        assert_eq!(shown(&json!({})), expected);
    }

    #[test]
    fn a_probation_tells_everything_that_one_wants_to_know() {
        let holder = json!({
            "pid": 12, "start_time": 1, "boot_id": "x", "by": { "user": "ann", "via": "deploykit" },
            "since": "2026-11-21T10:01:00.000Z", "doing": "watching the health of deployment 7",
        });
        let status = json!({
            "link": "releases/new",
            "active": release("new", "probation"),
            "service": { "state": "running", "detail": "main process 99", "instances": [] },
            "checks": [
                { "check": "http /up", "look": "well", "detail": "200 in 3 ms" },
                { "check": "tcp", "look": "not-yet", "detail": "refused" },
            ],
            "probation": {
                "deployment": 7, "release": "new", "predecessor": "old",
                "before": { "verdict": "none" }, "started": "2026-11-21T10:01:00.000Z",
                "deadline": "2026-11-21T10:03:12.000Z", "generation": 1,
            },
            "watching": holder,
            "rollback": release("old", "confirmed"),
        });
        let expected = "\
application  /srv/app
active       new (abababababab, main)
             probation, activated 2 min ago
service      running  main process 99
checks       http /up: well  200 in 3 ms
             tcp: not well  refused
probation    decided in 12 s (deployment 7)
             if it is ill, old serves again
             watched by process 12 of ann, began 2 min ago
rollback     would go to old (abababababab, main), last activated 2 min ago
hint: `deploykit confirm` or `deploykit rollback` decides at once
";
        assert_eq!(shown(&status), expected);
    }

    #[test]
    fn a_probation_that_somebody_must_confirm_tells_how_and_until_when() {
        let status = |deadline: &str| {
            shown(&json!({
                "link": "releases/new",
                "active": release("new", "probation"),
                "confirm_with": "ssh web1 deploykit -C /srv/app confirm",
                "probation": {
                    "deployment": 7, "release": "new", "predecessor": "old", "confirmation": true,
                    "before": { "verdict": "none" }, "started": "2026-11-21T10:01:00.000Z",
                    "deadline": deadline, "generation": 1,
                },
            }))
        };
        let expected = "\
probation    confirm it from a new login within 12 s: ssh web1 deploykit -C /srv/app confirm
             else old serves again (deployment 7)
             nobody is watching it
";
        let text = status("2026-11-21T10:03:12.000Z");
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("`deploykit confirm`"), "here it would not count: {text}");
        let late = status("2026-11-21T10:02:00.000Z");
        assert!(late.contains("it was not confirmed in time, and is taken back"), "{late}");
    }

    #[test]
    fn the_last_deployment_is_told_with_its_reason_when_it_failed() {
        let last = |outcome: serde_json::Value| {
            let mut record = json!({
                "id": 7, "by": { "user": "ann", "via": "x" }, "started": "2026-11-21T10:00:00.000Z",
                "request": { "verb": "deploy", "revision": "main" },
            });
            if !outcome.is_null() {
                record["outcome"] = outcome;
            }
            shown(&json!({ "last": record, "link": "releases/x" }))
        };
        let text = last(json!({ "outcome": "rolled-back", "reason": "http: refused" }));
        let expected = "\
last         #7 deploy main by ann, 3 min ago: rolled back
             http: refused
hint: `deploykit show 7` tells what happened
";
        assert!(text.ends_with(expected), "{text}");
        let text = last(json!({ "outcome": "deployed", "verified": true }));
        assert!(
            text.ends_with("last         #7 deploy main by ann, 3 min ago: deployed\n"),
            "{text}"
        );
        assert!(last(json!(null)).ends_with(": still running\n"));
    }

    fn broken_off(stage: &str, failure: Option<&str>, finished_by_rollback: bool) -> String {
        shown(&json!({
            "link": "releases/old", "active": release("old", "confirmed"), "unfinished": 7,
            "rollback": release("older", "confirmed"),
            "broken_off": [{
                "deployment": 7, "request": { "verb": "rollback" }, "stage": stage, "to": "old", "back_to": "older",
                "reason": failure.map(|_| "http: 500"), "failure": failure,
                "finished_by_rollback": finished_by_rollback,
            }],
        }))
    }

    #[test]
    fn what_was_killed_after_the_activation_is_not_told_as_if_it_served() {
        let expected = "\
active       old (abababababab, main)
             confirmed, activated 2 min ago
             deployment 7 did not get to its end: see below
checks       none configured: nothing tells whether it works
unfinished   #7 rollback: broken off after it had activated its release: its service may not run
rollback     would finish that of deployment 7, to old, and go no further
hint: deployment 7 was broken off: `deploykit recover` puts that right, as does the next deployment
";
        let text = broken_off("activated", None, true);
        assert!(text.ends_with(expected), "{text}");
        let text = broken_off("preparing", None, false);
        assert!(!text.contains("did not get to its end"), "{text}");
        assert!(text.contains("before anything was activated"), "{text}");
        assert!(text.contains("would go to older"), "{text}");
    }

    #[test]
    fn what_could_not_be_brought_back_tells_why() {
        let expected = "\
unfinished   #7 rollback: could be brought neither to its end nor back
             it was to go back: http: 500
             service failed: it exited with code 1
";
        let text = broken_off("going-back", Some("service failed: it exited with code 1"), true);
        assert!(text.contains("would finish the way back of deployment 7, to older"), "{text}");
        assert!(text.contains(expected) && !text.contains("broken off"), "{text}");
        assert!(
            text.ends_with(
                "hint: mend the cause; then `deploykit recover` finishes deployment 7\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_is_wrong_has_a_hint() {
        let status = json!({
            "link": "releases/new", "active": release("new", "confirmed"), "intact": false, "unfinished": 7,
            "broken_off": [{
                "deployment": 7, "request": { "verb": "deploy", "revision": null }, "stage": "preparing",
                "to": null, "back_to": null, "reason": null, "failure": null, "finished_by_rollback": false,
            }],
            "hold": { "by": { "user": "ann", "via": "x" }, "since": "2026-11-21T10:00:00.000Z", "reason": "freeze" },
        });
        let text = shown(&status);
        assert!(text.contains("its directory is gone"), "{text}");
        assert!(text.contains("hold         held by ann, 3 min ago: freeze"), "{text}");
        assert_eq!(text.matches("hint: ").count(), 3, "{text}");
    }
}
