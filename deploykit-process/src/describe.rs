//! From `[[service]]` to what runs: the instances of the services of a release.

use std::time::Duration;

use camino::Utf8Path;
use deploykit_core::Layout;
use deploykit_core::config::{
    Backoff, Config, LogForm, OnDeploy, Period, Ready, RestartPolicy, ServiceSpec, Threshold,
    WhenKilled,
};
use nix::sys::signal::Signal;
use nix::unistd::Uid;

use crate::action::{Actions, NoAction, Watch, of_start, of_stop, of_watch};
use crate::angelize::Variables;
use crate::cgroup::Amounts;
use crate::definition::{Definition, Readiness};
use crate::kept::{LogPolicy, Sink};
use crate::log::LogFormat;
use crate::machine::Course;
use crate::policy::{Pauses, Rules, When};
use crate::spawn::Limits;

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
    layout: &Layout,
) -> Result<Vec<Definition>, Undescribed> {
    refuse(spec)?;
    let application = layout.root();
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
        one.amounts = amounts(spec);
        one.needs.clone_from(&spec.requires);
        one.after.clone_from(&spec.after);
        one.clean_env = spec.clean_env;
        one.listen = spec.listen.iter().map(|address| fill(address)).collect();
        one.hands_over = spec.on_deploy(false).overlaps();
        one.level = spec.level;
        one.essential = spec.essential;
        one.logs = log_policy(spec);
        let variables = variables(&one, layout);
        one.readiness = readiness(spec, &fill, &variables)?;
        one.actions = actions(spec, &fill, &variables)?;
        one.watches = watches(spec, &fill, &variables)?;
        one.stop_signal = signal(&spec.stop_signal).unwrap_or(one.stop_signal);
        one.course = course(spec);
        one.release = id.to_owned();
        one.instance.clone_from(&instance);
        Ok(one)
    };
    let all: Result<Vec<Definition>, NoAction> = numbers.into_iter().map(one).collect();
    all.map_err(|error| Undescribed { service: spec.name.clone(), what: error.to_string() })
}

/// What is wrong with the actions and watches of a service, each with its key.
pub(crate) fn complaints(spec: &ServiceSpec) -> Vec<(Vec<String>, String)> {
    // The number of an instance, and where it lies, change nothing of that.
    let one = Definition::new(&*spec.name, spec.command.as_slice().iter().cloned(), "/");
    let variables = variables(&one, &Layout::new("/".into()));
    let fill = |text: &str| text.replace("{instance}", "1");
    let mut found = Vec::new();
    let mut actions = Actions::default();
    let filled = |list: &[String]| list.iter().map(|text| fill(text)).collect::<Vec<_>>();
    for (key, list) in [("start", &spec.start), ("stop", &spec.stop)] {
        let texts = filled(list);
        let of = if key == "start" { of_start } else { of_stop };
        if let Err(error) = of(&texts, &variables, &mut actions) {
            let index = texts.iter().position(|text| *text == error.text).unwrap_or_default();
            found.push((vec![key.to_owned(), index.to_string()], error.why));
        }
    }
    for (index, text) in spec.watch.iter().enumerate() {
        if let Err(error) = of_watch(&fill(text), &variables) {
            found.push((vec!["watch".to_owned(), index.to_string()], error.why));
        }
    }
    if let Some(Err(error)) =
        spec.ready_check.as_ref().map(|text| of_watch(&fill(text), &variables))
    {
        found.push((vec!["ready_check".to_owned()], error.why));
    }
    found
}

/// What variables of actions stand for.
fn variables(one: &Definition, layout: &Layout) -> Variables {
    let mut variables = Variables::new();
    variables.set("run", quoted(&one.command)).set("name", one.name());
    variables.set_directory("log", crate::log_dir(layout).as_str());
    let temporary = std::env::temp_dir();
    for name in ["temp", "tempfolder"] {
        variables.set_directory(name, &temporary.to_string_lossy());
    }
    variables.set_directory("agl.base", one.dir.as_str());
    variables
}

