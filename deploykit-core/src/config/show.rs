//! The configuration as text: the one in effect, and one to begin with.

use super::Config;

impl Config {
    /// The configuration in effect, as TOML: every value, the defaults included. Secrets are masked;
    /// references to them are shown.
    ///
    /// ```
    /// use deploykit_core::config;
    ///
    /// let config = config::parse("repo.url = \"/r\"\nrepo.token = \"s3cret\"", "x.toml".into())?;
    /// assert!(config.show().contains("token = \"***\""));
    /// # Ok::<(), config::ConfigError>(())
    /// ```
    pub fn show(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }
}

/// A small configuration with explanations, to begin with: what `deploykit init` writes.
///
/// ```
/// use deploykit_core::config;
///
/// let text = config::starter("https://example.org/app.git");
/// let config = config::parse(&text, "deploykit.toml".into())?;
/// assert_eq!(config.repo.url.as_str(), "https://example.org/app.git");
/// # Ok::<(), config::ConfigError>(())
/// ```
pub fn starter(url: &str) -> String {
    let url = toml::Value::String(url.to_owned());
    format!(
        r#"# How this application is deployed. `deploykit config show` prints every value in effect,
# `deploykit plan` what a deployment would do.

[repo]
url = {url}
# What is deployed when no revision is named: a branch, a tag or a hash.
# revision = "main"
# For a private repository; or {{ file = "…" }}, or {{ credential = "…" }} of systemd.
# token = {{ env = "GIT_TOKEN" }}

[build]
# Each command is a list of program and arguments; nothing goes through a shell.
commands = [
    # ["npm", "ci"],
    # ["npm", "run", "build"],
]

# What all releases share; it lies in shared/ beside them.
# [shared]
# files = [".env"]
# dirs = ["uploads"]

# The service: a description of what is to run, which `deploykit up` runs; or a unit of systemd in
# [systemd]; or commands of your own in [service].
# [[service]]
# name = "app"
# command = ["./server", "--port", "8080"]

# A release must be well, and stay so, before it is confirmed; else the previous one returns.
# [[health.check]]
# type = "http"
# url = "http://localhost:8080/health"

# [probation]
# duration = "10s"
"#
    )
}
