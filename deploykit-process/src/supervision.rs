//! All that supervises one application, in one place: what `deploykit up` runs.

use std::os::unix::fs::DirBuilderExt as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use deploykit_core::traits::Look;
use deploykit_core::{Application, Context, ReleaseId, chain, service_backend_name};
use serde_json::json;

use crate::action::Does;
use crate::control::{Asked, Claim, Server, ServerError};
use crate::definition::Definition;
use crate::describe::{Undescribed, describe_all};
use crate::hold::Holder;
use crate::kept::{Kept, LastWords, LogKeeper};
use crate::left::{Left, end_left_but};
use crate::log::{Echo, LogError, LogEvent};
use crate::machine::{News, Phase};
use crate::manager::ledger::{Entry, Ledger};
use crate::manager::{Adopted, InstanceStatus, Manager, ManagerError, Record, Surroundings};
use crate::{inherited, log_dir, running_dir, socket};

/// So long what an earlier manager has left has to end, before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// So long the last lines of the services are waited for at the end: a disk may hang.
const LAST_LINES: Duration = Duration::from_secs(10);

/// How often it is looked whether somebody is impatient.
const GLANCE: Duration = Duration::from_millis(200);

/// What happens while an application is supervised.
#[derive(Debug)]
#[non_exhaustive]
pub enum Happening {
    /// To an instance.
    News {
        /// Which.
        instance: String,
        /// What.
        news: News,
        /// What its process has written last.
        last_words: LastWords,
    },
    /// To a log, in words.
    Log(String),
    /// Somebody has asked over the socket for the end of everything.
    EndAsked,
    /// Somebody has asked over the socket that this program takes the place of the present one, as
    /// [`let_be`](Supervision::let_be) makes possible.
    ReplaceAsked(Utf8PathBuf),
    /// The manager is at its end, whether that was wanted or not.
    Over,
}

