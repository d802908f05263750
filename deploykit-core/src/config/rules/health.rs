//! Rules of `[health]` and its checks.

use super::Rules;
use super::kinds::{Kind, Kinds, unique_name};
use crate::config::error::{ConfigErrorKind, Problem};
use crate::config::{CheckConfig, HealthConfig};
use crate::traits::InstanceName;

/// The checks that are built in.
const BUILT_IN: Kinds = Kinds {
    noun: "check",
    common: &["type", "name", "timeout", "service"],
    kinds: &[
        Kind {
            name: "http",
            needed: "url",
            more: &["status", "header", "json", "body", "send", "ca_file"],
            example: "url = \"http://localhost:8080/health\"",
        },
        Kind { name: "tcp", needed: "address", more: &[], example: "address = \"localhost:5432\"" },
        Kind { name: "unix", needed: "path", more: &[], example: "path = \"run/app.sock\"" },
        Kind { name: "exec", needed: "command", more: &[], example: "command = [\"bin/check\"]" },
    ],
};

pub(super) fn check(rules: &mut Rules<'_>, health: &HealthConfig) {
    rules.longer_than_nothing(&["health", "interval"], health.interval);
    rules.longer_than_nothing(&["health", "timeout"], health.timeout);
    rules.longer_than_nothing(&["health", "deadline"], health.deadline);
    rules.at_least_one(&["health", "successes"], health.successes);
    rules.at_least_one(&["health", "failures"], health.failures);
    first_look(rules, health);
    if !rules.has_all_items(&["health", "check"]) {
        return;
    }
    for (index, check) in health.checks.iter().enumerate() {
        let number = index.to_string();
        let path = ["health", "check", &number];
        BUILT_IN.check(rules, &path, check.kind());
        values(rules, &path, check);
        let before: Vec<String> = health.checks[..index].iter().map(CheckConfig::label).collect();
        unique_name(rules, "check", &path, &check.label(), &before);
    }
}

fn first_look(rules: &mut Rules<'_>, health: &HealthConfig) {
    let late = health.start_delay >= health.deadline && !health.deadline.get().is_zero();
    let keys = ["start_delay", "deadline"];
    let given = keys.map(|key| rules.root.find(&["health", key]));
    let given: Vec<_> = given.into_iter().flatten().collect();
    // A default stands in the place of a value that is wrong.
    if !late || given.iter().any(|entry| rules.is_torn(entry.key_span.start)) {
        return;
    }
    let Some(entry) = given.first() else { return };
    let why = format!("`health.{}`: the first look would be taken after the deadline", entry.key);
    let mut problem =
        Problem::new(ConfigErrorKind::Conflict, why).at(Some(entry.node.span.clone()));
    if let Some(other) = given.get(1) {
        problem = problem.beside(Some(other.node.span.clone()), "the deadline");
    }
    rules.problems.push(problem);
}

/// Values that no check could work with.
fn values(rules: &mut Rules<'_>, path: &[&str], check: &CheckConfig) {
    let at = |key: &'static str| [path, &[key]].concat();
    if let Some(timeout) = check.timeout {
        rules.longer_than_nothing(&at("timeout"), timeout);
    }
    if check.name.as_ref().is_some_and(|name| name.trim().is_empty()) {
        rules.wrong(&at("name"), "it must not be empty", None);
    }
    // Any number will do for what stands for one.
    let numbered = check.of_instance("1", &InstanceName::new("", None));
    if let Some(why) = numbered.url.as_deref().filter(|_| check.kind == "http").and_then(wrong_url)
    {
        rules.wrong(&at("url"), why, Some("for example http://localhost:8080/health"));
    }
    let address = numbered.address.as_deref().filter(|_| check.kind == "tcp");
    if address.is_some_and(|address| split_address(address).is_none()) {
        let hint = "for example localhost:5432 or [::1]:5432";
        rules.wrong(&at("address"), "it has the form host:port", Some(hint));
    }
    if check.path.as_ref().is_some_and(|path| path.is_empty() || path.contains('\0')) {
        rules.wrong(&at("path"), "it is not the path of a socket", None);
    }
    for pointer in check.json.keys().filter(|p| !p.is_empty() && !p.starts_with('/')) {
        let message = format!("{pointer:?} is not a JSON pointer");
        let hint = format!("it begins with a slash: \"/{}\"", pointer.replace('.', "/"));
        let problem = Problem::new(ConfigErrorKind::Value, message)
            .at(rules.key(&[path, &["json", pointer]].concat()))
            .hint(Some(hint));
        rules.problems.push(problem);
    }
    headers(rules, path, check);
}

fn headers(rules: &mut Rules<'_>, path: &[&str], check: &CheckConfig) {
    rules.header_names(path, "header", check.header.keys());
    rules.sent_headers(path, &check.send);
}

pub(super) fn wrong_url(url: &str) -> Option<&'static str> {
    let lower = url.to_ascii_lowercase();
    let rest = lower.strip_prefix("http://").or_else(|| lower.strip_prefix("https://"));
    let Some(rest) = rest else { return Some("it must begin with http:// or https://") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Some("it must not contain a user name; use send = { Authorization = … }");
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Some("it must not contain white space");
    }
    let with_port = if authority.ends_with(|c: char| c.is_ascii_digit())
        && authority.rsplit_once(']').map_or(authority, |(_, port)| port).contains(':')
    {
        authority.to_owned()
    } else {
        format!("{}:80", authority.strip_suffix(':').unwrap_or(authority))
    };
    split_address(&with_port).is_none().then_some("its host or port is not valid")
}

/// Host and port of `host:port`; an IPv6 address stands in brackets.
pub(crate) fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|&port| port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').filter(|inner| inner.contains(':'))?,
        None if host.contains([':', ']']) => return None,
        None => host,
    };
    let plain = |c: char| c.is_alphanumeric() || "-._:%".contains(c);
    (!host.is_empty() && host.chars().all(plain)).then_some((host, port))
}