/// An argument list as a line that is split into it again.
fn quoted(words: &[String]) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@=".contains(c);
    let one = |word: &String| match word.chars().all(is_plain) && !word.is_empty() {
        // A word with `=` that comes first would be taken for a variable.
        true if !word.contains('=') => word.clone(),
        _ => format!("'{}'", word.replace('\'', "'\\''")),
    };
    words.iter().map(one).collect::<Vec<_>>().join(" ").replace('%', "%%")
}

fn readiness(
    spec: &ServiceSpec,
    fill: &dyn Fn(&str) -> String,
    variables: &Variables,
) -> Result<Readiness, NoAction> {
    Ok(match spec.ready {
        Ready::Started => Readiness::Started,
        Ready::Notify => Readiness::Notify,
        Ready::Exit => Readiness::Exit,
        Ready::Delay => Readiness::Delay(spec.ready_delay.map_or(Duration::ZERO, Period::get)),
        Ready::Line => Readiness::Line(fill(spec.ready_line.as_deref().unwrap_or_default())),
        Ready::Check => {
            let text = fill(spec.ready_check.as_deref().unwrap_or_default());
            Readiness::Check(of_watch(&text, variables)?)
        }
    })
}

fn actions(
    spec: &ServiceSpec,
    fill: &dyn Fn(&str) -> String,
    variables: &Variables,
) -> Result<Actions, NoAction> {
    let mut actions = Actions::default();
    let filled = |list: &[String]| list.iter().map(|text| fill(text)).collect::<Vec<_>>();
    of_start(&filled(&spec.start), variables, &mut actions)?;
    of_stop(&filled(&spec.stop), variables, &mut actions)?;
    Ok(actions)
}

fn watches(
    spec: &ServiceSpec,
    fill: &dyn Fn(&str) -> String,
    variables: &Variables,
) -> Result<Vec<Watch>, NoAction> {
    let one = |text: &String| {
        Ok(Watch {
            action: of_watch(&fill(text), variables)?,
            interval: spec.watch_interval.get(),
            timeout: spec.watch_timeout.get(),
            failures: spec.watch_failures,
        })
    };
    spec.watch.iter().map(one).collect()
}

/// How the logs of a service are kept.
pub(crate) fn log_policy(spec: &ServiceSpec) -> LogPolicy {
    let sink = |target: &str| match target {
        "journal" => Sink::Log,
        "null" => Sink::Null,
        path => Sink::File(path.into()),
    };
    let logs = &spec.logs;
    let mut policy = LogPolicy::default();
    if let Threshold::Absolute(bytes) = logs.max_size {
        policy.max_bytes = bytes;
    }
    policy.max_age = logs.max_age.map(Period::get);
    (policy.keep, policy.compress) = (logs.keep, logs.compress);
    policy.format = match logs.format {
        LogForm::Plain => LogFormat::Plain,
        LogForm::Timestamps => LogFormat::Timestamps,
        LogForm::Json => LogFormat::Json,
    };
    (policy.stdout, policy.stderr) = (sink(&spec.stdout), sink(&spec.stderr));
    policy
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
        let mut all = describe(spec, id, root, layout)?;
        for one in &mut all {
            one.is_bound = config.up.when_killed == WhenKilled::End;
            if one.user.is_none() {
                one.user.clone_from(&owner);
            }
        }
        Ok(all)
    };
    let enabled = config.service.services.iter().filter(|spec| spec.enabled);
    let all: Result<Vec<_>, _> = enabled.map(one).collect();
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
        (spec.watchdog.is_some(), "`watchdog`"),
        (spec.on_deploy == Some(OnDeploy::Reload), "`on_deploy = \"reload\"`"),
        (!spec.directives.is_empty(), "`directives`"),
        (!spec.network.allow.is_empty() || !spec.network.deny.is_empty(), "`network`"),
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

