//! Secrets and values of an environment, as they stand in the configuration.

use std::collections::BTreeMap;
use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::secret::{MASK, Secret};

/// A secret: the value itself as text, or a table that says where it is:
/// `{ env = "NAME" }`, `{ file = "/path" }`, `{ credential = "name" }` (of systemd).
///
/// Serialised, a value is masked; a reference is shown.
#[derive(Debug, Clone)]
pub enum SecretValue {
    /// The value itself.
    Literal(Secret),
    /// In an environment variable of deploykit.
    Env(String),
    /// In a file; white space at the end is dropped.
    File(Utf8PathBuf),
    /// In a credential that systemd hands over in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

impl PartialEq for SecretValue {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(a), Self::Literal(b)) => a.expose() == b.expose(),
            (Self::Env(a), Self::Env(b)) | (Self::Credential(a), Self::Credential(b)) => a == b,
            (Self::File(a), Self::File(b)) => a == b,
            _ => false,
        }
    }
}

impl SecretValue {
    /// The same, but a relative path of a file is one below `directory`: that of the application,
    /// wherever the program was started.
    #[must_use]
    pub fn below(&self, directory: &Utf8Path) -> Self {
        match self {
            Self::File(path) => Self::File(directory.join(path)),
            other => other.clone(),
        }
    }

    fn from_entry(key: &str, value: String) -> Result<Self, String> {
        match key {
            "env" if value.is_empty() || value.contains(['=', '\0']) => {
                Err("`env` takes the name of an environment variable".into())
            }
            "env" => Ok(Self::Env(value)),
            "file" if value.is_empty() || value.contains('\0') => {
                Err("`file` takes the path of a file".into())
            }
            "file" => Ok(Self::File(value.into())),
            "credential" if value.is_empty() || value.contains('/') || value.starts_with('.') => {
                Err("`credential` takes the name of a credential".into())
            }
            "credential" => Ok(Self::Credential(value)),
            // What stands in the place of the key may be the secret, so it is not repeated.
            _ => Err("the keys of a secret are `env`, `file` and `credential`".into()),
        }
    }
}

impl<'de> Deserialize<'de> for SecretValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecretVisitor;
        impl<'de> Visitor<'de> for SecretVisitor {
            type Value = SecretValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or a table with one of `env`, `file` and `credential`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretValue, E> {
                Ok(SecretValue::Literal(Secret::new(text)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretValue, A::Error> {
                let Some((key, value)) = map.next_entry::<String, String>()? else {
                    return Err(de::Error::custom(
                        "one of `env`, `file` and `credential` is needed",
                    ));
                };
                if map.next_key::<String>()?.is_some() {
                    return Err(de::Error::custom(
                        "only one of `env`, `file` and `credential` can be given",
                    ));
                }
                SecretValue::from_entry(&key, value).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_any(SecretVisitor)
    }
}

impl Serialize for SecretValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, value) = match self {
            Self::Literal(_) => return serializer.serialize_str(MASK),
            Self::Env(name) => ("env", name.as_str()),
            Self::File(path) => ("file", path.as_str()),
            Self::Credential(name) => ("credential", name.as_str()),
        };
        BTreeMap::from([(key, value)]).serialize(serializer)
    }
}

/// A value of an environment: a text that is no secret, or a reference to a secret.
#[derive(Debug, Clone, PartialEq)]
pub enum EnvValue {
    /// No secret.
    Plain(String),
    /// A secret, by reference: never [`SecretValue::Literal`].
    Secret(SecretValue),
}

impl<'de> Deserialize<'de> for EnvValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match SecretValue::deserialize(deserializer)? {
            SecretValue::Literal(plain) => Self::Plain(plain.expose().to_owned()),
            reference => Self::Secret(reference),
        })
    }
}

impl Serialize for EnvValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(text) => serializer.serialize_str(text),
            Self::Secret(secret) => secret.serialize(serializer),
        }
    }
}
