//! The JSON schema of the configuration, by which an editor completes and checks it.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::{
    Argv, Config, EnvValue, Pattern, Period, RelPath, RepoUrl, SecretValue, StatusSet, Threshold,
};

/// The JSON schema (draft 7, which editors know for TOML) of `deploykit.toml`.
///
/// What it can say of a key is its type and form; what keys demand of one another is checked when a
/// configuration is read.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft07().for_deserialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Config>().to_value();
    drop_null(&mut schema);
    if let Value::Object(schema) = &mut schema {
        schema.insert("title".into(), "deploykit.toml".into());
    }
    schema
}

/// Takes `null` out of the schema of everything that may be left out: TOML has none.
fn drop_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = &types[..] {
                    let only = only.clone();
                    map.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(any)) = map.get_mut("anyOf") {
                any.retain(|one| one.get("type").is_none_or(|name| name != "null"));
            }
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            map.values_mut().for_each(drop_null);
        }
        Value::Array(values) => values.iter_mut().for_each(drop_null),
        _ => {}
    }
}

const LENGTH_OF_TIME: &str = r"^\s*([0-9]+\s*|([0-9]+\s*(ms|s|sec|m|min|h|d)\s*)+)$";
const AMOUNT: &str = r"^\s*[0-9]+\s*(%|B|K|M|G|T|KiB|MiB|GiB|TiB|kB|MB|GB|TB)?\s*$";
const STATUS: &str = "^([1-5]xx|[1-5][0-9][0-9]( *[-–] *[1-5][0-9][0-9])?)$";

macro_rules! described {
    ($($type:ident: $description:literal, $schema:tt;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn schema_id() -> Cow<'static, str> {
                concat!(module_path!(), "::", stringify!($type)).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = json_schema!($schema);
                schema.insert("description".into(), $description.into());
                schema
            }
        }
    )*};
}

described! {
    Period: "A length of time: \"500ms\", \"10s\", \"5m\", \"1h 30m\", or a number of seconds.", {
        "anyOf": [
            { "type": "string", "pattern": LENGTH_OF_TIME },
            { "type": "integer", "minimum": 0 }
        ]
    };
    Argv: "A program and its arguments. Nothing goes through a shell.", {
        "type": "array", "items": { "type": "string" }, "minItems": 1
    };
    RelPath: "A relative path that does not lead out of its directory.", {
        "type": "string", "minLength": 1, "pattern": "^[^/]"
    };
    RepoUrl: "A URL, user@host:path, or a local path, without secrets.", {
        "type": "string", "minLength": 1
    };
    Threshold: "An amount (4096, \"512MiB\") or a share (\"5%\").", {
        "anyOf": [
            { "type": "string", "pattern": AMOUNT },
            { "type": "integer", "minimum": 0 }
        ]
    };
    Pattern: "A regular expression.", { "type": "string", "format": "regex" };
    StatusSet: "A status (200), a range (\"200-299\", \"2xx\"), or a list of those.", {
        "anyOf": [
            { "type": "integer", "minimum": 100, "maximum": 599 },
            { "type": "string", "pattern": STATUS },
            { "type": "array", "minItems": 1, "items": { "anyOf": [
                { "type": "integer", "minimum": 100, "maximum": 599 },
                { "type": "string", "pattern": STATUS }
            ] } }
        ]
    };
    SecretValue: "A secret: the value itself, or where it is.", {
        "anyOf": [
            { "type": "string" },
            { "type": "object", "additionalProperties": false, "required": ["env"],
              "properties": { "env": {
                  "type": "string", "description": "The name of an environment variable." } } },
            { "type": "object", "additionalProperties": false, "required": ["file"],
              "properties": { "file": {
                  "type": "string", "description": "The path of a file." } } },
            { "type": "object", "additionalProperties": false, "required": ["credential"],
              "properties": { "credential": {
                  "type": "string", "description": "The name of a credential of systemd." } } }
        ]
    };
}

