//! What is done around the process of an instance: in a thread of its own, so that nobody waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deploykit_core::{Cancellation, Cause};

use super::Command;
use super::ledger::since_boot;
use super::run::{Id, Loop};
use super::start::{Prepared, prepare};
use crate::action::{Action, Around, Does, Trouble, perform};
use crate::machine::{Happened, Phase};
use crate::policy::Ending;
use crate::table::MARKER;

/// At which place something is done.
#[derive(Debug)]
pub(super) enum Stage {
    BeforeStart(Box<Prepared>),
    AfterStart,
    BeforeStop,
    /// How its process has ended, and after what time.
    AfterStop(Ending, Duration),
}

/// Something is done around the process of an instance.
#[derive(Debug)]
pub(super) struct Acting {
    stage: Stage,
    cancellation: Cancellation,
    /// What is told of an earlier one is not meant.
    number: u64,
}

/// How that has ended.
#[derive(Debug)]
pub(super) struct Acted {
    id: Id,
    number: u64,
    result: Result<(), String>,
}

impl Loop {
    /// Starts an instance: what is to be done before, and then its process.
    pub(super) fn begin_start(&mut self, id: Id) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if let Some(next) = instance.next.take() {
            instance.definition = next;
        }
        (instance.text, instance.owes, instance.is_changed) = (None, false, false);
        let prepared = prepare(&instance.definition, &self.scope, &*self.surroundings);
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(why) => return self.ended(id, Ending::NotStarted(why), Duration::ZERO),
        };
        let actions = instance.definition.actions.before_start.clone();
        if actions.is_empty() {
            return self.spawn(id, prepared);
        }
        let stage = Stage::BeforeStart(Box::new(prepared));
        let within = instance.definition.course.start_timeout;
        self.act(id, stage, actions, within);
    }

    /// Does what is to be done when its process is ready.
    pub(super) fn act_after_start(&mut self, id: Id) {
        let Some(instance) = self.instances.get(&id) else { return };
        let definition = &instance.definition;
        let (actions, within) =
            (definition.actions.after_start.clone(), definition.course.start_timeout);
        if !actions.is_empty() {
            self.act(id, Stage::AfterStart, actions, within);
        }
    }

    /// Asks an instance to end, after what is to be done before that.
    pub(super) fn begin_stop(&mut self, id: Id) {
        self.end_watches(id);
        let is_before = |acting: &Acting| matches!(acting.stage, Stage::BeforeStart(_));
        let Some(instance) = self.instances.get(&id) else { return };
        if instance.acting.as_ref().is_some_and(is_before) {
            // It has no process yet, and gets none.
            return self.break_off(id);
        }
        self.break_off(id);
        let Some(instance) = self.instances.get_mut(&id) else { return };
        instance.acting = None;
        let definition = &instance.definition;
        let (actions, within) =
            (definition.actions.before_stop.clone(), definition.course.stop_timeout);
        if actions.is_empty() {
            return self.ask_to_end(id);
        }
        // What is left of it is for the process itself.
        self.act(id, Stage::BeforeStop, actions, within / 2);
    }

    fn ask_to_end(&mut self, id: Id) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if let Some(process) = &mut instance.process {
            super::stop::ask(process, instance.definition.stop_signal);
            process.asked = Some(since_boot());
        }
        self.note_changed(id);
    }

    /// Does what is to be done when nothing of an instance runs any more, and tells it then.
    pub(super) fn act_after_stop(&mut self, id: Id, ending: Ending, ran: Duration) {
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let is_wanted = matches!(instance.machine.phase, Phase::Stopping(_));
        let definition = &instance.definition;
        let (actions, within) =
            (definition.actions.after_stop.clone(), definition.course.stop_timeout);
        if actions.is_empty() || !is_wanted {
            if let Some(acting) = instance.acting.take() {
                acting.cancellation.cancel(Cause::Terminate);
            }
            return self.over(id, ending, ran);
        }
        self.act(id, Stage::AfterStop(ending, ran), actions, within);
    }

    fn over(&mut self, id: Id, ending: Ending, ran: Duration) {
        self.ended(id, ending, ran);
        if let Some(instance) = self.instances.get_mut(&id) {
            // How it is to run says also what it waits for.
            if let Some(next) = instance.next.take() {
                (instance.definition, instance.is_changed) = (next, true);
            }
        }
    }

    /// What is done is to end at once.
    pub(super) fn break_off(&self, id: Id) {
        if let Some(acting) = self.instances.get(&id).and_then(|one| one.acting.as_ref()) {
            acting.cancellation.cancel(Cause::Terminate);
        }
    }

    fn act(&mut self, id: Id, stage: Stage, actions: Vec<Action>, within: Duration) {
        let number = super::start::random();
        let prepared = match &stage {
            Stage::BeforeStart(prepared) => Some(&**prepared),
            _ => None,
        };
        let around = match self.around(id, prepared) {
            Ok(around) => around,
            Err(why) => return self.conclude(id, stage, Err(why), None),
        };
        // What has just become ready may not answer yet.
        let is_patient = matches!(stage, Stage::AfterStart);
        let cancellation = around.cancellation.clone();
        let teller = self.teller.clone();
        let spawned = std::thread::Builder::new().name("deploykit-act".into()).spawn(move || {
            let result = all(&actions, within, is_patient, &around);
            teller.tell(Command::Acted(Acted { id, number, result }));
        });
        match (spawned, self.instances.get_mut(&id)) {
            (Ok(_), Some(instance)) => {
                instance.acting = Some(Acting { stage, cancellation, number });
            }
            (Err(error), _) => {
                self.conclude(id, stage, Err(error.to_string()), Some(&cancellation));
            }
            _ => {}
        }
    }

    /// What the programs of actions run with: what the process is started with, or would be.
    pub(super) fn around(&self, id: Id, prepared: Option<&Prepared>) -> Result<Around, String> {
        let instance = self.instances.get(&id).ok_or("it is not defined any more")?;
        let definition = &instance.definition;
        let Prepared { mut env, identity, outputs, .. } = match prepared {
            Some(prepared) => prepared.try_clone(),
            None => prepare(definition, &self.scope, &*self.surroundings)?,
        };
        if let Some(process) = &instance.process {
            // What is done for it belongs to it, and ends with it.
            env.retain(|(name, _)| name != MARKER);
            env.push((MARKER.into(), process.marker.clone().into()));
        }
        Ok(Around {
            dir: definition.dir.clone(),
            env,
            identity,
            umask: definition.umask,
            limits: definition.limits,
            outputs,
            surroundings: Arc::clone(&self.surroundings),
            children: self.children.clone(),
            cancellation: Cancellation::new().map_err(|error| error.to_string())?,
            group: instance.group.as_ref().map(|(group, _)| Arc::clone(group)),
        })
    }

    /// What was done around an instance has ended.
    pub(super) fn acted(&mut self, acted: Acted) {
        let Acted { id, number, result } = acted;
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let Some(acting) = instance.acting.take_if(|acting| acting.number == number) else {
            return;
        };
        self.conclude(id, acting.stage, result, Some(&acting.cancellation));
    }

    fn conclude(
        &mut self,
        id: Id,
        stage: Stage,
        result: Result<(), String>,
        cancellation: Option<&Cancellation>,
    ) {
        let is_broken_off = cancellation.is_some_and(|one| one.cause().is_some());
        let Some(instance) = self.instances.get_mut(&id) else { return };
        match (stage, result) {
            (Stage::BeforeStart(prepared), Ok(())) if !is_broken_off => self.spawn(id, *prepared),
            (Stage::BeforeStart(prepared), result) => {
                // What that has started ends with it.
                let group = instance.group.as_ref().map(|(group, _)| Arc::clone(group));
                super::stop::kill_marked(&prepared.marker, group.as_deref());
                let why = result.err().unwrap_or_else(|| "it was to end before".to_owned());
                self.ended(id, Ending::NotStarted(why), Duration::ZERO);
            }
            (Stage::AfterStart, Ok(())) => self.take(id, Happened::Ready),
            (Stage::AfterStart, Err(_)) if is_broken_off => {}
            (Stage::AfterStart, Err(why)) => self.take(id, Happened::Unwell(why)),
            (Stage::BeforeStop, _) => self.ask_to_end(id),
            (Stage::AfterStop(ending, ran), _) => self.over(id, ending, ran),
        }
    }
}

/// How often what asks is asked again where there is patience for it.
const AGAIN: Duration = Duration::from_millis(200);

/// Does all of it, one after the other, until one fails.
fn all(
    actions: &[Action],
    within: Duration,
    is_patient: bool,
    around: &Around,
) -> Result<(), String> {
    let begun = Instant::now();
    for action in actions {
        loop {
            let left = within.saturating_sub(begun.elapsed());
            let result = perform(action, left, around);
            let asks = matches!(action.does, Does::Http { .. } | Does::Tcp(_) | Does::Unix(_));
            match result {
                Ok(()) => break,
                Err(_)
                    if is_patient
                        && asks
                        && left > AGAIN
                        && around.cancellation.sleep(AGAIN).is_ok() => {}
                Err(Trouble { why, .. }) => return Err(format!("`{}`: {why}", action.text)),
            }
        }
    }
    Ok(())
}
