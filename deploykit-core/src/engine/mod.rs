//! The engine: it composes the backends into deployments and rollbacks.
//!
//! # Theory of operation
//!
//! A deployment goes through the phases of [`transition`], a pure function. Each phase has its effect
//! in one of the other files; before an effect that matters its intent is in the journal. A deployment
//! that was broken off, wherever that was, is taken up again by [`recover`], which finds from the
//! journal where it stood and lets the same phases finish or undo it. A rollback is a deployment of a
//! release that exists: it takes the same way.

mod adopt;
mod application;
mod backoff;
mod bring;
mod confirm;
mod deploy;
mod disk;
mod error;
mod inspect;
mod logfile;
mod notice;
mod notify;
mod observer;
mod operator;
mod place;
mod plan;
mod prepare;
mod prune;
mod recipient;
mod recover;
mod reload;
mod report;
mod request;
mod restart;
mod rollback;
mod run;
mod seal;
mod session;
mod shared;
mod start;
mod stored;
mod sweep;
mod switch;
mod target;
mod tracker;
mod transition;
mod trouble;
mod uninstall;
mod view;
mod watch;
mod words;

pub use application::{Application, ApplicationBuilder};
pub use error::{Error, ErrorKind};
pub use inspect::{ActiveRuntime, Runtimes};
pub use recipient::Recipient;
pub use report::{
    Action, BrokenOff, CheckView, Failure, Plan, Recovery, ReleaseView, Report, Stage, Status,
};
pub use request::{DeployRequest, ReloadRequest, RestartRequest, RollbackRequest};
pub use uninstall::{UninstallRequest, Uninstalled};
