//! Tables whose `type` says which keys they take.

use super::Rules;
use crate::config::error::{ConfigErrorKind, Problem};
use crate::config::tree::Entry;

/// One type.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// The key that it needs.
    pub(super) needed: &'static str,
    /// Those that it takes beside it.
    pub(super) more: &'static [&'static str],
    /// What the needed key may look like.
    pub(super) example: &'static str,
}

impl Kind {
    fn takes(&self, key: &str) -> bool {
        key == self.needed || self.more.contains(&key)
    }
}

/// The types of something that are built in.
pub(super) struct Kinds {
    /// What it is.
    pub(super) noun: &'static str,
    /// The keys that every type takes.
    pub(super) common: &'static [&'static str],
    pub(super) kinds: &'static [Kind],
}

impl Kinds {
    /// Keys that do not belong to the type, or are missing.
    pub(super) fn check(&self, rules: &mut Rules<'_>, path: &[&str], kind: &str) {
        // One that was added has its own rules, and an unknown one is for the registry to refuse.
        let Some(kind) = self.kinds.iter().find(|known| known.name == kind) else { return };
        let noun = self.noun;
        let given = rules.root.at(path).map(|node| node.entries()).unwrap_or_default();
        let is_strange = |entry: &&Entry| {
            let takes = self.common.contains(&&*entry.key) || kind.takes(&entry.key);
            !takes && !rules.is_torn(entry.key_span.start)
        };
        let strange: Vec<_> = given.iter().filter(is_strange).collect();
        for entry in strange {
            let owner = self.kinds.iter().find(|kind| kind.takes(&entry.key));
            let hint =
                owner.map(|owner| format!("it belongs to a {noun} of type \"{}\"", owner.name));
            let message = format!("a {noun} of type \"{}\" has no `{}`", kind.name, entry.key);
            let problem = Problem::new(ConfigErrorKind::Conflict, message);
            rules.problems.push(problem.at(Some(entry.key_span.clone())).hint(hint));
        }
        if !given.iter().any(|entry| entry.key == kind.needed) && rules.is_whole(path) {
            let place = rules.value(&[path, &["type"]].concat());
            let message = format!("a {noun} of type \"{}\" needs `{}`", kind.name, kind.needed);
            rules.missing(place, message, Some(kind.example));
        }
    }
}

/// No two of a list may go by the same name. `path` ends with the number of the one that is called `label`,
/// `before` has the labels of those before it.
pub(super) fn unique_name(
    rules: &mut Rules<'_>,
    noun: &str,
    path: &[&str],
    label: &str,
    before: &[String],
) {
    let Some(other) = before.iter().position(|other| other == label) else { return };
    let other = other.to_string();
    let other = [&path[..path.len() - 1], &[&*other]].concat();
    // Without its target one goes by its type alone.
    if !rules.is_whole(path) || !rules.is_whole(&other) {
        return;
    }
    let has_name = rules.root.find(&[path, &["name"]].concat()).is_some();
    let key = if has_name { "name" } else { "type" };
    let message = format!("there is another {noun} called {label:?}");
    let problem = Problem::new(ConfigErrorKind::Conflict, message)
        .at(rules.value(&[path, &[key]].concat()))
        .hint(Some("give it another name = \"…\""));
    rules.problems.push(problem);
}
