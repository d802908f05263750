//! How an instance is, in the words of the engine.

use deploykit_core::Timestamp;
use deploykit_core::traits::{Instance, ServiceState};

use crate::machine::{Next, Phase, Reason};
use crate::manager::InstanceStatus;

/// The state of an instance, as the engine calls it.
pub(super) fn state(one: &InstanceStatus) -> ServiceState {
    match &one.phase {
        _ if one.leaving && one.pid.is_some() => ServiceState::Draining,
        Phase::Running | Phase::Down(Reason::Done) => ServiceState::Running,
        Phase::Down(Reason::Unwanted) => ServiceState::Stopped,
        Phase::Down(Reason::Failed(_)) => ServiceState::Failed,
        Phase::Stopping(Next::Nothing) => ServiceState::Stopped,
        Phase::Waiting | Phase::Starting | Phase::Pausing | Phase::Stopping(_) => {
            ServiceState::Starting
        }
    }
}

pub(super) fn detail(one: &InstanceStatus) -> String {
    let last = one.last_end.as_deref().unwrap_or_default();
    let said = one.text.as_deref().map(|text| format!(", says {text:?}")).unwrap_or_default();
    let text = match &one.phase {
        _ if one.leaving && one.pid.is_some() => format!("{} finishes what it has begun", one.name),
        Phase::Running if one.beside.is_some() => format!("{} is ready to take over", one.name),
        Phase::Running => format!("{} runs{said}", one.name),
        Phase::Down(Reason::Done) => format!("{} has done its work", one.name),
        Phase::Down(Reason::Unwanted) => format!("{} is down", one.name),
        Phase::Down(Reason::Failed(why)) => format!("{} is down: {why}", one.name),
        Phase::Waiting => format!("{} waits for what it needs", one.name),
        Phase::Starting => format!("{} is not ready yet{said}", one.name),
        Phase::Pausing => format!("{} {last}, and is to be started again", one.name),
        Phase::Stopping(_) => format!("{} is about to end", one.name),
    };
    text.replace(['\n', '\r'], " ")
}

/// An instance, as the engine sees it.
pub fn as_instance(one: &InstanceStatus, now: Timestamp) -> Instance {
    let mut instance = Instance::new(&*one.name, state(one));
    instance.detail = detail(one);
    instance.pid = one.pid;
    let millis = one.up.and_then(|up| i64::try_from(up.as_millis()).ok());
    instance.since = millis.map(|up| Timestamp::from_millis(now.as_millis() - up));
    instance.restarts = one.restarts;
    instance.release = one.release.parse().ok();
    instance
}
