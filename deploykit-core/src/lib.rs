//! The engine of deploykit.

mod backend;
mod cancel;
mod causes;
pub mod config;
mod context;
mod engine;
mod event;
#[cfg(feature = "git")]
pub mod git;
#[cfg(feature = "http")]
pub mod http;
mod id;
mod interrupt;
mod message;
pub mod process;
mod registry;
mod secret;
mod secret_source;
pub mod state;
mod step;
mod time;
#[cfg(feature = "http")]
mod tls;
pub mod traits;

pub use backend::{Symlink, release_of_process, releases_in_use, service_backend_name};
pub use cancel::{Cancellation, Cancelled, Cause};
pub use causes::{causes, chain};
pub use context::{Clock, Context, SystemClock};
pub use engine::{
    Action, ActiveRuntime, Application, ApplicationBuilder, BrokenOff, CheckView, DeployRequest,
    Error, ErrorKind, Failure, Plan, Recipient, Recovery, ReleaseView, ReloadRequest, Report,
    RestartRequest, RollbackRequest, Runtimes, Stage, Status, UninstallRequest, Uninstalled,
};
pub use event::{Event, EventKind, EventSink, FnSink, NoEvents, Sinks, Stream, Unit};
pub use id::{BuildDigest, DeploymentId, Identity, InvalidName, ReleaseId, Revision, SourceId};
pub use interrupt::{Interrupted, interruptible};
pub use message::{Message, Topic};
pub use registry::{
    BackendRequest, CheckConstructor, Complaint, Constructor, NotifierConstructor, Registry,
    RegistryError, ServiceRule,
};
pub use secret::{MASK, Masker, Secret, percent_encoded};
pub use secret_source::{SecretError, read_secret};
pub use state::{Actor, Layout, Outcome, Request};
pub use step::Step;
pub use time::Timestamp;
