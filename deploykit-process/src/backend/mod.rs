//! The service backend `process`: services under a process manager that runs beside, and that is asked
//! over its socket.

mod hand_over;
mod line;
mod state;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::Utf8PathBuf;
use deploykit_core::config::{Config, ServiceSpec};
use deploykit_core::traits::{
    BackendError, BoxError, InstanceName, LogLine, LogRequest, Manner, Prepared, Release,
    ServiceState, ServiceStatus, Supervisor, SupervisorError, Switching,
};
use deploykit_core::{
    BackendRequest, Context, Layout, ReleaseId, Timestamp, chain, releases_in_use,
};

use crate::control::Client;
use crate::definition::Definition;
use crate::describe::{describe_all, log_policy};
use crate::kept;
use crate::log::{self, LogSettings, ReadRequest};
use crate::machine::{Phase, Reason};
use crate::manager::ledger::Ledger;
use crate::manager::{InstanceStatus, preflight};
use crate::reading::read_all;
use hand_over::{handed_over, longest};
use line::Line;
pub use state::as_instance;
use state::{detail, state};

/// Where the manager of an application answers.
pub fn socket(layout: &Layout) -> Utf8PathBuf {
    layout.private().join("control")
}

/// Where the output of the services of an application is kept.
pub fn log_dir(layout: &Layout) -> Utf8PathBuf {
    layout.private().join("services")
}

/// Where it is on record what runs, and where the pipes of the services have their names.
pub(crate) fn running_dir(layout: &Layout) -> Utf8PathBuf {
    layout.private().join("running")
}

/// So many lines tell what went wrong.
const LAST_LINES: usize = 20;

/// The pause between two looks at what drains.
const MOMENT: Duration = Duration::from_millis(20);

/// How often it is looked whether somebody wants it to end meanwhile.
const GLANCE: Duration = Duration::from_millis(200);

/// Runs the services of `[[service]]` under the process manager of the application, which `deploykit up`
/// runs.
#[derive(Debug)]
pub struct Processes {
    config: Config,
    layout: Layout,
    /// The services that are handed over.
    handed: BTreeSet<String>,
    /// So often an instance may end while it is brought up.
    forgiven: u64,
    /// Of which release the manager was told last: where many instances are brought over one by one, it is
    /// told once. Another manager, or another deployment, would not know; but there is one deployment at a
    /// time, and a manager that has begun anew meanwhile says so.
    defined: Mutex<Option<(ReleaseId, u32)>>,
}

impl Processes {
    /// Makes it of a configuration.
    ///
    /// # Errors
    /// When no service is described, and when one wants what cannot be done here.
    pub fn construct(request: &BackendRequest<'_>) -> Result<Arc<dyn Supervisor>, BoxError> {
        Ok(Arc::new(Self::new(request.config, request.layout)?))
    }

    fn new(config: &Config, layout: &Layout) -> Result<Self, BoxError> {
        if config.service.services.is_empty() {
            return Err("it needs [[service]] with what is to run".into());
        }
        describe_all(config, "", layout.root(), layout)?;
        let forgiven = config.health.restarts.into();
        Ok(Self {
            handed: handed_over(config),
            config: config.clone(),
            layout: layout.clone(),
            forgiven,
            defined: Mutex::default(),
        })
    }

    /// The way to the manager. Where one was killed, and its services run, another one is about to begin.
    fn line(&self) -> Line {
        Line::new(socket(&self.layout), Ledger::is_left(&running_dir(&self.layout)))
    }

    /// The same for whoever only looks.
    fn short_line(&self) -> Line {
        Line::impatient(socket(&self.layout))
    }

    fn definitions(&self, release: &dyn Release) -> Result<Vec<Definition>, SupervisorError> {
        let (id, root) = (release.id().as_str(), release.root());
        let all = describe_all(&self.config, id, root, &self.layout);
        Ok(all.map_err(BackendError::new)?)
    }

