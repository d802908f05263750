//! The unit files of a service: the service itself, and its socket.

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::config::{
    Config, Hardening, ManagerKind, Ready, RestartPolicy, ServiceSpec, Threshold,
};

use super::UnitError;
use super::section::Sections;
use super::text::{argument, argument_with_process, plain, word};

/// Where a service runs: what is not in its description.
pub(super) struct Place<'a> {
    pub(super) config: &'a Config,
    /// The application's directory.
    pub(super) root: &'a Utf8Path,
    pub(super) manager: ManagerKind,
    /// Who owns that directory.
    pub(super) owner: Option<String>,
    /// The home of whom it runs as lies where homes do.
    pub(super) homes: &'a dyn Fn(&str) -> Option<Utf8PathBuf>,
}

/// What `Type=` has to say for what makes it count as up (systemd.service(5)).
fn kind(ready: Ready) -> &'static str {
    match ready {
        // The last three are refused in a configuration for systemd.
        Ready::Started | Ready::Delay | Ready::Line | Ready::Check => "exec",
        Ready::Notify => "notify",
        Ready::Exit => "oneshot",
    }
}

impl Place<'_> {
    fn active(&self) -> Utf8PathBuf {
        self.root.join("active")
    }

    /// A path that a person has written, from the application's directory on.
    fn path(&self, path: &str) -> String {
        self.root.join(path).into_string()
    }

    /// As whom a service runs.
    fn user(&self, spec: &ServiceSpec) -> Result<Option<String>, UnitError> {
        if self.manager == ManagerKind::User {
            return Ok(None);
        }
        let owner = self.owner.clone().filter(|owner| owner != "root");
        match spec.user.clone().or(owner) {
            Some(user) => Ok(Some(user)),
            None => {
                Err(UnitError::NoUser { service: spec.name.clone(), root: self.root.to_owned() })
            }
        }
    }

    pub(super) fn service(&self, spec: &ServiceSpec) -> Result<String, UnitError> {
        let user = self.user(spec)?;
        let mut unit = Sections::default();
        self.head(spec, &mut unit);
        self.run(spec, user.as_deref(), &mut unit);
        lifetime(spec, &mut unit);
        limits(spec, &mut unit);
        unit.set("StandardOutput", target(&spec.stdout)).set("StandardError", target(&spec.stderr));
        for (key, networks) in
            [("IPAddressAllow", &spec.network.allow), ("IPAddressDeny", &spec.network.deny)]
        {
            unit.set_if(key, (!networks.is_empty()).then(|| networks.join(" ")));
        }
        self.harden(spec, user.as_deref(), &mut unit);
        unit.section("Install").set("WantedBy", boot_target(self.manager));
        // Of a template, systemd does not know which instance is meant.
        let socket = (!spec.listen.is_empty() && spec.count.is_none()).then_some(&spec.name);
        unit.set_if("Also", socket.map(|name| format!("{name}.socket")));
        unit.replace(&spec.directives);
        Ok(unit.text())
    }

    fn head(&self, spec: &ServiceSpec, unit: &mut Sections) {
        let number = if spec.count.is_some() { " %i" } else { "" };
        let description = match &spec.description {
            Some(description) => format!("{}{number}", plain(description)),
            None => format!("{}{number} of {}", spec.name, plain(self.root.as_str())),
        };
        unit.section("Unit")
            .set("Description", description)
            // Before the first deployment there is nothing to run.
            .set("ConditionPathIsDirectory", plain(self.active().as_str()));
        let mut after = self.units_of(&spec.after);
        let mut requires = self.units_of(&spec.requires);
        if !spec.listen.is_empty() {
            let at = if spec.count.is_some() { "@%i" } else { "" };
            requires.push(format!("{}{at}.socket", spec.name));
        }
        after.extend(requires.iter().cloned());
        if self.manager == ManagerKind::System {
            after.push("network.target".to_owned());
        }
        after.dedup();
        unit.set_if("Requires", (!requires.is_empty()).then(|| requires.join(" ")));
        unit.set_if("After", (!after.is_empty()).then(|| after.join(" ")));
        // What ends is started again for as long as it takes: nobody may be there at night.
        unit.set("StartLimitIntervalSec", "0");
    }

    /// The units of services of this application, or those that are named.
    fn units_of(&self, names: &[String]) -> Vec<String> {
        let services = &self.config.service.services;
        let one = |name: &String| match services.iter().find(|spec| spec.name == *name) {
            Some(spec) => crate::units::names(spec).iter().map(ToString::to_string).collect(),
            None => vec![crate::name::UnitName::complete(name).to_string()],
        };
        names.iter().flat_map(one).collect()
    }

    fn run(&self, spec: &ServiceSpec, user: Option<&str>, unit: &mut Sections) {
        let directory = match &spec.dir {
            Some(dir) => self.active().join(dir.as_path()),
            None => self.active(),
        };
        let speaks = spec.ready == Ready::Notify || spec.watchdog.is_some();
        unit.section("Service")
            .set("Type", kind(spec.ready))
            // A wrapper script leaves it to its child to speak for the service.
            .set_if("NotifyAccess", speaks.then_some("all"))
            .set_if("User", user)
            .set_if("Group", spec.group.as_deref())
            .set("UMask", &*spec.umask)
            .set("WorkingDirectory", plain(directory.as_str()));
        for (name, value) in &spec.env {
            unit.set("Environment", word(&format!("{name}={value}")));
        }
        for file in &spec.env_files {
            let (dash, path) = match file.strip_prefix('-') {
                Some(path) => ("-", path),
                None => ("", &**file),
            };
            unit.set("EnvironmentFile", format!("{dash}{}", plain(&self.path(path))));
        }
        unit.set("ExecStart", command(&directory, spec.command.as_slice(), argument));
        if let Some(reload) = &spec.reload {
            let text = command(&directory, reload.as_slice(), argument_with_process);
            unit.set("ExecReload", text);
        }
    }

    /// What is kept away from it, as far as no common runtime needs it: see systemd.exec(5) for each.
    fn harden(&self, spec: &ServiceSpec, user: Option<&str>, unit: &mut Sections) {
        if spec.hardening == Hardening::None {
            return;
        }
        unit.set("NoNewPrivileges", "yes")
            .set("RestrictSUIDSGID", "yes")
            .set("RestrictRealtime", "yes")
            .set("LockPersonality", "yes")
            .set("RestrictNamespaces", "yes")
            // Node and Go ask the kernel for the addresses of the host by netlink.
            .set("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK")
            .set("SystemCallArchitectures", "native")
            .set("SystemCallFilter", "@system-service")
            // A runtime that tries a newer call falls back to an older one.
            .set("SystemCallErrorNumber", "EPERM");
        if self.manager == ManagerKind::User {
            // The rest needs privileges that a user's manager does not have.
            return;
        }
        unit.set("CapabilityBoundingSet", "")
            .set("PrivateDevices", "yes")
            .set("ProtectClock", "yes")
            .set("ProtectControlGroups", "yes")
            .set("ProtectHostname", "yes")
            .set("ProtectKernelLogs", "yes")
            .set("ProtectKernelModules", "yes")
            .set("ProtectKernelTunables", "yes")
            .set("ProtectProc", "invisible")
            .set("ProtectSystem", "full")
            .set("RemoveIPC", "yes");
        // It would not see itself.
        let in_tmp = ["/tmp", "/var/tmp"].iter().any(|tmp| self.root.starts_with(tmp));
        unit.set_if("PrivateTmp", (!in_tmp).then_some("yes"));
        let in_home = is_home(self.root)
            || user.and_then(|user| (self.homes)(user)).is_some_and(|home| is_home(&home));
        unit.set("ProtectHome", if in_home { "read-only" } else { "yes" });
        let mut writable: Vec<String> = Vec::new();
        if is_home(self.root) {
            writable.push(format!("-{}", self.root));
        }
        writable.extend(spec.writable.iter().map(|path| format!("-{}", self.path(path))));
        let words: Vec<String> = writable.iter().map(|path| word(path)).collect();
        unit.set_if("ReadWritePaths", (!words.is_empty()).then(|| words.join(" ")));
    }

    /// The sockets that are opened for a service.
    pub(super) fn socket(&self, spec: &ServiceSpec) -> Result<String, UnitError> {
        let number = if spec.count.is_some() { " %i" } else { "" };
        let mut unit = Sections::default();
        unit.section("Unit")
            .set(
                "Description",
                format!("sockets of {}{number} of {}", spec.name, plain(self.root.as_str())),
            )
            // Whoever connects before the first deployment would have systemd try without end.
            .set("ConditionPathIsDirectory", plain(self.active().as_str()));
        unit.section("Socket");
        for address in &spec.listen {
            unit.set("ListenStream", plain(address));
        }
        if spec.listen.iter().any(|address| address.starts_with('/')) {
            unit.set_if("SocketUser", self.user(spec)?)
                .set("SocketMode", "0660")
                .set("RemoveOnStop", "yes");
        }
        // Whoever connects while the service starts waits in the queue, also when one that ends at once is
        // started again and again: without this, systemd would close the socket then.
        unit.set("Backlog", "4096").set("NoDelay", "yes").set("TriggerLimitIntervalSec", "0");
        unit.section("Install").set("WantedBy", "sockets.target");
        Ok(unit.text())
    }
}

