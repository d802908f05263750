//! Looking at a release: at its service, and through every check.

use std::collections::BTreeMap;

use super::application::Operation;
use super::stored::StoredRelease;
use super::tracker::Sight;
use crate::chain;
use crate::context::Context;
use crate::event::EventKind;
use crate::traits::{InstanceName, Look, ServiceState, ServiceStatus};

/// Looks at a release, and tells of what has changed.
pub(super) struct Observer<'a> {
    ctx: &'a Context,
    operation: &'a Operation,
    release: &'a StoredRelease,
    /// The only instance that is looked at.
    of: Option<&'a InstanceName>,
    /// How often it had been started again before.
    restarts: Option<u64>,
    last: BTreeMap<String, Option<String>>,
}

/// What is known of the service as far as it is looked at.
struct Extent {
    state: ServiceState,
    detail: String,
    /// How often it was started again, where that is known.
    restarts: Option<u64>,
    /// What there is to say of whatever was started again.
    restless: String,
    /// One of its instances has ended in order, and nobody will start it again.
    has_ended: bool,
}

impl Extent {
    fn new(state: ServiceState, detail: String) -> Self {
        Self { state, detail, restarts: None, restless: String::new(), has_ended: false }
    }
}

impl<'a> Observer<'a> {
    pub(super) fn new(
        ctx: &'a Context,
        operation: &'a Operation,
        release: &'a StoredRelease,
    ) -> Self {
        Self { ctx, operation, release, of: None, restarts: None, last: BTreeMap::new() }
    }

    /// The same; but what has happened since the service was started counts, not only what is seen to
    /// happen.
    pub(super) fn since_its_start(mut self) -> Self {
        self.restarts = Some(0);
        self
    }

    /// The same, of one instance only.
    pub(super) fn of(mut self, instance: &'a InstanceName) -> Self {
        self.of = Some(instance);
        self
    }

    pub(super) fn operation(&self) -> &'a Operation {
        self.operation
    }

    /// One look at the service and through every check.
    pub(super) fn see(&mut self) -> Sight {
        let mut sight = self.see_service();
        for check in &self.operation.checks {
            if matches!(sight, Sight::Dead(_)) {
                return sight;
            }
            if self.of.is_some() && check.of.as_ref() != self.of {
                continue;
            }
            let look =
                check.check.look(&self.ctx.clone().with_timeout(check.timeout), self.release);
            let name = check.check.name();
            self.tell(name, look.is_well(), look.detail());
            match look {
                // Why the service does not answer is that it does not run: the first tells most.
                Look::NotYet(_) | Look::Ill(_) if matches!(sight, Sight::Poor(_)) => {}
                Look::NotYet(detail) | Look::Ill(detail) => {
                    sight = Sight::Poor(format!("{name}: {detail}"));
                }
                Look::Blind(detail) if sight == Sight::Well => {
                    sight = Sight::Blind(format!("{name}: {detail}"));
                }
                Look::Blind(_) | Look::Well(_) => {}
            }
        }
        sight
    }

    /// Whether the service has ended, and why, where that can be asked between two looks.
    pub(super) fn death(&mut self) -> Option<String> {
        if !self.operation.supervisor.is_cheap_to_ask() {
            return None;
        }
        match self.see_service() {
            Sight::Dead(why) => Some(why),
            _ => None,
        }
    }

    fn see_service(&mut self) -> Sight {
        let supervisor = &self.operation.supervisor;
        if !supervisor.observes() {
            return Sight::Well;
        }
        let extent = match supervisor.status(self.ctx) {
            Ok(status) => self.extent_of(status),
            // That whoever runs it does not answer tells nothing of the service.
            Err(error) => {
                let detail = chain(&error);
                self.tell("service", false, &detail);
                return Sight::Blind(format!("service: {detail}"));
            }
        };
        let Extent { state, detail, restless, .. } = extent;
        let well = matches!(state, ServiceState::Running | ServiceState::Unknown);
        self.tell("service", well, &detail);
        if let Some(times) = extent.restarts.and_then(|restarts| self.too_often(restarts)) {
            return Sight::Dead(format!("{restless} (restarts on its probation: {times})"));
        }
        match state {
            ServiceState::Failed => Sight::Dead(format!("the service has failed: {detail}")),
            _ if extent.has_ended => Sight::Dead(format!("the service has ended: {detail}")),
            _ if well => Sight::Well,
            _ => Sight::Poor(format!("service: {detail}")),
        }
    }

    /// What of a status is about what is looked at.
    fn extent_of(&self, status: ServiceStatus) -> Extent {
        let (mut instances, mut detail) = (status.instances, status.detail);
        let mut state = status.state;
        if let Some(name) = self.of.map(ToString::to_string) {
            instances.retain(|instance| instance.name == name);
            let Some(found) = instances.first() else {
                let detail = format!("nothing is known of {name}");
                return Extent::new(ServiceState::Unknown, detail);
            };
            (state, detail) = (found.state, found.detail.clone());
        }
        let restless = instances.iter().max_by_key(|instance| instance.restarts);
        Extent {
            restless: restless.map_or_else(
                || detail.clone(),
                |instance| match instance.state {
                    ServiceState::Running => {
                        format!("{} has ended and was started again", instance.name)
                    }
                    _ => instance.detail.clone(),
                },
            ),
            restarts: Some(instances.iter().map(|instance| instance.restarts).sum()),
            // The state of a service in all may be a guess; what is told of an instance is known.
            has_ended: instances.iter().any(|instance| instance.state == ServiceState::Stopped),
            ..Extent::new(state, detail)
        }
    }

    /// How often it was started again, if that is more than what is forgiven.
    fn too_often(&mut self, restarts: u64) -> Option<u64> {
        // Whoever starts it anew begins to count anew.
        let before = (*self.restarts.get_or_insert(restarts)).min(restarts);
        self.restarts = Some(before);
        let times = restarts - before;
        (times > u64::from(self.operation.runtime.health.restarts)).then_some(times)
    }

    fn tell(&mut self, check: &str, well: bool, detail: &str) {
        // Of what is well the details vary; what is not well for another reason is news.
        let ill = (!well).then(|| detail.to_owned());
        if self.ctx.check().is_err() {
            return;
        }
        if self.last.insert(check.to_owned(), ill.clone()) != Some(ill) {
            let (check, detail) = (check.to_owned(), detail.to_owned());
            self.ctx.emit(EventKind::HealthChanged { check, well, detail });
        }
    }
}
