//! What systemd knows of the units, as the engine takes it.

use deploykit_core::traits::{Instance, ServiceState, ServiceStatus};
use deploykit_core::{Layout, release_of_process};

use crate::facts::Facts;
use crate::units::Units;

/// The state of one unit.
pub(crate) fn state(facts: &Facts) -> ServiceState {
    match facts.active.as_str() {
        _ if facts.waits_to_restart() => ServiceState::Starting,
        "active" | "reloading" => ServiceState::Running,
        "activating" => ServiceState::Starting,
        "failed" => ServiceState::Failed,
        "inactive" if facts.has_job => ServiceState::Starting,
        "inactive" if facts.has_done_its_work() || facts.is_on_call => ServiceState::Running,
        "inactive" if facts.may_have_done_its_work() => ServiceState::Unknown,
        "inactive" => ServiceState::Stopped,
        // On its way somewhere: it may be started again after that.
        "deactivating" => ServiceState::Starting,
        _ => ServiceState::Unknown,
    }
}

/// What there is to say of one unit.
pub(crate) fn detail(facts: &Facts) -> String {
    let unit = &facts.unit;
    if facts.load == "not-found" {
        return format!("there is no unit {unit}");
    }
    if facts.waits_to_restart() {
        return format!("{unit} {}, and is to be started again", facts.failure());
    }
    let text = match facts.text.replace(['\n', '\r'], " ") {
        text if text.is_empty() => text,
        text => format!(", says {text:?}"),
    };
    match state(facts) {
        ServiceState::Failed => format!("{unit}: {}", facts.failure()),
        ServiceState::Running if facts.has_done_its_work() => format!("{unit} has done its work"),
        ServiceState::Running if facts.is_on_call => {
            format!("{unit} is started when there is something to do")
        }
        ServiceState::Unknown if facts.may_have_done_its_work() => {
            format!("{unit} does its work once; whether it has is not known any more")
        }
        _ => format!("{unit} is {} ({}){text}", facts.active, facts.sub),
    }
}

fn instance(layout: &Layout, units: &Units, facts: &Facts) -> Instance {
    let name = if facts.unit.is_service() { facts.unit.stem() } else { facts.unit.as_str() };
    let mut instance = Instance::new(name, state(facts));
    instance.detail = detail(facts);
    instance.pid = facts.pid;
    instance.since = facts.since;
    instance.restarts = facts.restarts_begun();
    // Where a process works that only reloads, it has worked for long.
    let pid = facts.pid.filter(|_| !units.reloads(&facts.unit));
    instance.release = pid.and_then(|pid| release_of_process(layout, pid));
    instance
}

/// The state of all units: the worst of theirs.
pub(crate) fn status(layout: &Layout, units: &Units, all: &[Facts]) -> ServiceStatus {
    // Of several that are equally bad, the first tells.
    let worst = all.iter().rev().max_by_key(|facts| state(facts).rank());
    let Some(worst) = worst else {
        return ServiceStatus::new(ServiceState::Unknown, "no unit is named");
    };
    let worst_state = state(worst);
    let detail = match worst_state {
        ServiceState::Running if all.len() > 1 => format!("{} units are active", all.len()),
        _ => detail(worst),
    };
    let mut status = ServiceStatus::new(worst_state, detail);
    status.instances = all.iter().map(|facts| instance(layout, units, facts)).collect();
    status
}
