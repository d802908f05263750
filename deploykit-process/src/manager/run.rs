//! The loop of the manager: what happens is handed to the machines, and what they say is done.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

use super::instance::{Instance, Process};
use super::ledger::Ledger;
use super::poll::{Poll, Timer, Token, after};
use super::sockets::Sockets;
use super::start::Prepared;
use super::start::random;
use super::{Command, Heard, InstanceStatus, ManagerError, Surroundings, Teller, Those, Wish};
use crate::cgroup::Groups;
use crate::children::Children;
use crate::definition::{Definition, Readiness};
use crate::machine::{Act, Happened, News};
use crate::policy::Ending;

/// The number by which the manager knows an instance.
pub(super) type Id = u64;

/// What is watched of an instance, in the lowest bits of its tokens.
pub(super) const KINDS: u64 = 256;
/// Its process has ended.
pub(super) const ENDED: u64 = 0;
/// Its phase has taken as long as it may.
pub(super) const TIME_UP: u64 = 1;
/// It says something of itself.
pub(super) const SAYS: u64 = 2;
/// A time of its process is over: it is ready, or what is left of it is looked at again.
pub(super) const LOOK: u64 = 3;
/// From this one on: one of its watches is due.
pub(super) const WATCH: u64 = 4;
/// Its memory is to be looked at.
pub(super) const MEMORY: u64 = 255;
/// Somebody asks something.
const ASKED: Token = Token::MAX;

/// Somebody waits until instances have settled.
#[derive(Debug)]
struct Wait {
    those: Those,
    until: Instant,
    timer: Timer,
    reply: Sender<Vec<InstanceStatus>>,
}

#[derive(Debug)]
pub(super) struct Loop {
    pub(super) poll: Poll,
    pub(super) instances: BTreeMap<Id, Instance>,
    pub(super) names: BTreeMap<String, Id>,
    next: Id,
    pub(super) surroundings: Arc<dyn Surroundings>,
    commands: Receiver<Command>,
    /// For threads that have something to tell.
    pub(super) teller: Teller,
    /// The processes that others have started and wait for.
    pub(super) children: Children,
    /// Where control groups are made, and what their names begin with.
    pub(super) groups: Groups,
    pub(super) prefix: String,
    pub(super) sockets: Sockets,
    /// Where it is on record what runs, for a manager that comes after this one.
    pub(super) ledger: Option<Ledger>,
    /// The instances whose entries may not be true any more.
    changed: BTreeSet<Id>,
    /// It ends, and what it runs does not.
    lets_be: bool,
    begin: Instant,
    /// Who waits until something has settled.
    waits: Vec<Wait>,
    /// Nobody will ask any more: it ends with the last instance.
    pub(super) is_ending: bool,
    /// Somebody's child has ended: once for all that have ended together.
    is_to_reap: bool,
    /// By what its processes can be told from those of others.
    pub(super) scope: String,
}

/// What the names of control groups begin with: those of two managers are told apart.
fn prefix(scope: &str) -> String {
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
    let of: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::default();
    let number =
        if scope.is_empty() { of.hash_one(std::process::id()) } else { of.hash_one(scope) };
    format!("{number:016x}")
}

/// What is called when a process of an instance has written the line that says that it is ready. That is on
/// disk before the line is out of the pipe: who comes after a kill does not see it again.
pub(super) fn heard(teller: &Teller, ledger: Option<&Ledger>, id: Id, marker: &str) -> Heard {
    let (teller, ledger, marker) = (teller.clone(), ledger.cloned(), marker.to_owned());
    Box::new(move || {
        if let Some(ledger) = &ledger {
            ledger.has_said(&marker);
        }
        teller.tell(Command::Wrote(id, marker.clone()));
    })
}

/// By what a text is told from the one before.
fn digest(text: &[u8]) -> u64 {
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(text)
}

impl Loop {
    pub(super) fn new(
        surroundings: Arc<dyn Surroundings>,
        commands: Receiver<Command>,
        teller: Teller,
        scope: String,
        children: Children,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.watch(&*teller.waker, ASKED)?;
        Ok(Self {
            poll,
            instances: BTreeMap::new(),
            names: BTreeMap::new(),
            next: 0,
            surroundings,
            commands,
            teller,
            children,
            groups: Groups::find(),
            prefix: prefix(&scope),
            sockets: Sockets::default(),
            ledger: None,
            changed: BTreeSet::new(),
            lets_be: false,
            begin: Instant::now(),
            waits: Vec::new(),
            is_ending: false,
            is_to_reap: false,
            scope,
        })
    }

