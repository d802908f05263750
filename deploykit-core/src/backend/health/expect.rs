//! What an HTTP answer must be like.

use std::collections::BTreeMap;

use serde_json::Value;

use super::look::excerpt;
use crate::config::{CheckConfig, Pattern, StatusSet};
use crate::http::HttpAnswer;
use crate::traits::Release;

/// What an answer must be like.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    status: StatusSet,
    header: BTreeMap<String, String>,
    json: BTreeMap<String, Value>,
    body: Option<Pattern>,
}

impl Expected {
    pub(super) fn new(config: &CheckConfig) -> Self {
        Self {
            status: config.status.clone().unwrap_or_default(),
            header: config.header.clone(),
            json: config.json.clone(),
            body: config.body.clone(),
        }
    }

    /// Whether the body matters at all.
    pub(super) fn reads_body(&self) -> bool {
        self.body.is_some() || !self.json.is_empty()
    }

    /// The same for this release: `{revision}` is its source's digest, `{release}` its id.
    ///
    /// # Errors
    /// When the pattern becomes too large.
    pub(super) fn of(&self, release: &dyn Release) -> Result<Self, String> {
        let value = |placeholder: &str| match placeholder {
            "{revision}" => release.source().digest().to_owned(),
            _ => release.id().to_string(),
        };
        let fill = |text: &str| {
            let mut text = text.to_owned();
            for placeholder in crate::config::PLACEHOLDERS {
                if text.contains(placeholder) {
                    text = text.replace(placeholder, &value(placeholder));
                }
            }
            text
        };
        let header = self.header.iter().map(|(name, value)| (name.clone(), fill(value)));
        let json = self.json.iter().map(|(at, value)| (at.clone(), fill_value(value, &fill)));
        Ok(Self {
            status: self.status.clone(),
            header: header.collect(),
            json: json.collect(),
            body: self.body.as_ref().map(|pattern| pattern.with(value)).transpose()?,
        })
    }

    /// Whether the answer is right.
    ///
    /// # Errors
    /// What was expected, and what was found.
    pub(super) fn judge(&self, answer: &HttpAnswer) -> Result<(), String> {
        if !self.status.contains(answer.status) {
            let body = excerpt(&String::from_utf8_lossy(&answer.body));
            let body = if body.is_empty() { body } else { format!(": {body}") };
            return Err(format!("expected status {}, found {}{body}", self.status, answer.status));
        }
        self.judge_headers(answer)?;
        self.judge_json(answer)?;
        let text = String::from_utf8_lossy(&answer.body);
        match &self.body {
            Some(pattern) if !pattern.is_match(&text) => Err(format!(
                "expected a body that matches {:?}, found {:?}",
                pattern.as_str(),
                excerpt(&text)
            )),
            _ => Ok(()),
        }
    }

    fn judge_headers(&self, answer: &HttpAnswer) -> Result<(), String> {
        for (name, expected) in &self.header {
            let lower = name.to_ascii_lowercase();
            let mut found = answer.headers.iter().filter(|(n, _)| *n == lower).map(|(_, v)| v);
            if !found.clone().any(|value| value == expected) {
                let found = found.next().map_or("none".into(), |v| format!("{:?}", excerpt(v)));
                return Err(format!("expected header {name}: {expected:?}, found {found}"));
            }
        }
        Ok(())
    }

    fn judge_json(&self, answer: &HttpAnswer) -> Result<(), String> {
        if self.json.is_empty() {
            return Ok(());
        }
        if answer.cut {
            return Err("expected JSON, found a body of more than 1 MiB".into());
        }
        let body: Value = serde_json::from_slice(&answer.body).map_err(|error| {
            let found = excerpt(&String::from_utf8_lossy(&answer.body));
            format!("expected JSON ({error}), found {found:?}")
        })?;
        for (pointer, expected) in &self.json {
            let found = body.pointer(pointer);
            if !found.is_some_and(|found| same(found, expected)) {
                let found = found.map_or("nothing".into(), |value| excerpt(&value.to_string()));
                return Err(format!("expected {pointer} to be {expected}, found {found}"));
            }
        }
        Ok(())
    }
}

