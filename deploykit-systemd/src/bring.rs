//! Having systemd start, restart and end the units.

use std::sync::atomic::Ordering;
use std::time::Duration;

use deploykit_core::config::OnDeploy;
use deploykit_core::traits::{Manner, SupervisorError};
use deploykit_core::{Context, Timestamp};

use crate::bus::CallError;
use crate::error::{SystemdError, systemctl};
use crate::facts::Facts;
use crate::job::{self, Ending, Verb};
use crate::name::UnitName;
use crate::supervisor::Systemd;
use crate::unit::{self, UnitError};
use crate::units::Member;
use crate::{journal, managed};

/// So much longer than what systemd itself waits for a unit it is waited for the end of the job.
const MARGIN: Duration = Duration::from_secs(10);

/// How often the journal is asked for the last lines of what has just died, and with what pause:
/// they may still be on their way into it.
const LATE_LINES: (u32, Duration) = (5, Duration::from_millis(60));

impl Systemd {
    /// Sees that all is there that the services need, and that nothing keeps them from being started.
    pub(crate) fn make_ready(&self, ctx: &Context) -> Result<(), SupervisorError> {
        self.reload_files(ctx)?;
        // All of them, before anything is started: a socket fails at once when its service has failed too
        // often, and a unit does when one has that it needs.
        for unit in self.units.services.iter().map(|member| &member.unit).chain(&self.units.sockets)
        {
            self.forget_failures(ctx, unit)?;
        }
        self.open_sockets(ctx)
    }

    /// Brings the unit files to what the release is to be run by, and lets the manager read them again,
    /// where that is deploykit's to decide.
    fn reload_files(&self, ctx: &Context) -> Result<(), SystemdError> {
        // Once for all instances: what there is to say of it is said once.
        if self.describes_units() && !self.is_fresh.load(Ordering::Relaxed) {
            let bus = self.bus(ctx)?;
            self.is_fresh.store(true, Ordering::Relaxed);
            match unit::refresh(ctx, &bus, &self.config, &self.layout) {
                Err(UnitError::Systemd(error @ SystemdError::Cancelled(_))) => return Err(error),
                // It runs as it was run before, which is better than not at all.
                Err(error) => {
                    ctx.warn(format!("the unit files cannot be brought up to date: {error}"));
                }
                Ok(()) => {}
            }
        }
        for unit in self.units.all() {
            let facts = self.facts(ctx, unit)?;
            if !facts.needs_reload {
                continue;
            }
            if !managed::is_ours(&facts.fragment) {
                let unit = unit.to_string();
                let error = SystemdError::NotReloaded { unit, manager: self.units.manager };
                ctx.warn(format!("{error}: it runs as it was before"));
                continue;
            }
            // All files are read at once.
            return match self.ask(ctx, |bus| bus.manage(ctx, "Reload", &()))? {
                Ok(_) => Ok(()),
                Err(error) => Err(self.refused(error, "let systemd read the file of", unit)),
            };
        }
        Ok(())
    }

