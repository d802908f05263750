//! What the keys of a configuration demand of one another, and of their values beyond the form.

mod backends;
mod health;
mod kinds;
mod notify;
mod repo;
mod service;
mod shared;
mod spec;
mod supervised;

pub(crate) use health::split_address;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::error::{ConfigErrorKind, Problem};
use super::read::ConfigKind;
use super::tree::{Node, Value};
use super::value::{EnvValue, Period};
use super::{BuildConfig, Config, TimersConfig};
use crate::registry::Registry;

/// Every rule that the configuration breaks. `torn` is where the keys and items begin that it is
/// without, since they are wrong already: nothing is said of what may be in order with them.
pub(super) fn broken(
    config: &Config,
    root: &Node,
    kind: ConfigKind,
    torn: &BTreeSet<usize>,
    registry: Option<&Registry>,
) -> Vec<Problem> {
    let mut rules = Rules { root, torn, problems: Vec::new() };
    repo::check(&mut rules, &config.repo);
    build(&mut rules, &config.build, kind);
    shared::check(&mut rules, &config.shared);
    service::check(&mut rules, config);
    health::check(&mut rules, &config.health);
    notify::check(&mut rules, config);
    if let Some(registry) = registry {
        backends::check(&mut rules, config, registry);
    }
    timers(&mut rules, &config.timers);
    rules.at_least_one(&["releases", "keep"], config.releases.keep);
    rules.at_least_one(&["history", "keep"], config.history.keep);
    rules.problems
}

/// The tree, for the places, what of it is left out, and what was found.
struct Rules<'a> {
    root: &'a Node,
    torn: &'a BTreeSet<usize>,
    problems: Vec<Problem>,
}

impl Rules<'_> {
    /// Where a value stands.
    fn value(&self, path: &[&str]) -> Option<Range<usize>> {
        self.root.at(path).map(|node| node.span.clone())
    }

    /// Where a key stands.
    fn key(&self, path: &[&str]) -> Option<Range<usize>> {
        self.root.find(path).map(|entry| entry.key_span.clone())
    }

    /// Whether the configuration has everything that stands at a path, so that what its keys demand
    /// of one another can be asked. A table's name that is misspelt may be the name of this one.
    fn is_whole(&self, path: &[&str]) -> bool {
        let top = self.root.entries().iter().all(|entry| !self.is_torn(entry.key_span.start));
        top && self.root.at(path).is_none_or(|node| self.has_all(node))
    }

    /// Whether every item of a list is there, so that they are counted as in the file.
    fn has_all_items(&self, path: &[&str]) -> bool {
        let items = self.root.at(path).map(Node::items).unwrap_or_default();
        items.iter().all(|item| !self.is_torn(item.span.start))
    }

    fn has_all(&self, node: &Node) -> bool {
        match &node.value {
            Value::Table(entries) => entries
                .iter()
                .all(|entry| !self.is_torn(entry.key_span.start) && self.has_all(&entry.node)),
            Value::List(items) => {
                items.iter().all(|item| !self.is_torn(item.span.start) && self.has_all(item))
            }
            _ => true,
        }
    }

    fn is_torn(&self, start: usize) -> bool {
        self.torn.contains(&start)
    }

    /// A value that the key does not take.
    fn wrong(&mut self, path: &[&str], why: impl std::fmt::Display, hint: Option<&str>) {
        let problem = Problem::new(ConfigErrorKind::Value, format!("`{}`: {why}", dotted(path)));
        self.problems.push(problem.at(self.value(path)).hint(hint));
    }

    /// Two keys that exclude each other.
    fn together(&mut self, first: &[&str], second: &[&str], hint: &str) {
        let why = format!("`{}` and `{}` cannot be given together", dotted(first), dotted(second));
        let problem = Problem::new(ConfigErrorKind::Conflict, why)
            .at(self.key(second))
            .beside(self.key(first), "the other one")
            .hint(Some(hint));
        self.problems.push(problem);
    }

    /// A key that is not there, and must be; shown at `place`.
    fn missing(&mut self, place: Option<Range<usize>>, why: impl Into<String>, hint: Option<&str>) {
        let problem = Problem::new(ConfigErrorKind::Missing, why).at(place).hint(hint);
        self.problems.push(problem);
    }

    fn at_least_one(&mut self, path: &[&str], number: u32) {
        if number == 0 {
            self.wrong(path, "it must be at least 1", None);
        }
    }

    fn longer_than_nothing(&mut self, path: &[&str], period: Period) {
        if period.get().is_zero() {
            self.wrong(path, "it must be longer than nothing", None);
        }
    }

    /// Names of headers below a key.
    fn header_names<'n>(
        &mut self,
        path: &[&str],
        key: &str,
        names: impl Iterator<Item = &'n String>,
    ) {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        for name in names.filter(|name| name.is_empty() || !name.bytes().all(token)) {
            let message = format!("{name:?} is not the name of a header");
            let problem = Problem::new(ConfigErrorKind::Value, message);
            self.problems.push(problem.at(self.key(&[path, &[key, name]].concat())));
        }
    }

    /// Headers that are sent, below `send`.
    fn sent_headers(&mut self, path: &[&str], send: &BTreeMap<String, EnvValue>) {
        self.header_names(path, "send", send.keys());
        for (name, value) in send {
            if matches!(value, EnvValue::Plain(text) if text.chars().any(char::is_control)) {
                let why = "a header cannot contain control characters";
                self.wrong(&[path, &["send", name]].concat(), why, None);
            }
        }
    }

    fn environment(&mut self, path: &[&str], env: &BTreeMap<String, EnvValue>) {
        for (name, value) in env {
            let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
            if let Some(why) = wrong_variable(name) {
                let message = format!("{name:?} cannot be the name of a variable: {why}");
                let problem = Problem::new(ConfigErrorKind::Value, message);
                self.problems.push(problem.at(self.key(&path)));
            }
            if matches!(value, EnvValue::Plain(text) if text.contains('\0')) {
                self.wrong(&path, "it cannot contain a NUL character", None);
            }
        }
    }
}

