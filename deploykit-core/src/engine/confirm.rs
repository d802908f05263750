//! Confirming a release: by whom, over which connection, and until when.

use std::time::Duration;

use super::application::Application;
use super::error::Error;
use super::notice::{self, End};
use super::operator::SHORT;
use super::report::Failure;
use super::run::Run;
use super::session::Session;
use super::switch::confirmation;
use super::transition::unconfirmed;
use crate::causes;
use crate::config::Argv;
use crate::context::Context;
use crate::event::EventKind;
use crate::id::{DeploymentId, ReleaseId};
use crate::state::{
    ConfirmedBy, Connection, InProgress, Outcome, ProbationRecord, Record, Request, State,
};
use crate::step::Step;
use crate::time::Timestamp;

/// Until when somebody has to confirm what is watched, by the time of day and by the time that only
/// goes forward: a clock that is set back does not give more time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awaited {
    deadline: Timestamp,
    end: Duration,
}

impl Awaited {
    /// The time that is left.
    pub(super) fn left(self, ctx: &Context) -> Duration {
        let by_day = self.deadline.since(ctx.now());
        by_day.min(self.end.saturating_sub(ctx.clock().monotonic()))
    }
}

impl Run<'_> {
    /// Until when somebody has to confirm it; nothing where nobody has to.
    pub(super) fn awaited(&self, probation: &ProbationRecord) -> Option<Awaited> {
        let deadline = probation.deadline;
        let end = self.ctx.clock().monotonic() + deadline.since(self.ctx.now());
        probation.confirmation.then_some(Awaited { deadline, end })
    }

    /// Tells what somebody has to do.
    pub(super) fn tell_what_is_awaited(&self, probation: &ProbationRecord) {
        if probation.confirmation && probation.deadline > self.ctx.now() {
            let (release, deadline) = (probation.release.clone(), probation.deadline);
            let command = self.app.confirm_command();
            self.ctx.emit(EventKind::ConfirmationAwaited { release, deadline, command });
        }
    }
}

/// What is reported of a deployment that nobody has confirmed.
pub(super) fn failure(request: &Request) -> Failure {
    let error = Error::Unsettled { what: unconfirmed(request).reason };
    let hint = match request {
        Request::Deploy { .. } => {
            "if you can still log in, deploy it again with --retry, and confirm it then"
        }
        _ => "if you can still log in, do it again, and confirm it then",
    };
    Failure {
        step: Step::Confirm,
        error: error.to_string(),
        causes: causes(&error),
        tail: Vec::new(),
        hint: Some(hint.into()),
        cancelled: None,
    }
}

impl Application {
    /// What to type to confirm a release over a new connection.
    pub fn confirm_command(&self) -> String {
        let (host, root) = (crate::state::host_name(), self.layout.root().as_str());
        let words = ["ssh", &host, "deploykit", "-C", root, "confirm"];
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        Argv::try_from(words).map(|command| command.to_string()).unwrap_or_default()
    }

    /// Confirms the release that is on probation, now. Where that is demanded, it counts only over
    /// another connection than the one that has deployed it: over
    /// that of this [application](super::ApplicationBuilder::connection), which is that of this process
    /// when nothing else was said.
    ///
    /// A release that is just being activated is waited for, as long as there is time to confirm it.
    ///
    /// # Errors
    /// [`Error::NoProbation`] when none is; [`Error::SameConnection`] when it proves nothing.
    pub fn confirm(&self, ctx: &Context) -> Result<ReleaseId, Error> {
        self.confirm_from(ctx, &self.connection)
    }

    /// The same, by somebody who came over this connection.
    ///
    /// # Errors
    /// As for [`confirm`](Self::confirm).
    pub fn confirm_from(&self, ctx: &Context, from: &Connection) -> Result<ReleaseId, Error> {
        let ctx = self.masked(ctx);
        let done = self.confirm_now(&ctx, from);
        self.send_notices(&ctx);
        done
    }

