//! Settings of the process manager Angelize, and its actions.
//!
//! Nothing here runs anything: text becomes values. [`read`](fn@read) reads the settings of Angelize,
//! [`import`](fn@import) writes them as `[[service]]` tables and tells what became of each. Its actions
//! ([`Action`]) and variables ([`expand`]) also work as they stand in our own configuration, and
//! [`split_command`] makes an argument list of its command lines, since no shell is to read them.
//!
//! ```
//! use deploykit_process::angelize::{Source, import, read};
//!
//! let text = r#"{ "Services": [ { "Name": "api", "Run": "/opt/api --port 80" } ] }"#;
//! let settings = read(&[Source::new("agl.settings", text)])?;
//! let imported = import(&settings);
//! assert!(imported.toml.contains(r#"command = ["/opt/api", "--port", "80"]"#));
//! # Ok::<(), deploykit_process::angelize::SettingsError>(())
//! ```

mod action;
mod action_error;
mod command;
mod import;
mod json;
mod problem;
mod read;
mod settings;
mod smtp;
mod table;
mod variables;

pub use action::{Action, ActionList, Doubt, Expected, Verb};
pub use action_error::ActionError;
pub use command::{CommandError, split_command};
pub use import::{Became, Imported, Note, import};
pub use problem::{Place, Problem, SettingsError};
pub use read::{Source, read};
pub use settings::{AngelizeService, AngelizeSettings, Given, Globals, StartOptions};
pub use smtp::Smtp;
pub use variables::{ExpandError, Variables, expand};
