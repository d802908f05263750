//! Rules of `[health]` and its checks.

use super::Rules;
use crate::config::error::{ConfigErrorKind, Problem};
use crate::config::tree::Entry;
use crate::config::{CheckConfig, EnvValue, HealthConfig};
use crate::traits::InstanceName;

/// The checks that are built in: the key that each needs, and those that it takes beside it.
const BUILT_IN: [(&str, &str, &[&str]); 4] = [
    ("http", "url", &["status", "header", "json", "body", "send", "ca_file"]),
    ("tcp", "address", &[]),
    ("unix", "path", &[]),
    ("exec", "command", &[]),
];

/// The keys that every check takes.
const COMMON: [&str; 4] = ["type", "name", "timeout", "service"];

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
        keys(rules, &path, check);
        values(rules, &path, check);
        name(rules, &path, check, &health.checks[..index]);
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

/// No two checks may go by the same name.
fn name(rules: &mut Rules<'_>, path: &[&str], check: &CheckConfig, before: &[CheckConfig]) {
    let label = check.label();
    let Some(other) = before.iter().position(|other| other.label() == label) else { return };
    // Without its target a check goes by its type alone.
    if !rules.is_whole(path) || !rules.is_whole(&["health", "check", &other.to_string()]) {
        return;
    }
    let key = if check.name.is_some() { "name" } else { "type" };
    let message = format!("there is another check called {label:?}");
    let problem = Problem::new(ConfigErrorKind::Conflict, message)
        .at(rules.value(&[path, &[key]].concat()))
        .hint(Some("give it another name = \"…\""));
    rules.problems.push(problem);
}

/// Keys that do not belong to the check's type, or are missing.
fn keys(rules: &mut Rules<'_>, path: &[&str], check: &CheckConfig) {
    // A check that was added has its own rules, and an unknown one is for the registry to refuse.
    let Some((kind, needed, more)) = BUILT_IN.iter().find(|(kind, ..)| *kind == check.kind) else {
        return;
    };
    let given = rules.root.at(path).map(|node| node.entries()).unwrap_or_default();
    let takes = |key: &str| COMMON.contains(&key) || key == *needed || more.contains(&key);
    let is_new = |entry: &&Entry| !rules.is_torn(entry.key_span.start);
    let strange: Vec<_> = given.iter().filter(|entry| !takes(&entry.key)).filter(is_new).collect();
    for entry in strange {
        let owner = BUILT_IN
            .iter()
            .find(|(_, needed, more)| entry.key == *needed || more.contains(&entry.key.as_str()));
        let hint = owner.map(|(owner, ..)| format!("it belongs to a check of type \"{owner}\""));
        let message = format!("a check of type \"{kind}\" has no `{}`", entry.key);
        let problem = Problem::new(ConfigErrorKind::Conflict, message);
        rules.problems.push(problem.at(Some(entry.key_span.clone())).hint(hint));
    }
    if !given.iter().any(|entry| entry.key == *needed) && rules.is_whole(path) {
        let place = rules.value(&[path, &["type"]].concat());
        let message = format!("a check of type \"{kind}\" needs `{needed}`");
        let hint = match *kind {
            "http" => "url = \"http://localhost:8080/health\"",
            "tcp" => "address = \"localhost:5432\"",
            "unix" => "path = \"run/app.sock\"",
            _ => "command = [\"bin/check\"]",
        };
        rules.missing(place, message, Some(hint));
    }
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
    let names = check.header.keys().map(|name| ("header", name));
    let names: Vec<_> = names.chain(check.send.keys().map(|name| ("send", name))).collect();
    for (key, name) in names {
        if !is_header_name(name) {
            let message = format!("{name:?} is not the name of a header");
            let problem = Problem::new(ConfigErrorKind::Value, message);
            rules.problems.push(problem.at(rules.key(&[path, &[key, name]].concat())));
        }
    }
    for (name, value) in &check.send {
        if matches!(value, EnvValue::Plain(text) if text.chars().any(char::is_control)) {
            let why = "a header cannot contain control characters";
            rules.wrong(&[path, &["send", name]].concat(), why, None);
        }
    }
}

fn is_header_name(name: &str) -> bool {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(token)
}

fn wrong_url(url: &str) -> Option<&'static str> {
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
