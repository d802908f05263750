//! The other side: `deploy.sh`.

use std::path::PathBuf;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};

use crate::input::BRANCH;

/// The script, for one application.
#[derive(Debug)]
pub(crate) struct Script {
    app: Utf8PathBuf,
    url: String,
}

impl Script {
    /// The script for the application in the new directory `app`.
    pub(crate) fn new(app: Utf8PathBuf, url: &str) -> std::io::Result<Self> {
        std::fs::create_dir_all(&app)?;
        Ok(Self { app, url: url.to_owned() })
    }

    /// One of its functions.
    pub(crate) fn call(&self, arguments: &[&str]) -> Command {
        let script = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy.sh");
        let mut command = Command::new("bash");
        command.arg(script).args([self.app.as_str(), &self.url, BRANCH]).args(arguments);
        command.current_dir(&self.app);
        // Nobody's own configuration of git makes it quicker or slower.
        for name in ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"] {
            command.env(name, "/dev/null");
        }
        command.env("GIT_TERMINAL_PROMPT", "0");
        command
    }

    /// The active release.
    pub(crate) fn active(&self) -> PathBuf {
        self.app.join("active").into()
    }
}
