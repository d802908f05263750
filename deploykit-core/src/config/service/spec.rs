//! The keys of one entry of `[[service]]`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::OnDeploy;
use super::terms::{LimitsConfig, LogsConfig, NetworkConfig};
use crate::config::value::{Argv, Period, RelPath};

/// One service that is to run: an entry of `[[service]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(deny_unknown_fields))]
#[non_exhaustive]
pub struct ServiceSpec {
    /// What it is called; under systemd on the whole host: its unit is `NAME.service`.
    pub name: String,
    /// Program and arguments. A program with a slash in its name lies in the release, another one is
    /// looked for in the usual directories. Nothing goes through a shell. `{instance}` stands for the
    /// number of the instance.
    pub command: Argv,
    /// What it does, for people, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it runs at all.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// So many instances of it run, `NAME@1` to `NAME@COUNT`, which a deployment restarts one after
    /// another. One without a number when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// Where it works, relative to the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<RelPath>,
    /// As whom it runs. The owner of the application's directory when it is left out, unless that is
    /// root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The group. That of the user when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// What others may not do with the files that it makes, as octal digits.
    #[serde(default = "umask")]
    pub umask: String,
    /// Its environment. No secrets: it stands in a unit file that everybody can read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// It is given nothing of the environment of `deploykit up`. Under systemd it never is.
    #[serde(default)]
    pub clean_env: bool,
    /// Files of lines `NAME=value` for its environment. A relative path is relative to the
    /// application's directory; one that may be missing begins with a dash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_files: Vec<String>,
    /// Sockets that are opened for it and outlive its restarts and its releases: a port, `address:port`, or
    /// the path of a unix socket. All instances share one under `deploykit up`; `{instance}` gives each one
    /// of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<String>,
    /// When it counts as up.
    #[serde(default)]
    pub ready: Ready,
    /// With `ready = "delay"`: how long after its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_delay: Option<Period>,
    /// With `ready = "line"`: what the line contains that it writes when it is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_line: Option<String>,
    /// With `ready = "check"`: what is asked until it is well, in the form of a `watch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_check: Option<String>,
    /// What a deployment does to it. When it is left out: `hand-over` where `deploykit up` runs it and it
    /// has `listen`, otherwise `restart`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_deploy: Option<OnDeploy>,
    /// Makes it reload. `$MAINPID` stands for its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<Argv>,
    /// When it is started again after it ended without being asked to.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// How long after its end it is started again.
    #[serde(default = "one_second")]
    pub restart_delay: Period,
    /// How the pauses grow where it ends again and again: `doubling`, from `restart_delay` on, or `ladder`,
    /// by the time since the first end: 2 s, 15 s, 30 s, 60 s, 120 s, 240 s.
    #[serde(default)]
    pub backoff: Backoff,
    /// No pause is longer.
    #[serde(default = "one_minute")]
    pub restart_delay_max: Period,
    /// What has run for so long is stable: it is started again at once, and its pauses begin anew.
    #[serde(default = "one_minute")]
    pub stable_after: Period,
    /// After so many ends in a row before it was stable it stays down, until `deploykit retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up_after: Option<u32>,
    /// Exit codes that count as well, beside 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub success_codes: Vec<u8>,
    /// Exit codes after which it is not started again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub no_restart_codes: Vec<u8>,
    /// When it has ended and is not started again, `deploykit up` ends everything, with its exit code.
    #[serde(default)]
    pub essential: bool,
    /// What is done to start it, in this order: actions as Angelize has them, `start` among them. `start`
    /// alone when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start: Vec<String>,
    /// What is done to end it, likewise. `stop` alone when it is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// What is asked from time to time while it runs: `http://127.0.0.1:8080/health`,
    /// `http://…=204`, `tcp:127.0.0.1:5432`, `unix:/run/db.sock`, `exec:./look --quick`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watch: Vec<String>,
    /// How often.
    #[serde(default = "one_minute")]
    pub watch_interval: Period,
    /// How long one answer may take.
    #[serde(default = "five_seconds")]
    pub watch_timeout: Period,
    /// After so many failures in a row it is started anew.
    #[serde(default = "two")]
    pub watch_failures: u32,
    /// How long it may take until it is up.
    #[serde(default = "ninety_seconds")]
    pub start_timeout: Period,
    /// The signal that asks it to end.
    #[serde(default = "term")]
    pub stop_signal: String,
    /// How long it may take to end before it is killed.
    #[serde(default = "thirty_seconds")]
    pub stop_timeout: Period,
    /// How long it may be silent before it is killed and started again: it must report by sd_notify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<Period>,
    /// How much of the host it may use.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// Where its standard output goes: `journal`, `null`, or the path of a file that is appended to. Under
    /// `deploykit up`, `journal` is the service's log there.
    #[serde(default = "journal")]
    pub stdout: String,
    /// Where its standard error goes.
    #[serde(default = "journal")]
    pub stderr: String,
    /// How what it writes is kept.
    #[serde(default)]
    pub logs: LogsConfig,
    /// Which addresses it may talk to.
    #[serde(default)]
    pub network: NetworkConfig,
    /// How much of the host is kept away from it.
    #[serde(default)]
    pub hardening: Hardening,
    /// Directories that it may write to although they are protected. A relative path is relative to the
    /// application's directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writable: Vec<String>,
    /// Lower levels are up before it starts, and end after it.
    #[serde(default)]
    pub level: u32,
    /// It starts after these: other services of this application, or units.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// It needs these: other services of this application, or units.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Directives for its unit file that have no key here, by section: `Service.Nice = "5"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub directives: BTreeMap<String, BTreeMap<String, String>>,
}

