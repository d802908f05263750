//! Asking from time to time whether an instance is well: each watch by its own time, in a thread that
//! lives as long as one answer takes.

use std::time::Duration;

use deploykit_core::{Cancellation, Cause};

use super::Command;
use super::poll::{Timer, after};
use super::run::{Id, KINDS, LOOK, Loop, WATCH};
use crate::action::{Action, Trouble, perform};
use crate::definition::Readiness;
use crate::machine::{Happened, News, Phase};

/// How often it is asked whether an instance is ready.
const READY: Duration = Duration::from_millis(200);

/// How long an answer may take to whether it is ready.
const ANSWER: Duration = Duration::from_secs(5);

/// A watch of an instance.
#[derive(Debug, Default)]
pub(super) struct Watching {
    /// What is asked.
    text: String,
    timer: Option<Timer>,
    /// It is asked just now.
    asked: Option<Cancellation>,
    /// So often in a row it was not well.
    failures: u32,
    /// It was told that it is not well, and not yet that it is again.
    is_ill: bool,
}

/// What was asked is answered.
#[derive(Debug)]
pub(super) struct Answered {
    id: Id,
    /// Of which process.
    marker: String,
    /// Which watch; whether it is ready, where it is none.
    watch: Option<usize>,
    result: Result<(), Trouble>,
}

impl Loop {
    /// Begins to watch an instance that is ready.
    pub(super) fn begin_watches(&mut self, id: Id) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if instance.machine.phase != Phase::Running || instance.definition.watches.is_empty() {
            return;
        }
        // What was ill stays so until it is seen to be well: a restart alone mends nothing.
        let before = std::mem::take(&mut instance.watches);
        let of =
            |text: &str| before.iter().find(|one| one.text == text).is_some_and(|one| one.is_ill);
        let watches: Vec<(String, Duration)> = instance
            .definition
            .watches
            .iter()
            .map(|watch| (watch.action.text.clone(), watch.interval))
            .collect();
        for (index, (text, interval)) in watches.into_iter().enumerate() {
            let timer = self.poll.at(after(interval), id * KINDS + WATCH + index as u64);
            let is_ill = of(&text);
            let watching = Watching { text, timer: Some(timer), is_ill, ..Watching::default() };
            instance.watches.push(watching);
        }
    }

    /// Asks no more. What is asked just now is not waited for.
    pub(super) fn end_watches(&mut self, id: Id) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        for watch in &mut instance.watches {
            if let Some(timer) = watch.timer.take() {
                self.poll.cancel(timer);
            }
            if let Some(asked) = watch.asked.take() {
                asked.cancel(Cause::Terminate);
            }
            watch.failures = 0;
        }
    }

    pub(super) fn watch_due(&mut self, id: Id, index: usize) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let Some(watching) = instance.watches.get_mut(index) else { return };
        if watching.timer.take_if(|timer| timer.is_due()).is_none() {
            return;
        }
        let Some(watch) = instance.definition.watches.get(index).cloned() else { return };
        match self.ask(id, Some(index), watch.action, watch.timeout) {
            Ok(asked) => {
                if let Some(one) = self.instances.get_mut(&id) {
                    one.watches[index].asked = Some(asked);
                }
            }
            // Nothing is known of the service, which is not to blame.
            Err(_) => self.watch_again(id, index),
        }
    }

    /// It is time to find out whether an instance is ready.
    pub(super) fn ready_is_due(&mut self, id: Id) {
        let readiness = self.instances.get(&id).map(|one| one.definition.readiness.clone());
        match readiness {
            Some(Readiness::Check(action)) => {
                if self.ask(id, None, action, ANSWER).is_err() {
                    self.look_for_ready_again(id);
                }
            }
            _ => self.take(id, Happened::Ready),
        }
    }

    fn ask(
        &self,
        id: Id,
        watch: Option<usize>,
        action: Action,
        within: Duration,
    ) -> Result<Cancellation, String> {
        let instance = self.instances.get(&id).ok_or("it is gone")?;
        let marker = instance.process.as_ref().map(|process| process.marker.clone());
        let marker = marker.ok_or("it does not run")?;
        let around = self.around(id, None)?;
        let cancellation = around.cancellation.clone();
        let teller = self.teller.clone();
        let thread = std::thread::Builder::new().name("deploykit-watch".into());
        let spawned = thread.spawn(move || {
            let result = perform(&action, within, &around);
            teller.tell(Command::Answered(Answered { id, marker, watch, result }));
        });
        spawned.map(|_| cancellation).map_err(|error| error.to_string())
    }

    /// Takes an answer.
    pub(super) fn answered(&mut self, answered: Answered) {
        let Answered { id, marker, watch, result } = answered;
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let process = instance.process.as_ref();
        if process.is_none_or(|process| process.marker != marker || process.ended.is_some()) {
            return;
        }
        match (watch, result) {
            (None, Ok(())) => self.take(id, Happened::Ready),
            (None, Err(_)) => self.look_for_ready_again(id),
            (Some(index), result) => self.watched(id, index, result),
        }
    }

    fn look_for_ready_again(&mut self, id: Id) {
        let timer = self.poll.at(after(READY), id * KINDS + LOOK);
        let process = self.instances.get_mut(&id).and_then(|one| one.process.as_mut());
        if let Some(process) = process {
            process.ready = Some(timer);
        }
    }

    fn watched(&mut self, id: Id, index: usize, result: Result<(), Trouble>) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let name = instance.definition.name();
        let (Some(watching), Some(watch)) =
            (instance.watches.get_mut(index), instance.definition.watches.get(index))
        else {
            return;
        };
        let is_running = instance.machine.phase == Phase::Running;
        watching.asked = None;
        let (watch, most) = (watch.action.text.clone(), watch.failures);
        match result {
            Ok(()) => {
                watching.failures = 0;
                if std::mem::take(&mut watching.is_ill) {
                    self.surroundings.tell(&name, &News::WatchRecovered { watch });
                }
            }
            Err(Trouble { why, is_blind: false }) if is_running => {
                watching.failures += 1;
                if watching.failures >= most {
                    (watching.failures, watching.is_ill) = (0, true);
                    let why = format!("{watch}: {why}");
                    self.surroundings.tell(&name, &News::WatchFailed { watch, why: why.clone() });
                    return self.take(id, Happened::Unwell(why));
                }
            }
            Err(_) => {}
        }
        self.watch_again(id, index);
    }

    fn watch_again(&mut self, id: Id, index: usize) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let Some(interval) = instance.definition.watches.get(index).map(|watch| watch.interval)
        else {
            return;
        };
        let timer = self.poll.at(after(interval), id * KINDS + WATCH + index as u64);
        if let Some(watching) = instance.watches.get_mut(index) {
            watching.timer = Some(timer);
        }
    }
}
