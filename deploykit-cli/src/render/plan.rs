//! What a deployment would do.

use deploykit::traits::Switching;
use deploykit::{Action, Plan, Step};

use super::paint::Paint;
use super::releases::short_name;
use super::table::labelled;
use super::text::clean;

/// The plan, as text that ends with a line end.
pub(crate) fn plan(plan: &Plan, paint: Paint) -> String {
    if let Action::Nothing { why } = &plan.action {
        return format!("Nothing to do: {}.\n", clean(why));
    }
    let name = |id: &Option<deploykit::ReleaseId>, none: &str| {
        id.as_ref().map_or_else(|| none.to_owned(), ToString::to_string)
    };
    let mut rows = vec![
        ("revision", revision(plan)),
        ("from", name(&plan.from, "nothing")),
        ("to", name(&plan.to, "a new release")),
        ("do", what(plan, paint)),
        ("steps", plan.steps.iter().map(|step| step.name()).collect::<Vec<_>>().join(", ")),
    ];
    if !plan.build.is_empty() {
        rows.push(("build", lines(&plan.build)));
    }
    rows.push(("service", format!("{}: {}", plan.service, switching(plan.switching))));
    let checks = if plan.checks.is_empty() { "none".to_owned() } else { lines(&plan.checks) };
    if plan.steps.contains(&Step::Verify) || plan.checks.is_empty() {
        rows.push(("checks", checks));
    }
    if let Some(within) = plan.confirm_within {
        rows.push(("confirm", format!("from a new login within {within}, else it goes back")));
    }
    if !plan.prune.is_empty() {
        let prune: Vec<_> = plan.prune.iter().map(ToString::to_string).collect();
        rows.push(("remove", lines(&prune)));
    }
    let mut text = labelled(&rows, paint);
    for warning in &plan.warnings {
        text.push_str(&format!("{} {}\n", paint.warn("warning:"), clean(warning)));
    }
    text
}

fn lines(texts: &[String]) -> String {
    texts.iter().map(|text| clean(text)).collect::<Vec<_>>().join("\n")
}

fn revision(plan: &Plan) -> String {
    let name = short_name(&plan.name);
    let name = if name.is_empty() { plan.revision.to_string() } else { name };
    format!("{name} is {}", plan.source.digest())
}

fn what(plan: &Plan, paint: Paint) -> String {
    paint.strong(match &plan.action {
        Action::Build => "build and activate it",
        Action::Activate => "activate it: it is built already",
        Action::Restart => "start its service again",
        Action::Reconfigure if plan.switching == Switching::Nothing => {
            "watch its service as the configuration says now"
        }
        Action::Reconfigure => "bring its service to the changed configuration",
        _ => "nothing",
    })
}

fn switching(switching: Switching) -> &'static str {
    match switching {
        Switching::Nothing => "nothing is restarted",
        Switching::Restart => "restarted after the activation",
        Switching::Overlap => "new instances are started beside the old ones",
        _ => "as its backend does it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(action: &serde_json::Value) -> String {
        let mut plan = json!({
            "request": { "verb": "deploy", "revision": "main" },
            "revision": "main", "source": format!("git:{}", "ab".repeat(20)), "name": "refs/heads/main",
            "from": "old", "to": null, "steps": ["fetch", "checkout", "build", "seal", "activate", "service", "verify"],
            "build": ["npm ci", "npm run build"], "service": "command", "switching": "restart",
            "checks": ["http /up"], "prune": ["older"], "warnings": ["the present release is held by ann"],
        });
        plan.as_object_mut().unwrap().extend(action.as_object().unwrap().clone());
        super::plan(&serde_json::from_value(plan).unwrap(), Paint::new(false))
    }

    #[test]
    fn a_plan_tells_all_that_will_be_done() {
        let expected = "\
revision  main is abababababababababababababababababababab
from      old
to        a new release
do        build and activate it
steps     fetch, checkout, build, seal, activate, service, verify
build     npm ci
          npm run build
service   command: restarted after the activation
checks    http /up
remove    older
warning: the present release is held by ann
";
        assert_eq!(shown(&json!({ "action": "build" })), expected);
    }

    #[test]
    fn a_plan_of_nothing_is_one_line() {
        let action = json!({ "action": "nothing", "why": "it is active already" });
        assert_eq!(shown(&action), "Nothing to do: it is active already.\n");
    }
}