/// Why an application cannot be supervised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisionError {
    /// Something with the socket, or somebody supervises it already.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// What the services write cannot be kept.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The system has not what is needed.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it cannot be.
        #[source]
        source: std::io::Error,
    },
    /// The state or the configuration of the application.
    #[error(transparent)]
    Application(#[from] deploykit_core::Error),
    /// What runs the services of the active release is something else.
    #[error("the services of the active release {release} are run by the backend {backend:?}")]
    Elsewhere {
        /// The release.
        release: ReleaseId,
        /// What runs them.
        backend: String,
    },
    /// A service is described in a way that cannot be run here.
    #[error(transparent)]
    Undescribed(#[from] Undescribed),
    /// The manager does not do it.
    #[error(transparent)]
    Manager(#[from] ManagerError),
}

/// Who is told what happens.
type OnHappening = Arc<dyn Fn(Happening) + Send + Sync>;

/// The process manager of one application, with what its services write kept, answering on the
/// application's socket.
///
/// ```no_run
/// use deploykit_core::{Application, Registry};
/// use deploykit_process::{Happening, Supervision};
///
/// let mut registry = Registry::built_in();
/// deploykit_process::register(&mut registry);
/// let application = Application::at("/srv/app").registry(registry).open()?;
/// let (sender, happened) = std::sync::mpsc::channel();
/// let supervision =
///     Supervision::begin(&application, None, move |what| drop(sender.send(what)))?;
/// supervision.start_active(&application)?;
/// for what in happened {
///     if matches!(what, Happening::EndAsked | Happening::Over) {
///         break;
///     }
/// }
/// supervision.end(&|| false);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Supervision {
    claim: Claim,
    server: Server,
    manager: Arc<Manager>,
    ledger: Ledger,
    holder: Option<Arc<Holder>>,
    kept: Arc<Kept<Told>>,
    left: Vec<Left>,
    adopted: Adopted,
}

impl Supervision {
    /// Takes the application's socket, takes over what an earlier manager has left that was killed, and begins
    /// to answer. Nothing else is defined yet. What the services write is shown to `echo`, too.
    ///
    /// # Errors
    /// When somebody supervises it already, and when the system lacks something.
    pub fn begin(
        application: &Application,
        echo: Option<Echo>,
        on_happening: impl Fn(Happening) + Send + Sync + 'static,
    ) -> Result<Self, SupervisionError> {
        Self::begin_held(application, echo, None, on_happening)
    }

    /// The same; and this command, which is to call [`hold`](crate::hold) and nothing else, runs beside it for as long as
    /// there are services. Should this process be killed, it holds what a service has written last that ends
    /// before the next one begins, and connections that wait for it.
    ///
    /// # Errors
    /// As [`begin`](Self::begin). Without a holder it goes on.
    pub fn begin_held(
        application: &Application,
        echo: Option<Echo>,
        holder: Option<Command>,
        on_happening: impl Fn(Happening) + Send + Sync + 'static,
    ) -> Result<Self, SupervisionError> {
        let (layout, on_happening): (_, OnHappening) =
            (application.layout(), Arc::new(on_happening));
        let failed = |what| move |source| SupervisionError::System { what, source };
        let mut private = std::fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(layout.private()).map_err(failed("make the directory .deploykit"))?;
        let claim = Claim::take(&socket(layout))?;
        let scope = layout.root().as_str();
        let recording = failed("put on record what runs");
        let ledger = Ledger::open(running_dir(layout)).map_err(recording)?;
        let entries = ledger.read().map_err(recording)?;
        let alive: Vec<(u32, String)> = entries.values().filter_map(Entry::alive).collect();
        let left = end_left_but(scope, GRACE, &alive)
            .map_err(failed("end what an earlier manager has left"))?;
        let on = Arc::clone(&on_happening);
        let told = Told { on_happening: on, application: application.clone() };
        let holder = Holder::begin(ledger.dir(), holder).ok().map(Arc::new);
        let kept = Kept::echoed(log_dir(layout), told, echo)?;
        let kept = Arc::new(kept.named(ledger.dir(), holder.clone()));
        let record = Record { ledger: ledger.clone(), entries, holder: holder.clone() };
        let begun = Manager::begin(Arc::clone(&kept), scope.into(), Some(record));
        let (manager, adopted) = begun.map_err(failed("start the process manager"))?;
        let manager = Arc::new(manager);
        let on_asked = move |asked| {
            on_happening(match asked {
                Asked::Replace(program) => Happening::ReplaceAsked(program),
                Asked::End => Happening::EndAsked,
            });
        };
        let server = Server::start(Arc::clone(&manager), claim.clone(), on_asked)?;
        Ok(Self { claim, server, manager, ledger, holder, kept, left, adopted })
    }

    /// What an earlier manager had left running that was killed, and what goes on now.
    pub fn adopted(&self) -> &Adopted {
        &self.adopted
    }

    /// What an earlier manager had left running that could not be taken over, and was ended.
    pub fn left(&self) -> &[Left] {
        &self.left
    }

    /// Its manager. Whoever keeps it beyond the [`end`](Self::end) keeps its services running.
    pub fn manager(&self) -> &Arc<Manager> {
        &self.manager
    }

    /// The last lines that an instance has written to its standard error.
    pub fn last_lines(&self, instance: &str) -> Vec<String> {
        self.kept.last_lines(instance)
    }

    /// Starts the services of the active release, which is handed back; nothing when there is none. They
    /// may not be up yet when this returns.
    ///
    /// # Errors
    /// When the state cannot be read, and when something else runs them.
    pub fn start_active(
        &self,
        application: &Application,
    ) -> Result<Option<ReleaseId>, SupervisionError> {
        let Some(active) = application.runtimes()?.active else { return Ok(None) };
        let config = application.config().with_runtime(&active.runtime);
        let backend = service_backend_name(&config);
        if backend != crate::BACKEND {
            let (release, backend) = (active.release, backend.to_owned());
            return Err(SupervisionError::Elsewhere { release, backend });
        }
        let (id, layout) = (active.release.as_str(), application.layout());
        self.begin_with(describe_all(&config, id, &active.root, layout)?)?;
        Ok(Some(active.release))
    }

    /// Starts the services of the configuration in the application's directory itself, where there are no
    /// releases: what a Procfile names. They may not be up yet when this returns.
    ///
    /// # Errors
    /// When a service cannot be run here.
    pub fn start_here(&self, application: &Application) -> Result<(), SupervisionError> {
        let layout = application.layout();
        self.begin_with(describe_all(application.config(), "", layout.root(), layout)?)
    }

    /// Starts these. What was taken over goes on as it was: what was stopped, or has done its work, is not
    /// started, and what is to run otherwise now waits for whoever brings it over.
    fn begin_with(&self, definitions: Vec<Definition>) -> Result<(), SupervisionError> {
        let known = self.manager.status()?;
        let is_known = |name: &String| known.iter().any(|one| one.name == *name && !one.leaving);
        let names = definitions.iter().map(Definition::name);
        let new: Vec<String> = names.filter(|name| !is_known(name)).collect();
        self.manager.define(definitions)?;
        if !new.is_empty() {
            self.manager.up(&new)?;
        }
        Ok(())
    }

    /// Ends, and lets the services run on: whoever begins next takes them over, this process itself, when
    /// another program has taken the place of this one by an execve(2) right after this, or another one. What
    /// they have written is on its way to the disk, or waits for that. The sockets stay open; the variable, and
    /// its value, that tell the other program of them.
    pub fn let_be(self) -> (&'static str, String) {
        let Self { claim, server, manager, .. } = self;
        drop(server);
        let sockets = manager.let_be();
        drop(claim);
        inherited::pass_on(sockets)
    }

    /// Ends everything: the services in their order, with what each has started, and then the rest. What
    /// they have written is on its way to the disk. As soon as `is_impatient` says so, they are killed.
    pub fn end(self, is_impatient: &dyn Fn() -> bool) {
        let Self { claim, server, manager, ledger, holder, kept, .. } = self;
        // Nobody is answered any more who could want something started.
        drop(server);
        let asked = manager.down(&[]);
        let is_left = |all: Vec<InstanceStatus>| {
            all.iter().any(|one| !matches!(one.phase, Phase::Down(_)) || one.leaving)
        };
        while asked.is_ok() && manager.settle(&[], GLANCE).is_ok_and(is_left) {
            if is_impatient() {
                manager.kill();
            }
        }
        // With the last who has it, the manager ends all that it runs.
        drop(manager);
        kept.drain(LAST_LINES);
        ledger.clear();
        if let Some(holder) = holder {
            holder.end();
        }
        // Until now nobody else could begin.
        drop(claim);
    }
}

/// Passes on what happens.
struct Told {
    on_happening: OnHappening,
    application: Application,
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Told")
    }
}

