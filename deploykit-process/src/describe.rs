//! From `[[service]]` to what runs: the instances of the services of a release.

use std::time::Duration;

use camino::Utf8Path;
use deploykit_core::Layout;
use deploykit_core::config::{Config, OnDeploy, Ready, RestartPolicy, ServiceSpec, Threshold};
use nix::sys::signal::Signal;
use nix::unistd::Uid;

use crate::definition::{Definition, Readiness};
use crate::machine::Course;
use crate::policy::{Pauses, Rules, When};
use crate::spawn::Limits;

/// No pause between two starts is longer, however often it has ended.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A service is described in a way that cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the service {service:?} cannot be run by deploykit itself: {what}")]
pub struct Undescribed {
    /// The service.
    pub service: String,
    /// What it wants.
    pub what: String,
}

/// The instances of a service as a release runs them: its directories lie below `release`, files that are
/// named by relative paths below `application`.
///
/// # Errors
/// When it wants something that only a systemd does.
pub fn describe(
    spec: &ServiceSpec,
    id: &str,
    release: &Utf8Path,
    application: &Utf8Path,
) -> Result<Vec<Definition>, Undescribed> {
    refuse(spec)?;
    let numbers = spec.count.map(|count| (1..=count).map(|number| Some(number.to_string())));
    let numbers: Vec<Option<String>> = numbers.map_or_else(|| vec![None], Iterator::collect);
    let one = |instance: Option<String>| {
        let fill = |text: &str| match &instance {
            Some(instance) => text.replace("{instance}", instance),
            None => text.to_owned(),
        };
        let mut one = Definition::new(
            &*spec.name,
            spec.command.as_slice().iter().map(|word| fill(word)),
            spec.dir.as_ref().map_or_else(|| release.to_owned(), |dir| release.join(dir.as_path())),
        );
        one.env = spec.env.iter().map(|(name, value)| (name.clone(), fill(value))).collect();
        one.env_files = spec.env_files.iter().map(|file| below(application, &fill(file))).collect();
        one.user.clone_from(&spec.user);
        one.group.clone_from(&spec.group);
        one.umask = u32::from_str_radix(&spec.umask, 8).unwrap_or(one.umask);
        one.limits = limits(spec);
        one.needs.clone_from(&spec.requires);
        one.after.clone_from(&spec.after);
        one.readiness = match spec.ready {
            Ready::Started => Readiness::Started,
            Ready::Notify => Readiness::Notify,
            Ready::Exit => Readiness::Exit,
        };
        one.stop_signal = signal(&spec.stop_signal).unwrap_or(one.stop_signal);
        one.course = course(spec);
        one.release = id.to_owned();
        one.instance = instance;
        one
    };
    Ok(numbers.into_iter().map(one).collect())
}

/// The instances of all services of a configuration, as a release runs them that lies in `root`.
///
/// # Errors
/// As [`describe`].
pub fn describe_all(
    config: &Config,
    id: &str,
    root: &Utf8Path,
    layout: &Layout,
) -> Result<Vec<Definition>, Undescribed> {
    let owner = owner(layout.root());
    let one = |spec| {
        let mut all = describe(spec, id, root, layout.root())?;
        for one in all.iter_mut().filter(|one| one.user.is_none()) {
            one.user.clone_from(&owner);
        }
        Ok(all)
    };
    let all: Result<Vec<_>, _> = config.service.services.iter().map(one).collect();
    Ok(all?.into_iter().flatten().collect())
}

/// Who owns the application's directory, where root could run its services as anybody, and it is somebody
/// else.
fn owner(root: &Utf8Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let owner = Uid::from_raw(std::fs::metadata(root).ok()?.uid());
    if owner.is_root() || !Uid::effective().is_root() {
        return None;
    }
    let known = nix::unistd::User::from_uid(owner).ok().flatten();
    Some(known.map_or_else(|| owner.to_string(), |user| user.name))
}

