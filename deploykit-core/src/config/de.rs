//! Reads the model out of the tree, and notes where something does not fit.
//!
//! The `toml` crate could do it, but it stops at the first mistake, names the keys of a table in a
//! sentence only, and shows the value that was wrong, which may be a secret.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

use super::service::ONE_OR_MANY;
use super::tree::{Entry, Node, Value};

/// The keys of a table, as serde knows them.
pub(super) type Keys = &'static [&'static str];

/// A key that its table does not have.
#[derive(Debug)]
pub(super) struct Unknown {
    pub(super) key: String,
    pub(super) span: Range<usize>,
    /// The path of its table; empty for the file itself.
    pub(super) table: String,
    pub(super) known: Keys,
}

/// What does not fit.
#[derive(Debug)]
pub(super) enum Misfit {
    Type { expected: String, found: &'static str },
    Missing(&'static str),
    Variant { found: String, known: Keys },
    Value(String),
}

/// What does not fit, and where.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) misfit: Misfit,
    pub(super) span: Option<Range<usize>>,
    /// The path of the key, or of the table in which a key is missing.
    pub(super) path: String,
    /// Where the key, or the item of a list, begins: by it that can be left out.
    pub(super) entry: Option<usize>,
}

impl Fault {
    fn new(misfit: Misfit) -> Self {
        Self { misfit, span: None, path: String::new(), entry: None }
    }

    /// Gives it a place, if it has none yet.
    fn place(mut self, node: &Node, path: &str) -> Self {
        if self.span.is_none() {
            self.span = Some(node.span.clone());
            path.clone_into(&mut self.path);
        }
        self
    }