impl JsonSchema for EnvValue {
    fn schema_name() -> Cow<'static, str> {
        "EnvValue".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = SecretValue::json_schema(generator);
        let description = "A text that is no secret, or where a secret is.";
        schema.insert("description".into(), description.into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::de::keys_of;
    use crate::config::*;

    fn is_a(name: &str, value: &Value) -> bool {
        match name {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("the type {other} is not known here"),
        }
    }

    /// As much of JSON schema as this schema uses.
    fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
        let Value::Object(map) = schema else {
            return if schema == &Value::Bool(false) { Err("nothing fits".into()) } else { Ok(()) };
        };
        let refuse = || Err(format!("{value} does not fit {schema}"));
        for (key, rule) in map {
            let ok = match (key.as_str(), rule) {
                ("$ref", Value::String(path)) => {
                    let target = root.pointer(path.trim_start_matches('#')).unwrap();
                    fits(root, target, value)?;
                    true
                }
                ("allOf", Value::Array(all)) => {
                    all.iter().try_for_each(|one| fits(root, one, value))?;
                    true
                }
                ("anyOf" | "oneOf", Value::Array(any)) => {
                    any.iter().any(|one| fits(root, one, value).is_ok())
                }
                ("type", Value::String(name)) => is_a(name, value),
                ("enum", Value::Array(values)) => values.contains(value),
                ("const", rule) => rule == value,
                ("minimum", rule) => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
                ("maximum", rule) => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
                ("minItems", _) => value.as_array().is_none_or(|items| !items.is_empty()),
                ("minLength", _) => value.as_str().is_none_or(|text| !text.is_empty()),
                ("pattern", Value::String(pattern)) => {
                    let pattern = regex_lite::Regex::new(pattern).unwrap();
                    value.as_str().is_none_or(|text| pattern.is_match(text))
                }
                ("items", rule) => {
                    let mut items = value.as_array().into_iter().flatten();
                    items.try_for_each(|item| fits(root, rule, item))?;
                    true
                }
                ("required", Value::Array(keys)) => value.as_object().is_none_or(|object| {
                    keys.iter().all(|key| object.contains_key(key.as_str().unwrap()))
                }),
                ("properties", rule) => {
                    for (key, value) in value.as_object().into_iter().flatten() {
                        fits(root, rule.get(key).unwrap_or(&Value::Bool(true)), value)?;
                    }
                    true
                }
                ("additionalProperties", rule) => {
                    let known = map.get("properties");
                    let known = |key: &str| known.is_some_and(|known| known.get(key).is_some());
                    let mut entries = value.as_object().into_iter().flatten();
                    entries.try_for_each(
                        |(key, v)| if known(key) { Ok(()) } else { fits(root, rule, v) },
                    )?;
                    true
                }
                ("$schema" | "title" | "description" | "default" | "definitions" | "format", _) => {
                    true
                }
                (other, _) => panic!("the keyword {other} is not known here"),
            };
            if !ok {
                return refuse();
            }
        }
        Ok(())
    }

    fn check(text: &str) -> Result<(), String> {
        let schema = schema();
        let value: Value = toml::from_str(text).unwrap();
        fits(&schema, &schema, &value)
    }

    const FULL: &str = r#"
        format = 1
        [repo]
        url = "https://example.org/app.git"
        token = { file = "/etc/token" }
        timeout = 30
        [build]
        commands = [["npm", "ci"]]
        env = { A = "1", B = { credential = "b" } }
        [[build.step]]
        command = ["make"]
        dir = "sub"
        timeout = "1h 30m"
        [shared]
        dirs = ["uploads"]
        [service]
        on_deploy = "reload"
        reload = ["./reload"]
        [[health.check]]
        type = "http"
        url = "http://localhost/"
        status = [200, "3xx", "400-404"]
        json = { "/n" = 1, "/s" = "x" }
        send = { A = { env = "A" } }
        settings = { any = { thing = [1] } }
        [disk]
        min_free = "5 %"
        min_free_inodes = 4096
    "#;

    #[test]
    fn what_can_be_read_fits_the_schema() {
        check(FULL).unwrap();
        let starter = starter("/srv/app.git");
        check(&starter).unwrap();
        let config = parse(&starter, "deploykit.toml".into()).unwrap();
        check(&config.show()).unwrap();
    }

    #[test]
    fn what_cannot_be_read_does_not_fit() {
        for (right, wrong) in [
            ("format = 1", "fromat = 1"),
            ("url = \"https://example.org/app.git\"", ""),
            ("url = \"https://example.org/app.git\"", "url = 1"),
            ("{ file = \"/etc/token\" }", "{ fiel = \"/etc/token\" }"),
            ("timeout = 30", "timeout = \"soon\""),
            ("[\"npm\", \"ci\"]", "\"npm ci\""),
            ("[\"npm\", \"ci\"]", "[]"),
            ("\"reload\"\n", "\"relaod\"\n"),
            ("type = \"http\"", ""),
            ("\"3xx\"", "\"6xx\""),
            ("\"5 %\"", "\"5 percent\""),
            ("min_free_inodes = 4096", "min_free_inodes = -1"),
        ] {
            assert!(FULL.contains(right), "{right}");
            let text = FULL.replacen(right, wrong, 1);
            assert!(check(&text).is_err(), "{wrong:?} instead of {right:?} fits");
            assert!(parse(&text, "deploykit.toml".into()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_key_of_the_model_is_in_the_schema_with_its_description() {
        let schema = schema();
        let table = |name: &str| match name {
            "" => &schema["properties"],
            name => &schema["definitions"][name]["properties"],
        };
        for (name, keys) in [
            ("", keys_of::<Config>()),
            ("RepoConfig", keys_of::<RepoConfig>()),
            ("BuildConfig", keys_of::<BuildConfig>()),
            ("BuildStep", keys_of::<BuildStep>()),
            ("SharedConfig", keys_of::<SharedConfig>()),
            ("ServiceConfig", keys_of::<ServiceConfig>()),
            ("SystemdConfig", keys_of::<SystemdConfig>()),
            ("HealthConfig", keys_of::<HealthConfig>()),
            ("CheckConfig", keys_of::<CheckConfig>()),
            ("ProbationConfig", keys_of::<ProbationConfig>()),
            ("ReleasesConfig", keys_of::<ReleasesConfig>()),
            ("DiskConfig", keys_of::<DiskConfig>()),
            ("HistoryConfig", keys_of::<HistoryConfig>()),
        ] {
            assert!(!keys.is_empty(), "{name}");
            for key in keys {
                let described = table(name)[key]["description"].as_str();
                assert!(
                    described.is_some_and(|text| text.len() > 10),
                    "{name}.{key}: {described:?}"
                );
            }
        }
        assert!(!schema.to_string().contains("\"null\""));
    }
}