    /// Starts these anew, all that are defined where none is named, and waits until they are up.
    fn start(
        &self,
        ctx: &Context,
        release: &dyn Release,
        names: &[String],
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        ctx.check()?;
        let definitions = self.definitions(release)?;
        let longest = longest(&definitions);
        let all: Vec<String> = definitions.iter().map(Definition::name).collect();
        // What the release before had, and this one has not, is on its way.
        let names = if names.is_empty() { &all[..] } else { names };
        let mut line = self.line();
        self.define(ctx, &mut line, release)?;
        line.ask(ctx, &mut |client| match manner {
            Manner::Changed => client.renew(names),
            _ => client.restart(names),
        })?;
        let begun = ctx.now();
        loop {
            let found = line.ask(ctx, &mut |client| client.settle(names, GLANCE))?;
            if self.are_up(ctx, &found, begun, longest)? {
                return Ok(());
            }
        }
    }

    /// Whether all of these are up. The error is about the one that is not, and will not be.
    fn are_up(
        &self,
        ctx: &Context,
        found: &[InstanceStatus],
        begun: Timestamp,
        longest: Duration,
    ) -> Result<bool, SupervisorError> {
        if let Some(ill) = found.iter().find(|one| self.has_failed(one)) {
            return Err(ill_of(ill, self.lines_of(ctx, &ill.name, begun)));
        }
        if found.iter().all(|one| state(one) == ServiceState::Running) {
            return Ok(true);
        }
        ctx.check()?;
        let spent = ctx.now().since(begun);
        let over = spent >= longest || ctx.remaining().is_some_and(|left| left.is_zero());
        if let Some(slow) = found.iter().find(|one| over && state(one) != ServiceState::Running) {
            let what =
                format!("{} is not up after {} s: {}", slow.name, spent.as_secs(), detail(slow));
            let lines = self.lines_of(ctx, &slow.name, begun);
            return Err(BackendError::new(what).tail(lines).into());
        }
        if found.iter().any(|one| state(one) == ServiceState::Stopped) {
            // Somebody has stopped it meanwhile: it has settled, and whoever asks is answered at once.
            std::thread::sleep(MOMENT);
        }
        Ok(false)
    }
}

impl Processes {
    /// Tells the manager what there is to run, unless it was told of that release already.
    fn define(
        &self,
        ctx: &Context,
        line: &mut Line,
        release: &dyn Release,
    ) -> Result<(), SupervisorError> {
        let mut defined = self.defined.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever answers is known when they have.
        let peer = line.ask(ctx, &mut |client| Ok(client.peer()))?;
        let now = Some((release.id().clone(), peer.unwrap_or_default()));
        if *defined != now || now.as_ref().is_some_and(|(_, peer)| *peer == 0) {
            let definitions = self.definitions(release)?;
            line.ask(ctx, &mut |client| client.define(definitions.clone()))?;
            *defined = now;
        }
        Ok(())
    }

    /// Whether it has ended since it was asked to run, and more often than is forgiven.
    fn has_failed(&self, one: &InstanceStatus) -> bool {
        matches!(one.phase, Phase::Down(Reason::Failed(_))) || one.restarts > self.forgiven
    }

    /// The last lines that an instance has written since then.
    fn lines_of(&self, ctx: &Context, name: &str, since: Timestamp) -> Vec<String> {
        let mut request = ReadRequest::default();
        (request.since, request.lines) = (Some(since), Some(LAST_LINES));
        let mut lines = Vec::new();
        let settings = self.log(name);
        // What cannot be read is not there to be told.
        let _ = log::read(&settings, &request, &|| ctx.check().is_err(), &mut |line| {
            lines.push(line.text);
        });
        lines
    }

    fn can_overlap(&self, what: &'static str) -> Result<(), SupervisorError> {
        match self.switching() {
            Switching::Overlap => Ok(()),
            _ => Err(SupervisorError::Unsupported { what }),
        }
    }

