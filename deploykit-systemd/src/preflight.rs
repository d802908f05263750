//! Whether the units can be brought over at all, before anything is.

use camino::Utf8Path;
use deploykit_core::Context;
use deploykit_core::config::ManagerKind;

use crate::bus::CallError;
use crate::error::SystemdError;
use crate::facts::Facts;
use crate::supervisor::Systemd;
use crate::{managed, needs, unit};
use zbus::Variant;

impl Systemd {
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

    /// Whether this user may handle the units; nothing when none of them is there, of which systemd would
    /// say it. What is asked for changes nothing.
    pub(crate) fn may_handle(&self, ctx: &Context) -> Result<Option<()>, SystemdError> {
        if self.units.manager == ManagerKind::User || nix::unistd::geteuid().is_root() {
            return Ok(Some(()));
        }
        let mut found = None;
        for unit in self.units.all() {
            let none: Vec<(&str, Variant<'_>)> = Vec::new();
            let asked = self.ask(ctx, |bus| {
                bus.manage(ctx, "SetUnitProperties", &(unit.as_str(), true, &none))
            })?;
            match asked {
                Err(error) if error.is_forbidden() || error.masked().is_some() => {
                    return Err(self.refused(error, "restart", unit));
                }
                Err(CallError::Cancelled(cancelled)) => return Err(cancelled.into()),
                // What is not there is nobody's.
                Err(_) => {}
                Ok(_) => found = Some(()),
            }
        }
        Ok(found)
    }

    /// Looks whether all is there that a unit needs, without a release what lies outside of it.
    pub(crate) fn look_for_needs(
        &self,
        facts: &Facts,
        release: Option<&Utf8Path>,
    ) -> Result<(), SystemdError> {
        needs::of_unit(facts, &self.layout, release)
    }

    pub(crate) fn look_before(
        &self,
        ctx: &Context,
        release: Option<&Utf8Path>,
    ) -> Result<(), SystemdError> {
        for spec in &self.config.service.services {
            needs::of_service(spec, &self.layout, self.units.manager, release)?;
        }
        if let Some(file) = unit::file_of_another(&self.config, &self.layout) {
            return Err(SystemdError::OfAnother { file });
        }
        for facts in self.all_facts(ctx)? {
            if facts.load == "not-found" && self.makes_units() {
                continue;
            }
            self.usable(&facts)?;
            self.belongs(&facts)?;
            self.warn_of_its_place(ctx, &facts);
            self.look_for_needs(&facts, release)?;
        }
        self.may_handle(ctx).map(drop)
    }

    /// Whether unit files that are missing are made by the deployment itself.
    pub(crate) fn makes_units(&self) -> bool {
        self.describes_units() && unit::may_write(self.units.manager)
    }

    /// Whether a unit is whose it should be, deploykit's where it is described; and whether systemd knows it
    /// as it is now, where it is another's.
    pub(crate) fn belongs(&self, facts: &Facts) -> Result<(), SystemdError> {
        let (unit, manager) = (facts.unit.to_string(), self.units.manager);
        if self.describes_units() && managed::is_foreign(&facts.fragment) {
            return Err(SystemdError::NotOurs { unit, file: facts.fragment.clone() });
        }
        if facts.needs_reload && managed::is_foreign(&facts.fragment) {
            return Err(SystemdError::NotReloaded { unit, manager });
        }
        Ok(())
    }

    fn warn_of_its_place(&self, ctx: &Context, facts: &Facts) {
        if self.works_elsewhere(facts) {
            ctx.warn(format!(
                "{} works in {}, which no deployment changes: WorkingDirectory={} follows them",
                facts.unit,
                facts.directory,
                self.layout.active_link()
            ));
        }
    }

    /// Whether a unit works in the application's directory, and not where the active release is.
    fn works_elsewhere(&self, facts: &Facts) -> bool {
        let set = Utf8Path::new(facts.directory.trim_start_matches(['-', '!']));
        let follows = [self.layout.active_link(), self.layout.shared()];
        let program = facts.program.as_deref().map(Utf8Path::new);
        set.starts_with(self.layout.root())
            && set != self.layout.root()
            && !follows.iter().any(|place| set.starts_with(place))
            && !program.is_some_and(|program| program.starts_with(self.layout.active_link()))
    }
}
