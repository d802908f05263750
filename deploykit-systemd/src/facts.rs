//! What systemd knows of a unit.

use std::collections::HashMap;

use deploykit_core::Timestamp;
use zbus::{OwnedVariant, Variant};

use crate::exit;
use crate::name::UnitName;

/// What systemd knows of a unit; see org.freedesktop.systemd1(5) for each property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) unit: UnitName,
    /// `loaded`, `not-found`, `masked`, `bad-setting`, `error`.
    pub(crate) load: String,
    pub(crate) load_error: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`.
    pub(crate) active: String,
    /// `running`, `auto-restart`, `listening`, …
    pub(crate) sub: String,
    /// Since when it is in that state.
    pub(crate) since: Option<Timestamp>,
    pub(crate) fragment: String,
    /// `enabled`, `disabled`, `static`, …
    pub(crate) enabled: String,
    pub(crate) needs_reload: bool,
    pub(crate) can_reload: bool,
    /// Something is queued to be done with it.
    pub(crate) has_job: bool,
    /// `simple`, `notify`, …; empty for what is no service.
    pub(crate) kind: String,
    pub(crate) result: String,
    pub(crate) pid: Option<u32>,
    /// When its main process was started.
    pub(crate) started: Option<Timestamp>,
    /// How its main process ended (`si_code`) and with what; 0 when it has not.
    pub(crate) exit_code: i32,
    pub(crate) exit_status: i32,
    pub(crate) exited: bool,
    pub(crate) restarts: u64,
    /// What it says of itself by sd_notify.
    pub(crate) text: String,
    pub(crate) directory: String,
    /// What is run to start it, if that is an absolute path.
    pub(crate) program: Option<String>,
    pub(crate) user: String,
    pub(crate) group: String,
    /// The other groups of that user.
    pub(crate) groups: Vec<String>,
    /// It runs as a user that is made for it.
    pub(crate) has_own_user: bool,
    /// It sees other files than the host does, or does not mind when its directory cannot be entered.
    pub(crate) sees_others: bool,
    /// The files of its environment that must be there.
    pub(crate) env_files: Vec<String>,
    /// How long it may take to start and to stop, in microseconds.
    pub(crate) start_timeout: u64,
    pub(crate) stop_timeout: u64,
    /// The units that it starts when there is something to do.
    pub(crate) triggers: Vec<String>,
    /// The units that start it when there is something to do: sockets, timers, paths.
    pub(crate) triggered_by: Vec<String>,
    /// It does not run, and one of those waits to start it.
    pub(crate) is_on_call: bool,
}

/// The properties of a unit, as they came over the bus.
pub(crate) struct Properties(pub(crate) HashMap<String, OwnedVariant>);

impl Properties {
    fn text(&self, name: &str) -> String {
        match self.0.get(name).map(|value| &**value) {
            Some(Variant::Str(text)) => text.as_str().to_owned(),
            _ => String::new(),
        }
    }

    fn number(&self, name: &str) -> u64 {
        match self.0.get(name).map(|value| &**value) {
            Some(Variant::U32(number)) => u64::from(*number),
            Some(Variant::U64(number)) => *number,
            _ => 0,
        }
    }

    fn integer(&self, name: &str) -> i32 {
        match self.0.get(name).map(|value| &**value) {
            Some(Variant::I32(number)) => *number,
            _ => 0,
        }
    }

    fn flag(&self, name: &str) -> bool {
        matches!(self.0.get(name).map(|value| &**value), Some(Variant::Bool(true)))
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.0.get(name).map(|value| &**value) {
            Some(Variant::Array(items)) => items
                .iter()
                .filter_map(|item| match item {
                    Variant::Str(text) => Some(text.as_str().to_owned()),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Whether what is at a path for the host may be something else for the unit.
    fn sees_others(&self) -> bool {
        let lists = ["BindPaths", "BindReadOnlyPaths", "TemporaryFileSystem", "MountImages"];
        let is_some = |name: &&str| matches!(self.0.get(*name).map(|value| &**value), Some(Variant::Array(items)) if !items.is_empty());
        lists.iter().any(is_some)
            || ["RootDirectory", "RootImage"].iter().any(|name| !self.text(name).is_empty())
            || self.text("ProtectHome") == "tmpfs"
            || self.text("WorkingDirectory").starts_with(['-', '!'])
    }

    /// The parts of each structure of a list.
    fn structures(&self, name: &str) -> impl Iterator<Item = &[Variant<'_>]> {
        let items = match self.0.get(name).map(|value| &**value) {
            Some(Variant::Array(items)) => items.inner(),
            _ => &[],
        };
        items.iter().filter_map(|item| match item {
            Variant::Structure(structure) => Some(structure.fields()),
            _ => None,
        })
    }

    /// The parts of a structure.
    fn parts(&self, name: &str) -> &[Variant<'_>] {
        match self.0.get(name).map(|value| &**value) {
            Some(Variant::Structure(structure)) => structure.fields(),
            _ => &[],
        }
    }
}

impl Facts {
    pub(crate) fn new(unit: UnitName, properties: &Properties) -> Self {
        let load_error = match properties.parts("LoadError") {
            [Variant::Str(_), Variant::Str(message)] => message.as_str().to_owned(),
            _ => String::new(),
        };
        let has_job = matches!(properties.parts("Job"), [Variant::U32(job), _] if *job != 0);
        let exited_at = properties.number("ExecMainExitTimestamp");
        Self {
            unit,
            load: properties.text("LoadState"),
            load_error,
            active: properties.text("ActiveState"),
            sub: properties.text("SubState"),
            since: timestamp(properties.number("StateChangeTimestamp")),
            fragment: properties.text("FragmentPath"),
            enabled: properties.text("UnitFileState"),
            needs_reload: properties.flag("NeedDaemonReload"),
            can_reload: properties.flag("CanReload"),
            has_job,
            kind: properties.text("Type"),
            result: properties.text("Result"),
            pid: u32::try_from(properties.number("MainPID")).ok().filter(|pid| *pid != 0),
            started: timestamp(properties.number("ExecMainStartTimestamp")),
            exit_code: properties.integer("ExecMainCode"),
            exit_status: properties.integer("ExecMainStatus"),
            exited: exited_at != 0,
            restarts: properties.number("NRestarts"),
            text: properties.text("StatusText"),
            directory: properties.text("WorkingDirectory"),
            program: properties.structures("ExecStart").next().and_then(|parts| match parts {
                [Variant::Str(path), ..] => {
                    Some(path.as_str().to_owned()).filter(|path| path.starts_with('/'))
                }
                _ => None,
            }),
            user: properties.text("User"),
            group: properties.text("Group"),
            groups: properties.list("SupplementaryGroups"),
            has_own_user: properties.flag("DynamicUser"),
            sees_others: properties.sees_others(),
            env_files: properties
                .structures("EnvironmentFiles")
                .filter_map(|parts| match parts {
                    [Variant::Str(path), Variant::Bool(false)] => Some(path.as_str().to_owned()),
                    _ => None,
                })
                .collect(),
            start_timeout: properties.number("TimeoutStartUSec"),
            stop_timeout: properties.number("TimeoutStopUSec"),
            triggers: properties.list("Triggers"),
            triggered_by: properties.list("TriggeredBy"),
            is_on_call: false,
        }
    }

    /// Whether it ended without being asked to and is about to be started again.
    pub(crate) fn waits_to_restart(&self) -> bool {
        self.sub.starts_with("auto-restart")
    }

    /// Whether it does its work once, and has done it.
    pub(crate) fn has_done_its_work(&self) -> bool {
        self.kind == "oneshot"
            && self.active == "inactive"
            && self.result == "success"
            && self.exited
    }

    /// The same, or it has not run at all: systemd forgets a unit that has ended in order and that
    /// nothing refers to.
    pub(crate) fn may_have_done_its_work(&self) -> bool {
        self.kind == "oneshot" && self.active == "inactive" && self.result == "success"
    }

    /// How often it was started again, one that waits for it included. Once it has a job to be started,
    /// systemd has counted that, although it still shows it as waiting.
    pub(crate) fn restarts_begun(&self) -> u64 {
        self.restarts + u64::from(self.waits_to_restart() && !self.has_job)
    }

    /// Why it does not run, in words: how its process ended, and its result.
    pub(crate) fn failure(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(exit::result(&self.result).map(str::to_owned));
        let ended = self.exit_code != 0 && (self.exit_code != 1 || self.exit_status != 0);
        if ended || (parts.is_empty() && self.exited) {
            parts.push(exit::describe(self.exit_code, self.exit_status));
        } else if parts.is_empty() {
            parts.push(format!("it is {} ({})", self.active, self.sub));
        }
        let mut text = parts.join(", ");
        if !matches!(self.result.as_str(), "" | "success") {
            text.push_str(&format!(" (result {})", self.result));
        }
        text
    }

    /// How often it was started again, in words that follow on others.
    pub(crate) fn again(&self) -> String {
        match self.restarts_begun() {
            0 => String::new(),
            1 => ", started again once".to_owned(),
            times => format!(", started again {times} times"),
        }
    }
}

/// From microseconds since 1970; 0 means never.
fn timestamp(micros: u64) -> Option<Timestamp> {
    let millis = i64::try_from(micros / 1000).ok()?;
    (micros != 0).then(|| Timestamp::from_millis(millis))
}
