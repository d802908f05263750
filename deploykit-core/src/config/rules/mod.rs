//! What the keys of a configuration demand of one another, and of their values beyond the form.

mod health;
mod repo;
mod service;
mod shared;

pub(crate) use health::split_address;

use std::collections::BTreeMap;
use std::ops::Range;

use super::error::{ConfigErrorKind, Problem};
use super::read::ConfigKind;
use super::tree::Node;
use super::value::{EnvValue, Period};
use super::{BuildConfig, Config};

/// Every rule that the configuration breaks.
pub(super) fn broken(config: &Config, root: &Node, kind: ConfigKind) -> Vec<Problem> {
    let mut rules = Rules { root, problems: Vec::new() };
    repo::check(&mut rules, &config.repo);
    build(&mut rules, &config.build, kind);
    shared::check(&mut rules, &config.shared);
    service::check(&mut rules, config);
    health::check(&mut rules, &config.health);
    rules.at_least_one(&["releases", "keep"], config.releases.keep);
    rules.at_least_one(&["history", "keep"], config.history.keep);
    rules.problems
}

/// The tree, for the places, and what was found.
struct Rules<'a> {
    root: &'a Node,
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
    if kind == ConfigKind::Mfd && rules.key(&["build", "commands"]).is_none() {
        let hint = "commands = [[\"make\"]], or commands = [] if there is nothing to build";
        rules.missing(rules.value(&["build"]), "`commands` is missing in `build`", Some(hint));
    }
    rules.longer_than_nothing(&["build", "timeout"], build.timeout);
    rules.environment(&["build", "env"], &build.env);
    for (index, step) in build.steps.iter().enumerate() {
        let index = index.to_string();
        let path = ["build", "step", &index];
        rules.environment(&[&path[..], &["env"]].concat(), &step.env);
        if let Some(timeout) = step.timeout {
            rules.longer_than_nothing(&[&path[..], &["timeout"]].concat(), timeout);
        }
    }
}
