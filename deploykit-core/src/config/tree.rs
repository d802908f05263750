//! A configuration file as a tree in which every key and value knows its place.
//!
//! This is the only file that knows the `toml` crate as a parser; everything behind it works on
//! this tree.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigErrorKind, Problem};

/// A value and the bytes of the file where it stands. Of a table with a header it is the header.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) value: Value,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A date or a time; no key takes one.
    Date,
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// One key of a table, in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) node: Node,
}

impl Node {
    /// What it is, for "expected …, but found …". It never shows the value, which may be a secret.
    pub(super) fn describe(&self) -> &'static str {
        match &self.value {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a whole number",
            Value::Float(_) => "a number with a fraction",
            Value::Boolean(_) => "true or false",
            Value::Date => "a date or time",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// The entries, if it is a table.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Table(entries) => entries,
            _ => &[],
        }
    }

    /// The items, if it is a list.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The entry with this key.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// What a path leads to: keys, and places in lists.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Node> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match &self.value {
            Value::List(items) => items.get(first.parse::<usize>().ok()?)?.at(rest),
            _ => self.entry(first)?.node.at(rest),
        }
    }

    /// The same, to change it.
    pub(super) fn at_mut(&mut self, path: &[&str]) -> Option<&mut Node> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        let next = match &mut self.value {
            Value::List(items) => items.get_mut(first.parse::<usize>().ok()?)?,
            Value::Table(entries) => {
                &mut entries.iter_mut().find(|entry| entry.key == *first)?.node
            }
            _ => return None,
        };
        next.at_mut(rest)
    }

    /// The entry that a path leads to.
    pub(super) fn find(&self, path: &[&str]) -> Option<&Entry> {
        let (last, table) = path.split_last()?;
        self.at(table)?.entry(last)
    }
}

/// Parses a file.
///
/// # Errors
/// The first syntax error, in words of ours where the parser's are short.
pub(super) fn parse(text: &str) -> Result<Node, Box<Problem>> {
    let table = DeTable::parse(text).map_err(|error| Box::new(syntax(text, &error)))?;
    convert_table(table.into_inner(), 0..0)
}

fn syntax(text: &str, error: &toml::de::Error) -> Problem {
    let span = error.span().map(|span| widen(text, span));
    let said = error.message().lines().collect::<Vec<_>>().join(", ");
    let (message, hint) = match said.as_str() {
        "duplicate key" => {
            let key = span.clone().and_then(|span| text.get(span)).unwrap_or_default();
            let hint = "a key, and a table such as [repo], may be given once only";
            (format!("{key} is given a second time"), Some(hint))
        }
        said if said.contains("string values must be quoted") => {
            ("a text must stand in quotes".to_owned(), Some("for example: url = \"…\""))
        }
        said => (said.to_owned(), None),
    };
    Problem::new(ConfigErrorKind::Syntax, message).at(span).hint(hint)
}

/// An empty span cannot be shown; it becomes the character there, or the one before the line's end.
fn widen(text: &str, span: Range<usize>) -> Range<usize> {
    let start = (0..=span.start.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    let start = start.unwrap_or(0);
    if span.end > start && text.is_char_boundary(span.end.min(text.len())) {
        return start..span.end.min(text.len());
    }
    let next = text[start..].chars().next().filter(|&c| c != '\n' && c != '\r');
    start..start + next.map_or(0, char::len_utf8)
}

fn convert_table(table: DeTable<'_>, span: Range<usize>) -> Result<Node, Box<Problem>> {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        let key_span = key.span();
        entries.push(Entry { key: key.into_inner().into_owned(), key_span, node: convert(value)? });
    }
    entries.sort_by_key(|entry| entry.key_span.start);
    Ok(Node { span, value: Value::Table(entries) })
}

fn convert(value: Spanned<DeValue<'_>>) -> Result<Node, Box<Problem>> {
    let span = value.span();
    let beyond = || {
        Box::new(
            Problem::new(ConfigErrorKind::Value, "the number is too large").at(Some(span.clone())),
        )
    };
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => Value::Integer(
            i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| beyond())?,
        ),
        DeValue::Float(number) => Value::Float(number.as_str().parse().map_err(|_| beyond())?),
        DeValue::Boolean(boolean) => Value::Boolean(boolean),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => {
            Value::List(items.into_iter().map(convert).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => return convert_table(table, span),
    };
    Ok(Node { span, value })
}