fn refuse(spec: &ServiceSpec) -> Result<(), Undescribed> {
    let limits = &spec.limits;
    let wanted = [
        (!spec.listen.is_empty(), "`listen`"),
        (spec.watchdog.is_some(), "`watchdog`"),
        (spec.on_deploy == OnDeploy::Reload, "`on_deploy = \"reload\"`"),
        (!spec.directives.is_empty(), "`directives`"),
        (!spec.network.allow.is_empty() || !spec.network.deny.is_empty(), "`network`"),
        (limits.memory.is_some(), "`limits.memory`"),
        (limits.tasks.is_some(), "`limits.tasks`"),
        (limits.cpu.is_some(), "`limits.cpu`"),
        (matches!(limits.stack, Some(Threshold::Percent(_))), "a share as `limits.stack`"),
    ];
    match wanted.into_iter().find(|(is_wanted, _)| *is_wanted) {
        Some((_, what)) => {
            Err(Undescribed { service: spec.name.clone(), what: format!("{what} is for systemd") })
        }
        None => Ok(()),
    }
}

fn below(application: &Utf8Path, file: &str) -> String {
    match file.strip_prefix('-') {
        Some(file) => format!("-{}", application.join(file)),
        None => application.join(file).into_string(),
    }
}

fn limits(spec: &ServiceSpec) -> Limits {
    let stack = match spec.limits.stack {
        Some(Threshold::Absolute(bytes)) => Some(bytes),
        _ => None,
    };
    Limits { open_files: Some(spec.limits.open_files.into()), stack }
}

fn course(spec: &ServiceSpec) -> Course {
    let rules = Rules {
        when: match spec.restart {
            // What does its work once is not started again when it has done it.
            RestartPolicy::Always if spec.ready == Ready::Exit => When::OnFailure,
            RestartPolicy::Always => When::Always,
            RestartPolicy::OnFailure => When::OnFailure,
            RestartPolicy::Never => When::Never,
        },
        pauses: Pauses::Doubling { first: spec.restart_delay.get(), longest: LONGEST_PAUSE },
        ..Rules::default()
    };
    Course {
        rules,
        once: spec.ready == Ready::Exit,
        start_timeout: spec.start_timeout.get(),
        stop_timeout: spec.stop_timeout.get(),
    }
}

/// The number of a signal, by its name with or without `SIG`.
fn signal(name: &str) -> Option<i32> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    format!("SIG{name}").parse::<Signal>().ok().map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(more: &str) -> Result<Vec<Definition>, Undescribed> {
        let text = format!(
            "repo.url = \"/r\"\n[[service]]\nname = \"web\"\n\
             command = [\"./web\", \"--port\", \"808{{instance}}\"]\n{more}\n"
        );
        let config = deploykit_core::config::parse(&text, "deploykit.toml".into()).unwrap();
        describe(&config.service.services[0], "r1", "/app/releases/r1".into(), "/app".into())
    }

    #[test]
    fn a_service_becomes_its_instances_each_with_its_number() {
        let all = described(
            "count = 2\ndir = \"sub\"\nenv = { ME = \"{instance}\" }\n\
             env_files = [\"shared/a.env\", \"-/etc/b-{instance}.env\"]\nstop_signal = \"QUIT\"\n\
             umask = \"0077\"\nrequires = [\"db\"]\nready = \"notify\"\nrestart = \"on-failure\"\n\
             stop_timeout = \"7s\"",
        )
        .unwrap();
        let names: Vec<_> = all.iter().map(Definition::name).collect();
        assert_eq!(names, ["web@1", "web@2"]);
        let two = &all[1];
        assert_eq!(two.command, ["./web", "--port", "8082"]);
        assert_eq!(two.dir, "/app/releases/r1/sub");
        assert_eq!(two.env["ME"], "2");
        assert_eq!(two.env_files, ["/app/shared/a.env", "-/etc/b-2.env"]);
        assert_eq!((two.stop_signal, two.umask), (nix::libc::SIGQUIT, 0o077));
        assert_eq!((&*two.needs, &two.readiness), (&["db".to_owned()][..], &Readiness::Notify));
        assert_eq!(two.course.rules.when, When::OnFailure);
        assert_eq!(two.course.stop_timeout, Duration::from_secs(7));
        assert_eq!(two.limits.open_files, Some(65_536));
        let once = &described("ready = \"exit\"").unwrap()[0];
        assert_eq!((once.course.once, once.course.rules.when), (true, When::OnFailure));
        assert_eq!(once.name(), "web");
    }

    #[test]
    fn what_only_systemd_does_is_refused_by_its_name() {
        for (text, told) in [
            ("listen = [\"8080\"]", "`listen`"),
            ("limits.memory = \"1GiB\"", "`limits.memory`"),
            ("watchdog = \"10s\"", "`watchdog`"),
        ] {
            let error = described(text).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("\"web\""), "{error}");
        }
    }
}