/// What a manager starts at boot (systemd.special(7)).
pub(super) fn boot_target(manager: ManagerKind) -> &'static str {
    match manager {
        ManagerKind::System => "multi-user.target",
        ManagerKind::User => "default.target",
    }
}

/// Whether a path lies where homes are, as ProtectHome= has it.
fn is_home(path: &Utf8Path) -> bool {
    ["/home", "/root", "/run/user"].iter().any(|home| path.starts_with(home))
}

/// A command line. systemd demands an absolute path where there is a slash in it.
fn command(directory: &Utf8Path, words: &[String], written: fn(&str) -> String) -> String {
    let mut words = words.iter();
    let program = words.next().map_or("", |program| program.as_str());
    let program = match program.strip_prefix("./").unwrap_or(program) {
        name if name.contains('/') || program.starts_with("./") => {
            directory.join(name).into_string()
        }
        name => name.to_owned(),
    };
    // systemd replaces variables in arguments only.
    let words: Vec<String> =
        [word(&program)].into_iter().chain(words.map(|word| written(word))).collect();
    words.join(" ")
}

fn target(target: &str) -> String {
    if target.starts_with('/') { format!("append:{}", plain(target)) } else { target.to_owned() }
}

pub(super) fn seconds(period: deploykit_core::config::Period) -> String {
    let millis = period.get().as_millis();
    if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
}

