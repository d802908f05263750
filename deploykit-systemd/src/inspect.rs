//! What `check` looks at: the bus, the units, rights, the journal, and what acts when nobody is there.

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::config::{Confirmation, ManagerKind};
use deploykit_core::traits::{Finding, LogRequest, Supervisor as _};
use deploykit_core::{Context, chain};

use crate::error::{SystemdError, systemctl};
use crate::facts::Facts;
use crate::name::UnitName;
use crate::supervisor::{Systemd, user};
use crate::unit::{UnitError, poll_timer, recover_timer, stray_service_files, stray_units};
use crate::{exit, managed};

/// All that was looked at.
pub(crate) fn inspect(systemd: &Systemd, ctx: &Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    let version = match systemd.version(ctx) {
        Ok(version) => version,
        Err(error) => {
            findings.push(wrong("bus", &error));
            // It may be why there is no bus.
            findings.extend(lingering(systemd));
            return findings;
        }
    };
    let whose = match systemd.units.manager {
        ManagerKind::System => "the manager of the host".to_owned(),
        ManagerKind::User => format!("the manager of {}", user()),
    };
    findings.push(Finding::fine("bus", format!("{whose} answers: systemd {version}")));
    for unit in systemd.units.all() {
        match systemd.facts(ctx, unit) {
            // The next deployment makes it.
            Ok(facts) if facts.load == "not-found" && systemd.makes_units() => {}
            Ok(facts) => findings.extend(of_unit(systemd, &facts)),
            Err(error) => findings.push(wrong(&format!("unit {unit}"), &error)),
        }
    }
    findings.push(match systemd.may_handle(ctx) {
        Ok(Some(())) => Finding::fine("permission", format!("{} may handle the units", user())),
        Ok(None) => {
            let found = format!("whether {} may handle the units cannot be asked yet", user());
            Finding::warning("permission", found)
                .why("systemd says it of units that are there only")
                .mend("`sudo deploykit unit install`, then `deploykit check`")
        }
        Err(error) => wrong("permission", &error),
    });
    findings.extend(unit_files(systemd));
    findings.extend(strays(systemd, ctx));
    findings.extend(lingering(systemd));
    findings.push(journal(systemd, ctx));
    findings.push(recovery(systemd, ctx));
    findings.extend(polling(systemd, ctx));
    findings
}

/// An error that a deployment would end with.
fn wrong(name: &str, error: &SystemdError) -> Finding {
    Finding::failure(name, error).hint(error.hint())
}

fn of_unit(systemd: &Systemd, facts: &Facts) -> Vec<Finding> {
    let name = format!("unit {}", facts.unit);
    if let Err(error) = systemd.usable(facts) {
        return vec![wrong(&name, &error)];
    }
    if let Err(error) = systemd.look_for_needs(facts, active_release(systemd).as_deref()) {
        return vec![wrong(&name, &error)];
    }
    // The next deployment lets systemd read those of deploykit's own.
    if let Err(error) = systemd.belongs(facts) {
        return vec![wrong(&name, &error)];
    }
    let mut findings = Vec::new();
    if facts.active == "failed" || facts.waits_to_restart() {
        let found = format!("it does not run: {}{}", facts.failure(), facts.again());
        findings.push(
            Finding::error(&name, found)
                .why("nothing serves")
                .mend("`deploykit logs` tells why; `deploykit restart` starts it again"),
        );
    }
    findings.extend(directory(systemd, facts, &name));
    let ctl = systemctl(systemd.units.manager);
    // What no deployment has started yet is enabled by the first one.
    let runs = facts.active == "active" || managed::is_foreign(&facts.fragment);
    if runs && matches!(facts.enabled.as_str(), "disabled" | "indirect" | "linked") {
        let finding = Finding::warning(&name, format!("it is {}", facts.enabled));
        findings.push(
            finding
                .why("it is not started when the host boots")
                .mend(format!("`{ctl} enable {}`", facts.unit)),
        );
    }
    for socket in facts.triggered_by.iter().filter(|unit| unit.ends_with(".socket")) {
        if systemd.units.all().all(|unit| unit.as_str() != socket) {
            let found = format!("its socket {socket} is not among the units");
            let why =
                "a deployment does not open it, and a first one that is taken back leaves it open";
            let mend = format!("units = [\"{socket}\", \"{}\"] in [systemd]", facts.unit);
            findings.push(Finding::warning(&name, found).why(why).mend(mend));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::fine(name, format!("{} ({})", facts.active, facts.sub)));
    }
    findings
}

/// The directory of the active release.
fn active_release(systemd: &Systemd) -> Option<Utf8PathBuf> {
    systemd.layout.active_link().canonicalize_utf8().ok()
}

/// Whether a service works where the active release is.
fn directory(systemd: &Systemd, facts: &Facts, name: &str) -> Option<Finding> {
    if !facts.unit.is_service() {
        return None;
    }
    let active = systemd.layout.active_link();
    // systemd marks one that may be missing so.
    let set = Utf8Path::new(facts.directory.trim_start_matches(['-', '!']));
    if set.starts_with(&active) || same_place(set, &active) {
        return None;
    }
    let mend = format!("WorkingDirectory={active} in the unit");
    let releases = systemd.layout.releases();
    if set.starts_with(&releases) {
        let found = format!("it works in {set}, which is one release");
        let why = "it goes on with that one, whatever is deployed";
        return Some(Finding::error(name, found).why(why).mend(mend));
    }
    let found = if set.as_str().is_empty() || set == "/" {
        "it has no WorkingDirectory=".to_owned()
    } else {
        format!("it works in {set}, not in {active}")
    };
    let why = "unless its program is started by a path through the active link, it never changes";
    Some(Finding::warning(name, found).why(why).mend(mend))
}

