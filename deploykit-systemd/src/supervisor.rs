//! The service backend `systemd`.

use std::any::Any;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use deploykit_core::config::Config;
use deploykit_core::traits::{
    BoxError, Finding, InstanceName, LogLine, LogRequest, Manner, Release, ServiceState,
    ServiceStatus, Supervisor, SupervisorError, Switching,
};
use deploykit_core::{BackendRequest, Context, Layout, ReleaseId, Timestamp, releases_in_use};

use crate::bus::{Bus, CallError};
use crate::error::SystemdError;
use crate::facts::Facts;
use crate::name::UnitName;
use crate::units::{Member, Units};
use crate::{in_use, inspect, journal, polkit, status};

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
    pub(crate) is_fresh: AtomicBool,
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
    pub(crate) fn ask<T>(
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

    pub(crate) fn all_facts(&self, ctx: &Context) -> Result<Vec<Facts>, SystemdError> {
        self.units.all().map(|unit| self.facts(ctx, unit)).collect()
    }

    /// Why a call about a unit was refused.
    pub(crate) fn refused(
        &self,
        error: CallError,
        verb: &'static str,
        unit: &UnitName,
    ) -> SystemdError {
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

    pub(crate) fn missing(&self, unit: &UnitName) -> SystemdError {
        let (manager, described) = (self.units.manager, self.describes_units());
        SystemdError::Missing { unit: unit.to_string(), manager, described }
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

    fn restart(
        &self,
        ctx: &Context,
        _: &dyn Release,
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        ctx.check()?;
        self.make_ready(ctx)?;
        self.units.services.iter().try_for_each(|member| self.bring(ctx, member, manner))
    }

    fn settle(&self, ctx: &Context, _: &dyn Release) -> Result<(), SupervisorError> {
        ctx.check()?;
        self.make_ready(ctx)?;
        self.open_others(ctx)
    }

    fn leave(&self, ctx: &Context, next: &dyn Supervisor) -> Result<(), SupervisorError> {
        let other = (next as &dyn Any).downcast_ref::<Self>();
        // Whom `none` leaves the service to, nobody knows: it may be to this unit.
        if other.is_none() && next.switching() == Switching::Nothing && !self.describes_units() {
            return Ok(());
        }
        let stays = |unit: &UnitName| {
            other.is_some_and(|next| {
                next.units.manager == self.units.manager
                    && next.units.all().any(|other| other == unit)
            })
        };
        let left: Vec<&UnitName> = self.units.all().filter(|unit| !stays(unit)).collect();
        // What could not be ended is left as it is, so that a way back finds it so.
        self.end(ctx, &left)?;
        Ok(self.leave_out_of_the_boot(ctx, &left)?)
    }

    fn restart_instance(
        &self,
        ctx: &Context,
        _: &dyn Release,
        instance: &InstanceName,
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        ctx.check()?;
        let stem = instance.to_string();
        let meant = |member: &&Member| member.unit.is_service() && member.unit.stem() == stem;
        match self.units.services.iter().find(meant) {
            Some(member) => self.bring(ctx, member, manner),
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
        Ok(status::status(&self.layout, &self.units, &all))
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

    fn releases_in_use(&self, ctx: &Context) -> Result<Vec<ReleaseId>, SupervisorError> {
        let mut used = releases_in_use(&self.layout)?;
        used.extend(in_use::unseen(self, ctx)?);
        used.sort();
        used.dedup();
        Ok(used)
    }
}

/// Who this is, for people.
pub(crate) fn user() -> String {
    let uid = nix::unistd::geteuid();
    let found = nix::unistd::User::from_uid(uid).ok().flatten();
    found.map_or_else(|| format!("the user {uid}"), |user| user.name)
}
