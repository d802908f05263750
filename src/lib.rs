//! deploykit turns a git revision into a running, verified service on a Linux host, atomically, and
//! back again in a second. It resolves the revision, fetches that one commit, builds it in its final
//! directory, puts it on disk durably, switches a symbolic link by one `rename`, restarts the service,
//! and watches its health. A release that is not well is taken back, and its predecessor is restarted
//! and verified. Every step is in a journal first, so that whatever is cut short, by a kill or a loss
//! of power, is finished or undone by the next call.
//!
//! This crate is the front of the library. It is synchronous, prints nothing, and does not end the
//! process: an embedding program takes typed [`Event`]s while a deployment runs and a [`Report`] at
//! its end, and cancels through a [`Cancellation`]. Sources, builders, service backends and health
//! checks are [traits], chosen by name from a [`Registry`] to which a program adds its own. The
//! program `deploykit` is built on nothing else.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use deploykit::{Application, Context, DeployRequest, Event, EventKind, FnSink};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let application = Application::at("/srv/app").open()?;
//!     let sink = FnSink::new(|event: &Event| {
//!         if let EventKind::StepFinished { step, millis, .. } = &event.kind {
//!             println!("{step} took {millis} ms");
//!         }
//!     });
//!     let context = Context::new()?.with_sink(Arc::new(sink));
//!     let report = application.deploy(&context, &DeployRequest::revision("v1.2.0".parse()?))?;
//!     match report.outcome {
//!         None => println!("nothing to do"),
//!         Some(outcome) => println!("{outcome}"),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Features
//!
//! | Feature | Default | Gives |
//! |---|---|---|
//! | `git` | yes | the source `git`, through gix: https, ssh, git and local repositories. It turns on `http` |
//! | `http` | yes | the health check `http` |
//! | `notify` | yes | notices by mail, HTTP and file, beside the commands that core runs; of services, too, with `process`: [`notify`] |
//! | `process` | yes | the service backend `process`, and the supervisor that runs its services, for embedding: [`supervisor`] |
//! | `systemd` | yes | the service backend `systemd`, over D-Bus; see [`registry`] |
//! | `schema` | no | `config::schema`: the JSON schema of the configuration, for editors |
//!
//! Without default features there is no source: a program adds its own.

#[cfg(all(feature = "notify", feature = "process"))]
mod notices;

pub use deploykit_core::*;
#[cfg(feature = "process")]
pub use deploykit_process as supervisor;
#[cfg(feature = "systemd")]
pub use deploykit_systemd as systemd;

/// Notices: those of core and of services, and what carries them.
#[cfg(feature = "notify")]
pub mod notify {
    pub use deploykit_notify::*;

    #[cfg(feature = "process")]
    pub use crate::notices::Notices;
}

/// All backends that this crate has with its features: those of core, `notify`, `process` and `systemd`.
/// [`Application::at`] alone takes those of core.
///
/// ```no_run
/// use deploykit::Application;
///
/// let application = Application::at("/srv/app").registry(deploykit::registry()).open()?;
/// # Ok::<(), deploykit::Error>(())
/// ```
pub fn registry() -> Registry {
    #[cfg_attr(
        not(any(feature = "notify", feature = "process", feature = "systemd")),
        expect(unused_mut, reason = "nothing is added")
    )]
    let mut registry = Registry::built_in();
    #[cfg(feature = "notify")]
    deploykit_notify::register(&mut registry);
    #[cfg(feature = "process")]
    deploykit_process::register(&mut registry);
    #[cfg(feature = "systemd")]
    deploykit_systemd::register(&mut registry);
    registry
}

/// The book's examples are compiled and run.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../README.md")]
    mod readme {}

    #[doc = include_str!("../docs/embed/library.md")]
    mod library {}

    #[doc = include_str!("../docs/embed/backends.md")]
    mod backends {}
}