    fn mismatch(expected: impl Into<String>, node: &Node) -> Self {
        Self::new(Misfit::Type { expected: expected.into(), found: node.describe() })
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.misfit {
            Misfit::Type { expected, found } => write!(f, "expected {expected}, but found {found}"),
            Misfit::Missing(key) => write!(f, "`{key}` is missing"),
            Misfit::Variant { found, known } => {
                write!(f, "{found:?} is none of {}", known.join(", "))
            }
            Misfit::Value(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(why: T) -> Self {
        Self::new(Misfit::Value(why.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
            Unexpected::Float(_) => "a number with a fraction",
            Unexpected::Str(_) | Unexpected::Char(_) => "a text",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a table",
            _ => "something else",
        };
        Self::new(Misfit::Type { expected: expected.to_string(), found })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = match expected.to_string().as_str() {
            "u8" => "a whole number from 0 to 255".to_owned(),
            "u32" => format!("a whole number from 0 to {}", u32::MAX),
            other => other.to_owned(),
        };
        Self::new(Misfit::Value(format!("expected {expected}")))
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Misfit::Missing(key))
    }

    fn unknown_variant(found: &str, known: Keys) -> Self {
        Self::new(Misfit::Variant { found: found.to_owned(), known })
    }
}

/// What a pass over the tree notes beside its result.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Keys and items that are passed over, by the place where they begin: they are known to be
    /// wrong.
    pub(super) skipped: BTreeSet<usize>,
    pub(super) unknown: RefCell<Vec<Unknown>>,
}

/// Reads one node.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    node: &'a Node,
    notes: &'a Notes,
    path: String,
    /// The entry that the node belongs to, with the path and the keys of its table.
    within: Option<(&'a Entry, &'a str, Keys)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(root: &'a Node, notes: &'a Notes) -> Self {
        Self { node: root, notes, path: String::new(), within: None }
    }

    fn scalar<'de, V: Visitor<'de>>(
        self,
        expected: &str,
        visitor: V,
        fits: fn(&Value) -> bool,
    ) -> Result<V::Value, Fault> {
        if fits(&self.node.value) {
            return self.deserialize_any(visitor);
        }
        Err(Fault::mismatch(expected, self.node))
    }

    fn table<'de, V: Visitor<'de>>(self, known: Keys, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Table(entries) => visitor.visit_map(Entries {
                rest: entries.iter(),
                next: None,
                notes: self.notes,
                path: &self.path,
                known,
            }),
            _ => Err(Fault::mismatch("a table", self.node)),
        }
    }
}

macro_rules! whole_numbers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.scalar("a whole number", visitor, |value| matches!(value, Value::Integer(_)))
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Table(_) => self.table(&[], visitor),
            Value::Text(text) => visitor.visit_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(boolean) => visitor.visit_bool(*boolean),
            Value::Date => {
                let expected = (&visitor as &dyn Expected).to_string();
                Err(Fault::mismatch(expected, self.node))
            }
        }
    }

    whole_numbers!(deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64);
    whole_numbers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64);

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.scalar("true or false", visitor, |value| matches!(value, Value::Boolean(_)))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.scalar("a text", visitor, |value| matches!(value, Value::Text(_)))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::List(items) => visitor.visit_seq(Items {
                rest: items.iter().enumerate(),
                notes: self.notes,
                path: &self.path,
            }),
            _ => Err(Fault::mismatch("a list", self.node)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.table(&[], visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        known: Keys,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == ONE_OR_MANY && matches!(self.node.value, Value::List(_)) {
            return self.deserialize_seq(visitor);
        }
        self.table(known, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: Keys,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Text(name) => {
                let name: StrDeserializer<'_, Fault> = name.as_str().into_deserializer();
                visitor.visit_enum(name)
            }
            _ => Err(Fault::mismatch("a text", self.node)),
        }
    }

    /// What the model passes over is what it does not know.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if let Some((entry, table, known)) = self.within {
            self.notes.unknown.borrow_mut().push(Unknown {
                key: entry.key.clone(),
                span: entry.key_span.clone(),
                table: table.to_owned(),
                known,
            });
        }
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, Entry>,
    next: Option<&'a Entry>,
    notes: &'a Notes,
    path: &'a str,
    known: Keys,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.next = self.rest.find(|entry| !self.notes.skipped.contains(&entry.key_span.start));
        let Some(entry) = self.next else { return Ok(None) };
        let key: StrDeserializer<'_, Fault> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some(entry) = self.next.take() else {
            return Err(de::Error::custom("a value without a key"));
        };
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{}", self.path, entry.key);
        let reader = Reader {
            node: &entry.node,
            notes: self.notes,
            path: path.clone(),
            within: Some((entry, self.path, self.known)),
        };
        seed.deserialize(reader).map_err(|fault| {
            let mut fault = fault.place(&entry.node, &path);
            fault.entry.get_or_insert(entry.key_span.start);
            fault
        })
    }
}

struct Items<'a> {
    rest: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    notes: &'a Notes,
    path: &'a str,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let skipped = &self.notes.skipped;
        let next = self.rest.find(|(_, node)| !skipped.contains(&node.span.start));
        let Some((index, node)) = next else { return Ok(None) };
        let path = format!("{}[{index}]", self.path);
        let reader = Reader { node, notes: self.notes, path: path.clone(), within: None };
        seed.deserialize(reader).map(Some).map_err(|fault| {
            let mut fault = fault.place(node, &path);
            fault.entry.get_or_insert(node.span.start);
            fault
        })
    }
}

/// The keys that a type reads.
pub(super) fn keys_of<T: de::DeserializeOwned>() -> Keys {
    struct Probe<'a>(&'a mut Keys);
    impl<'de> Deserializer<'de> for Probe<'_> {
        type Error = Fault;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Fault> {
            Err(de::Error::custom("only keys are asked for"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            keys: Keys,
            visitor: V,
        ) -> Result<V::Value, Fault> {
            *self.0 = keys;
            self.deserialize_any(visitor)
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }
    let mut keys: Keys = &[];
    // The probe always ends in an error; what matters is what it was asked for.
    let _ = T::deserialize(Probe(&mut keys));
    keys
}
