//! Sets of HTTP statuses.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A set of HTTP statuses: `200`, `"200-299"`, `"2xx"`, or a list of those.
///
/// ```
/// use deploykit_core::config::StatusSet;
///
/// let set: StatusSet = serde_json::from_str(r#"[204, "300-399"]"#)?;
/// assert!(set.contains(204) && set.contains(301) && !set.contains(200));
/// assert_eq!(set.to_string(), "204, 300-399");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSet(Vec<RangeInclusive<u16>>);

const VALID: RangeInclusive<u16> = 100..=599;

impl StatusSet {
    /// Whether the status is in the set.
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

/// 200–299.
impl Default for StatusSet {
    fn default() -> Self {
        Self(vec![200..=299])
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            f.write_str(if index > 0 { ", " } else { "" })?;
            f.write_str(&shown(range))?;
        }
        Ok(())
    }
}

fn shown(range: &RangeInclusive<u16>) -> String {
    if range.start() == range.end() {
        range.start().to_string()
    } else {
        format!("{}-{}", range.start(), range.end())
    }
}

fn one<E: de::Error>(status: i64) -> Result<RangeInclusive<u16>, E> {
    let status = u16::try_from(status).ok().filter(|status| VALID.contains(status));
    let status = status.ok_or_else(|| E::custom("a status is a number from 100 to 599"))?;
    Ok(status..=status)
}

fn range<E: de::Error>(text: &str) -> Result<RangeInclusive<u16>, E> {
    let wrong =
        || E::custom(format!("{text:?} is not a status (200) or a range of them (200-299, 2xx)"));
    let number = |part: &str| part.trim().parse::<u16>().ok().filter(|n| VALID.contains(n));
    if let Some(class) = text.strip_suffix("xx") {
        let first = class.parse::<u16>().ok().filter(|class| (1..=5).contains(class));
        let first = first.ok_or_else(wrong)? * 100;
        return Ok(first..=first + 99);
    }
    let (first, last) = text.split_once(['-', '–']).unwrap_or((text, text));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => Err(wrong()),
    }
}

impl<'de> Deserialize<'de> for StatusSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SetVisitor;
        impl<'de> Visitor<'de> for SetVisitor {
            type Value = StatusSet;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status (200), a range (\"200-299\"), or a list of those")
            }

            fn visit_i64<E: de::Error>(self, status: i64) -> Result<StatusSet, E> {
                one(status).map(|range| StatusSet(vec![range]))
            }

            fn visit_u64<E: de::Error>(self, status: u64) -> Result<StatusSet, E> {
                self.visit_i64(i64::try_from(status).unwrap_or(i64::MAX))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<StatusSet, E> {
                range(text).map(|range| StatusSet(vec![range]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<StatusSet, A::Error> {
                let mut ranges = Vec::new();
                while let Some(StatusSet(more)) = seq.next_element()? {
                    ranges.extend(more);
                }
                if ranges.is_empty() {
                    return Err(de::Error::custom("no status would ever be well"));
                }
                Ok(StatusSet(ranges))
            }
        }
        deserializer.deserialize_any(SetVisitor)
    }
}

impl Serialize for StatusSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Entry {
            One(u16),
            Range(String),
        }
        let entry = |range: &RangeInclusive<u16>| {
            if range.start() == range.end() {
                Entry::One(*range.start())
            } else {
                Entry::Range(shown(range))
            }
        };
        match &self.0[..] {
            [range] => entry(range).serialize(serializer),
            ranges => serializer.collect_seq(ranges.iter().map(entry)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<StatusSet, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn every_form_is_read_and_written_back_the_same() {
        for (json, shown) in
            [("200", "200"), ("\"200-299\"", "200-299"), ("[200,\"301-308\"]", "200, 301-308")]
        {
            let set = read(json).unwrap();
            assert_eq!(set.to_string(), shown);
            assert_eq!(serde_json::to_string(&set).unwrap(), json);
        }
        assert_eq!(read("\"4xx\"").unwrap(), read("\"400-499\"").unwrap());
    }

    #[test]
    fn what_is_no_status_is_refused() {
        for json in ["99", "600", "\"299-200\"", "\"0xx\"", "\"abc\"", "[]", "\"\"", "-1"] {
            assert!(read(json).is_err(), "{json} was accepted");
        }
    }
}
