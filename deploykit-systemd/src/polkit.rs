//! The polkit rule by which a user other than root may handle the units.

/// The unit of the service that systemd asks.
pub(crate) const UNIT: &str = "polkit.service";

/// Where the rule belongs.
fn path(units: &[String]) -> String {
    let name = units.first().map_or("", |unit| unit.split(['.', '@']).next().unwrap_or_default());
    format!("/etc/polkit-1/rules.d/50-deploykit-{name}.rules")
}

/// The rule that lets `user` start, stop, restart and reload these units, and nothing else.
///
/// The actions and their variables are those of org.freedesktop.systemd1(5), "Security".
pub(crate) fn rule(user: &str, units: &[String]) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let units: Vec<String> = units.iter().map(|unit| quoted(unit)).collect();
    format!(
        "polkit.addRule(function(action, subject) {{\n    \
             if (action.id == \"org.freedesktop.systemd1.manage-units\" &&\n        \
                 subject.user == {} &&\n        \
                 [{}].indexOf(action.lookup(\"unit\")) >= 0) {{\n        \
                 return polkit.Result.YES;\n    \
             }}\n\
         }});\n",
        quoted(user),
        units.join(", ")
    )
}

/// What to do, for an error.
pub(crate) fn hint(user: &str, units: &[String]) -> String {
    format!(
        "deploy as root, or have root write this rule to {} (polkitd must be installed):\n{}",
        path(units),
        rule(user, units).trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_names_the_user_and_the_units() {
        let units = ["web@1.service".to_owned(), "worker.service".to_owned()];
        let rule = rule("an \"n\"", &units);
        assert!(rule.contains(r#"subject.user == "an \"n\"" &&"#), "{rule}");
        assert!(rule.contains(r#"["web@1.service", "worker.service"].indexOf"#), "{rule}");
        assert!(hint("ann", &units).contains("/50-deploykit-web.rules"));
    }
}