    /// Runs until it is told to end, and nothing runs any more.
    pub(super) fn run(&mut self) {
        let mut happened = Vec::new();
        while !self.lets_be && (!self.is_ending || self.instances.values().any(Instance::is_alive))
        {
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
                    LOOK => ended.extend(self.look(id)),
                    MEMORY => self.memory_is_due(id),
                    watch => self.watch_due(id, (watch - WATCH) as usize),
                }
            }
            self.clear_up(&ended.into_iter().collect::<Vec<_>>());
            self.go_on();
            self.keep_record();
            self.answer_waits();
            if std::mem::take(&mut self.is_to_reap) {
                self.reap_others();
            }
        }
        if self.lets_be {
            return;
        }
        if let Some(ledger) = &self.ledger {
            ledger.forget();
        }
        for (group, _) in self.instances.values().filter_map(|one| one.group.as_ref()) {
            group.remove();
        }
    }

    /// Lets everything begin or end that nothing stands in the way of any more.
    fn go_on(&mut self) {
        self.end_in_order();
        self.close_sockets();
        self.begin_in_order();
        self.drop_leaving();
    }

    /// Tells those who wait that what they wait for has settled.
    fn answer_waits(&mut self) {
        let waits = std::mem::take(&mut self.waits);
        let is_over = |wait: &Wait| {
            let ids = self.meant(&wait.those);
            wait.until <= Instant::now() || ids.iter().all(|id| self.instances[id].is_settled())
        };
        let (done, waiting) = waits.into_iter().partition::<Vec<_>, _>(is_over);
        self.waits = waiting;
        for wait in done {
            self.poll.cancel(wait.timer);
            // Whoever has asked may have gone.
            let _ = wait.reply.send(self.status_of(&self.meant(&wait.those)));
        }
    }

    fn answer(&mut self) {
        self.teller.waker.clear();
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
            Command::Define(definitions, reply) => {
                let done = self.define(definitions);
                self.reply(&reply, done);
            }
            Command::Want(wish, names, reply) => {
                let done = self.want(wish, &names);
                self.reply(&reply, done);
            }
            Command::Signal(signal, names, reply) => drop(reply.send(self.signal(signal, &names))),
            Command::Acted(acted) => self.acted(acted),
            Command::Answered(answered) => self.answered(answered),
            Command::Wrote(id, marker) => self.wrote(id, &marker),
            Command::Reap => self.is_to_reap = true,
            Command::Kill => self.kill_all(),
            Command::Prepare(what, reply) => {
                let done = self.prepare_beside(what);
                self.reply(&reply, done);
            }
            Command::Commit(token, reply) => {
                self.commit(&token);
                self.reply(&reply, ());
            }
            Command::Abort(token, reply) => {
                self.abort(&token);
                self.reply(&reply, ());
            }
            Command::Status(reply) => {
                let all: Vec<Id> = self.instances.keys().copied().collect();
                drop(reply.send(self.status_of(&all)));
            }
            Command::Settle(those, until, reply) => {
                let timer = self.poll.at(until, ASKED);
                self.waits.push(Wait { those, until, timer, reply });
            }
            Command::LetBe(reply) => {
                self.lets_be = true;
                let _ = reply.send(self.sockets.all());
            }
            Command::End => self.end(),
        }
    }

    /// Answers whoever has asked for something to be changed. What was said holds: also for a manager that
    /// comes after this one.
    fn reply<T>(&mut self, to: &Sender<T>, done: T) {
        self.keep_record();
        // Whoever has asked may have gone.
        let _ = to.send(done);
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
        for instance in self.instances.values_mut().filter(|one| one.is_current()) {
            match named.remove(&instance.definition.name()) {
                Some(definition) if !instance.is_alive() => {
                    instance.ending &= !std::mem::take(&mut instance.leaving);
                    instance.is_changed |= instance.definition != definition;
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
        self.changed.extend(self.instances.keys().copied());
        for (name, definition) in named {
            let id = self.add(Instance::new(definition));
            self.names.insert(name, id);
        }
        Ok(())
    }

    /// Takes in an instance, which nobody wants to run yet.
    pub(super) fn add(&mut self, instance: Instance) -> Id {
        self.next += 1;
        self.instances.insert(self.next, instance);
        self.next
    }

    fn want(&mut self, wish: Wish, names: &[String]) -> Result<(), ManagerError> {
        let ids = self.named(names).ok_or_else(|| self.unknown(names))?;
        if wish == Wish::Down && names.is_empty() {
            self.abort_all();
        }
        for id in ids {
            self.changed.insert(id);
            let Some(instance) = self.instances.get_mut(&id) else { continue };
            match wish {
                Wish::Down => (instance.ending, instance.again) = (true, false),
                Wish::Up | Wish::Anew | Wish::Renewed if instance.leaving => {}
                // All that is to run anew ends in its order, and begins when all of it has ended.
                // What has done its work is not done again because of another one.
                Wish::Renewed if instance.is_done() && !instance.is_changed => {}
                Wish::Renewed if instance.next.is_none() => self.bring_up(id),
                Wish::Anew | Wish::Renewed => {
                    instance.machine.forget();
                    (instance.ending, instance.again) = (instance.is_alive(), true);
                }
                Wish::Up => self.bring_up(id),
            }
        }
        Ok(())
    }

    pub(super) fn bring_up(&mut self, id: Id) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        (instance.ending, instance.again) = (false, false);
        self.take(id, Happened::Wanted);
    }

    /// The instances that are meant: those of that name, or of a service of that name; all, where none is
    /// named. Nothing when there is one that there is not.
    pub(super) fn named(&self, names: &[String]) -> Option<Vec<Id>> {
        let current = || self.instances.iter().filter(|(_, one)| one.is_current());
        if names.is_empty() {
            return Some(current().map(|(id, _)| *id).collect());
        }
        let mut found = Vec::new();
        for name in names {
            let before = found.len();
            found.extend(self.names.get(name));
            if found.len() == before {
                let of_service = current().filter(|(_, one)| one.definition.service == *name);
                found.extend(of_service.map(|(id, _)| *id));
            }
            if found.len() == before {
                return None;
            }
        }
        Some(found)
    }

    fn meant(&self, those: &Those) -> Vec<Id> {
        match those {
            Those::Named(names) => self.named(names).unwrap_or_default(),
            Those::Beside(token) => self.prepared(token),
        }
    }

    pub(super) fn unknown(&self, names: &[String]) -> ManagerError {
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

    fn status_of(&self, ids: &[Id]) -> Vec<InstanceStatus> {
        ids.iter().filter_map(|id| self.instances.get(id)).map(Instance::status).collect()
    }

    /// Hands to an instance what has happened, and does what comes of it.
    pub(super) fn take(&mut self, id: Id, happened: Happened) {
        let now = self.begin.elapsed();
        self.changed.insert(id);
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let is_ready = happened == Happened::Ready;
        if is_ready && instance.acting.is_some() {
            // What is done after its start is at it.
            return;
        }
        if is_ready && std::mem::take(&mut instance.owes) {
            return self.act_after_start(id);
        }
        if let (true, Some(process)) = (is_ready, &mut instance.process) {
            process.ready_since.get_or_insert_with(Instant::now);
        }
        let jitter = random() as f64 / u64::MAX as f64;
        let acts = instance.machine.take(&instance.definition.course, happened, now, jitter);
        for act in acts {
            self.perform(id, act);
        }
        if is_ready {
            self.begin_watches(id);
            self.begin_memory(id);
        }
    }

    fn perform(&mut self, id: Id, act: Act) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        match act {
            Act::Spawn => self.begin_start(id),
            Act::Ask => self.begin_stop(id),
            Act::Kill => self.kill_now(id),
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

    /// Starts its process.
    pub(super) fn spawn(&mut self, id: Id, prepared: Prepared) {
        let groups = self.entrances(id);
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let sockets = match self.sockets.of(&instance.definition) {
            Ok(sockets) => sockets,
            Err(why) => {
                return self.ended(id, Ending::NotStarted(why), std::time::Duration::ZERO);
            }
        };
        let (definition, zero) = (&instance.definition, std::time::Duration::ZERO);
        if let Readiness::Line(text) = &definition.readiness {
            let heard = heard(&self.teller, self.ledger.as_ref(), id, &prepared.marker);
            self.surroundings.await_line(&definition.name(), text, heard);
        }
        let (ledger, mut entry) = (self.ledger.as_ref(), instance.entry());
        let (file, group) = (&instance.file, &instance.group_name);
        let mut keep = |process: &Process| {
            if let Some(ledger) = ledger {
                let mut running = process.running();
                running.group.clone_from(group);
                entry.process = Some(running);
                // A service that runs, and that nobody finds again, is better than one that does not.
                let _ = ledger.write(file, &entry.text());
            }
        };
        let started =
            super::start::start(definition, prepared, groups, sockets, ledger.is_some(), &mut keep);
        let mut process = match started {
            Ok(process) => process,
            Err(why) => return self.ended(id, Ending::NotStarted(why), zero),
        };
        let watched = self.poll.watch(&process.handle, id * KINDS + ENDED).and_then(|()| {
            let notify = process.notify.as_ref();
            notify.map_or(Ok(()), |notify| self.poll.watch(notify, id * KINDS + SAYS))
        });
        if let Err(error) = watched {
            // Nobody would see its end.
            super::stop::kill_and_wait(&process);
            return self.ended(id, Ending::NotStarted(error.to_string()), zero);
        }
        let first_look = match &definition.readiness {
            Readiness::Delay(delay) => Some(*delay),
            Readiness::Check(_) => Some(std::time::Duration::ZERO),
            _ => None,
        };
        process.ready = first_look.map(|time| self.poll.at(after(time), id * KINDS + LOOK));
        let news = News::Started { pid: process.pid };
        self.surroundings.tell(&definition.name(), &news);
        let is_ready = definition.readiness == Readiness::Started;
        let definition_owes = &definition.actions.after_start;
        instance.process = Some(process);
        instance.owes = !definition_owes.is_empty();
        if is_ready {
            self.take(id, Happened::Ready);
        }
    }

    /// That of an instance is to be put on record.
    pub(super) fn note_changed(&mut self, id: Id) {
        self.changed.insert(id);
    }

    /// Puts on record what has changed.
    pub(super) fn keep_record(&mut self) {
        let changed = std::mem::take(&mut self.changed);
        let Some(ledger) = &self.ledger else { return };
        for id in changed {
            let Some(instance) = self.instances.get_mut(&id) else { continue };
            let text = instance.entry().text();
            let hash = digest(&text);
            if std::mem::replace(&mut instance.written, hash) != hash {
                // What cannot be written now is written with the next change.
                let _ = ledger.write(&instance.file, &text);
            }
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

    /// Takes what a process says of itself: one message, which is on record before it is out of the socket.
    fn listen(&mut self, id: Id) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let heard = instance.process.as_ref().map(Process::hears).unwrap_or_default();
        let mut is_ready = false;
        for line in heard.lines() {
            match line.split_once('=') {
                Some(("READY", "1")) => is_ready = true,
                Some(("STATUS", text)) => instance.text = Some(text.to_owned()),
                _ => {}
            }
        }
        if is_ready {
            self.take(id, Happened::Ready);
            self.keep_record();
        }
        if let Some(process) = self.instances.get(&id).and_then(|one| one.process.as_ref()) {
            process.has_heard();
        }
    }

    /// A time of the process of an instance is over.
    fn look(&mut self, id: Id) -> Option<Id> {
        let process = self.instances.get_mut(&id)?.process.as_mut()?;
        if let Some(ended) = &mut process.ended {
            return ended.look.take_if(|timer| timer.is_due()).map(|_| id);
        }
        if process.ready.take_if(|timer| timer.is_due()).is_some() {
            self.ready_is_due(id);
        }
        None
    }

    /// It has written the line that says that it is ready.
    fn wrote(&mut self, id: Id, marker: &str) {
        let process = self.instances.get(&id).and_then(|one| one.process.as_ref());
        if process.is_some_and(|process| process.marker == marker && process.ended.is_none()) {
            self.take(id, Happened::Ready);
        }
        self.keep_record();
        if let Some(ledger) = &self.ledger {
            ledger.forget_said(marker);
        }
    }

    /// The token of the next look at what is left of the process of an instance.
    pub(super) fn look_again(id: Id) -> Token {
        id * KINDS + LOOK
    }
}
