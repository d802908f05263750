//! How the log of a service is kept.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

/// How the log of a service is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogSettings {
    /// The directory of the files; it is made when it is missing.
    pub dir: Utf8PathBuf,
    /// The file's name without `.log`: the service, or its instance.
    pub name: String,
    /// Before a file grows beyond this a new one is begun; 0 for never. A line that is longer than
    /// that has a file to itself.
    pub max_bytes: u64,
    /// A file whose first line is older than this is followed by a new one, at the next line.
    pub max_age: Option<Duration>,
    /// So many rotated files are kept, beside the live one.
    pub keep: u32,
    /// Whether rotated files are compressed.
    pub compress: bool,
    /// What a line looks like in the file.
    pub format: LogFormat,
}

impl LogSettings {
    /// Plain files of 100 MiB, of which five are kept, compressed.
    pub fn new(dir: impl AsRef<Utf8Path>, name: impl Into<String>) -> Self {
        Self {
            dir: dir.as_ref().to_owned(),
            name: name.into(),
            max_bytes: 100 << 20,
            max_age: None,
            keep: 5,
            compress: true,
            format: LogFormat::Plain,
        }
    }
}

/// What a line looks like in the file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormat {
    /// The bytes as they came. When they came is in a file of its own beside it, to the second.
    #[default]
    Plain,
    /// `2026-11-21T22:30:39.123Z out: line`.
    Timestamps,
    /// `{"time":"2026-11-21T22:30:39.123Z","stream":"out","line":"line"}`.
    Json,
}
