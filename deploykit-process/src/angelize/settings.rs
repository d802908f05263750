//! What the settings of Angelize say.

use std::collections::BTreeMap;

use super::problem::{Place, Problem};
use super::smtp::Smtp;

/// All settings of one Angelize.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AngelizeSettings {
    /// Those of the manager itself.
    pub globals: Globals,
    /// Its services, in the order of the files.
    pub services: Vec<AngelizeService>,
    /// What a person should look at: keys that do not exist, first of all.
    pub warnings: Vec<Problem>,
}

/// Which keys are in the file, and where. Angelize writes all keys, so that one that is there may have its
/// default value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Given(pub(super) BTreeMap<&'static str, Place>);

impl Given {
    /// Where a key stands, if it does, as Angelize writes it: `WatchDelaySec`.
    pub fn place(&self, key: &str) -> Option<&Place> {
        self.0.get(key)
    }
}

/// Settings of the manager itself. A text that is not set is empty.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Globals {
    /// `ServiceName`: what it is called.
    pub service_name: String,
    /// `ServiceDisplayName`: its label.
    pub service_display_name: String,
    /// `ServiceExecutable`: its program, on Windows.
    pub service_executable: String,
    /// `ServiceDependencies`: what it needs, on Windows.
    pub service_dependencies: String,
    /// `Log`: the levels of its own log.
    pub log: Vec<String>,
    /// `LogPath`: the directory of its own log.
    pub log_path: String,
    /// `LogRotateFileCount`: how many files of its own log are kept.
    pub log_rotate_file_count: u32,
    /// `Folder`: where the files of services are.
    pub folder: String,
    /// `Ext`: how their names end.
    pub ext: String,
    /// `HttpTimeoutMS`: how long an http action may take.
    pub http_timeout_ms: u32,
    /// `StateFile`: where it writes the states of its services.
    pub state_file: String,
    /// `HtmlStateFileIdentifier`: the title of a page beside that file.
    pub html_state_file_identifier: String,
    /// `CommandFile`: by which it takes commands.
    pub command_file: String,
    /// `StartDelayMS`: the pause after each level.
    pub start_delay_ms: u32,
    /// `StartTimeoutSec`: how long a level may take to run; 0 does not wait.
    pub start_timeout_sec: u32,
    /// `Smtp`: the mail server.
    pub smtp: Option<Smtp>,
    /// `SmtpFrom`: the sender of mails.
    pub smtp_from: String,
    /// Which of these keys are in a file.
    pub given: Given,
}

impl Default for Globals {
    fn default() -> Self {
        Self {
            service_name: String::new(),
            service_display_name: String::new(),
            service_executable: String::new(),
            service_dependencies: String::new(),
            log: Vec::new(),
            log_path: String::new(),
            log_rotate_file_count: 2,
            folder: String::new(),
            ext: ".service".into(),
            http_timeout_ms: 200,
            state_file: String::new(),
            html_state_file_identifier: String::new(),
            command_file: String::new(),
            start_delay_ms: 0,
            start_timeout_sec: 0,
            smtp: None,
            smtp_from: String::new(),
            given: Given::default(),
        }
    }
}

impl Globals {
    /// What `%agl.<setting>%` stands for. Not for the password of the mail server, nor for a directory
    /// whose default only that machine knows.
    pub(super) fn texts(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("ServiceName", &self.service_name),
            ("ServiceDisplayName", &self.service_display_name),
            ("ServiceExecutable", &self.service_executable),
            ("ServiceDependencies", &self.service_dependencies),
            ("LogPath", &self.log_path),
            ("Folder", &self.folder),
            ("Ext", &self.ext),
            ("StateFile", &self.state_file),
            ("HtmlStateFileIdentifier", &self.html_state_file_identifier),
            ("CommandFile", &self.command_file),
            ("SmtpFrom", &self.smtp_from),
        ];
        let numbers = [
            ("LogRotateFileCount", self.log_rotate_file_count),
            ("HttpTimeoutMS", self.http_timeout_ms),
            ("StartDelayMS", self.start_delay_ms),
            ("StartTimeoutSec", self.start_timeout_sec),
        ];
        let has_default = |key| matches!(key, "ServiceName" | "LogPath" | "Folder" | "StateFile");
        let texts = texts.into_iter().filter(|(key, text)| !(text.is_empty() && has_default(*key)));
        let texts = texts.map(|(key, text)| (key, text.clone()));
        texts.chain(numbers.map(|(key, number)| (key, number.to_string()))).collect()
    }
}

