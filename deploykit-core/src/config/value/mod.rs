//! Values of the configuration that are more than text or number. Each checks itself while it is
//! read, so that an error points at it.

mod argv;
mod path;
mod period;
mod secret;
mod settings;
mod threshold;
mod url;

pub use argv::Argv;
pub use path::RelPath;
pub use period::Period;
pub use secret::{EnvValue, SecretValue};
pub use settings::Settings;
pub use threshold::Threshold;
pub use url::RepoUrl;
