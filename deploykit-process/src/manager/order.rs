//! What begins and ends after what: levels, and what needs others.

use std::collections::BTreeSet;

use super::instance::Instance;
use super::run::{Id, Loop};
use crate::definition::Definition;
use crate::machine::{Happened, Phase};

impl Loop {
    /// Starts what waits for nothing any more: all levels below are up, or have failed to, and what it needs
    /// is up. Each at most
    /// once: one that cannot be started, and has no pause, would keep everything else waiting.
    pub(super) fn begin_in_order(&mut self) {
        let mut begun = BTreeSet::new();
        while !self.is_ending {
            let lacking = self.instances.values().filter(|one| one.is_wanted() && !one.is_past());
            let lowest = lacking.map(|one| one.definition.level).min();
            let is_free = |one: &Instance| {
                let (definition, is_gated) = (&one.definition, one.machine.is_gated);
                let is_let = || {
                    lowest.is_none_or(|lowest| definition.level <= lowest)
                        && self.all_of(&definition.needs, Instance::is_up)
                        && self.all_of(&definition.after, Instance::is_past)
                };
                one.machine.phase == Phase::Waiting && (!is_gated || is_let())
            };
            let free = self.instances.iter().filter(|(_, one)| is_free(one)).map(|(id, _)| *id);
            let (again, free): (Vec<Id>, Vec<Id>) = free.partition(|id| begun.contains(id));
            if free.is_empty() {
                if !again.is_empty() {
                    self.teller.waker.wake();
                }
                return;
            }
            for id in free {
                begun.insert(id);
                self.take(id, Happened::Unblocked);
            }
        }
    }

    /// Whether all instances of these services are so. What there is not cannot be waited for.
    fn all_of(&self, services: &[String], so: impl Fn(&Instance) -> bool) -> bool {
        let are_meant = |one: &&Instance| services.contains(&one.definition.service);
        services.is_empty() || self.instances.values().filter(are_meant).all(so)
    }

    /// Ends what is to end, the highest level first, and whatever needs others before those. What is to run
    /// again begins when all of it has ended.
    pub(super) fn end_in_order(&mut self) {
        let alive: Vec<&Instance> =
            self.instances.values().filter(|one| one.ending && one.is_alive()).collect();
        let highest = alive.iter().map(|one| one.definition.level).max();
        let is_needed = |service: &String| {
            alive.iter().any(|one| {
                let Definition { service: own, needs, after, .. } = &one.definition;
                own != service && (needs.contains(service) || after.contains(service))
            })
        };
        let has_needs = alive
            .iter()
            .any(|one| !(one.definition.needs.is_empty() && one.definition.after.is_empty()));
        let is_next = |one: &Instance| {
            Some(one.definition.level) >= highest
                && !(has_needs && is_needed(&one.definition.service))
        };
        // Those that need each other end together.
        let stuck = !alive.is_empty() && !alive.iter().any(|one| is_next(one));
        let is_free = |one: &Instance| {
            !one.is_alive() || stuck && Some(one.definition.level) >= highest || is_next(one)
        };
        let nothing_ends = !alive.iter().any(|one| one.again);
        let ending = self.instances.iter().filter(|(_, one)| one.ending && is_free(one));
        let free: Vec<Id> = ending.map(|(id, _)| *id).collect();
        for id in free {
            self.take(id, Happened::Unwanted);
            if let Some(one) = self.instances.get_mut(&id).filter(|one| !one.is_alive()) {
                one.ending = false;
            }
        }
        if nothing_ends {
            self.begin_again();
        }
    }

    fn begin_again(&mut self) {
        let again = self.instances.iter().filter(|(_, one)| one.again && !one.ending);
        let again: Vec<Id> = again.map(|(id, _)| *id).collect();
        for id in again {
            if let Some(one) = self.instances.get_mut(&id) {
                one.again = false;
            }
            if !self.is_ending {
                self.take(id, Happened::Wanted);
            }
        }
    }

    pub(super) fn drop_leaving(&mut self) {
        let gone: Vec<Id> = self
            .instances
            .iter()
            .filter(|(_, one)| one.leaving && !one.is_alive())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            if let Some(instance) = self.instances.remove(&id) {
                let name = instance.definition.name();
                self.names.remove(&name);
                self.surroundings.forget(&name);
                if let Some((group, _)) = &instance.group {
                    group.remove();
                }
                instance.timer.into_iter().for_each(|timer| self.poll.cancel(timer));
            }
        }
    }
}
