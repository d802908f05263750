//! The loop of the manager: what happens is handed to the machines, and what they say is done.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

use super::instance::Instance;
use super::poll::{Poll, Timer, Token, Waker, after};
use super::start::{random, start};
use super::{Command, InstanceStatus, ManagerError, Surroundings, Wish};
use crate::definition::{Definition, Readiness};
use crate::machine::{Act, Happened, News, Phase};
use crate::policy::Ending;

/// The number by which the manager knows an instance.
pub(super) type Id = u64;

/// What is watched of an instance, in the lowest bits of its tokens.
const KINDS: u64 = 4;
/// Its process has ended.
const ENDED: u64 = 0;
/// Its phase has taken as long as it may.
const TIME_UP: u64 = 1;
/// It says something of itself.
const SAYS: u64 = 2;
/// A time of its process is over: it is ready, or what is left of it is looked at again.
const LOOK: u64 = 3;
/// Somebody asks something.
const ASKED: Token = Token::MAX;

/// Somebody waits until instances have settled.
#[derive(Debug)]
struct Wait {
    names: Vec<String>,
    until: Instant,
    timer: Timer,
    reply: Sender<Vec<InstanceStatus>>,
}

#[derive(Debug)]
pub(super) struct Loop {
    pub(super) poll: Poll,
    pub(super) instances: BTreeMap<Id, Instance>,
    names: BTreeMap<String, Id>,
    next: Id,
    surroundings: Arc<dyn Surroundings>,
    commands: Receiver<Command>,
    waker: Arc<Waker>,
    begin: Instant,
    /// Who waits until something has settled.
    waits: Vec<Wait>,
    /// Nobody will ask any more: it ends with the last instance.
    is_ending: bool,
    /// By what its processes can be told from those of others.
    scope: String,
}

impl Loop {
    pub(super) fn new(
        surroundings: Arc<dyn Surroundings>,
        commands: Receiver<Command>,
        waker: Arc<Waker>,
        scope: String,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.watch(&*waker, ASKED)?;
        Ok(Self {
            poll,
            instances: BTreeMap::new(),
            names: BTreeMap::new(),
            next: 0,
            surroundings,
            commands,
            waker,
            begin: Instant::now(),
            waits: Vec::new(),
            is_ending: false,
            scope,
        })
    }

