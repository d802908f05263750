//! The units that act for an application when nobody is there: `recover` at boot and from time to
//! time, and `deploy --if-changed`.
//!
//! They are templates, one for all applications of a host, whose instance is the path of the
//! application. What differs is in a drop-in of the instance.

use camino::Utf8Path;
use deploykit_core::config::{Config, ManagerKind, ServiceSpec, WhenKilled};
use deploykit_core::service_backend_name;

use super::file::UnitFile;
use super::section::Sections;
use super::service::{boot_target, seconds};
use super::text::{argument, word};
use crate::name::escape_path;

/// So long `up` has, beside its services, to end.
const UP_ENDS: std::time::Duration = std::time::Duration::from_secs(30);

/// Whether `deploykit up` runs the services, and not systemd.
pub(super) fn runs_up(config: &Config) -> bool {
    service_backend_name(config) == "process"
}

/// What the units are made of.
pub(super) struct Timers<'a> {
    pub(super) config: &'a Config,
    pub(super) root: &'a Utf8Path,
    /// Where the configuration is, if not in its usual place.
    pub(super) config_path: Option<&'a Utf8Path>,
    pub(super) manager: ManagerKind,
    pub(super) owner: Option<&'a str>,
    /// The program `deploykit`.
    pub(super) program: &'a Utf8Path,
}

/// One of the two: its name, and what it is for.
struct Job {
    name: &'static str,
    arguments: &'static str,
    /// The exit codes that are no failure of it.
    fine: &'static str,
    description: &'static str,
}

const RECOVER: Job = Job {
    name: "deploykit-recover",
    arguments: "--quiet recover",
    // Rolled back: that is what it is for. Somebody else is at work: they do it.
    fine: "3 4",
    description: "deploykit: put right what was broken off in %f",
};

const POLL: Job = Job {
    name: "deploykit-poll",
    arguments: "--quiet deploy --if-changed",
    fine: "4",
    description: "deploykit: deploy what is new of %f",
};

/// What runs the services where systemd does not: it recovers and polls itself.
const UP: Job = Job {
    name: "deploykit-up",
    arguments: "--quiet up",
    fine: "0",
    description: "deploykit: the services of %f",
};

/// The service that runs `deploykit up` for an application.
pub(crate) fn up_service(root: &Utf8Path) -> String {
    UP.unit(root, "service")
}

/// The timer that looks after what was broken off in an application.
pub(crate) fn recover_timer(root: &Utf8Path) -> String {
    RECOVER.unit(root, "timer")
}

/// The timer that deploys what is new of an application.
pub(crate) fn poll_timer(root: &Utf8Path) -> String {
    POLL.unit(root, "timer")
}

/// The service that recovers an application.
pub(super) fn recover_service(root: &Utf8Path) -> String {
    RECOVER.unit(root, "service")
}

/// Whether a unit file belongs to one of the timers.
pub(super) fn is_of_one(name: &Utf8Path) -> bool {
    [RECOVER, POLL].iter().any(|job| name.as_str().starts_with(&format!("{}@", job.name)))
}

impl Job {
    /// The instance of an application.
    fn unit(&self, root: &Utf8Path, kind: &str) -> String {
        format!("{}@{}.{kind}", self.name, escape_path(root.as_str()))
    }
}

