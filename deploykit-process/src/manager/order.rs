//! What begins and ends after what: levels, and what needs others.

use std::collections::{BTreeMap, BTreeSet};

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
            let lacking = self
                .instances
                .values()
                .filter(|one| !one.is_replaced && one.is_wanted() && !one.is_past());
            // Of each token for itself: what starts beside others is in nobody's way.
            let mut lowest: BTreeMap<Option<&str>, u32> = BTreeMap::new();
            for one in lacking {
                let level = one.definition.level;
                let least = lowest.entry(one.beside.as_deref()).or_insert(level);
                *least = level.min(*least);
            }
            let is_free = |one: &Instance| {
                let (definition, is_gated) = (&one.definition, one.machine.is_gated);
                let is_let = || {
                    let lowest = lowest.get(&one.beside.as_deref());
                    lowest.is_none_or(|lowest| definition.level <= *lowest)
                        && self.all_of(one, &definition.needs, Instance::is_up)
                        && self.all_of(one, &definition.after, Instance::is_past)
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

    /// Whether all instances of these services are so, for one that waits for them. What there is not cannot
    /// be waited for. What starts beside others waits for what starts with it, where that is of the service.
    fn all_of(&self, of: &Instance, services: &[String], so: impl Fn(&Instance) -> bool) -> bool {
        services.iter().all(|service| {
            let all = || {
                let is_meant = |one: &&Instance| one.definition.service == *service;
                self.instances.values().filter(is_meant).filter(|one| !one.is_replaced)
            };
            let with_it = || all().filter(|one| one.beside == of.beside);
            if of.beside.is_some() && with_it().next().is_none() {
                return all().filter(|one| one.is_current()).all(&so);
            }
            with_it().all(&so)
        })
    }

    /// Ends what is to end, the highest level first, and whatever needs others before those. What is to run
    /// again begins when all of it has ended.
    pub(super) fn end_in_order(&mut self) {
        let is_meant = |one: &&Instance| one.ending && !one.is_replaced && one.is_alive();
        let alive: Vec<&Instance> = self.instances.values().filter(is_meant).collect();
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
                if let Some(ledger) = &self.ledger {
                    ledger.remove(&instance.file);
                }
                let name = instance.definition.name();
                if self.names.get(&name) == Some(&id) {
                    self.names.remove(&name);
                }
                if !self.instances.values().any(|one| one.definition.name() == name) {
                    self.surroundings.forget(&name);
                }
                if let Some((group, _)) = &instance.group {
                    group.remove();
                }
                instance.timer.into_iter().for_each(|timer| self.poll.cancel(timer));
            }
        }
    }
}