    /// Runs until it is told to end, and nothing runs any more.
    pub(super) fn run(&mut self) {
        let mut happened = Vec::new();
        while !(self.is_ending && self.instances.values().all(|one| one.process.is_none())) {
            happened.clear();
            if self.poll.wait(&mut happened).is_err() {
                // There is nothing that it could fail of but a lack of memory, which passes.
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            let mut ended = BTreeSet::new();
            for token in &happened {
                let id = token / KINDS;
                match token % KINDS {
                    _ if *token == ASKED => self.answer(),
                    ENDED => ended.extend(self.reap(id)),
                    TIME_UP => self.time_up(id),
                    SAYS => self.listen(id),
                    _ => ended.extend(self.look(id)),
                }
            }
            self.clear_up(&ended.into_iter().collect::<Vec<_>>());
            self.go_on();
        }
    }

    /// Lets everything begin or end that nothing stands in the way of any more.
    fn go_on(&mut self) {
        self.end_in_order();
        self.begin_in_order();
        self.drop_leaving();
        let waits = std::mem::take(&mut self.waits);
        let is_over = |wait: &Wait| {
            let ids = self.named(&wait.names).unwrap_or_default();
            wait.until <= Instant::now() || ids.iter().all(|id| self.instances[id].is_settled())
        };
        let (done, waiting) = waits.into_iter().partition::<Vec<_>, _>(is_over);
        self.waits = waiting;
        for wait in done {
            self.poll.cancel(wait.timer);
            // Whoever has asked may have gone.
            let _ = wait.reply.send(self.status_of(&wait.names));
        }
    }

    fn answer(&mut self) {
        self.waker.clear();
        loop {
            match self.commands.try_recv() {
                Ok(command) => self.obey(command),
                Err(std::sync::mpsc::TryRecvError::Empty) => return,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return self.end(),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Define(definitions, reply) => drop(reply.send(self.define(definitions))),
            Command::Want(wish, names, reply) => drop(reply.send(self.want(wish, &names))),
            Command::Signal(signal, names, reply) => drop(reply.send(self.signal(signal, &names))),
            Command::Reap => self.reap_strangers(),
            Command::Status(reply) => drop(reply.send(self.status_of(&[]))),
            Command::Settle(names, until, reply) => {
                let timer = self.poll.at(until, ASKED);
                self.waits.push(Wait { names, until, timer, reply });
            }
            Command::End => self.end(),
        }
    }

    fn end(&mut self) {
        self.is_ending = true;
        for instance in self.instances.values_mut() {
            instance.ending = true;
        }
    }

    fn define(&mut self, definitions: Vec<Definition>) -> Result<(), ManagerError> {
        let mut named: BTreeMap<String, Definition> = BTreeMap::new();
        for definition in definitions {
            let name = definition.name();
            if named.insert(name.clone(), definition).is_some() {
                return Err(ManagerError::Twice { name });
            }
        }
        for instance in self.instances.values_mut() {
            match named.remove(&instance.definition.name()) {
                Some(definition) if instance.process.is_none() => {
                    instance.ending &= !std::mem::take(&mut instance.leaving);
                    (instance.definition, instance.next) = (definition, None);
                }
                Some(definition) => {
                    // It was about to end for no other reason.
                    instance.ending &= !std::mem::take(&mut instance.leaving);
                    instance.next = Some(definition).filter(|next| *next != instance.definition);
                }
                None => (instance.leaving, instance.ending) = (true, true),
            }
        }
        for (name, definition) in named {
            self.next += 1;
            self.names.insert(name, self.next);
            self.instances.insert(self.next, Instance::new(definition));
        }
        Ok(())
    }

    fn want(&mut self, wish: Wish, names: &[String]) -> Result<(), ManagerError> {
        let ids = self.named(names).ok_or_else(|| self.unknown(names))?;
        for id in ids {
            let Some(instance) = self.instances.get_mut(&id) else { continue };
            match wish {
                Wish::Down => (instance.ending, instance.again) = (true, false),
                Wish::Up | Wish::Anew | Wish::Renewed if instance.leaving => {}
                // All that is to run anew ends in its order, and begins when all of it has ended.
                Wish::Renewed if instance.next.is_none() => self.bring_up(id),
                Wish::Anew | Wish::Renewed => {
                    instance.machine.forget();
                    (instance.ending, instance.again) = (instance.process.is_some(), true);
                }
                Wish::Up => self.bring_up(id),
            }
        }
        Ok(())
    }

    fn bring_up(&mut self, id: Id) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        (instance.ending, instance.again) = (false, false);
        self.take(id, Happened::Wanted);
    }

    /// The instances that are meant: those of that name, or of a service of that name; all, where none is
    /// named. Nothing when there is one that there is not.
    fn named(&self, names: &[String]) -> Option<Vec<Id>> {
        if names.is_empty() {
            return Some(self.instances.keys().copied().collect());
        }
        let mut found = Vec::new();
        for name in names {
            let before = found.len();
            found.extend(self.names.get(name));
            if found.len() == before {
                let of_service =
                    self.instances.iter().filter(|(_, one)| one.definition.service == *name);
                found.extend(of_service.map(|(id, _)| *id));
            }
            if found.len() == before {
                return None;
            }
        }
        Some(found)
    }

    fn unknown(&self, names: &[String]) -> ManagerError {
        let is_unknown = |name: &&String| self.named(std::slice::from_ref(*name)).is_none();
        let name = names.iter().find(is_unknown).cloned().unwrap_or_default();
        ManagerError::Unknown { name }
    }

    fn signal(&mut self, signal: i32, names: &[String]) -> Result<(), ManagerError> {
        if rustix::process::Signal::from_named_raw(signal).is_none() {
            return Err(ManagerError::Signal { number: signal });
        }
        let ids = self.named(names).ok_or_else(|| self.unknown(names))?;
        for id in ids {
            if let Some(process) = self.instances.get(&id).and_then(|one| one.process.as_ref()) {
                super::stop::signal_main(process, signal);
            }
        }
        Ok(())
    }

    fn status_of(&self, names: &[String]) -> Vec<InstanceStatus> {
        let ids = self.named(names).unwrap_or_default();
        ids.iter().filter_map(|id| self.instances.get(id)).map(Instance::status).collect()
    }

    /// Hands to an instance what has happened, and does what comes of it.
    pub(super) fn take(&mut self, id: Id, happened: Happened) {
        let now = self.begin.elapsed();
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if let (Happened::Ready, Some(process)) = (&happened, &mut instance.process) {
            process.ready_since.get_or_insert_with(Instant::now);
        }
        let jitter = random() as f64 / u64::MAX as f64;
        let acts = instance.machine.take(&instance.definition.course, happened, now, jitter);
        for act in acts {
            self.perform(id, act);
        }
    }

    fn perform(&mut self, id: Id, act: Act) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        match act {
            Act::Spawn => self.spawn(id),
            Act::Ask => {
                if let Some(process) = &instance.process {
                    super::stop::ask(process, instance.definition.stop_signal);
                }
            }
            Act::Kill => {
                if let Some(process) = &mut instance.process {
                    process.is_killed = true;
                    super::stop::kill(process);
                }
            }
            Act::Timer(time) => {
                if let Some(timer) = instance.timer.take() {
                    self.poll.cancel(timer);
                }
                instance.timer = Some(self.poll.at(after(time), id * KINDS + TIME_UP));
            }
            Act::NoTimer => {
                if let Some(timer) = instance.timer.take() {
                    self.poll.cancel(timer);
                }
            }
            Act::Tell(news) => self.surroundings.tell(&instance.definition.name(), &news),
        }
    }

