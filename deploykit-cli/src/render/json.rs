//! JSON: one value for a command that answers once, JSON Lines for one that goes on for a while.

use deploykit::{Event, EventSink, Masker};
use serde::Serialize;
use serde_json::{Value, json};

use super::sink::Renderer;
use crate::io::Output;

/// The version of the stream of events. It changes when what is there changes its meaning; new
/// events and new fields do not change it.
const VERSION: u32 = 1;

/// A value in one line, secrets masked.
pub(crate) fn line(value: &impl Serialize, masker: &Masker) -> String {
    // What cannot be serialised (a map with keys that are no texts) does not occur in our types.
    let mut value = serde_json::to_value(value).unwrap_or(Value::Null);
    masker.mask_json(&mut value);
    value.to_string()
}

/// Writes every event as a line, after a first line with the format and its version.
#[derive(Debug)]
pub(crate) struct JsonEvents(Output);

impl JsonEvents {
    pub(crate) fn new(output: Output) -> Self {
        output.line(&json!({ "format": "deploykit-events", "version": VERSION }).to_string());
        Self(output)
    }
}

impl EventSink for JsonEvents {
    fn event(&self, event: &Event) {
        // The engine has masked it already.
        if let Ok(line) = serde_json::to_string(event) {
            self.0.line(&line);
        }
    }
}

impl Renderer for JsonEvents {}

#[cfg(test)]
mod tests {
    use super::*;
    use deploykit::Secret;

    #[test]
    fn a_secret_with_a_quote_in_it_is_masked_all_the_same() {
        let masker = Masker::default();
        masker.learn(&Secret::new("pass\"word"));
        let text = line(&json!({ "a": ["x pass\"word y"] }), &masker);
        assert_eq!(text, r#"{"a":["x *** y"]}"#);
    }
}