fn lifetime(spec: &ServiceSpec, unit: &mut Sections) {
    let restart = match spec.restart {
        // What does its work once is not started again when it has done it.
        RestartPolicy::Always if spec.ready == Ready::Exit => "on-failure",
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::Never => "no",
    };
    let signal = spec.stop_signal.strip_prefix("SIG").unwrap_or(&spec.stop_signal);
    unit.set("Restart", restart)
        .set("RestartSec", seconds(spec.restart_delay))
        .set("TimeoutStartSec", seconds(spec.start_timeout))
        .set("TimeoutStopSec", seconds(spec.stop_timeout))
        .set("KillSignal", format!("SIG{signal}"))
        .set_if("SuccessExitStatus", codes(&spec.success_codes))
        .set_if("RestartPreventExitStatus", codes(&spec.no_restart_codes))
        .set_if("WatchdogSec", spec.watchdog.map(seconds));
}

fn codes(codes: &[u8]) -> Option<String> {
    let texts: Vec<String> = codes.iter().map(ToString::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(" "))
}

fn amount(amount: Threshold) -> String {
    match amount {
        Threshold::Absolute(bytes) => bytes.to_string(),
        Threshold::Percent(percent) => format!("{percent}%"),
    }
}

fn limits(spec: &ServiceSpec, unit: &mut Sections) {
    let limits = &spec.limits;
    unit.set("LimitNOFILE", limits.open_files.to_string())
        .set_if("LimitSTACK", limits.stack.map(amount))
        .set_if("MemoryMax", limits.memory.map(amount))
        .set_if("TasksMax", limits.tasks.map(|tasks| tasks.to_string()))
        .set_if("CPUQuota", limits.cpu.map(|percent| format!("{percent}%")));
}

/// The services of a configuration whose units are templates.
pub(super) fn file_name(spec: &ServiceSpec, suffix: &str) -> String {
    let at = if spec.count.is_some() { "@" } else { "" };
    format!("{}{at}{suffix}", spec.name)
}