fn dotted(path: &[&str]) -> String {
    let mut text = String::new();
    for part in path {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            text.push_str(&format!("[{part}]"));
        } else {
            text.push_str(if text.is_empty() { "" } else { "." });
            text.push_str(part);
        }
    }
    text
}

fn wrong_variable(name: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        Some("it is made of letters, digits and '_'")
    } else if name.starts_with(|c: char| c.is_ascii_digit()) {
        Some("it starts with a digit")
    } else if name.starts_with("DEPLOYKIT_") {
        Some("those that start with DEPLOYKIT_ are deploykit's own")
    } else {
        None
    }
}

fn build(rules: &mut Rules<'_>, build: &BuildConfig, kind: ConfigKind) {
    if !build.commands.is_empty() && !build.steps.is_empty() {
        let hint = "turn each command into a [[build.step]] with `command = […]`";
        rules.together(&["build", "commands"], &["build", "step"], hint);
    }
    let lacks_commands = rules.key(&["build", "commands"]).is_none();
    if kind == ConfigKind::Mfd && lacks_commands && rules.is_whole(&["build"]) {
        let hint = "commands = [[\"make\"]], or commands = [] if there is nothing to build";
        rules.missing(rules.value(&["build"]), "`commands` is missing in `build`", Some(hint));
    }
    rules.longer_than_nothing(&["build", "timeout"], build.timeout);
    rules.environment(&["build", "env"], &build.env);
    if !rules.has_all_items(&["build", "step"]) {
        return;
    }
    for (index, step) in build.steps.iter().enumerate() {
        let index = index.to_string();
        let path = ["build", "step", &index];
        rules.environment(&[&path[..], &["env"]].concat(), &step.env);
        if let Some(timeout) = step.timeout {
            rules.longer_than_nothing(&[&path[..], &["timeout"]].concat(), timeout);
        }
    }
}

fn timers(rules: &mut Rules<'_>, timers: &TimersConfig) {
    rules.longer_than_nothing(&["timers", "recover"], timers.recover);
    if let Some(poll) = timers.poll {
        rules.longer_than_nothing(&["timers", "poll"], poll);
    }
}