fn fill_value(value: &Value, fill: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(fill(text)),
        Value::Array(values) => values.iter().map(|value| fill_value(value, fill)).collect(),
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.clone(), fill_value(value, fill))).collect()
        }
        other => other.clone(),
    }
}

/// Equal, where 1 and 1.0 are the same number: which of them a program writes is chance.
fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => found == expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::health::testing::{TestRelease, check};

    fn answer(status: u16, body: &str) -> HttpAnswer {
        let headers = vec![("x-version".into(), "v1".into()), ("x-version".into(), "v2".into())];
        HttpAnswer { status, headers, body: body.into(), cut: false }
    }

    fn judge(keys: &str, answer: &HttpAnswer) -> Result<(), String> {
        let config = check(&format!("type = \"http\"\nurl = \"http://h\"\n{keys}"));
        Expected::new(&config).of(&TestRelease::default()).unwrap().judge(answer)
    }

    #[test]
    fn a_right_answer_is_right() {
        let body = "{\"status\": \"ok\", \"n\": 1.0, \"db\": {\"ok\": true}}";
        for keys in [
            "",
            "status = \"2xx\"",
            "header = { X-Version = \"v2\" }",
            "json = { \"/status\" = \"ok\", \"/n\" = 1, \"/db\" = { ok = true } }",
            "body = 'status\": \"(ok|up)\"'",
        ] {
            assert_eq!(judge(keys, &answer(200, body)), Ok(()), "{keys}");
        }
    }

    #[test]
    fn a_wrong_answer_says_what_was_expected_and_found() {
        for (keys, status, body, reason) in [
            ("", 503, "starting\nup", "expected status 200-299, found 503: starting up"),
            ("status = [200, 204]", 302, "", "expected status 200, 204, found 302"),
            (
                "header = { X-Version = \"v3\" }",
                200,
                "",
                "expected header X-Version: \"v3\", found \"v1\"",
            ),
            ("header = { X-Other = \"a\" }", 200, "", "expected header X-Other: \"a\", found none"),
            (
                "json = { \"/db/ok\" = true }",
                200,
                "{\"db\":{\"ok\":false}}",
                "expected /db/ok to be true, found false",
            ),
            ("json = { \"/a\" = 1 }", 200, "{}", "expected /a to be 1, found nothing"),
            (
                "body = \"^ok$\"",
                200,
                "not ok",
                "expected a body that matches \"^ok$\", found \"not ok\"",
            ),
        ] {
            assert_eq!(judge(keys, &answer(status, body)).unwrap_err(), reason);
        }
        let error = judge("json = { \"/a\" = 1 }", &answer(200, "<html>")).unwrap_err();
        assert!(error.ends_with("found \"<html>\""), "{error}");
    }

    #[test]
    fn placeholders_stand_for_the_release_that_is_looked_at() {
        let release = TestRelease::default();
        let (digest, id) = (release.source().digest().to_owned(), release.id().to_string());
        let keys = "body = '^rev={revision} id={release}$'";
        assert_eq!(judge(keys, &answer(200, &format!("rev={digest} id={id}"))), Ok(()));
        assert!(judge(keys, &answer(200, "rev=other id=other")).is_err());
        let keys = "json = { \"/v\" = [\"{revision}\"] }";
        assert_eq!(judge(keys, &answer(200, &format!("{{\"v\":[\"{digest}\"]}}"))), Ok(()));
        let keys = "header = { X-Version = \"{release}\" }";
        let mut answer = answer(200, "");
        answer.headers.push(("x-version".into(), id));
        assert_eq!(judge(keys, &answer), Ok(()));
    }
}
