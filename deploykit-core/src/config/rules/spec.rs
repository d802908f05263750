//! Rules of `[[service]]`.

use std::collections::BTreeSet;

use super::Rules;
use super::service::wrong_unit;
use super::supervised;
use crate::config::error::{ConfigErrorKind, Problem};
use crate::config::{Config, INSTANCE, OnDeploy, ServiceSpec, Threshold};

pub(super) fn check(rules: &mut Rules<'_>, config: &Config) {
    let services = &config.service.services;
    if services.is_empty() || !rules.has_all_items(&["service"]) {
        return;
    }
    for (index, service) in services.iter().enumerate() {
        let number = index.to_string();
        let path = ["service", &number];
        name(rules, &path, service, &services[..index]);
        numbers(rules, &path, service);
        texts(rules, &path, service);
        sockets(rules, &path, config, index);
        supervised::check(rules, &path, service, config.systemd.is_used());
        if !config.systemd.is_used() {
            supervised::others(rules, &path, service, services);
        }
        if service.on_deploy == Some(OnDeploy::Reload)
            && service.reload.is_none()
            && rules.is_whole(&path)
        {
            let place = rules.value(&["service", &number, "on_deploy"]);
            let hint = "reload = [\"kill\", \"-HUP\", \"$MAINPID\"] beside it";
            rules.missing(place, "on_deploy = \"reload\" needs `reload`", Some(hint));
        }
    }
}

fn name(rules: &mut Rules<'_>, path: &[&str], service: &ServiceSpec, before: &[ServiceSpec]) {
    let at = [path, &["name"]].concat();
    if service.name.contains(['@', '.']) {
        rules.wrong(&at, "the name of a service has neither `@` nor a dot", None);
    } else if let Some(why) = wrong_unit(&service.name) {
        rules.wrong(&at, why, None);
    }
    if before.iter().any(|other| other.name == service.name) && rules.is_whole(path) {
        let message = format!("there is another service called {:?}", service.name);
        let problem = Problem::new(ConfigErrorKind::Conflict, message).at(rules.value(&at));
        rules.problems.push(problem);
    }
}

fn numbers(rules: &mut Rules<'_>, path: &[&str], service: &ServiceSpec) {
    let at = |key: &'static str| [path, &[key]].concat();
    if let Some(count) = service.count {
        rules.at_least_one(&at("count"), count);
        if count > 1000 {
            rules.wrong(&at("count"), "it is at most 1000", None);
        }
    }
    rules.longer_than_nothing(&at("start_timeout"), service.start_timeout);
    if let Some(watchdog) = service.watchdog {
        rules.longer_than_nothing(&at("watchdog"), watchdog);
    }
    let limits = &service.limits;
    let limit = |key: &'static str| [path, &["limits", key]].concat();
    rules.at_least_one(&limit("open_files"), limits.open_files);
    for (key, value) in [("tasks", limits.tasks), ("cpu", limits.cpu)] {
        if let Some(value) = value {
            rules.at_least_one(&limit(key), value);
        }
    }
    if matches!(limits.stack, Some(Threshold::Percent(_))) {
        rules.wrong(&limit("stack"), "it is an amount, for instance \"8MiB\"", None);
    }
}

fn texts(rules: &mut Rules<'_>, path: &[&str], service: &ServiceSpec) {
    let at = |key: &'static str| [path, &[key]].concat();
    let octal = |text: &str| {
        (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit))
    };
    if !octal(&service.umask) {
        rules.wrong(&at("umask"), "it is made of octal digits: \"0027\"", None);
    }
    let signal = service.stop_signal.strip_prefix("SIG").unwrap_or(&service.stop_signal);
    let is_real_time = signal
        .strip_prefix("RTMIN+")
        .is_some_and(|number| number.parse::<u32>().is_ok_and(|number| number <= 30));
    if format!("SIG{signal}").parse::<nix::sys::signal::Signal>().is_err() && !is_real_time {
        let hint = "TERM, INT, QUIT, HUP, USR1, USR2, WINCH, …";
        rules.wrong(&at("stop_signal"), "there is no such signal", Some(hint));
    }
    for (key, target) in [("stdout", &service.stdout), ("stderr", &service.stderr)] {
        if !matches!(target.as_str(), "journal" | "null") && !target.starts_with('/') {
            rules.wrong(&at(key), "it is \"journal\", \"null\" or an absolute path", None);
        }
    }
    for (name, value) in &service.env {
        if let Some(why) = super::wrong_variable(name) {
            rules.wrong(&[path, &["env", name]].concat(), why, None);
        }
        if value.contains(['\0', '\n']) {
            rules.wrong(&[path, &["env", name]].concat(), "it is one line", None);
        }
    }
    let lines =
        service.command.as_slice().iter().chain(&service.env_files).chain(&service.writable);
    if lines.chain(&service.description).any(|text| text.contains(['\0', '\n'])) {
        let message = format!("the service {:?} has a text of several lines", service.name);
        let place = rules.value(path);
        rules.problems.push(Problem::new(ConfigErrorKind::Value, message).at(place));
    }
}

fn sockets(rules: &mut Rules<'_>, path: &[&str], config: &Config, number: usize) {
    let service = &config.service.services[number];
    let before = config.service.services[..number].iter().flat_map(|other| &other.listen);
    let mut taken: BTreeSet<&str> = before.map(String::as_str).collect();
    for (index, address) in service.listen.iter().enumerate() {
        let index = index.to_string();
        let at = [path, &["listen", &index]].concat();
        let several = service.count.is_some() && config.systemd.is_used();
        if !taken.insert(address) {
            rules.wrong(&at, "it is listened on already, by this service or another one", None);
            continue;
        }
        if !is_address(address) {
            let why = "it is a port, address:port, or the absolute path of a socket";
            rules.wrong(
                &at,
                why,
                Some("listen = [\"8080\"], [\"127.0.0.1:8080\"] or [\"/run/web.sock\"]"),
            );
        } else if several && !address.contains(INSTANCE) {
            let hint = "put {instance} where the number of the instance belongs: \"808{instance}\"";
            rules.wrong(&at, "systemd opens one for every instance", Some(hint));
        }
    }
}

fn is_address(address: &str) -> bool {
    let numbered = address.replace(INSTANCE, "1");
    let port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    numbered.starts_with('/')
        || port(&numbered)
        || numbered.parse::<std::net::SocketAddr>().is_ok_and(|address| address.port() > 0)
}
