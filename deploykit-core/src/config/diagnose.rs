//! From the tree to the model: every mistake of form in one go, each with its place and advice.

use std::collections::BTreeSet;

use super::de::{Fault, Keys, Misfit, Notes, Reader, Unknown, keys_of};
use super::error::{ConfigErrorKind, Problem};
use super::read::ConfigKind;
use super::tree::{Entry, Node, Value};
use super::{BuildConfig, Config, RepoConfig, ServiceSpec, SystemdConfig};

use serde::Deserialize as _;

/// The format that this version reads.
pub(super) const FORMAT: u32 = 1;

/// After so many mistakes it is the wrong file.
const MOST: usize = 20;

/// mfd's keys, by table.
const MFD: [(&str, Keys); 3] = [
    ("repo", &["url", "token", "username", "password"]),
    ("build", &["commands"]),
    ("systemd", &["unit"]),
];

/// Whether the file says that it is of a later format. Looked at first: its other keys may well be
/// ones that this version does not know, and that would be the wrong thing to complain about.
pub(super) fn newer_format(root: &Node) -> Option<Problem> {
    let entry = root.entry("format")?;
    let Value::Integer(format) = entry.node.value else { return None };
    if format == i64::from(FORMAT) {
        return None;
    }
    let span = Some(entry.node.span.clone());
    Some(if format > i64::from(FORMAT) {
        let message = format!("the file is of format {format}, and this version reads {FORMAT}");
        let hint = "a newer deploykit reads it";
        Problem::new(ConfigErrorKind::NewerFormat, message).at(span).hint(Some(hint))
    } else {
        let message = format!("there is no format {format}");
        let hint = format!("format = {FORMAT}, or leave it out");
        Problem::new(ConfigErrorKind::Value, message).at(span).hint(Some(hint))
    })
}

/// What was made of the tree.
#[derive(Debug)]
pub(super) struct Diagnosis {
    /// The model, without what is wrong; nothing when there was too much of it.
    pub(super) config: Option<Config>,
    /// The mistakes of form.
    pub(super) problems: Vec<Problem>,
    /// Where the keys and items begin that the model is without.
    pub(super) torn: BTreeSet<usize>,
}

/// Reads the model.
///
/// A key or an item with a wrong value is noted and left out, something stands in for a key that is
/// missing, and the file is read again, until nothing is wrong: this finds all mistakes at once, and
/// each of them once.
pub(super) fn read(root: &Node, kind: ConfigKind) -> Diagnosis {
    let mut root = root.clone();
    let mut problems = Vec::new();
    let mut notes = Notes::default();
    if kind == ConfigKind::Mfd {
        problems = foreign_to_mfd(&root, &mut notes);
    }
    let config = loop {
        notes.unknown.borrow_mut().clear();
        let fault = match Config::deserialize(Reader::new(&root, &notes)) {
            Ok(config) => break Some(config),
            Err(fault) => fault,
        };
        let mended = match fault.misfit {
            Misfit::Missing(key) => {
                // It was perhaps only misspelt, or had a wrong value: that is said already.
                if !is_explained(&root, &fault, key, &notes) {
                    problems.push(misfit(&fault));
                }
                fill_in(&mut root, &fault, key)
            }
            _ => {
                if !misses_items(&root, &fault, &notes) {
                    problems.push(misfit(&fault));
                }
                fault.entry.is_some_and(|start| notes.skipped.insert(start))
            }
        };
        if !mended || problems.len() >= MOST {
            break None;
        }
    };
    let mut unknown = notes.unknown.into_inner();
    unknown.sort_by_key(|unknown| unknown.span.start);
    problems.extend(the_first(&unknown, unknown_key));
    let mut torn = notes.skipped;
    torn.extend(unknown.iter().map(|unknown| unknown.span.start));
    Diagnosis { config, problems, torn }
}

/// Whether it is about a list that items were left out of: what it lacks is said of them.
fn misses_items(root: &Node, fault: &Fault, notes: &Notes) -> bool {
    match root.at(&parts(&fault.path)).map(|node| &node.value) {
        Some(Value::List(items)) => {
            items.iter().any(|item| notes.skipped.contains(&item.span.start))
        }
        _ => false,
    }
}