    /// The log of an instance.
    fn log(&self, instance: &str) -> LogSettings {
        let service = instance.split('@').next().unwrap_or(instance);
        let spec = self.config.service.services.iter().find(|spec| spec.name == service);
        let policy = spec.map(log_policy).unwrap_or_default();
        kept::settings(&log_dir(&self.layout), instance, &policy)
    }

    /// The instances that are meant by names of their own, or of their services.
    fn meant(&self, names: &[String]) -> Result<Vec<String>, SupervisorError> {
        let all = self.instances();
        let is_meant = |one: &&InstanceName| {
            let named = |name: &String| *name == one.to_string() || *name == one.service;
            names.is_empty() || names.iter().any(named)
        };
        let meant: Vec<String> = all.iter().filter(is_meant).map(ToString::to_string).collect();
        if meant.is_empty() {
            let known: Vec<String> = all.iter().map(ToString::to_string).collect();
            let error = BackendError::new(format!("there is no service {}", names.join(", ")));
            return Err(error.hint(format!("there are: {}", known.join(", "))).into());
        }
        Ok(meant)
    }
}

fn ill_of(one: &InstanceStatus, lines: Vec<String>) -> SupervisorError {
    let what = match (&one.phase, &one.last_end) {
        (Phase::Down(_), _) | (_, None) => format!("{} has failed: {}", one.name, detail(one)),
        // It may just run again.
        (_, Some(end)) => {
            let count = one.restarts;
            format!("{0} has failed: {0} {end} (started again: {count})", one.name)
        }
    };
    BackendError::new(what).tail(lines).into()
}

impl Supervisor for Processes {
    fn name(&self) -> &str {
        crate::BACKEND
    }

    fn switching(&self) -> Switching {
        if self.handed.is_empty() { Switching::Restart } else { Switching::Overlap }
    }

    fn is_cheap_to_ask(&self) -> bool {
        true
    }

    fn instances(&self) -> Vec<InstanceName> {
        let of = |spec: &ServiceSpec| match spec.count {
            None => vec![InstanceName::new(&*spec.name, None)],
            Some(count) => (1..=count)
                .map(|number| InstanceName::new(&*spec.name, Some(&*number.to_string())))
                .collect(),
        };
        // Whoever brings them over one by one begins with what others need.
        let ordered = self.config.service.in_order().into_iter();
        ordered.filter(|spec| spec.enabled).flat_map(of).collect()
    }

    fn hands_over(&self, instance: &InstanceName) -> bool {
        self.is_prepared(instance)
    }

    fn prepare(
        &self,
        ctx: &Context,
        release: &dyn Release,
        prepared: &Prepared,
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        self.can_overlap("prepare")?;
        ctx.check()?;
        let mut preparation = self.preparation(&prepared.token, release)?;
        preparation.anew = manner == Manner::Anew;
        self.start_beside(ctx, &mut self.line(), &preparation)
    }

    fn commit(
        &self,
        ctx: &Context,
        release: &dyn Release,
        prepared: &Prepared,
    ) -> Result<(), SupervisorError> {
        self.can_overlap("commit")?;
        let preparation = self.preparation(&prepared.token, release)?;
        self.take_over(ctx, &mut self.line(), release, &preparation)
    }

    fn abort(&self, ctx: &Context, prepared: &Prepared) -> Result<(), SupervisorError> {
        self.can_overlap("abort")?;
        self.line().ask(ctx, &mut |client| client.abort(&prepared.token))
    }

    fn preflight(
        &self,
        ctx: &Context,
        release: Option<&dyn Release>,
    ) -> Result<(), SupervisorError> {
        self.line().ask(ctx, &mut Client::status)?;
        let definitions = release.map(|release| self.definitions(release)).transpose()?;
        for one in definitions.iter().flatten() {
            preflight(one).map_err(|error| {
                let what = format!("{} cannot be started: {}", one.name(), chain(&error));
                BackendError::new(what)
            })?;
        }
        Ok(())
    }

    fn restart(
        &self,
        ctx: &Context,
        release: &dyn Release,
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        self.start(ctx, release, &[], manner)
    }

