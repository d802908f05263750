//! Settings that belong to a backend which is not built in.

use serde::{Deserialize, Serialize, de};

/// Settings of a backend that is not built in, as they stand in the configuration.
///
/// ```
/// use deploykit_core::config::Settings;
///
/// #[derive(serde::Deserialize)]
/// struct Mine { port: u16 }
///
/// let settings: Settings = serde_json::from_str(r#"{ "port": 8080 }"#)?;
/// assert_eq!(settings.read::<Mine>()?.port, 8080);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Settings(serde_json::Map<String, serde_json::Value>);

impl Settings {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads them as a type of the backend's own.
    ///
    /// # Errors
    /// When they do not fit, with what does not.
    pub fn read<T: de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_value(serde_json::Value::Object(self.0.clone()))
    }
}
