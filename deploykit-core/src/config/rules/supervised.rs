//! Rules of the keys of `[[service]]` that only one of systemd and `deploykit up` can do.

use super::Rules;
use crate::config::{Ready, ServiceSpec};

/// What `deploykit up` does, and units of systemd do not.
const OF_UP: [&str; 16] = [
    "enabled",
    "ready_delay",
    "ready_line",
    "ready_check",
    "backoff",
    "restart_delay_max",
    "stable_after",
    "give_up_after",
    "essential",
    "start",
    "stop",
    "watch",
    "watch_interval",
    "watch_timeout",
    "watch_failures",
    "level",
];

/// What systemd does, and `deploykit up` does not.
const OF_SYSTEMD: [&str; 8] =
    ["listen", "watchdog", "on_deploy", "reload", "directives", "network", "hardening", "writable"];

pub(super) fn check(
    rules: &mut Rules<'_>,
    path: &[&str],
    service: &ServiceSpec,
    under_systemd: bool,
) {
    if rules.is_whole(&["systemd"]) {
        let (keys, why, hint): (&[&str], _, _) = if under_systemd {
            let hint = "without [systemd], `deploykit up` runs the services";
            (&OF_UP, "systemd does not do this, but `deploykit up` does", hint)
        } else {
            let hint =
                "with manager = \"system\" in [systemd], or \"user\", systemd runs the services";
            (&OF_SYSTEMD, "`deploykit up` does not do this, but systemd does", hint)
        };
        for key in keys {
            let at = [path, &[key]].concat();
            if rules.key(&at).is_some() {
                rules.wrong(&at, why, Some(hint));
            }
        }
        if under_systemd && rules.key(&[path, &["logs"]].concat()).is_some() {
            let hint = "the journal keeps it: journald.conf says for how long";
            rules.wrong(&[path, &["logs"]].concat(), why, Some(hint));
        }
    }
    if under_systemd {
        // systemd would wait without an end; `deploykit up` kills it at once.
        rules.longer_than_nothing(&[path, &["stop_timeout"]].concat(), service.stop_timeout);
    }
    ready(rules, path, service, under_systemd);
    numbers(rules, path, service);
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
    if service.ready_line.as_deref() == Some("") {
        rules.wrong(&[path, &["ready_line"]].concat(), "every line contains that", None);
    }
}

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
    if let crate::config::Threshold::Percent(_) = service.logs.max_size {
        let at = [path, &["logs", "max_size"]].concat();
        rules.wrong(&at, "it is an amount, for instance \"100MiB\"", None);
    }
}
