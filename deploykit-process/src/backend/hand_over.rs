//! Handing services over: the new instances get ready beside the old ones, and then take their places.

use std::collections::BTreeSet;

use deploykit_core::Context;
use deploykit_core::config::{Config, OnDeploy, Ready, ServiceSpec};
use deploykit_core::traits::{InstanceName, Manner, Release, ServiceState, SupervisorError};

use super::line::Line;
use super::state::state;
use super::{GLANCE, Processes};
use crate::definition::Definition;
use crate::machine::Phase;
use crate::manager::{InstanceStatus, Preparation};

/// The services that are brought over by a hand-over: those that say so, and what they wait for that is done
/// once.
pub(super) fn handed_over(config: &Config) -> BTreeSet<String> {
    let enabled = || config.service.services.iter().filter(|spec| spec.enabled);
    let overlaps = |spec: &&ServiceSpec| spec.on_deploy(false).overlaps();
    let mut names: BTreeSet<String> =
        enabled().filter(overlaps).map(|spec| spec.name.clone()).collect();
    loop {
        let waits = |of: &ServiceSpec| {
            names.iter().any(|name| {
                let by = enabled().find(|spec| spec.name == *name);
                by.is_some_and(|by| {
                    by.requires.contains(&of.name)
                        || by.after.contains(&of.name)
                        || by.level > of.level
                })
            })
        };
        let more = enabled()
            .filter(|spec| spec.ready == Ready::Exit && !names.contains(&spec.name) && waits(spec));
        let more: Vec<String> = more.map(|spec| spec.name.clone()).collect();
        if more.is_empty() {
            return names;
        }
        names.extend(more);
    }
}

impl Processes {
    /// How a deployment brings a service over.
    fn on_deploy(&self, service: &str) -> OnDeploy {
        let found = self.config.service.services.iter().find(|spec| spec.name == service);
        found.map_or(OnDeploy::Restart, |spec| spec.on_deploy(false))
    }

    /// Whether an instance is among those that are prepared together: of those that roll only the first is.
    pub(super) fn is_prepared(&self, instance: &InstanceName) -> bool {
        let is_first = instance.instance.as_deref().is_none_or(|number| number == "1");
        self.handed.contains(&instance.service)
            && (is_first || self.on_deploy(&instance.service) != OnDeploy::Rolling)
    }

    /// Starts these beside what runs, and waits until they are ready.
    pub(super) fn start_beside(
        &self,
        ctx: &Context,
        line: &mut Line,
        preparation: &Preparation,
    ) -> Result<(), SupervisorError> {
        let begun = ctx.now();
        let (mut told, longest) = (0, longest(&preparation.definitions));
        loop {
            let mut found = Vec::new();
            // Whoever begins again may have nothing of it.
            if told != line.connected || told == 0 {
                line.ask(ctx, &mut |client| client.prepare(preparation.clone()))?;
                told = line.connected;
            } else {
                let token = &preparation.token;
                found = line.ask(ctx, &mut |client| client.settle_prepared(token, GLANCE))?;
            }
            if told == line.connected && self.are_up(ctx, &found, begun, longest)? {
                // Those that have only just been asked for are asked about once more.
                if !found.is_empty() || self.is_nothing_beside(ctx, line, preparation)? {
                    return Ok(());
                }
            }
        }
    }

    /// Whether nothing was started: all runs already.
    fn is_nothing_beside(
        &self,
        ctx: &Context,
        line: &mut Line,
        preparation: &Preparation,
    ) -> Result<bool, SupervisorError> {
        let all = line.ask(ctx, &mut crate::control::Client::status)?;
        Ok(!all.iter().any(|one| one.beside.as_ref() == Some(&preparation.token) && !one.leaving))
    }

    /// Lets what was prepared take over; what is not there any more, or could not be started beside the
    /// others, is started.
    pub(super) fn take_over(
        &self,
        ctx: &Context,
        line: &mut Line,
        release: &dyn Release,
        preparation: &Preparation,
    ) -> Result<(), SupervisorError> {
        // It is ready already, as a rule.
        self.start_beside(ctx, line, preparation)?;
        let token = &preparation.token;
        line.ask(ctx, &mut |client| client.commit(token))?;
        self.define(ctx, line, release)?;
        let all = line.ask(ctx, &mut crate::control::Client::status)?;
        let runs = |name: &String| {
            all.iter().any(|one| is_current(one) && one.name == *name && runs_of(one, release))
        };
        let wanted = preparation.definitions.iter().map(Definition::name);
        let left: Vec<String> = wanted.filter(|name| !runs(name)).collect();
        if left.is_empty() {
            return Ok(());
        }
        ctx.note(format!("{} cannot start beside the old one, and is restarted", left.join(", ")));
        self.start(ctx, release, &left, Manner::Anew)
    }

    /// Brings one instance over by a hand-over, and waits until the one before has ended.
    pub(super) fn hand_one_over(
        &self,
        ctx: &Context,
        release: &dyn Release,
        instance: &InstanceName,
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        let mut line = self.line();
        let name = instance.to_string();
        let mut definitions = self.definitions(release)?;
        definitions.retain(|one| one.name() == name);
        let mut preparation = Preparation::new(format!("{name} of {}", release.id()), definitions);
        preparation.anew = manner == Manner::Anew;
        if let Err(error) = self.start_beside(ctx, &mut line, &preparation) {
            let token = &preparation.token;
            let calm = ctx.uncancelled().unwrap_or_else(|_| ctx.clone());
            let _ = line.ask(&calm, &mut |client| client.abort(token));
            return Err(error);
        }
        // What was just started anew is not started a second time.
        preparation.anew = false;
        self.take_over(ctx, &mut line, release, &preparation)?;
        // There is never more than one too many.
        loop {
            let all = line.ask(ctx, &mut crate::control::Client::status)?;
            if !all.iter().any(|one| one.leaving && one.name == name) {
                return Ok(());
            }
            ctx.check()?;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// What is started beside the others, of a release.
    pub(super) fn preparation(
        &self,
        token: &str,
        release: &dyn Release,
    ) -> Result<Preparation, SupervisorError> {
        let mut definitions = self.definitions(release)?;
        definitions.retain(|one| {
            self.is_prepared(&InstanceName::new(&*one.service, one.instance.as_deref()))
        });
        Ok(Preparation::new(token, definitions))
    }
}

/// Whether it is the one that is meant by its name.
fn is_current(one: &InstanceStatus) -> bool {
    one.beside.is_none() && !one.leaving
}

/// Whether it is of a release, and up or about to be.
fn runs_of(one: &InstanceStatus, release: &dyn Release) -> bool {
    let runs = matches!(state(one), ServiceState::Running | ServiceState::Starting);
    one.release == release.id().as_str() && runs && !matches!(one.phase, Phase::Stopping(_))
}

/// So long they may take, one waiting for the other.
pub(super) fn longest(definitions: &[Definition]) -> std::time::Duration {
    definitions.iter().fold(GLANCE, |sum, one| {
        sum.saturating_add(one.course.start_timeout).saturating_add(one.course.stop_timeout)
    })
}