fn amounts(spec: &ServiceSpec) -> Amounts {
    let limits = &spec.limits;
    let memory = limits.memory.map(|memory| match memory {
        Threshold::Absolute(bytes) => bytes,
        share @ Threshold::Percent(_) => share.of(host_memory()),
    });
    Amounts { memory, processes: limits.tasks.map(u64::from), cpu: limits.cpu }
}

/// How much memory the host has, in bytes.
fn host_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let number = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    number.unwrap_or(0).saturating_mul(1024)
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
        pauses: match spec.backoff {
            Backoff::Ladder => Pauses::Ladder,
            Backoff::Doubling => Pauses::Doubling {
                first: spec.restart_delay.get(),
                longest: spec.restart_delay_max.get(),
            },
        },
        success: spec.success_codes.iter().copied().map(i32::from).collect(),
        final_codes: spec.no_restart_codes.iter().copied().map(i32::from).collect(),
        stable: spec.stable_after.get(),
        give_up: spec.give_up_after,
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
        let port = if more.contains("count") { "808{instance}" } else { "8080" };
        let text = format!(
            "repo.url = \"/r\"\n[[service]]\nname = \"web\"\n\
             command = [\"./web\", \"--port\", {port:?}]\n{more}\n\
             [[service]]\nname = \"db\"\ncommand = [\"./db\"]\n"
        );
        let config = deploykit_core::config::parse(&text, "deploykit.toml".into()).unwrap();
        let layout = Layout::new("/app".into());
        describe(&config.service.services[0], "r1", "/app/releases/r1".into(), &layout)
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
    fn limits_of_all_processes_together_are_in_their_units() {
        let one = &described("limits = { memory = \"1GiB\", tasks = 7, cpu = 150 }").unwrap()[0];
        let amounts = Amounts { memory: Some(1 << 30), processes: Some(7), cpu: Some(150) };
        assert_eq!(one.amounts, amounts);
        let share = &described("limits.memory = \"50%\"").unwrap()[0];
        assert!(share.amounts.memory.is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn what_is_said_of_readiness_watches_and_logs_is_taken_over() {
        let text = "count = 2\nready = \"line\"\nready_line = \"on 808{instance}\"\nbackoff = \"ladder\"\n\
             give_up_after = 5\nno_restart_codes = [99]\nsuccess_codes = [3]\nstable_after = \"2s\"\n\
             watch = [\"http://127.0.0.1:808{instance}/\"]\nwatch_failures = 4\nlevel = 3\n\
             logs = { max_size = \"1MiB\", keep = 2, compress = false, format = \"json\" }\n\
             stdout = \"null\"\nessential = true\nstart = [\"sleep:5\", \"start\"]";
        let two = &described(text).unwrap()[1];
        assert_eq!(two.readiness, Readiness::Line("on 8082".into()));
        assert_eq!((two.level, two.essential, two.course.rules.give_up), (3, true, Some(5)));
        let rules = &two.course.rules;
        assert_eq!((&*rules.final_codes, &*rules.success), (&[99][..], &[3][..]));
        assert_eq!((rules.pauses, rules.stable), (Pauses::Ladder, Duration::from_secs(2)));
        assert_eq!(two.watches[0].action.text, "http://127.0.0.1:8082/");
        assert_eq!((two.watches[0].failures, two.actions.before_start.len()), (4, 1));
        let logs = &two.logs;
        assert_eq!((logs.max_bytes, logs.keep, logs.compress), (1 << 20, 2, false));
        assert_eq!(
            (logs.format, &logs.stdout, &logs.stderr),
            (LogFormat::Json, &Sink::Null, &Sink::Log)
        );
        let error = described("watch = [\"jump\"]").unwrap_err().to_string();
        assert!(error.contains("\"web\"") && error.contains("jump"), "{error}");
    }
}
