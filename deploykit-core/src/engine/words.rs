//! A notice in words.

use std::fmt::Write as _;

use serde_json::Value;

use crate::state::{Notice, NoticeEvent, NoticeRelease, Outcome};

/// What happened, in one line: `was rolled back: …`.
pub(super) fn what(notice: &Notice) -> String {
    if notice.event == NoticeEvent::Recovery {
        return match &notice.outcome {
            Some(_) => "is active, and well: the trouble before it is over".to_owned(),
            None => "would go well again: the trouble before it is over".to_owned(),
        };
    }
    let what = match &notice.outcome {
        Some(Outcome::RolledBack { .. }) => "was rolled back".to_owned(),
        Some(Outcome::Broken { .. }) => "is broken, and a person must look".to_owned(),
        Some(Outcome::Interrupted { signal }) => format!("was interrupted by signal {signal}"),
        _ if notice.must_look => "failed, and a person must look".to_owned(),
        _ => "failed".to_owned(),
    };
    match notice.reason().lines().next().unwrap_or_default() {
        "" => what,
        reason => format!("{what}: {reason}"),
    }
}

/// The rest, in lines.
pub(super) fn text(notice: &Notice, story: &Value) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        let _ = writeln!(text, "{line}");
    };
    line(&format!("Asked for: {} (by {}, {})", notice.request, notice.by.user, notice.by.via));
    let releases = [("Before", &notice.from), ("To be active", &notice.to)];
    for (name, release) in releases {
        if let Some(release) = release {
            line(&format!("{name}: {}", of_release(release)));
        }
    }
    if let Some(active) = story["now"]["active"]["id"].as_str() {
        let service = story["now"]["service"]["state"].as_str();
        let service = service.map(|state| format!(", service {state}")).unwrap_or_default();
        line(&format!("Active now: {active}{service}"));
    }
    if let Some(told) = &notice.recovers {
        line(&format!("Over: {} ({})", told.reason, told.at));
    }
    if let Some(failure) = &notice.failure {
        let step = failure.step.map(|step| format!(" in the step {step}")).unwrap_or_default();
        line(&format!("\nError{step}: {}", failure.error));
        failure.causes.iter().for_each(|cause| line(&format!("  because: {cause}")));
        if let Some(hint) = &failure.hint {
            line(&format!("  hint: {hint}"));
        }
        quote(&mut line, "Its last lines", failure.tail.iter().map(String::as_str));
    }
    let log_end = story["log_end"].as_array().into_iter().flatten().filter_map(Value::as_str);
    quote(&mut line, "The end of its output", log_end);
    text
}

fn quote<'a>(line: &mut impl FnMut(&str), title: &str, lines: impl Iterator<Item = &'a str>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        line(&format!("\n{title}:"));
        lines.for_each(|one| line(&format!("  {one}")));
    }
}

fn of_release(release: &NoticeRelease) -> String {
    match (&release.name, &release.commit) {
        (Some(name), Some(commit)) => format!("{} ({name}, {commit})", release.id),
        (None, Some(commit)) => format!("{} ({commit})", release.id),
        _ => release.id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::model::testing::notice;

    #[test]
    fn a_failure_is_told_in_one_line_and_in_many() {
        let mut told = notice(1, true, false);
        told.outcome = Some(Outcome::RolledBack { reason: "not well\nsecond line".into() });
        assert_eq!(what(&told), "was rolled back: not well");
        let story = serde_json::json!({
            "now": { "active": { "id": "20261121-184548-1fd686672df4" } },
            "log_end": ["one", "two"],
        });
        let text = text(&told, &story);
        assert!(text.contains("\nActive now: 20261121-184548-1fd686672df4\n"), "{text}");
        assert!(text.ends_with("\nThe end of its output:\n  one\n  two\n"), "{text}");
    }

    #[test]
    fn a_recovery_names_what_is_over() {
        let told = notice(2, true, true);
        assert!(what(&told).contains("over"), "{}", what(&told));
    }
}