    fn confirm_now(&self, ctx: &Context, from: &Connection) -> Result<ReleaseId, Error> {
        let wait = self.time_to_confirm(ctx, from)?;
        let mut session = Session::begin(self, ctx, "confirm", wait)?;
        session.claim_return(ctx)?;
        session.notice_link(ctx)?;
        let probation = session.state().probation.clone().ok_or(Error::NoProbation)?;
        let (release, deployment) = (probation.release.clone(), probation.deployment);
        if let Some(progress) = session.state().progress(deployment) {
            self.refuse_the_same(progress, from)?;
        }
        if probation.confirmation && probation.deadline <= ctx.now() {
            return Err(Error::TooLate { deployment, deadline: probation.deadline });
        }
        let outcome = Outcome::Deployed { verified: true };
        let by = ConfirmedBy::Operator;
        let mut records = confirmation(session.state(), deployment, &release, by);
        let end = End::of(deployment, &Request::Unknown, outcome.clone());
        let notice = notice::owed(self, ctx, session.state(), &end);
        records.push(Record::DeploymentFinished { deployment, outcome });
        records.extend(notice);
        session.record(ctx, records)?;
        ctx.emit(EventKind::Confirmed { release: release.clone(), verified: true });
        Ok(release)
    }

    fn time_to_confirm(&self, ctx: &Context, from: &Connection) -> Result<Duration, Error> {
        let state = self.state()?;
        if let Some(progress) = awaited(&state) {
            self.refuse_the_same(progress, from)?;
        }
        Ok(patience(&state, ctx.now()))
    }

    fn refuse_the_same(&self, progress: &InProgress, from: &Connection) -> Result<(), Error> {
        let deployment: DeploymentId = progress.deployment;
        match &progress.demand {
            Some(demand) if !from.is_new_beside(&demand.connection) => {
                Err(Error::SameConnection { deployment, command: self.confirm_command() })
            }
            _ => Ok(()),
        }
    }
}

/// How long who confirms waits for the lock. It is free while a release is on probation. Whoever brings
/// the service over has it; who confirms then came in after the switch, and is not sent away while
/// there is time to confirm it.
fn patience(state: &State, now: Timestamp) -> Duration {
    let Some(progress) = awaited(state) else { return SHORT };
    let within = progress.demand.as_ref().map(|demand| demand.within.get());
    let probation = state.probation.as_ref().filter(|p| p.deployment == progress.deployment);
    let left = probation.map(|probation| probation.deadline.since(now)).or(within);
    left.unwrap_or_default().max(SHORT)
}

/// The deployment that somebody has to confirm, once its release is being activated.
fn awaited(state: &State) -> Option<&InProgress> {
    let activated = |open: &&InProgress| open.activated || open.intended.is_some();
    let demanded = state.open.iter().rev().filter(|open| open.demand.is_some());
    demanded.filter(activated).find(|open| open.revert.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Period;
    use crate::id::Revision;
    use crate::state::model::testing::{activated, at, probation, release_id, source_id, state};
    use crate::state::{Actor, Demand};

    fn begun() -> Vec<Record> {
        let deployment = DeploymentId(1);
        let (rebuild, retry) = (false, false);
        let request = Request::Deploy { revision: Revision::remote_head(), rebuild, retry };
        let by = Actor { user: "ann".into(), via: "test".into() };
        let demand = Some(Demand::new(Period::from_secs(90), Connection::named("old")));
        let resolved = Record::DeploymentResolved {
            deployment,
            source: source_id(1),
            release: Some(release_id(1)),
            runtime: None,
            spares: false,
            demand,
        };
        vec![Record::DeploymentStarted { deployment, request, by, from: None }, resolved]
    }

    #[test]
    fn who_confirms_waits_from_the_switch_to_the_deadline_and_not_through_a_build() {
        let after = |more: Vec<Record>| patience(&state(begun().into_iter().chain(more)), at(0));
        assert_eq!(after(vec![]), SHORT, "it may be built for long, and proves nothing yet");
        assert_eq!(after(vec![activated(1)]), Duration::from_secs(90));
        let watched = vec![activated(1), probation(1, None)];
        assert_eq!(after(watched.clone()), Duration::from_secs(1_000_000));
        let late = patience(&state(begun().into_iter().chain(watched)), at(2_000_000));
        assert_eq!(late, SHORT);
    }
}
