//! Backends and types of checks go by names that the program must know.

use super::Rules;
use crate::backend::service_backend_name;
use crate::config::Config;
use crate::config::diagnose::nearest;
use crate::config::error::{ConfigErrorKind, Problem};
use crate::registry::Registry;

pub(super) fn check(rules: &mut Rules<'_>, config: &Config, registry: &Registry) {
    let source = Some(config.repo.backend.as_str());
    one(rules, &["repo", "backend"], "source backend", source, registry.source_names());
    let builder = Some(config.build.backend.as_str());
    one(rules, &["build", "backend"], "builder backend", builder, registry.builder_names());
    let service = config.service.backend.as_deref();
    one(rules, &["service", "backend"], "service backend", service, registry.service_names());
    described(rules, config, registry);
    if rules.has_all_items(&["health", "check"]) {
        for (index, check) in config.health.checks.iter().enumerate() {
            let path = ["health", "check", &index.to_string(), "type"];
            one(rules, &path, "type of check", Some(check.kind()), registry.check_names());
        }
    }
    if rules.has_all_items(&["notify", "to"]) {
        for (index, to) in config.notify.to.iter().enumerate() {
            let path = ["notify", "to", &index.to_string(), "type"];
            one(rules, &path, "type of notifier", Some(to.kind()), registry.notifier_names());
        }
    }
}

/// What the backend that is to run the services says of their descriptions.
fn described(rules: &mut Rules<'_>, config: &Config, registry: &Registry) {
    if !rules.has_all_items(&["service"]) || !rules.is_whole(&["systemd"]) {
        return;
    }
    let backend = service_backend_name(config);
    for (index, service) in config.service.services.iter().enumerate() {
        for (key, why) in registry.complaints(backend, service) {
            let index = index.to_string();
            let key: Vec<&str> = key.iter().map(String::as_str).collect();
            rules.wrong(&[&["service", index.as_str()], &key[..]].concat(), why, None);
        }
    }
}

/// What is not written is not judged: a default may be one that this program does without.
fn one<'n>(
    rules: &mut Rules<'_>,
    path: &[&str],
    kind: &str,
    name: Option<&str>,
    known: impl Iterator<Item = &'n str>,
) {
    let written = rules.root.find(path).filter(|entry| !rules.is_torn(entry.key_span.start));
    let (Some(entry), Some(name)) = (written, name) else { return };
    let known: Vec<&str> = known.collect();
    if known.contains(&name) {
        return;
    }
    let hint = match nearest(name, &known) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("there are {}", known.join(", ")),
    };
    let message = format!("there is no {kind} {name:?}");
    let problem = Problem::new(ConfigErrorKind::Value, message)
        .at(Some(entry.node.span.clone()))
        .hint(Some(hint));
    rules.problems.push(problem);
}
