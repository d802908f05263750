//! A supervisor that runs nothing, but keeps account of what would run.

use std::collections::BTreeSet;

use deploykit_core::traits::{
    Instance, InstanceName, Manner, Prepared, Release, ServiceState, ServiceStatus, Supervisor,
    SupervisorError, Switching,
};
use deploykit_core::{Context, ReleaseId};

use super::{Fakes, World};

#[derive(Debug)]
pub(super) struct FakeService(pub(super) Fakes);

fn error(operation: &'static str, why: &str) -> SupervisorError {
    SupervisorError::Foreign { operation, source: why.into() }
}

impl FakeService {
    /// What every start has in common: it is recorded, may be cancelled, and may fail.
    fn start(
        &self,
        ctx: &Context,
        what: &'static str,
        release: &dyn Release,
    ) -> Result<(), SupervisorError> {
        let digest = release.source().digest();
        self.0.call(format!("{what} {}", &digest[..2]));
        ctx.check()?;
        assert!(release.state().build.is_complete(), "{} is not complete", release.id());
        if self.0.world().broken_services.iter().any(|broken| broken == digest) {
            return Err(error(what, "it does not start"));
        }
        Ok(())
    }

    fn overlapping(&self, what: &'static str) -> Result<(), SupervisorError> {
        match self.switching() {
            Switching::Overlap => Ok(()),
            _ => Err(SupervisorError::Unsupported { what }),
        }
    }
}

fn instance(world: &World, name: &InstanceName, restarts: u64) -> Instance {
    let name = name.to_string();
    let running = world.running.get(&name).cloned();
    let state = if running.is_some() { ServiceState::Running } else { ServiceState::Stopped };
    let mut instance = Instance::new(name, state);
    instance.release = running;
    instance.restarts = restarts;
    instance
}

impl Supervisor for FakeService {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn switching(&self) -> Switching {
        self.0.world().switching.unwrap_or(Switching::Restart)
    }

    fn observes(&self) -> bool {
        self.switching() != Switching::Nothing
    }

    fn is_cheap_to_ask(&self) -> bool {
        true
    }

    fn instances(&self) -> Vec<InstanceName> {
        self.0.world().instances.clone()
    }

    fn restart_instance(
        &self,
        ctx: &Context,
        release: &dyn Release,
        instance: &InstanceName,
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        let name = instance.to_string();
        if !self.0.world().instances.contains(instance) {
            return Err(SupervisorError::Unsupported { what: "restart what it does not have" });
        }
        self.0.call(format!("instance {name}"));
        self.0.world().manners.push(manner);
        let started = self.start(ctx, "restart", release);
        let mut world = self.0.world();
        world.running.remove(&name);
        if started.is_ok() {
            world.running.insert(name, release.id().clone());
            world.serving = Some(release.id().clone());
        }
        started
    }

    fn settle(&self, _: &Context, release: &dyn Release) -> Result<(), SupervisorError> {
        self.0.call(format!("settle {}", &release.source().digest()[..2]));
        Ok(())
    }

    fn leave(&self, _: &Context, next: &dyn Supervisor) -> Result<(), SupervisorError> {
        assert_eq!(next.name(), self.name(), "it is left for what is not there");
        Ok(())
    }

    fn preflight(&self, _: &Context, _: Option<&dyn Release>) -> Result<(), SupervisorError> {
        if self.0.world().missing { Err(error("find", "it is missing")) } else { Ok(()) }
    }

    fn prepare(
        &self,
        ctx: &Context,
        release: &dyn Release,
        prepared: &Prepared,
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        self.overlapping("prepare")?;
        self.0.world().manners.push(manner);
        let token = prepared.token.clone();
        let other = self.0.world().prepared.insert(token, release.id().clone());
        assert!(other.is_none_or(|id| id == *release.id()), "a token names two");
        self.start(ctx, "prepare", release)
    }

    fn commit(
        &self,
        ctx: &Context,
        release: &dyn Release,
        prepared: &Prepared,
    ) -> Result<(), SupervisorError> {
        self.overlapping("commit")?;
        let id = release.id();
        self.start(ctx, "commit", release)?;
        let mut world = self.0.world();
        let ready = world.prepared.remove(&prepared.token);
        assert!(ready.is_none_or(|ready| ready == *id), "another one was prepared than takes over");
        world.prepared.clear();
        world.serving = Some(id.clone());
        Ok(())
    }

    fn abort(&self, _: &Context, prepared: &Prepared) -> Result<(), SupervisorError> {
        self.overlapping("abort")?;
        self.0.call(format!("abort {}", prepared.token));
        self.0.world().prepared.remove(&prepared.token);
        Ok(())
    }

    fn restart(
        &self,
        ctx: &Context,
        release: &dyn Release,
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        self.0.world().manners.push(manner);
        let started = self.start(ctx, "restart", release);
        if self.switching() == Switching::Nothing
            || matches!(started, Err(SupervisorError::Cancelled(_)))
        {
            return started;
        }
        // The old one is ended before it is known whether the new one starts.
        let mut world = self.0.world();
        world.serving = started.as_ref().ok().map(|()| release.id().clone());
        let names: Vec<String> = world.instances.iter().map(ToString::to_string).collect();
        let running =
            world.serving.iter().flat_map(|id| names.iter().map(|name| (name.clone(), id.clone())));
        world.running = running.collect();
        drop(world);
        started
    }

    fn stop(&self, _: &Context) -> Result<(), SupervisorError> {
        self.0.call("stop");
        let mut world = self.0.world();
        world.serving = None;
        world.prepared.clear();
        Ok(())
    }

    fn status(&self, _: &Context) -> Result<ServiceStatus, SupervisorError> {
        if !self.observes() {
            return Ok(ServiceStatus::new(ServiceState::Unknown, "nothing is run"));
        }
        let world = self.0.world();
        let Some(release) = &world.serving else {
            return Ok(ServiceStatus::new(ServiceState::Stopped, "nothing runs"));
        };
        let is_of = |digest: &String| release.as_str().ends_with(&digest[..12]);
        let failed = world.failed.iter().any(is_of);
        let state = if failed { ServiceState::Failed } else { ServiceState::Running };
        let mut status = ServiceStatus::new(state, release.to_string());
        let restarts = world.restarts.iter().find(|(digest, _)| is_of(digest));
        let restarts = restarts.map_or(0, |(_, restarts)| *restarts);
        status.instances =
            world.instances.iter().map(|name| instance(&world, name, restarts)).collect();
        if world.instances.is_empty() {
            let mut one = Instance::new("fake", state);
            one.restarts = restarts;
            status.instances = vec![one];
        }
        Ok(status)
    }

    fn releases_in_use(&self, _: &Context) -> Result<Vec<ReleaseId>, SupervisorError> {
        let world = self.0.world();
        let all = world.in_use.iter().chain(&world.serving).chain(world.prepared.values());
        Ok(all.cloned().collect::<BTreeSet<_>>().into_iter().collect())
    }
}