impl Timers<'_> {
    fn jobs(&self) -> Vec<&'static Job> {
        if runs_up(self.config) {
            return Vec::new();
        }
        let poll = self.config.timers.poll.is_some().then_some(&POLL);
        [Some(&RECOVER), poll].into_iter().flatten().collect()
    }

    /// The files of all of them.
    pub(super) fn files(&self) -> Vec<UnitFile> {
        let of = |job: &Job| {
            [
                UnitFile::shared(format!("{}@.service", job.name), &self.service(job)),
                UnitFile::shared(format!("{}@.timer", job.name), &timer(job)),
                self.drop_in(job, "service", &self.own_service(job)),
                self.drop_in(job, "timer", &self.own_timer(job)),
            ]
        };
        let up = runs_up(self.config).then(|| {
            let template = UnitFile::shared(format!("{}@.service", UP.name), &self.up());
            [template, self.drop_in(&UP, "service", &self.own_up())]
        });
        self.jobs().into_iter().flat_map(of).chain(up.into_iter().flatten()).collect()
    }

    /// The units that are started at boot: the timers, and `recover` itself.
    pub(super) fn enabled(&self) -> Vec<String> {
        if runs_up(self.config) {
            return vec![up_service(self.root)];
        }
        let timers = self.jobs().into_iter().map(|job| job.unit(self.root, "timer"));
        timers.chain([RECOVER.unit(self.root, "service")]).collect()
    }

    /// Those that are started when they are installed.
    pub(super) fn started(&self) -> Vec<String> {
        self.enabled().into_iter().filter(|unit| unit.ends_with(".timer")).collect()
    }

    fn drop_in(&self, job: &Job, kind: &str, body: &str) -> UnitFile {
        let name = format!("{}.d/10-deploykit.conf", job.unit(self.root, kind));
        UnitFile::of(self.root, name, body)
    }

    /// The service of all applications.
    fn service(&self, job: &Job) -> String {
        let mut unit = Sections::default();
        unit.section("Unit")
            .set("Description", job.description)
            .set("ConditionPathIsDirectory", "%f")
            // However often the timer says: systemd would refuse what is started five times in ten seconds.
            .set("StartLimitIntervalSec", "0");
        if self.manager == ManagerKind::System {
            unit.set("Wants", "network-online.target").set("After", "network-online.target");
        }
        unit.section("Service")
            .set("Type", "exec")
            .set("ExecStart", format!("deploykit --directory %f {}", job.arguments))
            .set("SuccessExitStatus", job.fine)
            // Told to end, it goes back first, which takes as long as the service does.
            .set("TimeoutStopSec", "10min")
            .set("KillMode", "mixed")
            // What it tells is kept, and that systemd fails it; not that it has looked once more.
            .set("SyslogLevel", "notice")
            .set("LogLevelMax", "notice");
        if job.name == RECOVER.name {
            unit.section("Install").set("WantedBy", boot_target(self.manager));
        }
        unit.text()
    }

    /// The service that runs `up`, of all applications.
    fn up(&self) -> String {
        let mut unit = Sections::default();
        unit.section("Unit")
            .set("Description", UP.description)
            .set("ConditionPathIsDirectory", "%f")
            .set("StartLimitIntervalSec", "0");
        if self.manager == ManagerKind::System {
            unit.set("Wants", "network-online.target").set("After", "network-online.target");
        }
        unit.section("Service")
            .set("Type", "notify")
            .set("NotifyAccess", "main")
            .set("ExecStart", format!("deploykit --directory %f {}", UP.arguments))
            .set("ExecReload", "kill -HUP $MAINPID")
            // It may have to deploy first.
            .set("TimeoutStartSec", "infinity")
            .set("Restart", "on-failure")
            .set("RestartSec", "250ms")
            // A configuration that is wrong is not better the next time.
            .set("RestartPreventExitStatus", "2")
            // It ends its services itself, in their order. Killed, it takes them over when it is started again.
            .set("KillMode", "process")
            // Each service has a control group below this one, and one that uses too much ends alone.
            .set("Delegate", "yes")
            .set("OOMPolicy", "continue")
            .set("TasksMax", "infinity")
            .set("LimitNOFILE", "1048576");
        unit.section("Install").set("WantedBy", boot_target(self.manager));
        unit.text()
    }

    /// What of it is this application's own.
    fn own_up(&self) -> String {
        let services = &self.config.service.services;
        // Only root makes services run as somebody else.
        let is_alone = services.iter().all(|spec| spec.user.is_none() && spec.group.is_none());
        let mut unit = Sections::default();
        unit.section("Service");
        if self.manager == ManagerKind::System && is_alone {
            unit.set_if("User", self.owner.filter(|owner| *owner != "root"));
        }
        let stop: std::time::Duration = services.iter().map(|spec| spec.stop_timeout.get()).sum();
        unit.set("TimeoutStopSec", format!("{}s", stop.as_secs() + UP_ENDS.as_secs()));
        // While groups below this one have limits, the kernel lets nobody begin in this one (cgroups(7), "no
        // internal processes"): what runs in them must be gone before it can be started again.
        let is_limited = |spec: &ServiceSpec| {
            let limits = &spec.limits;
            limits.memory.is_some() || limits.tasks.is_some() || limits.cpu.is_some()
        };
        let ends = self.config.up.when_killed == WhenKilled::End;
        if ends || services.iter().any(is_limited) {
            unit.set("KillMode", "mixed");
        }
        self.set_program(&UP, &mut unit);
        unit.text()
    }

    fn set_program(&self, job: &Job, unit: &mut Sections) {
        let config = self.config_path.map(|path| format!("--config {} ", argument(path.as_str())));
        let (root, config) = (argument(self.root.as_str()), config.unwrap_or_default());
        unit.set("ExecStart", "").set(
            "ExecStart",
            format!("{} --directory {root} {config}{}", word(self.program.as_str()), job.arguments),
        );
    }

    /// What of the service is this application's own.
    fn own_service(&self, job: &Job) -> String {
        let mut unit = Sections::default();
        // It does not wait for the units of the service: the one that hangs is what it is there for.
        unit.section("Service");
        if self.manager == ManagerKind::System {
            unit.set_if("User", self.owner);
        }
        self.set_program(job, &mut unit);
        unit.text()
    }

    fn own_timer(&self, job: &Job) -> String {
        let timers = &self.config.timers;
        let (every, jitter) = match (&timers.poll, job.name == POLL.name) {
            (Some(poll), true) => (*poll, Some(timers.jitter)),
            _ => (timers.recover, None),
        };
        let mut unit = Sections::default();
        unit.section("Timer")
            // In the place of those of the template.
            .set("OnActiveSec", "")
            .set("OnActiveSec", seconds(every))
            .set("OnUnitInactiveSec", seconds(every))
            .set("AccuracySec", "1s")
            .set_if("RandomizedDelaySec", jitter.map(seconds));
        unit.text()
    }
}

/// The timer of all applications. How often it does something is in the drop-ins; systemd takes no timer
/// that says nothing of it.
fn timer(job: &Job) -> String {
    let mut unit = Sections::default();
    unit.section("Unit").set("Description", format!("{}, from time to time", job.description));
    unit.section("Timer")
        .set("OnActiveSec", "1min")
        .set("OnUnitInactiveSec", "1min")
        .set("Unit", format!("{}@%i.service", job.name));
    unit.section("Install").set("WantedBy", "timers.target");
    unit.text()
}
