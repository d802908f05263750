//! Rules of `[service]`, `[[service]]` and `[systemd]`.

use super::Rules;
use super::spec;
use crate::config::{Config, OnDeploy, ServiceConfig};

pub(super) fn check(rules: &mut Rules<'_>, config: &Config) {
    let service = &config.service;
    rules.longer_than_nothing(&["service", "timeout"], service.timeout);
    let commanded = first_command(service);
    units(rules, config, commanded);
    spec::check(rules, config);
    // What another backend makes of the commands is its own business.
    let backend = service.backend.as_deref();
    if matches!(backend, None | Some("command"))
        && service.services.is_empty()
        && rules.is_whole(&["service"])
        && rules.is_whole(&["systemd"])
    {
        commands(rules, service, backend.is_none() && config.systemd.is_used());
    }
    let unnamed = config.systemd.named_units().next().is_none();
    if backend == Some("systemd") && unnamed && rules.is_whole(&["systemd"]) {
        let place = rules.value(&["service", "backend"]);
        let hint = "unit = \"…\" in [systemd], or [[service]] with what is to run";
        rules.missing(place, "the backend \"systemd\" needs a unit", Some(hint));
    }
}

/// The units that are named in `[systemd]`.
fn units(rules: &mut Rules<'_>, config: &Config, commanded: Option<&'static str>) {
    let systemd = &config.systemd;
    let mut wrong = |path: &[&str], unit: &str| {
        if let Some(why) = wrong_unit(unit) {
            rules.wrong(path, why, None);
        }
    };
    if let Some(unit) = &systemd.unit {
        wrong(&["systemd", "unit"], unit);
    }
    for (index, unit) in systemd.units.iter().enumerate() {
        wrong(&["systemd", "units", &index.to_string()], unit);
    }
    if systemd.unit.is_some() && !systemd.units.is_empty() {
        let hint = "list them all in units = [\"…\", \"…\"]";
        rules.together(&["systemd", "unit"], &["systemd", "units"], hint);
    }
    let named = [("unit", systemd.unit.is_some()), ("units", !systemd.units.is_empty())];
    let Some((key, _)) = named.into_iter().find(|(_, given)| *given) else {
        if systemd.manager.is_some()
            && config.service.services.is_empty()
            && rules.is_whole(&["systemd"])
            && rules.is_whole(&["service"])
        {
            let place = rules.key(&["systemd", "manager"]);
            let hint = "unit = \"…\" beside it, or [[service]] with what is to run";
            rules.missing(place, "no unit is named", Some(hint));
        }
        return;
    };
    if let Some(command) = commanded {
        let hint = "the unit is started, stopped and restarted by its name: leave one out";
        rules.together(&["service", command], &["systemd", key], hint);
    }
    if !config.service.services.is_empty() {
        let hint = "the units of [[service]] are called by its names: leave one out";
        rules.together(&["service"], &["systemd", key], hint);
    }
}

fn first_command(service: &ServiceConfig) -> Option<&'static str> {
    let commands = [
        ("start", &service.start),
        ("stop", &service.stop),
        ("restart", &service.restart),
        ("reload", &service.reload),
        ("status", &service.status),
    ];
    commands.into_iter().find(|(_, command)| command.is_some()).map(|(key, _)| key)
}

fn commands(rules: &mut Rules<'_>, service: &ServiceConfig, has_unit: bool) {
    if service.on_deploy.overlaps() {
        let why = "only what `deploykit up` runs is handed over";
        let hint = "[[service]] with a name and a command describes what it runs";
        return rules.wrong(&["service", "on_deploy"], why, Some(hint));
    }
    let reloads = service.on_deploy == OnDeploy::Reload;
    if reloads && service.reload.is_none() && !has_unit {
        let place = rules.value(&["service", "on_deploy"]);
        let hint = "reload = [\"…\"] beside it, or on_deploy = \"restart\"";
        rules.missing(place, "on_deploy = \"reload\" needs `service.reload`", Some(hint));
        return;
    }
    if has_unit {
        return;
    }
    let Some(given) = first_command(service) else {
        if service.backend.is_some() {
            let place = rules.value(&["service", "backend"]);
            let hint = "start = [\"…\"] and stop = [\"…\"], or unit = \"…\" in [systemd]";
            rules.missing(place, "the backend \"command\" needs commands", Some(hint));
        }
        return;
    };
    if service.start.is_none() && service.restart.is_none() && service.reload.is_none() {
        let place = rules.key(&["service", given]);
        let hint = "start = [\"…\"] or restart = [\"…\"]";
        rules.missing(place, format!("`service.{given}` alone starts nothing"), Some(hint));
    } else if !reloads && service.restart.is_none() && service.start.is_none() {
        let place = rules.key(&["service", "reload"]);
        let hint = "on_deploy = \"reload\", or start and stop, or restart";
        rules.missing(place, "a restart needs `service.restart` or `service.start`", Some(hint));
    } else if !reloads && service.restart.is_none() && service.stop.is_none() {
        let place = rules.key(&["service", "start"]);
        let hint = "without it the old release would go on serving; or give restart = [\"…\"]";
        rules.missing(place, "`service.start` needs `service.stop`", Some(hint));
    }
}

/// Why this cannot be the name of a unit. What systemd completes (a name without a suffix) is valid.
pub(super) fn wrong_unit(unit: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let stem = unit.strip_suffix(".service").unwrap_or(unit);
    if unit.is_empty() || unit.len() > 255 {
        Some("the name of a unit has 1 to 255 characters")
    } else if unit.starts_with('-') {
        Some("the name of a unit does not start with a dash")
    } else if !unit.chars().all(plain) {
        Some("the name of a unit is made of letters, digits and `:-_.\\@`")
    } else if stem.ends_with('@') {
        Some("it is a template: which instance? for example app@1.service")
    } else if stem.is_empty() || stem.starts_with('@') {
        Some("something must stand before the @ or the suffix")
    } else {
        None
    }
}