/// How the program of a service is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StartOptions {
    /// `soReplaceEnv`: `StartEnv` is its whole environment.
    pub replace_env: bool,
    /// `soWinJobCloseChildren`: its children end with it, on Windows.
    pub win_job_close_children: bool,
    /// `soRedirectLogRotateCompress`: rotated logs are compressed.
    pub compress_logs: bool,
}

/// One service. A text that is not set is empty.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AngelizeService {
    /// `Name`.
    pub name: String,
    /// `Description`.
    pub description: String,
    /// `Disabled`: whether it is passed over.
    pub disabled: bool,
    /// `Run`: what `%run%` stands for, mostly the command line of its program.
    pub run: String,
    /// `Level`: it starts after those of lower levels. `None` when it is not set; 0 or less means that it is
    /// passed over.
    pub level: Option<i32>,
    /// `OS`: the only system that it runs on, without the letters `os`; empty for all.
    pub os: String,
    /// `Start`: what starts it; empty stands for `start:%run%`.
    pub start: Vec<String>,
    /// `StartEnv`: its environment, as `name=value`.
    pub start_env: Vec<String>,
    /// `StartOptions`.
    pub start_options: StartOptions,
    /// `StartWorkDir`: where it works; empty for the directory of its program.
    pub start_work_dir: String,
    /// `Stop`: what ends it; empty stands for `stop:%run%`.
    pub stop: Vec<String>,
    /// `StopRunAbortTimeoutSec`: how long it may take to end before it is killed; 0 kills at once.
    pub stop_run_abort_timeout_sec: u32,
    /// `RetryStableSec`: for how long it must have run to be started again at once; 0 never starts it
    /// again.
    pub retry_stable_sec: u32,
    /// `AbortExitCodes`: after these it is not started again.
    pub abort_exit_codes: Vec<i32>,
    /// `Notify`: who is told, separated by commas.
    pub notify: String,
    /// `Watch`: what looks whether it is well.
    pub watch: Vec<String>,
    /// `WatchDelaySec`: how often.
    pub watch_delay_sec: u32,
    /// `WatchCountRestart`: after so many failures it is started again.
    pub watch_count_restart: u32,
    /// `RedirectLogFile`: where its output goes.
    pub redirect_log_file: String,
    /// `RedirectLogRotateFiles`: how many such files there are, the live one included; 0 does not rotate.
    pub redirect_log_rotate_files: u32,
    /// `RedirectLogRotateBytes`: beyond this size a file is rotated.
    pub redirect_log_rotate_bytes: u64,
    /// Where it stands.
    pub place: Place,
    /// Which of these keys are in the file.
    pub given: Given,
}

impl AngelizeService {
    /// Whether Angelize passes over it.
    pub fn is_disabled(&self) -> bool {
        self.disabled || self.level.is_some_and(|level| level <= 0)
    }

    /// What `%<setting>%` stands for.
    pub(super) fn texts(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("Name", &self.name),
            ("Description", &self.description),
            ("Run", &self.run),
            ("OS", &self.os),
            ("StartWorkDir", &self.start_work_dir),
            ("Notify", &self.notify),
            ("RedirectLogFile", &self.redirect_log_file),
        ];
        let numbers = [
            ("Level", self.level.unwrap_or_default().to_string()),
            ("StopRunAbortTimeoutSec", self.stop_run_abort_timeout_sec.to_string()),
            ("RetryStableSec", self.retry_stable_sec.to_string()),
            ("WatchDelaySec", self.watch_delay_sec.to_string()),
            ("WatchCountRestart", self.watch_count_restart.to_string()),
            ("RedirectLogRotateFiles", self.redirect_log_rotate_files.to_string()),
            ("RedirectLogRotateBytes", self.redirect_log_rotate_bytes.to_string()),
        ];
        texts.map(|(key, text)| (key, text.clone())).into_iter().chain(numbers).collect()
    }
}