/// Puts something valid in the place of a key that is missing, so that the rest can be looked at.
/// The model has few keys that must be there.
fn fill_in(root: &mut Node, fault: &Fault, key: &str) -> bool {
    let text = || Value::Text("stand-in".into());
    let node = |value| Node { span: 0..0, value };
    let entry = |key: &str, value| Entry {
        key: key.to_owned(),
        key_span: usize::MAX..usize::MAX,
        node: node(value),
    };
    let value = match key {
        "url" | "type" | "name" => text(),
        "command" => Value::List(vec![node(text())]),
        "repo" => Value::Table(vec![entry("url", text())]),
        _ => return false,
    };
    match root.at_mut(&parts(&fault.path)) {
        Some(Node { value: Value::Table(entries), .. }) => {
            entries.push(entry(key, value));
            true
        }
        _ => false,
    }
}

/// The parts of a path such as `health.check[0]`.
fn parts(path: &str) -> Vec<&str> {
    path.split(['.', '[', ']']).filter(|part| !part.is_empty()).collect()
}

/// Whether a missing key is there, but was left out because of a mistake, or is misspelt.
fn is_explained(root: &Node, fault: &Fault, key: &str, notes: &Notes) -> bool {
    let unknown = notes.unknown.borrow();
    let wrong = |entry: &Entry| {
        notes.skipped.contains(&entry.key_span.start)
            || unknown.iter().any(|unknown| unknown.span == entry.key_span)
    };
    let meant = |entry: &Entry| entry.key == key || nearest(&entry.key, &[key]).is_some();
    root.at(&parts(&fault.path))
        .is_some_and(|table| table.entries().iter().any(|entry| wrong(entry) && meant(entry)))
}

/// The first of these mistakes; the last that is told says how many more there are.
fn the_first<T>(mistakes: &[T], problem: impl Fn(&T) -> Problem) -> Vec<Problem> {
    let mut problems: Vec<_> = mistakes.iter().take(MOST).map(problem).collect();
    let more = mistakes.len() - problems.len();
    if let Some(last) = problems.last_mut().filter(|_| more > 0) {
        last.message += &format!(", and {more} more");
    }
    problems
}

fn in_table(table: &str) -> String {
    if table.is_empty() { String::new() } else { format!(" in `{table}`") }
}

fn unknown_key(unknown: &Unknown) -> Problem {
    let Unknown { key, span, table, known } = unknown;
    let run = keys_of::<ServiceSpec>().contains(&key.as_str());
    let hint = match nearest(key, known) {
        _ if table == "service" && run => {
            "what is to run stands in [[service]], with double brackets".to_owned()
        }
        Some(near) => format!("did you mean `{near}`?"),
        None => match table_of(key) {
            Some(home) if home != *table && !home.is_empty() => {
                format!("`{key}` belongs into `{home}`")
            }
            _ => format!("the keys here are {}", known.join(", ")),
        },
    };
    let message = format!("unknown key `{key}`{}", in_table(table));
    Problem::new(ConfigErrorKind::UnknownKey, message)
        .at(Some(span.clone()))
        .label(format!("known are {}", known.join(", ")))
        .hint(Some(hint))
}

/// The table that has this key, if just one has.
fn table_of(key: &str) -> Option<&'static str> {
    use super::{
        DiskConfig, HealthConfig, HistoryConfig, NotifyConfig, ProbationConfig, ReleasesConfig,
        ServiceConfig, SharedConfig, TimersConfig, UpConfig,
    };
    let tables = [
        ("repo", keys_of::<RepoConfig>()),
        ("build", keys_of::<BuildConfig>()),
        ("shared", keys_of::<SharedConfig>()),
        ("service", keys_of::<ServiceConfig>()),
        ("systemd", keys_of::<SystemdConfig>()),
        ("timers", keys_of::<TimersConfig>()),
        ("up", keys_of::<UpConfig>()),
        ("health", keys_of::<HealthConfig>()),
        ("probation", keys_of::<ProbationConfig>()),
        ("notify", keys_of::<NotifyConfig>()),
        ("releases", keys_of::<ReleasesConfig>()),
        ("disk", keys_of::<DiskConfig>()),
        ("history", keys_of::<HistoryConfig>()),
    ];
    let mut homes = tables.iter().filter(|(_, keys)| keys.contains(&key)).map(|(name, _)| *name);
    homes.next().filter(|_| homes.next().is_none())
}

