//! Watching the health of a release.
//!
//! While health is watched the lock is free: an operator's `confirm` or `rollback` never waits. Who
//! watches holds a lock of its own, takes the application's lock only to make the transition, and
//! makes it only if the probation is still the one that it has watched.

use std::time::Duration;

use super::application::Operation;
use super::error::Error;
use super::observer::Observer;
use super::run::Run;
use super::stored::StoredRelease;
use super::tracker::{Decision, Limits, Sight, Tracker};
use super::transition::Happened;
use super::trouble::Trouble;
use crate::cancel::{Cancelled, Cause};
use crate::chain;
use crate::context::Context;
use crate::event::EventKind;
use crate::state::lock::Which;
use crate::state::{
    Fingerprint, Holder, Lock, LockError, Outcome, ProbationRecord, Record, State, fingerprint,
    read_state,
};
use crate::step::Step;
use crate::traits::{InstanceName, Look, Switching};

/// How often it is looked whether somebody else has decided, at least.
const GLANCE: Duration = Duration::from_millis(200);

/// What came of a watch.
enum Watched {
    Decided(Decision),
    /// It was well, and nobody has confirmed it in time.
    Unconfirmed,
    Cancelled(Cause),
    Elsewhere(Outcome),
}

/// Sees when somebody else decides about a probation.
struct Witness {
    probation: ProbationRecord,
    seen: Fingerprint,
    /// Of whoever watches. The one who has watched another probation before may still have the first,
    /// or be stopped with it; they decide nothing any more.
    lock: Option<Lock>,
}

impl Witness {
    /// What somebody else has decided, if they have.
    fn decision(&mut self, run: &Run<'_>) -> Option<Outcome> {
        let _ = self.lock(run);
        let now = fingerprint(&run.app.layout);
        if now == self.seen {
            return None;
        }
        let state = read_state(&run.app.layout).ok()?;
        self.seen = now;
        decided(&state, &self.probation)
    }
}