impl Surroundings for Told {
    fn tell(&self, instance: &str, news: &News) {
        self.tell_with(instance, news, LastWords::default());
    }

    fn ask(&self, ctx: &Context, what: &Does) -> Look {
        // As the configuration would have it.
        let check = match what {
            Does::Http { url, status } => json!({ "type": "http", "url": url, "status": status }),
            Does::Tcp(address) => json!({ "type": "tcp", "address": address }),
            Does::Unix(path) => json!({ "type": "unix", "path": path }),
            _ => return Look::Blind("it is nothing that could be asked".to_owned()),
        };
        let check = match serde_json::from_value(check) {
            Ok(check) => check,
            Err(error) => return Look::Blind(error.to_string()),
        };
        match self.application.look_through(ctx, &check) {
            Ok(look) => look,
            Err(error) => Look::Blind(chain(&error)),
        }
    }

    fn withheld(&self) -> Vec<String> {
        self.application.config().own_secret_variables()
    }

    fn over(&self) {
        (self.on_happening)(Happening::Over);
    }
}

impl LogKeeper for Told {
    fn log_event(&self, event: &LogEvent) {
        (self.on_happening)(Happening::Log(event.to_string()));
    }

    fn tell_with(&self, instance: &str, news: &News, last_words: LastWords) {
        let (instance, news) = (instance.to_owned(), news.clone());
        (self.on_happening)(Happening::News { instance, news, last_words });
    }
}
