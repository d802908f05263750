//! Handing over: new instances start beside the old ones, and take their places when somebody says so.

use std::collections::BTreeSet;
use std::io;

use super::instance::Instance;
use super::run::{Id, Loop};
use super::{ManagerError, Preparation};
use crate::definition::Definition;
use crate::listen::{Address, owners, why};
use crate::machine::{Happened, Phase, Reason};
use crate::table;

impl Loop {
    /// Starts instances beside those that run.
    pub(super) fn prepare_beside(&mut self, what: Preparation) -> Result<(), ManagerError> {
        let Preparation { token, mut definitions, names, anew } = what;
        if !names.is_empty() {
            let ids = self.named(&names).ok_or_else(|| self.unknown(&names))?;
            let one = |id: &Id| self.instances.get(id);
            definitions.extend(
                ids.iter()
                    .filter_map(one)
                    .map(|one| one.next.as_ref().unwrap_or(&one.definition).clone()),
            );
        }
        let is_anew = anew || !names.is_empty();
        let mut seen = BTreeSet::new();
        if let Some(twice) = definitions.iter().find(|one| !seen.insert(one.name())) {
            return Err(ManagerError::Twice { name: twice.name() });
        }
        let mut free = Vec::new();
        for definition in definitions {
            if self.can_listen(&definition)? {
                free.push(definition);
            }
        }
        let begun = self.prepared(&token);
        for definition in free {
            let name = definition.name();
            let is_it = |id: &&Id| {
                let of = self.instances.get(id).map(|one| &one.definition);
                of.is_some_and(|of| of.name() == name)
            };
            let before =
                begun.iter().find(is_it).and_then(|id| Some((*id, self.instances.get(id)?)));
            match before.map(|(id, one)| (id, is_as_wanted(one, &definition))) {
                // Somebody was killed meanwhile, and begins again.
                Some((_, true)) => continue,
                Some((id, false)) => self.leave(id),
                None if !is_anew && self.runs_like(&definition) => continue,
                None => {}
            }
            let id = self.add(Instance::beside(definition, &token));
            self.bring_up(id);
        }
        Ok(())
    }

    /// Lets what was started under a token take the places of the others.
    pub(super) fn commit(&mut self, token: &str) {
        for id in self.prepared(token) {
            let Some(name) = self.instances.get(&id).map(|one| one.definition.name()) else {
                continue;
            };
            if let Some(old) = self.names.insert(name, id) {
                self.leave(old);
                // Whoever comes after a kill never finds two of a name.
                self.keep_record();
            }
            if let Some(instance) = self.instances.get_mut(&id) {
                instance.beside = None;
            }
            self.note_changed(id);
        }
        // What others have prepared, and were killed.
        self.abort_all();
    }

    /// Ends all that was started beside others.
    pub(super) fn abort_all(&mut self) {
        let is_meant = |one: &Instance| one.beside.is_some() && !one.is_replaced;
        let all = self.instances.iter().filter(|(_, one)| is_meant(one));
        for id in all.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.leave(id);
        }
    }

    /// Ends what was started under a token.
    pub(super) fn abort(&mut self, token: &str) {
        for id in self.prepared(token) {
            self.leave(id);
        }
    }

    /// What was started under a token.
    pub(super) fn prepared(&self, token: &str) -> Vec<Id> {
        let is_meant = |one: &Instance| one.beside.as_deref() == Some(token) && !one.is_replaced;
        self.instances.iter().filter(|(_, one)| is_meant(one)).map(|(id, _)| *id).collect()
    }

    /// Has an instance end for good. It waits for no other one: another one is there in its place.
    fn leave(&mut self, id: Id) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        (instance.leaving, instance.is_replaced, instance.again) = (true, true, false);
        self.take(id, Happened::Unwanted);
    }

    /// Whether the one that runs does so just as this says.
    fn runs_like(&self, definition: &Definition) -> bool {
        let now = self.names.get(&definition.name()).and_then(|id| self.instances.get(id));
        now.is_some_and(|now| is_as_wanted(now, definition) && !now.ending && !now.leaving)
    }

    /// Whether what one listens on is open, or can be. Not, where the one that runs has it otherwise than from
    /// here: it can only be had when that one has ended.
    fn can_listen(&mut self, definition: &Definition) -> Result<bool, ManagerError> {
        let now = self.names.get(&definition.name()).and_then(|id| self.instances.get(id));
        for address in &definition.listen {
            match self.sockets.try_open(address) {
                Ok(()) => {}
                Err(error)
                    if error.kind() == io::ErrorKind::AddrInUse
                        && now.is_some_and(|now| has_itself(now, address)) =>
                {
                    return Ok(false);
                }
                Err(error) => {
                    let (address, why) = (address.clone(), why(address, &error));
                    return Err(ManagerError::Listen { address, why });
                }
            }
        }
        Ok(true)
    }
}

/// Whether what is in the way at an address belongs to this instance: it may be so, where nobody can tell.
fn has_itself(now: &Instance, address: &str) -> bool {
    let Some(process) = &now.process else { return false };
    let others = Address::parse(address).map(|address| owners(&address)).unwrap_or_default();
    let main = [(process.pid, process.marker.clone())];
    let rows = table::all().unwrap_or_default();
    let own = table::belonging(&rows, &main, &table::marker);
    others.is_empty() || others.iter().any(|pid| own.contains(pid))
}

/// Whether an instance runs as is wanted, or is about to, or has done so.
fn is_as_wanted(one: &Instance, definition: &Definition) -> bool {
    let is_well = match one.machine.phase {
        Phase::Starting | Phase::Running | Phase::Waiting => true,
        Phase::Down(Reason::Done) => one.definition.course.once,
        _ => false,
    };
    is_well && one.definition == *definition
}
