//! The service backend `systemd`.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::Utf8Path;
use deploykit_core::config::{Config, ManagerKind, OnDeploy};
use deploykit_core::traits::{
    BoxError, Finding, InstanceName, LogLine, LogRequest, Release, ServiceState, ServiceStatus,
    Supervisor, SupervisorError, Switching,
};
use deploykit_core::{BackendRequest, Context, Layout, ReleaseId, Timestamp, releases_in_use};

use crate::bus::{Bus, CallError};
use crate::error::SystemdError;
use crate::facts::Facts;
use crate::job::{self, Ending, Verb};
use crate::name::UnitName;
use crate::unit::{self, UnitError};
use crate::units::{Member, Units};
use crate::{inspect, journal, managed, needs, polkit, status};

/// So much longer than what systemd itself waits for a unit it is waited for the end of the job.
const MARGIN: Duration = Duration::from_secs(10);

/// How often the journal is asked for the last lines of what has just died, and with what pause:
/// they may still be on their way into it.
const LATE_LINES: (u32, Duration) = (5, Duration::from_millis(60));

/// Runs the service as units of systemd, over D-Bus.
///
/// ```no_run
/// use deploykit_core::{Application, Registry};
///
/// let mut registry = Registry::built_in();
/// deploykit_systemd::register(&mut registry);
/// let application = Application::at("/srv/app").registry(registry).open()?;
/// # Ok::<(), deploykit_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Systemd {
    pub(crate) units: Units,
    pub(crate) config: Config,
    pub(crate) layout: Layout,
    /// Kept from call to call; made anew when it is lost.
    bus: Mutex<Option<Bus>>,
    /// The unit files are those of the configuration, as far as they can be.
    is_fresh: AtomicBool,
}

impl Systemd {
    /// Makes it of a configuration.
    ///
    /// # Errors
    /// When no unit is named.
    pub fn construct(request: &BackendRequest<'_>) -> Result<Arc<dyn Supervisor>, BoxError> {
        Ok(Arc::new(Self::new(request.config, request.layout)?))
    }

    fn new(config: &Config, layout: &Layout) -> Result<Self, BoxError> {
        let units = Units::of(config);
        if units.services.is_empty() {
            return Err("it needs systemd.unit, systemd.units or [[service]]".into());
        }
        let (config, layout) = (config.clone(), layout.clone());
        let (bus, is_fresh) = (Mutex::new(None), AtomicBool::new(false));
        Ok(Self { units, config, layout, bus, is_fresh })
    }

    /// Whether the units are made of the configuration.
    pub(crate) fn describes_units(&self) -> bool {
        !self.config.service.services.is_empty()
    }

    /// The connection to the manager.
    pub(crate) fn bus(&self, ctx: &Context) -> Result<Bus, SystemdError> {
        let mut kept = self.bus.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref().filter(|bus| !bus.connection.is_closed()) {
            Some(bus) => Ok(bus.clone()),
            None => Ok(kept.insert(Bus::connect(ctx, self.units.manager)?).clone()),
        }
    }

    /// Asks the manager, once more over a new connection when that one is lost.
    fn ask<T>(
        &self,
        ctx: &Context,
        ask: impl Fn(&Bus) -> Result<T, CallError>,
    ) -> Result<Result<T, CallError>, SystemdError> {
        match ask(&self.bus(ctx)?) {
            Err(error) if error.is_lost() => {
                *self.bus.lock().unwrap_or_else(PoisonError::into_inner) = None;
                Ok(ask(&self.bus(ctx)?))
            }
            result => Ok(result),
        }
    }

    /// What is known of a unit, be it there or not.
    pub(crate) fn facts(&self, ctx: &Context, unit: &UnitName) -> Result<Facts, SystemdError> {
        let asked = self.ask(ctx, |bus| bus.facts(ctx, unit))?;
        asked.map_err(|error| self.refused(error, "look at", unit))
    }

    /// The version of the manager.
    pub(crate) fn version(&self, ctx: &Context) -> Result<String, SystemdError> {
        let asked = self.ask(ctx, |bus| bus.version(ctx))?;
        asked.map_err(|error| error.failed_to("tell its version"))
    }