    /// Forgets that it has failed, and how often it was started: neither keeps it from being started
    /// now.
    pub(crate) fn forget_failures(
        &self,
        ctx: &Context,
        unit: &UnitName,
    ) -> Result<(), SystemdError> {
        match self.ask(ctx, |bus| bus.manage(ctx, "ResetFailedUnit", &(unit.as_str(),)))? {
            Err(error) if error.is_forbidden() || error.masked().is_some() => {
                Err(self.refused(error, "restart", unit))
            }
            Err(CallError::Cancelled(cancelled)) => Err(cancelled.into()),
            // A unit that was never loaded has nothing to forget.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// How long a job of this unit may take: what systemd itself waits for it, and at least what the
    /// configuration says.
    fn limit(&self, facts: &Facts) -> Duration {
        let configured = self.config.service.timeout.get();
        let spent = facts.start_timeout.saturating_add(facts.stop_timeout);
        // Without a limit, systemd waits for ever: then the configured one holds.
        let endless = facts.start_timeout == u64::MAX || facts.stop_timeout == u64::MAX;
        if endless { configured } else { configured.max(Duration::from_micros(spent) + MARGIN) }
    }

    /// Has units that were ended stay so when the host boots, if they are deploykit's own; of others a
    /// person is told.
    pub(crate) fn leave_out_of_the_boot(
        &self,
        ctx: &Context,
        units: &[&UnitName],
    ) -> Result<(), SystemdError> {
        let mut own = Vec::new();
        for unit in units {
            let facts = self.facts(ctx, unit)?;
            match facts.enabled.as_str() {
                "enabled" if managed::is_ours(&facts.fragment) => own.push(unit.to_string()),
                "enabled" => {
                    let ctl = systemctl(self.units.manager);
                    ctx.warn(format!(
                        "{unit} was ended, and the host still starts it when it boots: `{ctl} disable \
                         {unit}`"
                    ));
                }
                _ => {}
            }
        }
        if own.is_empty() {
            return Ok(());
        }
        match unit::disable(ctx, &self.bus(ctx)?, &own) {
            Err(error @ SystemdError::Cancelled(_)) => Err(error),
            Err(error) => {
                ctx.warn(format!("{} start when the host boots: {error}", own.join(", ")));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Has something done with a unit, and waits until it is done.
    fn perform(&self, ctx: &Context, verb: Verb, facts: &Facts) -> Result<(), SupervisorError> {
        let (unit, limit, begun) = (&facts.unit, self.limit(facts), ctx.now());
        let bus = self.bus(ctx)?;
        let ending = job::run(ctx, &bus, verb, unit, limit)
            .map_err(|error| self.refused(error, verb.word(), unit))?;
        if matches!(ending, Ending::TimedOut | Ending::Queued) {
            let spent = ctx.now().since(begun);
            let error = job::not_done(unit, verb, &ending, spent);
            return Err(self.explained(ctx, error, unit, begun));
        }
        let facts = self.facts(ctx, unit)?;
        let done = matches!(&ending, Ending::Result(result) if result == "done");
        // One that was up may have ended since; whoever watches it knows how often that is forgiven.
        let forgiven = done && facts.restarts_begun() <= u64::from(self.config.health.restarts);
        let failed = facts.active == "failed" || (facts.waits_to_restart() && !forgiven);
        let up = matches!(facts.active.as_str(), "active" | "reloading" | "activating")
            || facts.may_have_done_its_work();
        match verb {
            Verb::Stop if done || matches!(facts.active.as_str(), "inactive" | "failed") => Ok(()),
            _ if failed => Err(self.explained(ctx, SystemdError::of(&facts), unit, begun)),
            _ if up && (done || ending == Ending::Unheard) => Ok(()),
            _ if done && verb != Verb::Stop => {
                let what = format!("it ended right after its start: {}", facts.failure());
                let error = SystemdError::Failed { unit: unit.to_string(), what, hint: None };
                Err(self.explained(ctx, error, unit, begun))
            }
            _ => Err(self.explained(ctx, job::not_done(unit, verb, &ending, limit), unit, begun)),
        }
    }

    /// An error with the last lines that the unit has written since then.
    fn explained(
        &self,
        ctx: &Context,
        error: SystemdError,
        unit: &UnitName,
        since: Timestamp,
    ) -> SupervisorError {
        error.into_supervisor(self.lines_of(ctx, std::slice::from_ref(unit), since))
    }

    pub(crate) fn lines_of(
        &self,
        ctx: &Context,
        units: &[UnitName],
        since: Timestamp,
    ) -> Vec<String> {
        if ctx.remaining().is_some_and(|left| left.is_zero()) {
            return Vec::new();
        }
        let (times, pause) = LATE_LINES;
        let mut had_ended = false;
        let mut lines = Vec::new();
        for _ in 0..times {
            let last = journal::last_lines(ctx, self.units.manager, units, since);
            lines = last.lines;
            // Who has written nothing by now has nothing to say.
            let is_all = last.says || had_ended;
            had_ended = last.has_ended;
            if is_all || ctx.sleep(pause).is_err() {
                break;
            }
        }
        lines
    }

    /// Brings one unit to the active release.
    pub(crate) fn bring(
        &self,
        ctx: &Context,
        member: &Member,
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        let facts = self.facts(ctx, &member.unit)?;
        self.usable(&facts)?;
        self.forget_failures(ctx, &member.unit)?;
        let runs = matches!(facts.active.as_str(), "active" | "reloading");
        let reloads = member.on_deploy == OnDeploy::Reload && runs && manner == Manner::Usual;
        let is_stale = reloads && is_newer(&facts.fragment, facts.started);
        let verb = match () {
            () if reloads && facts.can_reload && !is_stale => Verb::Reload,
            // What is opened for a service stays open while that is restarted.
            () if !member.unit.is_service() => Verb::Start,
            () => Verb::Restart,
        };
        if reloads && !facts.can_reload {
            ctx.note(format!("{} cannot reload: it is restarted instead", member.unit));
        } else if is_stale {
            ctx.note(format!("{} was changed: it is restarted instead of reloaded", member.unit));
        }
        if !member.unit.is_service() && !runs {
            self.end_what_it_triggers(ctx, &facts)?;
        }
        self.perform(ctx, verb, &facts)
    }

    /// Ends the services that a unit starts when there is something to do: systemd opens no socket whose
    /// service runs.
    fn end_what_it_triggers(&self, ctx: &Context, unit: &Facts) -> Result<(), SupervisorError> {
        let is_triggered =
            |member: &&Member| unit.triggers.iter().any(|other| other == member.unit.as_str());
        for member in self.units.services.iter().filter(is_triggered) {
            let facts = self.facts(ctx, &member.unit)?;
            if facts.active == "active" {
                self.perform(ctx, Verb::Stop, &facts)?;
            }
        }
        Ok(())
    }

    fn open_sockets(&self, ctx: &Context) -> Result<(), SupervisorError> {
        for unit in &self.units.sockets {
            let facts = self.facts(ctx, unit)?;
            self.usable(&facts)?;
            if facts.active == "active" && !is_older_than_its_file(&facts) {
                continue;
            }
            // systemd opens no socket whose service runs.
            let service = self.facts(ctx, &unit.with_suffix(".service"))?;
            if facts.active == "active" {
                ctx.note(format!("{unit} was changed: it is opened anew"));
            }
            if service.active == "active" {
                self.perform(ctx, Verb::Stop, &service)?;
            }
            self.perform(ctx, Verb::Restart, &facts)?;
        }
        Ok(())
    }

    /// Sees that all is there that belongs to the services and is none itself.
    pub(crate) fn open_others(&self, ctx: &Context) -> Result<(), SupervisorError> {
        let others = self.units.services.iter().filter(|member| !member.unit.is_service());
        others.into_iter().try_for_each(|member| self.bring(ctx, member, Manner::Usual))
    }

    /// Ends units, the last one first; one that does not end keeps none of the others running.
    pub(crate) fn end(&self, ctx: &Context, units: &[&UnitName]) -> Result<(), SupervisorError> {
        // A socket would start its service again.
        let (services, others): (Vec<_>, Vec<_>) =
            units.iter().rev().partition(|unit| unit.is_service());
        let mut failed = None;
        for unit in others.into_iter().chain(services) {
            let ended = self.facts(ctx, unit).map_err(SupervisorError::from).and_then(|facts| {
                let runs = facts.load != "not-found" && facts.active != "inactive";
                if runs { self.perform(ctx, Verb::Stop, &facts) } else { Ok(()) }
            });
            if let Err(error) = ended {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Whether a unit is in its state since before its file was written.
fn is_older_than_its_file(facts: &Facts) -> bool {
    is_newer(&facts.fragment, facts.since)
}

/// Whether a file was written after that time.
fn is_newer(path: &str, than: Option<Timestamp>) -> bool {
    let written = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    let written = written.ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    match (written, than) {
        (Some(written), Some(since)) => {
            i64::try_from(written.as_millis()).is_ok_and(|written| since.as_millis() < written)
        }
        _ => false,
    }
}