impl Witness {
    /// Takes the lock of whoever watches, if it can be had now.
    fn lock(&mut self, run: &Run<'_>) -> Result<(), Error> {
        if self.lock.is_some() {
            return Ok(());
        }
        let doing = format!("watching the health of deployment {}", run.deployment);
        let holder = Holder::current(run.ctx.now(), run.app.actor.clone(), doing);
        let holder = holder.watching(run.deployment);
        let (calm, layout) = (run.uncancelled()?, &run.app.layout);
        for which in Which::WATCHES {
            match Lock::acquire_which(&calm, layout, which, holder.clone(), Duration::ZERO) {
                Err(LockError::Held { .. }) => {}
                acquired => {
                    self.lock = Some(acquired?);
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// How the deployment of `probation` has ended, if that probation is over.
fn decided(state: &State, probation: &ProbationRecord) -> Option<Outcome> {
    if state.probation.as_ref().is_some_and(|now| now.generation == probation.generation) {
        return None;
    }
    let recorded = state.deployment(probation.deployment).and_then(|record| record.outcome.clone());
    Some(recorded.unwrap_or_else(|| Outcome::RolledBack {
        reason: "another deployment has taken its place".into(),
    }))
}

impl Run<'_> {
    /// Watches the release that is to be confirmed.
    pub(super) fn watch(&mut self) -> Happened {
        let happened = self.step(Step::Verify, "", |run| {
            let probation = run.begin_probation()?;
            let release = run.target()?;
            run.watched = Some(probation.clone());
            let seen = fingerprint(&run.app.layout);
            let mut witness = Witness { probation, seen, lock: None };
            witness.lock(run)?;
            // From here on nobody has to wait for this deployment.
            run.session = None;
            let (operation, limits) = (run.there.clone(), run.limits(&witness.probation));
            let ctx = run.ctx.clone();
            let mut observer = Observer::new(&ctx, &operation, &release);
            if run.course.there.switching != Switching::Nothing {
                observer = observer.since_its_start();
            }
            run.tell_what_is_awaited(&witness.probation);
            let watched = run.look(observer, limits, Some(&mut witness));
            let result = run.conclude(watched);
            drop(witness);
            result
        });
        self.unless_decided_elsewhere(happened)
    }

    /// What somebody else has decided is no failure of a step.
    pub(super) fn unless_decided_elsewhere(&mut self, happened: Happened) -> Happened {
        match (happened, self.decided_elsewhere.take()) {
            (_, Some(outcome)) => Happened::DecidedElsewhere(outcome),
            (happened, None) => happened,
        }
    }

    /// Records the probation; takes it up again when it was recorded before a kill.
    fn begin_probation(&mut self) -> Result<ProbationRecord, Error> {
        let deployment = self.deployment;
        let recorded = self.session()?.state().probation.clone();
        if let Some(probation) = recorded.filter(|p| p.deployment == deployment) {
            return Ok(probation);
        }
        let runtime = &self.there.runtime;
        let longest = [runtime.health.deadline, runtime.probation.duration];
        let deadline = match self.confirm_within {
            Some(within) => self.ctx.now() + within.get(),
            None => longest.iter().fold(self.ctx.now(), |at, period| at + period.get()),
        };
        let confirmation = self.confirm_within.is_some();
        let (to, predecessor) = (self.to.clone(), self.from.clone());
        let release = to.ok_or_else(|| Error::Unsettled { what: "no release".into() })?;
        self.ctx.emit(EventKind::ProbationStarted { release: release.clone(), deadline });
        self.record([Record::ProbationStarted {
            deployment,
            release,
            predecessor,
            deadline,
            confirmation,
        }])?;
        let recorded = self.session()?.state().probation.clone();
        recorded.ok_or_else(|| Error::Unsettled { what: "no probation".into() })
    }

    /// A probation whose deadline has passed, because nobody watched, is decided by looking again:
    /// it need not stay well for any time any more.
    fn limits(&self, probation: &ProbationRecord) -> Limits {
        let health = &self.there.runtime.health;
        let left = probation.deadline.since(self.ctx.now());
        let duration = self.there.runtime.probation.duration.get();
        let deadline = health.deadline.get();
        Limits {
            successes: health.successes,
            failures: health.failures,
            deadline: if self.resumed { self.patience(left) } else { deadline },
            // Where somebody has to confirm it, being well is never enough.
            hold: if probation.confirmation { Duration::MAX } else { duration.min(left) },
        }
    }

    /// How long a service may take to be well that was started before: as long as is left, and as it may
    /// take since the host was booted, which started it again; some looks in any case.
    fn patience(&self, left: Duration) -> Duration {
        let health = &self.there.runtime.health;
        let looks = health.interval.get().saturating_mul(health.failures);
        let since_boot = health.deadline.get().saturating_sub(crate::time::uptime());
        left.max(since_boot).max(looks).min(health.deadline.get())
    }

    fn look(
        &self,
        mut observer: Observer<'_>,
        limits: Limits,
        mut witness: Option<&mut Witness>,
    ) -> Watched {
        let clock = self.ctx.clock();
        let awaited = witness.as_ref().and_then(|witness| self.awaited(&witness.probation));
        let short = |pause: Duration| match awaited {
            Some(awaited) => pause.min(awaited.left(&self.ctx)),
            None => pause,
        };
        // The deadline counts from the start of the service, the delay included.
        let mut tracker = Tracker::new(limits, clock.monotonic());
        let health = &observer.operation().runtime.health;
        let (delay, interval) = (health.start_delay.get(), health.interval.get());
        if let Err(ended) = self.pause(short(delay), &mut observer, witness.as_deref_mut()) {
            return ended;
        }
        loop {
            if awaited.is_some_and(|awaited| awaited.left(&self.ctx).is_zero()) {
                return Watched::Unconfirmed;
            }
            let sight = observer.see();
            // What a look says that was broken off tells nothing.
            match self.ctx.check() {
                Err(Cancelled(cause)) if sight != Sight::Well => return Watched::Cancelled(cause),
                _ => {}
            }
            if let Some(decision) = tracker.see(clock.monotonic(), sight) {
                return Watched::Decided(decision);
            }
            let pause = short(tracker.until_next(clock.monotonic(), interval));
            if let Err(ended) = self.pause(pause, &mut observer, witness.as_deref_mut()) {
                return ended;
            }
        }
    }

    /// Waits, with an eye on who else may decide, and on a service that ends meanwhile.
    fn pause(
        &self,
        duration: Duration,
        observer: &mut Observer<'_>,
        mut witness: Option<&mut Witness>,
    ) -> Result<(), Watched> {
        let clock = self.ctx.clock();
        let end = clock.monotonic() + duration;
        loop {
            if let Some(outcome) = witness.as_deref_mut().and_then(|w| w.decision(self)) {
                return Err(Watched::Elsewhere(outcome));
            }
            let left = end.saturating_sub(clock.monotonic());
            self.ctx
                .sleep(left.min(GLANCE))
                .map_err(|Cancelled(cause)| Watched::Cancelled(cause))?;
            if left <= GLANCE {
                return Ok(());
            }
            if let Some(why) = observer.death() {
                return Err(Watched::Decided(Decision::Ill(why)));
            }
        }
    }

    /// Takes the lock again to make the transition, if it is still there to be made.
    fn conclude(&mut self, watched: Watched) -> Result<String, Trouble> {
        if let Watched::Elsewhere(outcome) = watched {
            return Ok(self.leave_to_others(outcome));
        }
        if let (Watched::Cancelled(cause), true) = (&watched, self.resumed) {
            // Whoever only came by and goes away again decides nothing.
            let signal = cause.signal();
            return Ok(self.leave_to_others(Outcome::Interrupted { signal }));
        }
        match self.is_decided_elsewhere() {
            Ok(true) => return Ok("somebody else has decided".to_owned()),
            // What is well stays, whether that can be recorded now or not.
            Err(error) if !matches!(watched, Watched::Decided(Decision::Well)) => {
                self.ctx.warn(format!("looking who else has decided failed: {}", chain(&error)));
            }
            Err(_) | Ok(false) => {}
        }
        match watched {
            Watched::Decided(Decision::Well) => Ok("well".to_owned()),
            Watched::Unconfirmed => {
                self.failure.get_or_insert_with(|| super::confirm::failure(&self.request));
                Ok("nobody has confirmed it".to_owned())
            }
            Watched::Decided(Decision::Ill(why)) => {
                let since = self.switched.unwrap_or_else(|| self.ctx.now());
                let lines = self.there.supervisor.last_lines(&self.ctx, since);
                Err(self.blamed(Trouble::ill(why).with_tail(lines)))
            }
            Watched::Decided(Decision::Unseen(why)) => {
                // Whoever does not answer brings nothing back either; whoever comes next looks again.
                self.course.stays |= self.there.supervisor.status(&self.ctx).is_err();
                Err(Trouble::ill(why).own())
            }
            Watched::Cancelled(cause) => Err(Cancelled(cause).into()),
            Watched::Elsewhere(_) => Ok(String::new()),
        }
    }

    /// Whether somebody else has ended the probation, or has changed the link by hand: then it is
    /// theirs. Needs the lock, which may have been free since the last look.
    pub(super) fn is_decided_elsewhere(&mut self) -> Result<bool, Error> {
        let Some(probation) = self.watched.clone() else { return Ok(false) };
        let ctx = self.ctx.clone();
        let session = self.session()?;
        session.notice_link(&ctx)?;
        let Some(outcome) = decided(session.state(), &probation) else { return Ok(false) };
        self.session = None;
        self.leave_to_others(outcome);
        Ok(true)
    }

    fn leave_to_others(&mut self, outcome: Outcome) -> String {
        let told = format!("somebody else has decided: {outcome}");
        self.decided_elsewhere = Some(outcome);
        told
    }

    /// Looks whether the previous release, to which it went back, is well.
    pub(super) fn revert_verify(&mut self) -> Happened {
        let Some(operation) = self.back.clone() else { return Happened::Done };
        let id = self.from.clone();
        self.step(Step::Verify, "the previous release", |run| {
            let (release, ctx) = (run.stored(id)?, run.ctx.clone());
            let observer = Observer::new(&ctx, &operation, &release);
            match run.look(observer, soon(&operation), None) {
                Watched::Decided(Decision::Ill(why) | Decision::Unseen(why)) => {
                    Err(Trouble::ill(why))
                }
                _ => Ok("well".to_owned()),
            }
        })
    }
}

impl Run<'_> {
    /// Waits until one instance, which was just started, is well.
    pub(super) fn await_instance(
        &self,
        operation: &Operation,
        release: &StoredRelease,
        instance: &InstanceName,
    ) -> Result<(), Trouble> {
        let observer = Observer::new(&self.ctx, operation, release).since_its_start().of(instance);
        match self.look(observer, at_once(operation), None) {
            // Without a probation neither of the others comes about.
            Watched::Decided(Decision::Well) | Watched::Elsewhere(_) | Watched::Unconfirmed => {
                Ok(())
            }
            Watched::Decided(Decision::Ill(why)) => {
                let since = self.switched.unwrap_or_else(|| self.ctx.now());
                let lines = operation.supervisor.last_lines(&self.ctx, since);
                Err(Trouble::ill(format!("{instance}: {why}")).with_tail(lines))
            }
            Watched::Decided(Decision::Unseen(why)) => {
                Err(Trouble::ill(format!("{instance}: {why}")).own())
            }
            Watched::Cancelled(cause) => Err(Cancelled(cause).into()),
        }
    }
}

/// How long what it has gone back to must stay well, at the most: one that ends right after its start
/// serves nobody.
const STAYS: Duration = Duration::from_secs(1);

/// It must stay well for a moment, which nobody has to wait for who is served.
fn soon(operation: &Operation) -> Limits {
    let hold = operation.runtime.probation.duration.get().min(STAYS);
    Limits { hold, ..at_once(operation) }
}

/// As soon as it is well, that is enough.
fn at_once(operation: &Operation) -> Limits {
    let health = &operation.runtime.health;
    Limits {
        successes: health.successes,
        failures: health.failures,
        deadline: health.deadline.get(),
        hold: Duration::ZERO,
    }
}

/// One look at everything, for `status`.
pub(super) fn glance(
    ctx: &Context,
    operation: &Operation,
    release: &StoredRelease,
) -> Vec<(String, Look)> {
    let looks = operation.checks.iter().map(|check| {
        let ctx = ctx.clone().with_timeout(check.timeout);
        (check.check.name().to_owned(), check.check.look(&ctx, release))
    });
    looks.collect()
}