    fn all_facts(&self, ctx: &Context) -> Result<Vec<Facts>, SystemdError> {
        self.units.all().map(|unit| self.facts(ctx, unit)).collect()
    }

    /// Why a call about a unit was refused.
    fn refused(&self, error: CallError, verb: &'static str, unit: &UnitName) -> SystemdError {
        let masked = error.masked();
        // Whom systemd asks may be masked, too, as if it were not installed.
        if error.is_forbidden() || masked == Some(polkit::UNIT) && unit.as_str() != polkit::UNIT {
            return SystemdError::NoPermission {
                user: user(),
                verb,
                unit: unit.to_string(),
                units: self.units.names(),
            };
        }
        if error.is(&["NoSuchUnit"]) {
            // It may be one that this one needs.
            return match error.not_found().filter(|other| *other != unit.as_str()) {
                Some(other) => {
                    let (unit, what) = (unit.to_string(), format!("the unit {other}"));
                    let hint = "it is named in Requires= of its unit, or in `requires`".to_owned();
                    SystemdError::Lacks { unit, what, hint }
                }
                None => self.missing(unit),
            };
        }
        if error.is(&["UnitMasked"]) {
            // It may be another unit that this one needs.
            let unit = masked.unwrap_or(unit.as_str()).to_owned();
            return SystemdError::Masked { unit, manager: self.units.manager };
        }
        error.failed_to(format!("{verb} {unit}"))
    }

    fn missing(&self, unit: &UnitName) -> SystemdError {
        let (manager, described) = (self.units.manager, self.describes_units());
        SystemdError::Missing { unit: unit.to_string(), manager, described }
    }

    /// Refuses a unit that cannot be started as it is.
    pub(crate) fn usable(&self, facts: &Facts) -> Result<(), SystemdError> {
        let unit = facts.unit.to_string();
        match facts.load.as_str() {
            "loaded" => Ok(()),
            "not-found" => Err(self.missing(&facts.unit)),
            "masked" => Err(SystemdError::Masked { unit, manager: self.units.manager }),
            _ => Err(SystemdError::Unreadable { unit, why: facts.load_error.clone() }),
        }
    }

