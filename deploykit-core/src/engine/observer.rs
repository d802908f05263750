//! Looking at a release: at its service, and through every check.

use std::collections::BTreeMap;

use super::application::Operation;
use super::error::chain;
use super::stored::StoredRelease;
use super::tracker::Sight;
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
        let (state, detail, restarts) = match supervisor.status(self.ctx) {
            Ok(status) => self.extent_of(status),
            Err(error) => (ServiceState::Starting, chain(&error), None),
        };
        let well = matches!(state, ServiceState::Running | ServiceState::Unknown);
        self.tell("service", well, &detail);
        if let Some(times) = restarts.and_then(|restarts| self.too_often(restarts)) {
            return Sight::Dead(format!("the service was started again {times}: {detail}"));
        }
        match state {
            ServiceState::Failed => Sight::Dead(format!("the service has failed: {detail}")),
            _ if well => Sight::Well,
            _ => Sight::Poor(format!("service: {detail}")),
        }
    }

    /// What of a status is about what is looked at.
    fn extent_of(&self, status: ServiceStatus) -> (ServiceState, String, Option<u64>) {
        let Some(of) = self.of else {
            let restarts = status.instances.iter().map(|instance| instance.restarts).sum();
            return (status.state, status.detail, Some(restarts));
        };
        let name = of.to_string();
        match status.instances.into_iter().find(|instance| instance.name == name) {
            Some(found) => (found.state, found.detail, Some(found.restarts)),
            None => (ServiceState::Unknown, format!("nothing is known of {name}"), None),
        }
    }

    /// How often it was started again, if that is more than what is forgiven.
    fn too_often(&mut self, restarts: u64) -> Option<String> {
        // Whoever starts it anew begins to count anew.
        let before = (*self.restarts.get_or_insert(restarts)).min(restarts);
        self.restarts = Some(before);
        let times = restarts - before;
        (times > u64::from(self.operation.runtime.health.restarts)).then(|| match times {
            1 => "once".to_owned(),
            times => format!("{times} times"),
        })
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
