//! One object of the settings, whose keys are known.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::RangeInclusive;

use jsonc_parser::ast::{Object, ObjectProp, Value};
use jsonc_parser::common::Ranged;

use super::json::{Document, describe};
use super::problem::{Place, Problem};
use super::settings::Given;

/// What has been noticed so far.
#[derive(Debug, Default)]
pub(super) struct Noticed {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

impl Noticed {
    /// How many problems, and how many warnings.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.problems.len(), self.warnings.len())
    }
}

/// Reads values by their keys, and notes what does not fit.
pub(super) struct Table<'a, 't> {
    document: &'t Document<'a>,
    entries: BTreeMap<&'static str, &'t ObjectProp<'a>>,
    noticed: &'t mut Noticed,
}

impl<'a, 't> Table<'a, 't> {
    pub(super) fn new(
        document: &'t Document<'a>,
        object: &'t Object<'a>,
        known: &[&'static str],
        noticed: &'t mut Noticed,
    ) -> Self {
        let mut table = Self { document, entries: BTreeMap::new(), noticed };
        for property in &object.properties {
            let name = property.name.as_str();
            match known.iter().find(|known| known.eq_ignore_ascii_case(name)) {
                Some(key) => table.enter(key, property),
                None => table.unknown(name, property, known),
            }
        }
        table
    }

    fn enter(&mut self, key: &'static str, property: &'t ObjectProp<'a>) {
        match self.entries.entry(key) {
            Entry::Vacant(vacant) => _ = vacant.insert(property),
            Entry::Occupied(first) => {
                let line = self.document.place(first.get().start()).line;
                let place = self.document.place(property.start());
                let message = format!("`{key}` is set twice, first in line {line}");
                let hint = "upper and lower case are the same in keys";
                self.noticed.problems.push(Problem::new(place, message).hint(hint));
            }
        }
    }

    fn unknown(&mut self, name: &str, property: &ObjectProp<'a>, known: &[&'static str]) {
        let lower = name.to_lowercase();
        let likeness = |key: &&&str| strsim::osa_distance(&lower, &key.to_lowercase());
        let near = known.iter().min_by_key(likeness).filter(|key| likeness(key) <= 2);
        let place = self.document.place(property.start());
        let mut warning = Problem::new(place, format!("there is no setting `{name}`: left out"));
        if let Some(near) = near {
            warning = warning.hint(format!("did you mean `{near}`?"));
        }
        self.noticed.warnings.push(warning);
    }

    /// Where each key stands.
    pub(super) fn given(&self) -> Given {
        let place = |property: &&ObjectProp<'a>| self.document.place(property.start());
        Given(self.entries.iter().map(|(key, property)| (*key, place(property))).collect())
    }

    pub(super) fn noticed(&mut self) -> &mut Noticed {
        self.noticed
    }

    /// Where a value stands.
    pub(super) fn place(&self, key: &str) -> Option<Place> {
        self.entries.get(key).map(|property| self.document.place(property.value.start()))
    }

    /// The value of a key; `null` is none.
    pub(super) fn value(&self, key: &str) -> Option<&'t Value<'a>> {
        let value = self.entries.get(key).map(|property| &property.value);
        value.filter(|value| !matches!(value, Value::NullKeyword(_)))
    }

    pub(super) fn text(&mut self, key: &'static str) -> String {
        match self.value(key) {
            None => String::new(),
            Some(Value::StringLit(text)) => text.value.to_string(),
            Some(other) => self.mismatch(key, "a text", other),
        }
    }

    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        match self.value(key) {
            None => false,
            Some(Value::BooleanLit(flag)) => flag.value,
            Some(other) => self.mismatch(key, "true or false", other),
        }
    }

    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.value(key)?;
        self.whole(key, value, &range)
    }

    pub(super) fn numbers(&mut self, key: &'static str, range: RangeInclusive<i64>) -> Vec<i64> {
        let items = self.items(key, "a list of whole numbers");
        items.iter().filter_map(|item| self.whole(key, item, &range)).collect()
    }

    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let mut texts = Vec::new();
        for item in self.items(key, "a list of texts") {
            match item {
                Value::StringLit(text) => texts.push(text.value.to_string()),
                other => self.mismatch(key, "a text", other),
            }
        }
        texts
    }

    /// A set of names, of which `*` is all: a list, one text, or a number with one bit for each.
    pub(super) fn set(&mut self, key: &'static str, names: &'static [&'static str]) -> Vec<String> {
        match self.value(key) {
            Some(Value::NumberLit(_)) => {
                let bits = self.number(key, 0..=(1 << names.len()) - 1).unwrap_or_default();
                let bit = |index: &usize| bits & (1 << index) != 0;
                (0..names.len()).filter(bit).map(|index| names[index].to_owned()).collect()
            }
            Some(Value::StringLit(text)) => {
                text.value.split(',').map(|n| n.trim().into()).collect()
            }
            _ => self.texts(key),
        }
    }

    fn items(&mut self, key: &'static str, expected: &str) -> &'t [Value<'a>] {
        match self.value(key) {
            None => &[],
            Some(Value::Array(list)) => &list.elements,
            Some(other) => {
                self.mismatch::<()>(key, expected, other);
                &[]
            }
        }
    }

    fn whole(
        &mut self,
        key: &'static str,
        value: &Value<'a>,
        range: &RangeInclusive<i64>,
    ) -> Option<i64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Value::NumberLit(number) = value else {
            return self.mismatch(key, &expected, value);
        };
        let parsed = number.value.parse().ok().filter(|number| range.contains(number));
        if parsed.is_none() {
            let shown: String = number.value.chars().take(24).collect();
            self.problem(value, format!("expected {expected} for `{key}`, found {shown}"));
        }
        parsed
    }

    fn mismatch<T: Default>(&mut self, key: &str, expected: &str, found: &Value<'a>) -> T {
        let found_kind = describe(found);
        self.problem(found, format!("expected {expected} for `{key}`, found {found_kind}"));
        T::default()
    }

    fn problem(&mut self, value: &Value<'a>, message: String) {
        let place = self.document.place(value.start());
        self.noticed.problems.push(Problem::new(place, message));
    }
}