    fn spawn(&mut self, id: Id) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if let Some(next) = instance.next.take() {
            instance.definition = next;
        }
        instance.text = None;
        let definition = &instance.definition;
        let mut process = match start(definition, &self.scope, &*self.surroundings) {
            Ok(process) => process,
            Err(why) => return self.ended(id, Ending::NotStarted(why), std::time::Duration::ZERO),
        };
        let watched = self.poll.watch(&process.handle, id * KINDS + ENDED).and_then(|()| {
            process
                .notify
                .as_ref()
                .map_or(Ok(()), |notify| self.poll.watch(notify, id * KINDS + SAYS))
        });
        if let Err(error) = watched {
            // Nobody would see its end.
            super::stop::kill_and_wait(&process);
            return self.ended(
                id,
                Ending::NotStarted(error.to_string()),
                std::time::Duration::ZERO,
            );
        }
        let readiness = definition.readiness.clone();
        if let Readiness::Delay(delay) = readiness {
            process.ready = Some(self.poll.at(after(delay), id * KINDS + LOOK));
        }
        let news = News::Started { pid: process.pid };
        self.surroundings.tell(&definition.name(), &news);
        instance.process = Some(process);
        if readiness == Readiness::Started {
            self.take(id, Happened::Ready);
        }
    }

    /// Tells an instance that its process, and all that it had started, has ended.
    pub(super) fn ended(&mut self, id: Id, ending: Ending, ran: std::time::Duration) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        instance.last_end = Some(ending.clone());
        self.take(id, Happened::Ended { ending, ran });
    }

    fn time_up(&mut self, id: Id) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if instance.timer.take_if(|timer| timer.is_due()).is_some() {
            self.take(id, Happened::TimeUp);
        }
    }

    /// Takes what a process says of itself.
    fn listen(&mut self, id: Id) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let heard = instance.process.as_ref().map(|process| process.heard()).unwrap_or_default();
        let mut is_ready = false;
        for line in heard {
            match line.split_once('=') {
                Some(("READY", "1")) => is_ready = true,
                Some(("STATUS", text)) => instance.text = Some(text.to_owned()),
                _ => {}
            }
        }
        if is_ready {
            self.take(id, Happened::Ready);
        }
    }

    /// A time of the process of an instance is over.
    fn look(&mut self, id: Id) -> Option<Id> {
        let process = self.instances.get_mut(&id)?.process.as_mut()?;
        if let Some(ended) = &mut process.ended {
            return ended.look.take_if(|timer| timer.is_due()).map(|_| id);
        }
        if process.ready.take_if(|timer| timer.is_due()).is_some() {
            self.take(id, Happened::Ready);
        }
        None
    }

    /// The token of the next look at what is left of the process of an instance.
    pub(super) fn look_again(id: Id) -> Token {
        id * KINDS + LOOK
    }

    /// Starts what waits for nothing any more: all levels below are up, and what it needs. Each at most
    /// once: one that cannot be started, and has no pause, would keep everything else waiting.
    fn begin_in_order(&mut self) {
        let mut begun = BTreeSet::new();
        while !self.is_ending {
            let lacking = self.instances.values().filter(|one| one.is_wanted() && !one.is_up());
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
                    self.waker.wake();
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
    fn end_in_order(&mut self) {
        let alive: Vec<&Instance> =
            self.instances.values().filter(|one| one.ending && one.process.is_some()).collect();
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
            one.process.is_none() || stuck && Some(one.definition.level) >= highest || is_next(one)
        };
        let nothing_ends = alive.is_empty();
        let ending = self.instances.iter().filter(|(_, one)| one.ending && is_free(one));
        let free: Vec<Id> = ending.map(|(id, _)| *id).collect();
        for id in free {
            self.take(id, Happened::Unwanted);
            if let Some(one) = self.instances.get_mut(&id).filter(|one| one.process.is_none()) {
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

    fn drop_leaving(&mut self) {
        let gone: Vec<Id> = self
            .instances
            .iter()
            .filter(|(_, one)| one.leaving && one.process.is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            if let Some(instance) = self.instances.remove(&id) {
                let name = instance.definition.name();
                self.names.remove(&name);
                self.surroundings.forget(&name);
                instance.timer.into_iter().for_each(|timer| self.poll.cancel(timer));
            }
        }
    }
}
