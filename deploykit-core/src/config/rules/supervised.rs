//! Rules of the keys of `[[service]]` that only one of systemd and `deploykit up` can do.

use super::Rules;
use crate::config::{
    Backoff, Hardening, INSTANCE, LogsConfig, NetworkConfig, OnDeploy, Period, Ready, ServiceSpec,
    Threshold,
};

/// What `deploykit up` does, and units of systemd do not: the keys, and whether they ask for something.
fn of_up(service: &ServiceSpec) -> [(&'static str, bool); 17] {
    let (one_minute, five_seconds) = (Period::from_secs(60), Period::from_secs(5));
    [
        ("enabled", !service.enabled),
        ("on_deploy", service.on_deploy.is_some_and(OnDeploy::overlaps)),
        ("ready_delay", service.ready_delay.is_some()),
        ("ready_line", service.ready_line.is_some()),
        ("ready_check", service.ready_check.is_some()),
        ("backoff", service.backoff != Backoff::Doubling),
        ("restart_delay_max", service.restart_delay_max != one_minute),
        ("stable_after", service.stable_after != one_minute),
        ("give_up_after", service.give_up_after.is_some()),
        ("essential", service.essential),
        ("start", !service.start.is_empty()),
        ("stop", !service.stop.is_empty()),
        ("watch", !service.watch.is_empty()),
        ("watch_interval", service.watch_interval != one_minute),
        ("watch_timeout", service.watch_timeout != five_seconds),
        ("watch_failures", service.watch_failures != 2),
        ("level", service.level != 0),
    ]
}

/// What systemd does, and `deploykit up` does not, likewise.
fn of_systemd(service: &ServiceSpec) -> [(&'static str, bool); 7] {
    [
        ("watchdog", service.watchdog.is_some()),
        ("on_deploy", service.on_deploy == Some(OnDeploy::Reload)),
        ("reload", service.reload.is_some()),
        ("directives", !service.directives.is_empty()),
        ("network", service.network != NetworkConfig::default()),
        ("hardening", service.hardening != Hardening::Default),
        ("writable", !service.writable.is_empty()),
    ]
}

pub(super) fn check(
    rules: &mut Rules<'_>,
    path: &[&str],
    service: &ServiceSpec,
    under_systemd: bool,
) {
    if rules.is_whole(&["systemd"]) {
        foreign(rules, path, service, under_systemd);
    }
    if under_systemd {
        // systemd would wait without an end; `deploykit up` kills it at once.
        rules.longer_than_nothing(&[path, &["stop_timeout"]].concat(), service.stop_timeout);
    }
    ready(rules, path, service, under_systemd);
    numbers(rules, path, service);
}

/// Keys that ask for what whoever runs it does not do.
fn foreign(rules: &mut Rules<'_>, path: &[&str], service: &ServiceSpec, under_systemd: bool) {
    let mut refuse = |asked: &[(&'static str, bool)], why: &str, hint: &str| {
        for (key, _) in asked.iter().filter(|(_, is_asked)| *is_asked) {
            rules.wrong(&[path, &[key]].concat(), why, Some(hint));
        }
    };
    if under_systemd {
        let why = "systemd does not do this, but `deploykit up` does";
        refuse(&of_up(service), why, "without [systemd], `deploykit up` runs the services");
        let logs = [("logs", service.logs != LogsConfig::default())];
        refuse(&logs, why, "the journal keeps it: journald.conf says for how long");
    } else {
        let hint = "with manager = \"system\" in [systemd], or \"user\", systemd runs the services";
        refuse(&of_systemd(service), "`deploykit up` does not do this, but systemd does", hint);
    }
}

/// What it starts after and needs are services of the application: there is nobody else.
pub(super) fn others(
    rules: &mut Rules<'_>,
    path: &[&str],
    service: &ServiceSpec,
    all: &[ServiceSpec],
) {
    for (key, names) in [("after", &service.after), ("requires", &service.requires)] {
        for (index, name) in names.iter().enumerate() {
            let index = index.to_string();
            let at = [path, &[key, &index]].concat();
            match all.iter().find(|other| other.name == *name) {
                None => {
                    let known: Vec<&str> = all.iter().map(|other| other.name.as_str()).collect();
                    let hint = format!("there are: {}", known.join(", "));
                    rules.wrong(&at, format!("there is no service {name:?}"), Some(&hint));
                }
                Some(other) if key == "requires" && !other.enabled => {
                    rules.wrong(&at, format!("the service {name:?} is not enabled"), None);
                }
                Some(other) if other.level > service.level => {
                    let why = format!(
                        "{name:?} has the level {}, and starts when this one, of level {}, is up",
                        other.level, service.level
                    );
                    rules.wrong(&at, why, None);
                }
                Some(_) if leads_back(&service.name, name, all) => {
                    let why = format!("{name:?} waits for {:?} in its turn", service.name);
                    rules.wrong(&at, why, None);
                }
                Some(_) => {}
            }
        }
    }
    if service.watch.len() > MOST_WATCHES {
        let why = format!("a service has at most {MOST_WATCHES} watches");
        rules.wrong(&[path, &["watch"]].concat(), why, None);
    }
    if service.stop_signal.contains("RTMIN") {
        let why = "`deploykit up` sends no signals of real time, but systemd does";
        rules.wrong(&[path, &["stop_signal"]].concat(), why, None);
    }
    for (key, name) in [("user", &service.user), ("group", &service.group)] {
        if name.as_deref() == Some("") {
            rules.wrong(&[path, &[key]].concat(), "it names nobody", None);
        }
    }
    for (index, file) in service.env_files.iter().enumerate() {
        if file.trim_start_matches('-').is_empty() {
            let index = index.to_string();
            rules.wrong(&[path, &["env_files", &index]].concat(), "it names no file", None);
        }
    }
    let words = service.command.as_slice().iter().chain(service.env.values());
    let words = words.chain(&service.env_files).chain(&service.watch).chain(&service.ready_check);
    let words = words.chain(&service.listen);
    let names_one =
        words.chain(&service.start).chain(&service.stop).any(|word| word.contains(INSTANCE));
    if service.count.is_none() && names_one && rules.is_whole(path) {
        let why = "`{instance}` is the number of one of several instances: it needs `count`";
        rules.missing(
            rules.value(&[path, &["command"]].concat()),
            why,
            Some("count = 1 beside it"),
        );
    }
}

/// So many watches a service has at most.
const MOST_WATCHES: usize = 250;

/// Whether what is waited for waits for the first one, be it through others.
fn leads_back(first: &str, name: &str, all: &[ServiceSpec]) -> bool {
    let (mut seen, mut next) = (Vec::new(), vec![name]);
    while let Some(name) = next.pop() {
        if name == first {
            return true;
        }
        if !seen.contains(&name) {
            seen.push(name);
            let found = all.iter().filter(|other| other.name == name);
            next.extend(found.flat_map(|one| one.after.iter().chain(&one.requires)).map(|n| &**n));
        }
    }
    false
}

/// What makes it count as up, and the key that tells more of it.
fn ready(rules: &mut Rules<'_>, path: &[&str], service: &ServiceSpec, under_systemd: bool) {
    let kinds = [
        (Ready::Delay, "ready_delay", service.ready_delay.is_some(), "ready_delay = \"2s\""),
        (Ready::Line, "ready_line", service.ready_line.is_some(), "ready_line = \"listening on\""),
        (
            Ready::Check,
            "ready_check",
            service.ready_check.is_some(),
            "ready_check = \"http://127.0.0.1:8080/health\"",
        ),
    ];
    let value = [path, &["ready"]].concat();
    if !rules.is_whole(path) {
        return;
    }
    for (ready, key, is_given, hint) in kinds {
        let is_meant = service.ready == ready;
        if is_meant && under_systemd {
            let hint = "\"started\", \"notify\" or \"exit\"";
            rules.wrong(&value, "systemd does not do this, but `deploykit up` does", Some(hint));
        } else if is_meant && !is_given {
            let (place, why) = (rules.value(&value), format!("it needs `{key}` beside it"));
            rules.missing(place, why, Some(hint));
        } else if is_given && !is_meant && !under_systemd {
            let kind = key.trim_start_matches("ready_");
            let hint = format!("ready = {kind:?} beside it");
            rules.wrong(&[path, &[key]].concat(), "nothing asks for it", Some(&hint));
        }
    }
    if !under_systemd && service.on_deploy(false).overlaps() {
        hand_over(rules, path, service);
    }
    if service.ready_line.as_deref() == Some("") {
        rules.wrong(&[path, &["ready_line"]].concat(), "every line contains that", None);
    }
}

/// What is handed over, and how it tells that it is ready.
fn hand_over(rules: &mut Rules<'_>, path: &[&str], service: &ServiceSpec) {
    let at = [path, &["ready"]].concat();
    let place = rules.value(&at).or_else(|| rules.value(&[path, &["listen"]].concat()));
    let place = place.or_else(|| rules.value(&[path, &["on_deploy"]].concat()));
    match service.ready {
        Ready::Started => {
            let why = "the old one is ended when the new one is ready, and nobody could tell when the \
                       new one is ready";
            let hint =
                "ready = \"notify\", \"line\", \"check\" or \"delay\"; or on_deploy = \"restart\"";
            rules.missing(place, why, Some(hint));
        }
        Ready::Exit => {
            let why = "it does its work once: there is nothing to hand over";
            rules.missing(place, why, Some("leave `listen` out, or on_deploy = \"restart\""));
        }
        Ready::Check if service.ready_check.as_deref().is_some_and(|of| asks(of, service)) => {
            let why = "the old one would answer, which listens there, too";
            let hint = "ready = \"notify\" or \"line\"; or a check of what only the new one has";
            rules.wrong(&[path, &["ready_check"]].concat(), why, Some(hint));
        }
        Ready::Notify | Ready::Delay | Ready::Line | Ready::Check => {}
    }
}

/// Whether a check asks where the service listens.
fn asks(check: &str, service: &ServiceSpec) -> bool {
    let address = check.split_once("://").map_or_else(
        || check.split_once(':').map_or(check, |(_, rest)| rest),
        |(_, rest)| rest.split('/').next().unwrap_or_default(),
    );
    let port = |of: &str| of.rsplit(':').next().map(str::to_owned);
    service.listen.iter().any(|own| match own.starts_with('/') {
        true => check.starts_with("unix:") && address == own,
        false => port(own) == port(address),
    })
}

/// No limit of memory is smaller, in bytes.
const LEAST: u64 = 64 << 10;

fn numbers(rules: &mut Rules<'_>, path: &[&str], service: &ServiceSpec) {
    let at = |key: &'static str| [path, &[key]].concat();
    rules.longer_than_nothing(&at("watch_interval"), service.watch_interval);
    rules.longer_than_nothing(&at("watch_timeout"), service.watch_timeout);
    rules.at_least_one(&at("watch_failures"), service.watch_failures);
    if let Some(times) = service.give_up_after {
        rules.at_least_one(&at("give_up_after"), times);
    }
    if service.restart_delay_max < service.restart_delay {
        let at = match rules.key(&at("restart_delay_max")) {
            Some(_) => at("restart_delay_max"),
            None => at("restart_delay"),
        };
        rules.wrong(&at, "`restart_delay` is longer than `restart_delay_max`", None);
    }
    for (key, amount) in [("memory", service.limits.memory), ("stack", service.limits.stack)] {
        if matches!(amount, Some(Threshold::Absolute(bytes)) if bytes < LEAST) {
            let at = [path, &["limits", key]].concat();
            rules.wrong(&at, "no program runs with so little: at least \"64KiB\"", None);
        }
    }
    if let Threshold::Percent(_) = service.logs.max_size {
        let at = [path, &["logs", "max_size"]].concat();
        rules.wrong(&at, "it is an amount, for instance \"100MiB\"", None);
    }
}