/// Whether two paths mean the same link: the directories that they lie in may have several names.
fn same_place(one: &Utf8Path, other: &Utf8Path) -> bool {
    let parent = |path: &Utf8Path| path.parent().and_then(|parent| parent.canonicalize_utf8().ok());
    one.file_name() == other.file_name() && parent(one).is_some() && parent(one) == parent(other)
}

/// Whether the unit files are those of the configuration.
fn unit_files(systemd: &Systemd) -> Option<Finding> {
    if !systemd.describes_units() {
        return None;
    }
    let name = "unit files";
    Some(match stray_service_files(&systemd.config, &systemd.layout) {
        Ok(stray) if stray.is_empty() => Finding::fine(name, "they are those of the configuration"),
        Ok(stray) => Finding::warning(name, stray.join(", "))
            .why("the service does not run as it is described")
            .mend("the next deployment brings them, and `deploykit unit install --force` replaces what was changed by hand; `deploykit unit diff` shows it"),
        Err(error) => Finding::error(name, chain(&error)).hint(error.hint()),
    })
}

/// Units of the application that the configuration does not name, and that run or are started at boot all
/// the same.
fn strays(systemd: &Systemd, ctx: &Context) -> Vec<Finding> {
    if !systemd.describes_units() {
        return Vec::new();
    }
    let found = systemd
        .bus(ctx)
        .map_err(UnitError::from)
        .and_then(|bus| stray_units(ctx, &bus, &systemd.config, &systemd.layout));
    let finding = |unit: &String| {
        let found = "no service of the configuration is run by it, and it runs or starts at boot";
        Finding::warning(format!("unit {unit}"), found)
            .why("the active release may be run by it; the next deployment ends it")
            .mend("`deploykit deploy`")
    };
    found.unwrap_or_default().iter().map(finding).collect()
}

/// Whether the user's manager runs when the user is not logged in.
fn lingering(systemd: &Systemd) -> Option<Finding> {
    if systemd.units.manager != ManagerKind::User {
        return None;
    }
    let user = user();
    // Where logind keeps it (loginctl(1), enable-linger).
    let lingers = Utf8Path::new("/var/lib/systemd/linger").join(&user).exists();
    Some(if lingers {
        Finding::fine("lingering", format!("the manager of {user} always runs"))
    } else {
        Finding::error("lingering", format!("{user} has no lingering"))
            .why("the service ends when the user logs out, and does not start when the host boots")
            .mend(format!("`loginctl enable-linger {user}`"))
    })
}

/// Whether what the units write can be read.
fn journal(systemd: &Systemd, ctx: &Context) -> Finding {
    let mut request = LogRequest::default();
    request.lines = Some(1);
    match systemd.logs(ctx, &request, &mut |_| {}) {
        Ok(()) => Finding::fine("journal", "it can be read"),
        Err(error) => Finding::warning("journal", chain(&error))
            .why("the report of a failure lacks what the service has said")
            .mend(format!("`usermod --append --groups systemd-journal {}`", user())),
    }
}

/// Whether somebody looks after a probation whose deployment was killed.
fn recovery(systemd: &Systemd, ctx: &Context) -> Finding {
    let timer = recover_timer(systemd.layout.root());
    if is_active(systemd, ctx, &timer) {
        return last_run(systemd, ctx, "recovery", &timer);
    }
    Finding::warning("recovery", format!("{timer} is not active"))
        .why("after a kill or a loss of power nobody decides about a release on probation, until the next command")
        .mend("`deploykit unit install`")
}

/// Whether what is new is deployed by a timer just when the configuration says so.
fn polling(systemd: &Systemd, ctx: &Context) -> Option<Finding> {
    let timer = poll_timer(systemd.layout.root());
    let found = match (systemd.config.timers.poll, is_active(systemd, ctx, &timer)) {
        (None, false) => return None,
        (Some(_), true) if systemd.config.probation.confirmation == Confirmation::Required => {
            let found = "what it deploys a person has to confirm, and nobody tells them";
            return Some(
                Finding::warning("polling", found)
                    .why("unless somebody looks in time, what is new goes back and counts as bad")
                    .mend("leave timers.poll out, or probation.confirmation"),
            );
        }
        (Some(_), true) => return Some(last_run(systemd, ctx, "polling", &timer)),
        (Some(_), false) => format!("{timer} is not active, though timers.poll is given"),
        (None, true) => format!("{timer} is active, though timers.poll is not given"),
    };
    let why = match systemd.config.timers.poll {
        Some(_) => "nobody deploys what is new",
        None => "what is new is deployed by itself",
    };
    Some(Finding::warning("polling", found).why(why).mend("`deploykit unit install`"))
}

/// Whether what a timer has started could be run at all.
fn last_run(systemd: &Systemd, ctx: &Context, name: &str, timer: &str) -> Finding {
    let service = UnitName::complete(timer).with_suffix(".service");
    match systemd.facts(ctx, &service) {
        // How deploykit itself ended is in its history.
        Ok(facts) if facts.exited && exit::hint(facts.exit_code, facts.exit_status).is_some() => {
            Finding::error(name, format!("{service} cannot be run: {}", facts.failure()))
                .why("nothing is done when nobody is there")
                .mend(
                    "`deploykit unit install`, by a program that its user may run: /usr/local/bin",
                )
        }
        _ => Finding::fine(name, format!("{timer} is active")),
    }
}

fn is_active(systemd: &Systemd, ctx: &Context, timer: &str) -> bool {
    let facts = systemd.facts(ctx, &UnitName::complete(timer));
    facts.is_ok_and(|facts| facts.active == "active")
}
