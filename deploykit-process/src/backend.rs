//! The service backend `process`: services under a process manager that runs beside, and that is asked
//! over its socket.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::Utf8PathBuf;
use deploykit_core::config::{Config, ServiceSpec};
use deploykit_core::traits::{
    BackendError, BoxError, Instance, InstanceName, LogLine, LogRequest, Manner, Release,
    ServiceState, ServiceStatus, Supervisor, SupervisorError, Switching,
};
use deploykit_core::{
    BackendRequest, Context, Layout, ReleaseId, Timestamp, chain, releases_in_use,
};

use crate::control::{Client, ClientError};
use crate::definition::Definition;
use crate::describe::{describe_all, log_policy};
use crate::kept;
use crate::log::{self, LogSettings, ReadRequest};
use crate::machine::{Next, Phase, Reason};
use crate::manager::{InstanceStatus, preflight};
use crate::reading::read_all;

/// Where the manager of an application answers.
pub fn socket(layout: &Layout) -> Utf8PathBuf {
    layout.private().join("control")
}

/// Where the output of the services of an application is kept.
pub fn log_dir(layout: &Layout) -> Utf8PathBuf {
    layout.private().join("services")
}

/// So many lines tell what went wrong.
const LAST_LINES: usize = 20;

/// How often it is looked whether somebody wants it to end meanwhile.
const GLANCE: Duration = Duration::from_millis(200);

/// Runs the services of `[[service]]` under the process manager of the application, which `deploykit up`
/// runs.
#[derive(Debug)]
pub struct Processes {
    config: Config,
    layout: Layout,
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
            config: config.clone(),
            layout: layout.clone(),
            forgiven,
            defined: Mutex::default(),
        })
    }

    fn client(&self) -> Result<Client, SupervisorError> {
        Client::connect(&socket(&self.layout)).map_err(failed)
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
        // One may wait for the other.
        let longest = definitions.iter().fold(GLANCE, |sum, one| {
            sum.saturating_add(one.course.start_timeout).saturating_add(one.course.stop_timeout)
        });
        let all: Vec<String> = definitions.iter().map(Definition::name).collect();
        // What the release before had, and this one has not, is on its way.
        let names = if names.is_empty() { &all[..] } else { names };
        let mut client = self.client()?;
        self.define(&mut client, release, definitions)?;
        match manner {
            Manner::Changed => client.renew(names).map_err(failed)?,
            _ => client.restart(names).map_err(failed)?,
        }
        let begun = ctx.now();
        loop {
            let found = client.settle(names, GLANCE).map_err(failed)?;
            if let Some(ill) = found.iter().find(|one| self.has_failed(one)) {
                return Err(ill_of(ill, self.lines_of(ctx, &ill.name, begun)));
            }
            if found.iter().all(|one| state(one) == ServiceState::Running) {
                return Ok(());
            }
            ctx.check()?;
            let spent = ctx.now().since(begun);
            let over = spent >= longest || ctx.remaining().is_some_and(|left| left.is_zero());
            if let Some(slow) = found.iter().find(|one| over && state(one) != ServiceState::Running)
            {
                let what = format!(
                    "{} is not up after {} s: {}",
                    slow.name,
                    spent.as_secs(),
                    detail(slow)
                );
                let lines = self.lines_of(ctx, &slow.name, begun);
                return Err(BackendError::new(what).tail(lines).into());
            }
        }
    }
}

impl Processes {
    /// Tells the manager what there is to run, unless it was told of that release already.
    fn define(
        &self,
        client: &mut Client,
        release: &dyn Release,
        definitions: Vec<Definition>,
    ) -> Result<(), SupervisorError> {
        let mut defined = self.defined.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Some((release.id().clone(), client.peer().unwrap_or_default()));
        if *defined != now || now.as_ref().is_some_and(|(_, peer)| *peer == 0) {
            client.define(definitions).map_err(failed)?;
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

fn failed(error: ClientError) -> SupervisorError {
    let hint = match &error {
        ClientError::Nobody { .. } => {
            Some("`deploykit up` runs the services, and is asked by every other command".to_owned())
        }
        _ => None,
    };
    BackendError::new(error).hint(hint).of_the_host().into()
}

/// The state of an instance, as the engine calls it.
fn state(one: &InstanceStatus) -> ServiceState {
    match &one.phase {
        Phase::Running | Phase::Down(Reason::Done) => ServiceState::Running,
        Phase::Down(Reason::Unwanted) => ServiceState::Stopped,
        Phase::Down(Reason::Failed(_)) => ServiceState::Failed,
        Phase::Stopping(Next::Nothing) => ServiceState::Stopped,
        Phase::Waiting | Phase::Starting | Phase::Pausing | Phase::Stopping(_) => {
            ServiceState::Starting
        }
    }
}

fn detail(one: &InstanceStatus) -> String {
    let last = one.last_end.as_deref().unwrap_or_default();
    let said = one.text.as_deref().map(|text| format!(", says {text:?}")).unwrap_or_default();
    let text = match &one.phase {
        Phase::Running => format!("{} runs{said}", one.name),
        Phase::Down(Reason::Done) => format!("{} has done its work", one.name),
        Phase::Down(Reason::Unwanted) => format!("{} is down", one.name),
        Phase::Down(Reason::Failed(why)) => format!("{} is down: {why}", one.name),
        Phase::Waiting => format!("{} waits for what it needs", one.name),
        Phase::Starting => format!("{} is not ready yet{said}", one.name),
        Phase::Pausing => format!("{} {last}, and is to be started again", one.name),
        Phase::Stopping(_) => format!("{} is about to end", one.name),
    };
    text.replace(['\n', '\r'], " ")
}

/// An instance, as the engine sees it.
pub fn as_instance(one: &InstanceStatus, now: Timestamp) -> Instance {
    let mut instance = Instance::new(&*one.name, state(one));
    instance.detail = detail(one);
    instance.pid = one.pid;
    let millis = one.up.and_then(|up| i64::try_from(up.as_millis()).ok());
    instance.since = millis.map(|up| Timestamp::from_millis(now.as_millis() - up));
    instance.restarts = one.restarts;
    instance.release = one.release.parse().ok();
    instance
}

impl Supervisor for Processes {
    fn name(&self) -> &str {
        crate::BACKEND
    }

    fn switching(&self) -> Switching {
        Switching::Restart
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

    fn preflight(&self, _: &Context, release: Option<&dyn Release>) -> Result<(), SupervisorError> {
        self.client()?.status().map_err(failed)?;
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
        self.start(ctx, release, &[instance.to_string()], manner)
    }

    fn stop(&self, ctx: &Context) -> Result<(), SupervisorError> {
        let mut client = self.client()?;
        client.down(&[]).map_err(failed)?;
        loop {
            let found = client.settle(&[], GLANCE).map_err(failed)?;
            if found.iter().all(|one| one.pid.is_none()) {
                return Ok(());
            }
            ctx.check()?;
        }
    }

    fn status(&self, ctx: &Context) -> Result<ServiceStatus, SupervisorError> {
        let mut found = self.client()?.status().map_err(failed)?;
        // What is not described any more is not judged.
        found.retain(|one| !one.leaving);
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
        let told =
            self.client().ok().and_then(|mut client| client.status().ok()).unwrap_or_default();
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