    fn restart_instance(
        &self,
        ctx: &Context,
        release: &dyn Release,
        instance: &InstanceName,
        manner: Manner,
    ) -> Result<(), SupervisorError> {
        if !self.instances().contains(instance) {
            return Err(SupervisorError::Unsupported {
                what: "restart an instance it does not have",
            });
        }
        if self.handed.contains(&instance.service) {
            return self.hand_one_over(ctx, release, instance, manner);
        }
        self.start(ctx, release, &[instance.to_string()], manner)
    }

    fn stop(&self, ctx: &Context) -> Result<(), SupervisorError> {
        let mut line = self.line();
        line.ask(ctx, &mut |client| client.down(&[]))?;
        loop {
            line.ask(ctx, &mut |client| client.settle(&[], GLANCE))?;
            // What drains is not waited for by that.
            let all = line.ask(ctx, &mut Client::status)?;
            if all.iter().all(|one| one.pid.is_none()) {
                return Ok(());
            }
            ctx.check()?;
            std::thread::sleep(MOMENT);
        }
    }

    fn status(&self, ctx: &Context) -> Result<ServiceStatus, SupervisorError> {
        let mut found = self.short_line().ask(ctx, &mut Client::status)?;
        // What is not described any more, or another one's place is not taken by yet, is not judged.
        found.retain(|one| !one.leaving && one.beside.is_none());
        let Some(worst) = found.iter().rev().max_by_key(|one| state(one).rank()) else {
            return Ok(ServiceStatus::new(ServiceState::Stopped, "nothing has been started yet"));
        };
        let text = match state(worst) {
            ServiceState::Running if found.len() > 1 => {
                let running = found.iter().filter(|one| one.pid.is_some()).count();
                let done = found.len() - running;
                let done = if done > 0 { format!(", {done} done") } else { String::new() };
                format!("{running} processes run{done}")
            }
            _ => detail(worst),
        };
        let mut status = ServiceStatus::new(state(worst), text);
        status.instances = found.iter().map(|one| as_instance(one, ctx.now())).collect();
        Ok(status)
    }

    fn last_lines(&self, ctx: &Context, since: Timestamp) -> Vec<String> {
        let told = self.short_line().ask(ctx, &mut Client::status).unwrap_or_default();
        let is_ill =
            |one: &&InstanceStatus| state(one) != ServiceState::Running || one.restarts > 0;
        let ill: Vec<String> = told.iter().filter(is_ill).map(|one| one.name.clone()).collect();
        // Where one is to blame, what the others say is in the way.
        let all = || self.instances().iter().map(ToString::to_string).collect();
        let names: Vec<String> = if ill.is_empty() { all() } else { ill };
        let several = names.len() > 1;
        let of = |name: &String| {
            let lines = self.lines_of(ctx, name, since).into_iter();
            lines
                .map(|line| if several { format!("{name}: {line}") } else { line })
                .collect::<Vec<_>>()
        };
        names.iter().flat_map(of).collect()
    }

    fn logs(
        &self,
        ctx: &Context,
        request: &LogRequest,
        on_line: &mut dyn FnMut(LogLine),
    ) -> Result<(), SupervisorError> {
        let names = self.meant(&request.of)?;
        let logs: Vec<LogSettings> = names.iter().map(|name| self.log(name)).collect();
        read_all(ctx, &logs, request, on_line)
    }

    fn releases_in_use(&self, _: &Context) -> Result<Vec<ReleaseId>, SupervisorError> {
        let mut used = releases_in_use(&self.layout)?;
        // Where nobody answers, what works in a release is found as it is everywhere.
        let told = Client::connect(&socket(&self.layout)).and_then(|mut client| client.status());
        let told = told.unwrap_or_default();
        used.extend(
            told.iter().filter(|one| one.pid.is_some()).filter_map(|one| one.release.parse().ok()),
        );
        used.sort();
        used.dedup();
        Ok(used)
    }
}
