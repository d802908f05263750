//! Settings of Angelize as `[[service]]` and `[notify]` tables of ours.

mod actions;
mod globals;
mod notices;
mod program;
mod service;
mod toml;

use std::collections::BTreeSet;
use std::fmt;

use super::problem::Place;
use super::settings::{AngelizeService, AngelizeSettings, Given};
use toml::Lines;

/// What became of settings.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Imported {
    /// Tables for a `deploykit.toml`, laid out for people.
    pub toml: String,
    /// What a person should know: one for each setting that became something else or nothing.
    pub notes: Vec<Note>,
}

/// Whether something is left of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Became {
    /// It stands in the result in another form, or does not mean quite the same.
    Changed,
    /// Nothing of it is in the result.
    LeftOut,
}

/// What became of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Note {
    /// Where it stands; `None` for one that is not there and whose default is no longer the same.
    pub place: Option<Place>,
    /// The service that it belongs to, by its name there; `None` for a global one.
    pub service: Option<String>,
    /// Its name, as Angelize writes it.
    pub setting: &'static str,
    /// Whether something is left of it.
    pub became: Became,
    /// What became of it, and why: a lower-case fragment.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        if let Some(service) = &self.service {
            write!(f, "{service}: ")?;
        }
        write!(f, "`{}`: {}", self.setting, self.text)
    }
}

/// Writes settings as the text of `[[service]]` and `[notify]` tables. Nothing is dropped in silence: what has no
/// counterpart, or one that is not quite the same, has a note. Values that are defaults in both are
/// left away.
pub fn import(settings: &AngelizeSettings) -> Imported {
    let mut lines = Lines::default();
    let mut notes = Vec::new();
    let mut names = BTreeSet::new();
    lines.comment(
        "Written from the settings of Angelize. What became of each: docs/use/angelize.md",
    );
    globals::note(settings, &mut notes);
    let mut called = Vec::new();
    for service in &settings.services {
        let name = name(service, &mut names, &mut notes);
        service::write(&settings.globals, service, &name, &mut lines, &mut notes);
        called.push(name);
    }
    notices::write(settings, &called, &mut lines, &mut notes);
    Imported { toml: lines.finish(), notes }
}

/// The name of a service, of such characters as a unit may have, and not taken by another.
fn name(service: &AngelizeService, taken: &mut BTreeSet<String>, notes: &mut Vec<Note>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "_-".contains(c) { c } else { '-' };
    let base: String = service.name.chars().map(plain).collect();
    let base = base.trim_matches('-');
    let base = if base.is_empty() { "service" } else { base };
    let mut name = base.to_owned();
    for number in 2.. {
        if taken.insert(name.clone()) {
            break;
        }
        name = format!("{base}-{number}");
    }
    if name != service.name {
        let text = format!("{:?} is called {name:?} here, as a unit can be", service.name);
        Notes::of(service, notes).changed("Name", text);
    }
    name
}

/// Notes of one service, or of the global settings.
struct Notes<'a> {
    service: Option<&'a str>,
    given: &'a Given,
    notes: &'a mut Vec<Note>,
}

impl<'a> Notes<'a> {
    fn of(service: &'a AngelizeService, notes: &'a mut Vec<Note>) -> Self {
        Self { service: Some(&service.name), given: &service.given, notes }
    }

    fn add(&mut self, setting: &'static str, became: Became, text: impl Into<String>) {
        let service = self.service.map(str::to_owned);
        let place = self.given.place(setting).cloned();
        self.notes.push(Note { place, service, setting, became, text: text.into() });
    }

    fn changed(&mut self, setting: &'static str, text: impl Into<String>) {
        self.add(setting, Became::Changed, text);
    }

    fn left_out(&mut self, setting: &'static str, text: impl Into<String>) {
        self.add(setting, Became::LeftOut, text);
    }
}