    /// Brings the unit files to what the release is to be run by, and lets the manager read them again,
    /// where that is deploykit's to decide.
    fn reload_files(&self, ctx: &Context) -> Result<(), SystemdError> {
        // Once for all instances: what there is to say of it is said once.
        if self.describes_units() && !self.is_fresh.swap(true, Ordering::Relaxed) {
            match unit::refresh(ctx, &self.bus(ctx)?, &self.config, &self.layout) {
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
    fn forget_failures(&self, ctx: &Context, unit: &UnitName) -> Result<(), SystemdError> {
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

    /// Has something done with a unit, and waits until it is done.
    fn perform(&self, ctx: &Context, verb: Verb, facts: &Facts) -> Result<(), SupervisorError> {
        let (unit, limit, begun) = (&facts.unit, self.limit(facts), ctx.now());
        let bus = self.bus(ctx)?;
        let ending = job::run(ctx, &bus, verb, unit, limit)
            .map_err(|error| self.refused(error, verb.word(), unit))?;
        if ending == Ending::TimedOut {
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

    fn lines_of(&self, ctx: &Context, units: &[UnitName], since: Timestamp) -> Vec<String> {
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
    fn bring(&self, ctx: &Context, member: &Member) -> Result<(), SupervisorError> {
        let facts = self.facts(ctx, &member.unit)?;
        self.usable(&facts)?;
        self.forget_failures(ctx, &member.unit)?;
        let runs = matches!(facts.active.as_str(), "active" | "reloading");
        let reloads = member.on_deploy == OnDeploy::Reload && runs;
        let verb = match () {
            () if reloads && facts.can_reload => Verb::Reload,
            // What is opened for a service stays open while that is restarted.
            () if !member.unit.is_service() => Verb::Start,
            () => Verb::Restart,
        };
        if reloads && !facts.can_reload {
            ctx.note(format!("{} cannot reload: it is restarted instead", member.unit));
        }
        self.perform(ctx, verb, &facts)
    }

    fn open_sockets(&self, ctx: &Context) -> Result<(), SupervisorError> {
        for unit in &self.units.sockets {
            let facts = self.facts(ctx, unit)?;
            self.usable(&facts)?;
            if facts.active == "active" && !is_older_than_its_file(&facts) {
                continue;
            }
            if facts.active == "active" {
                // systemd opens no socket whose service runs.
                ctx.note(format!("{unit} was changed: it is opened anew"));
                let service = self.facts(ctx, &unit.with_suffix(".service"))?;
                self.perform(ctx, Verb::Stop, &service)?;
            }
            self.forget_failures(ctx, unit)?;
            self.perform(ctx, Verb::Restart, &facts)?;
        }
        Ok(())
    }

    /// Sees that all is there that belongs to the services and is none itself.
    fn open_others(&self, ctx: &Context) -> Result<(), SupervisorError> {
        let others = self.units.services.iter().filter(|member| !member.unit.is_service());
        others.into_iter().try_for_each(|member| self.bring(ctx, member))
    }

    /// Ends units, the last one first; one that does not end keeps none of the others running.
    fn end(&self, ctx: &Context, units: &[&UnitName]) -> Result<(), SupervisorError> {
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

    /// Whether this user may handle the units. There is no way to ask but to do something: what is
    /// done has an effect on failed units only, and is done before every start.
    pub(crate) fn may_handle(&self, ctx: &Context) -> Result<(), SystemdError> {
        let asks = self.units.manager == ManagerKind::System && !nix::unistd::geteuid().is_root();
        match self.units.services.first().filter(|_| asks) {
            Some(member) => self.forget_failures(ctx, &member.unit),
            None => Ok(()),
        }
    }

    /// Looks whether all is there that the units need, without a release what lies outside of it.
    pub(crate) fn look_for_needs(
        &self,
        facts: &Facts,
        release: Option<&Utf8Path>,
    ) -> Result<(), SystemdError> {
        needs::of_unit(facts, &self.layout, release)
    }

    fn look_before(&self, ctx: &Context, release: Option<&Utf8Path>) -> Result<(), SystemdError> {
        for spec in &self.config.service.services {
            needs::of_service(spec, &self.layout, self.units.manager)?;
        }
        if let Some(file) = unit::file_of_another(&self.config, &self.layout) {
            return Err(SystemdError::OfAnother { file });
        }
        for facts in self.all_facts(ctx)? {
            self.usable(&facts)?;
            self.look_for_needs(&facts, release)?;
            if facts.needs_reload && !managed::is_ours(&facts.fragment) {
                let (unit, manager) = (facts.unit.to_string(), self.units.manager);
                return Err(SystemdError::NotReloaded { unit, manager });
            }
        }
        self.may_handle(ctx)
    }
}

impl Supervisor for Systemd {
    fn name(&self) -> &str {
        "systemd"
    }

    fn switching(&self) -> Switching {
        Switching::Restart
    }

    fn is_cheap_to_ask(&self) -> bool {
        true
    }

    fn instances(&self) -> Vec<InstanceName> {
        self.units.instances()
    }

    fn preflight(
        &self,
        ctx: &Context,
        release: Option<&dyn Release>,
    ) -> Result<(), SupervisorError> {
        Ok(self.look_before(ctx, release.map(Release::root))?)
    }

    fn restart(&self, ctx: &Context, _: &dyn Release) -> Result<(), SupervisorError> {
        ctx.check()?;
        self.reload_files(ctx)?;
        self.open_sockets(ctx)?;
        self.units.services.iter().try_for_each(|member| self.bring(ctx, member))
    }

    fn settle(&self, ctx: &Context, _: &dyn Release) -> Result<(), SupervisorError> {
        ctx.check()?;
        self.reload_files(ctx)?;
        self.open_sockets(ctx)?;
        self.open_others(ctx)
    }

    fn leave(&self, ctx: &Context, next: &dyn Supervisor) -> Result<(), SupervisorError> {
        // What another backend runs is no unit; whether the units are in its way it cannot say.
        let Some(next) = (next as &dyn Any).downcast_ref::<Self>() else { return Ok(()) };
        let stays = |unit: &UnitName| {
            next.units.manager == self.units.manager && next.units.all().any(|other| other == unit)
        };
        let left: Vec<&UnitName> = self.units.all().filter(|unit| !stays(unit)).collect();
        self.end(ctx, &left)
    }

    fn restart_instance(
        &self,
        ctx: &Context,
        _: &dyn Release,
        instance: &InstanceName,
    ) -> Result<(), SupervisorError> {
        ctx.check()?;
        let stem = instance.to_string();
        let meant = |member: &&Member| member.unit.is_service() && member.unit.stem() == stem;
        match self.units.services.iter().find(meant) {
            Some(member) => self.bring(ctx, member),
            None => {
                Err(SupervisorError::Unsupported { what: "restart an instance it does not have" })
            }
        }
    }

    fn stop(&self, ctx: &Context) -> Result<(), SupervisorError> {
        self.end(ctx, &self.units.all().collect::<Vec<_>>())
    }

    fn status(&self, ctx: &Context) -> Result<ServiceStatus, SupervisorError> {
        let mut all = self.all_facts(ctx)?;
        for facts in all.iter_mut().filter(|facts| facts.active == "inactive") {
            let triggers = facts.triggered_by.iter().map(|name| UnitName::complete(name));
            let active =
                |unit: &UnitName| Ok::<_, SystemdError>(self.facts(ctx, unit)?.active == "active");
            for unit in triggers {
                facts.is_on_call |= active(&unit)?;
            }
        }
        Ok(status::status(&self.layout, &all))
    }

    fn last_lines(&self, ctx: &Context, since: Timestamp) -> Vec<String> {
        let all = self.all_facts(ctx).unwrap_or_default();
        let is_ill = |facts: &&Facts| {
            status::state(facts) != ServiceState::Running || facts.restarts_begun() > 0
        };
        // Where one is to blame, what the others say is in the way.
        let ill: Vec<UnitName> =
            all.iter().filter(is_ill).map(|facts| facts.unit.clone()).collect();
        let units = if ill.is_empty() { self.units.all().cloned().collect() } else { ill };
        self.lines_of(ctx, &units, since)
    }

    fn logs(
        &self,
        ctx: &Context,
        request: &LogRequest,
        on_line: &mut dyn FnMut(LogLine),
    ) -> Result<(), SupervisorError> {
        let is_meant = |unit: &UnitName| {
            let named = |name: &String| {
                let stem = unit.stem();
                *name == stem || *name == unit.as_str() || *name == unit.prefix()
            };
            request.of.is_empty() || request.of.iter().any(named)
        };
        let units: Vec<UnitName> =
            self.units.all().filter(|unit| is_meant(unit)).cloned().collect();
        if units.is_empty() {
            let known = self.units.instances().iter().map(ToString::to_string).collect::<Vec<_>>();
            let source = format!("there is no service {}", request.of.join(", "));
            let error = deploykit_core::traits::BackendError::new(source);
            return Err(error.hint(format!("there are: {}", known.join(", "))).into());
        }
        journal::show(ctx, self.units.manager, &units, request, on_line)
    }

    fn inspect(&self, ctx: &Context) -> Vec<Finding> {
        inspect::inspect(self, ctx)
    }

    fn releases_in_use(&self, _: &Context) -> Result<Vec<ReleaseId>, SupervisorError> {
        releases_in_use(&self.layout)
    }
}

/// Whether a unit is in its state since before its file was written.
fn is_older_than_its_file(facts: &Facts) -> bool {
    let written = std::fs::metadata(&facts.fragment).and_then(|metadata| metadata.modified());
    let written = written.ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    match (written, facts.since) {
        (Some(written), Some(since)) => {
            i64::try_from(written.as_millis()).is_ok_and(|written| since.as_millis() < written)
        }
        _ => false,
    }
}

/// Who this is, for people.
pub(crate) fn user() -> String {
    let uid = nix::unistd::geteuid();
    let found = nix::unistd::User::from_uid(uid).ok().flatten();
    found.map_or_else(|| format!("the user {uid}"), |user| user.name)
}