impl ServiceSpec {
    /// What a deployment does to it where `deploykit up` runs it, or systemd does.
    pub fn on_deploy(&self, under_systemd: bool) -> OnDeploy {
        let is_passed_on = !self.listen.is_empty() && !under_systemd;
        let usual = if is_passed_on { OnDeploy::HandOver } else { OnDeploy::Restart };
        self.on_deploy.unwrap_or(usual)
    }
}

/// When a service counts as up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// As soon as its program runs.
    #[default]
    Started,
    /// When it says so by sd_notify (`READY=1`).
    Notify,
    /// Some time after its start: `ready_delay`.
    Delay,
    /// When it writes a line: `ready_line`.
    Line,
    /// When somebody who asks it finds it well: `ready_check`.
    Check,
    /// When it has ended well: it does its work once.
    Exit,
}

/// When a service is started again after it ended without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Always.
    #[default]
    Always,
    /// When it ended otherwise than with exit code 0.
    OnFailure,
    /// Never.
    Never,
}

/// How much of the host is kept away from a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Hardening {
    /// What no common runtime needs.
    #[default]
    Default,
    /// Nothing.
    None,
}

/// How the pauses grow between the starts of a service that ends again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Backoff {
    /// Each is twice as long as the one before.
    #[default]
    Doubling,
    /// By the time since the first end.
    Ladder,
}

/// What a line of a log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LogForm {
    /// As it came.
    #[default]
    Plain,
    /// Behind the time and the stream.
    Timestamps,
    /// An object with time, stream and line.
    Json,
}

fn umask() -> String {
    "0027".into()
}

fn term() -> String {
    "TERM".into()
}

fn journal() -> String {
    "journal".into()
}

fn one_second() -> Period {
    Period::from_secs(1)
}

fn thirty_seconds() -> Period {
    Period::from_secs(30)
}

fn ninety_seconds() -> Period {
    Period::from_secs(90)
}

fn one_minute() -> Period {
    Period::from_secs(60)
}

fn five_seconds() -> Period {
    Period::from_secs(5)
}

fn two() -> u32 {
    2
}

fn yes() -> bool {
    true
}
