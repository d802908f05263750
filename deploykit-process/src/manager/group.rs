//! The control group of an instance: which processes belong to it, and how much they use together. Where
//! there is none, its memory is looked at from time to time.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::poll::after;
use super::run::{Id, KINDS, Loop, MEMORY};
use crate::cgroup::{Amounts, Group, GroupError};
use crate::machine::{Happened, News};

/// How often memory is looked at that no control group limits.
const LOOK: Duration = Duration::from_secs(5);

impl Loop {
    /// The group that the processes of an instance enter; none, where none can be made, and where nothing is
    /// to be limited: to enter one takes the kernel 10 to 30 ms, longer than all the rest of a start.
    pub(super) fn group_of(&mut self, id: Id) -> Option<Arc<Group>> {
        let instance = self.instances.get_mut(&id)?;
        let amounts = instance.definition.amounts;
        if amounts == Amounts::default() {
            return None;
        }
        if let Some((group, _)) = instance.group.as_ref().filter(|(_, made)| *made == amounts) {
            return Some(Arc::clone(group));
        }
        // Two of one name may run at a time.
        let name = format!("{}-{}", self.prefix, instance.definition.name());
        let name = match &instance.beside {
            None => name,
            Some(_) => format!("{name}-{:08x}", super::start::random() >> 32),
        };
        let name = instance.group_name.get_or_insert(name).clone();
        let made = self.groups.make(&name, &amounts).or_else(|error| {
            let what = match error {
                GroupError::NotLimited { what } => what,
                _ => "anything",
            };
            let news = News::NotLimited { what: what.to_owned() };
            self.surroundings.tell(&instance.definition.name(), &news);
            // Which processes belong to it can be known all the same.
            self.groups.make(&name, &Amounts::default())
        });
        let group = Arc::new(made.ok()?);
        instance.group = Some((Arc::clone(&group), amounts));
        Some(group)
    }

    pub(super) fn entrances(&mut self, id: Id) -> Vec<OwnedFd> {
        let group = self.group_of(id);
        group.and_then(|group| group.entrances().ok()).unwrap_or_default()
    }

    /// Begins to look at the memory of an instance, where nothing else limits it.
    pub(super) fn begin_memory(&mut self, id: Id) {
        let Some(instance) = self.instances.get(&id) else { return };
        let is_limited = instance.group.as_ref().is_some_and(|(group, _)| group.limits("memory"));
        if instance.definition.amounts.memory.is_some() && !is_limited {
            self.poll.at(after(LOOK), id * KINDS + MEMORY);
        }
    }

    pub(super) fn memory_is_due(&mut self, id: Id) {
        let Some(instance) = self.instances.get(&id) else { return };
        let most = instance.definition.amounts.memory;
        let pid = instance.process.as_ref().filter(|one| one.ended.is_none()).map(|one| one.pid);
        let (Some(most), Some(pid)) = (most, pid) else { return };
        let used = crate::usage::usage(&[pid]).ok().and_then(|all| all[0]);
        let used = used.map_or(0, |used| used.memory);
        if used > most {
            let mib = |bytes: u64| bytes / (1 << 20);
            let why = format!("it uses {} MiB of memory, and may use {}", mib(used), mib(most));
            return self.take(id, Happened::Unwell(why));
        }
        self.poll.at(after(LOOK), id * KINDS + MEMORY);
    }
}