fn misfit(fault: &Fault) -> Problem {
    let path = &fault.path;
    let (kind, message, hint) = match &fault.misfit {
        Misfit::Type { expected, found } => {
            let message = format!("`{path}` must be {expected}, but is {found}");
            (ConfigErrorKind::Type, message, hint_of_command(path, expected))
        }
        Misfit::Missing(key) => (
            ConfigErrorKind::Missing,
            format!("`{key}` is missing{}", in_table(path)),
            hint_of_missing(path, key),
        ),
        Misfit::Variant { found, known } => (
            ConfigErrorKind::Value,
            format!("`{path}` cannot be {found:?}"),
            Some(nearest(found, known).map_or_else(
                || format!("it is one of {}", known.join(", ")),
                |near| format!("did you mean \"{near}\"?"),
            )),
        ),
        Misfit::Value(why) => (ConfigErrorKind::Value, format!("`{path}`: {why}"), None),
    };
    Problem::new(kind, message).at(fault.span.clone()).hint(hint)
}

/// A command is easily written as one text, or the list of commands as one command.
fn hint_of_command(path: &str, expected: &str) -> Option<String> {
    let one = path.starts_with("build.commands[") && expected == "a list";
    let key = path.rsplit('.').next().unwrap_or_default();
    let command = ["command", "start", "stop", "restart", "reload", "status"].contains(&key);
    match () {
        () if one => Some("each command is a list of its own: [[\"npm\", \"ci\"]]".into()),
        () if command && expected == "a list" => {
            Some("a program and its arguments: [\"curl\", \"-f\", \"…\"]; no shell reads it".into())
        }
        () => None,
    }
}

fn hint_of_missing(table: &str, key: &str) -> Option<String> {
    match (table, key) {
        ("", "repo") => Some("[repo] with url = \"…\" says where the releases come from".into()),
        ("repo", "url") => Some("url = \"https://…\", or the path of a repository".into()),
        (_, "name") => Some("name = \"…\": the unit of the service is called like that".into()),
        (table, "type") if table.starts_with("notify") => {
            Some("type = \"mail\", \"http\", \"command\" or \"file\"".into())
        }
        (_, "type") => Some("type = \"http\", \"tcp\", \"unix\" or \"exec\"".into()),
        _ => None,
    }
}

/// The known name that was probably meant.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower = name.to_lowercase().replace('-', "_");
    let likeness = |candidate: &str| strsim::jaro_winkler(&lower, candidate);
    let near = |candidate: &str| {
        let allowed = (candidate.len().max(lower.len()) / 3).max(1);
        strsim::osa_distance(&lower, candidate) <= allowed || likeness(candidate) > 0.87
    };
    let candidates = known.iter().copied().filter(|candidate| near(candidate));
    candidates.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

/// What mfd does not know in its file. A misspelt key would have been passed over by mfd; here it is
/// refused. What only deploykit knows is refused, too: mfd could still be used with that file, and
/// would do something else. What is refused is left out of what follows.
fn foreign_to_mfd(root: &Node, notes: &mut Notes) -> Vec<Problem> {
    let mut foreign = Vec::new();
    let tables = MFD.map(|(name, _)| name);
    for entry in root.entries() {
        let Some((name, keys)) = MFD.iter().find(|(name, _)| *name == entry.key) else {
            foreign.push((entry, "", &tables[..], keys_of::<Config>()));
            continue;
        };
        let ours = match *name {
            "repo" => keys_of::<RepoConfig>(),
            "build" => keys_of::<BuildConfig>(),
            _ => keys_of::<SystemdConfig>(),
        };
        for key in entry.node.entries().iter().filter(|key| !keys.contains(&key.key.as_str())) {
            foreign.push((key, *name, *keys, ours));
        }
    }
    notes.skipped.extend(foreign.iter().map(|(entry, ..)| entry.key_span.start));
    the_first(&foreign, |(entry, table, mfds, ours)| foreign_key(entry, table, mfds, ours))
}

fn foreign_key(entry: &Entry, table: &str, mfds: &[&str], ours: Keys) -> Problem {
    let (key, span) = (&entry.key, Some(entry.key_span.clone()));
    if ours.contains(&key.as_str()) {
        let message = format!("`{key}`{} is a key that mfd does not have", in_table(table));
        let hint = "rename the file to deploykit.toml to use all of deploykit's keys";
        return Problem::new(ConfigErrorKind::UnknownKey, message).at(span).hint(Some(hint));
    }
    let message = format!("unknown key `{key}`{}", in_table(table));
    let hint = match nearest(key, mfds) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("mfd's keys here are {}", mfds.join(", ")),
    };
    Problem::new(ConfigErrorKind::UnknownKey, message).at(span).hint(Some(hint))
}
