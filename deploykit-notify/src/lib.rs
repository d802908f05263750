//! Notices of deploykit: telling people and programs of what happens while nobody watches.
//!
//! The notifiers [`register`]ed here (`mail`, `http`, `file`) carry a message; one call is one attempt.
//! The engine of core tells of deployments through them, and records in its journal who is still to be
//! told. What happens to services goes through an [`Outbox`], which holds back what is the same, keeps
//! on disk what cannot be told yet, and tries again, all in threads of its own.

mod file;
mod hold;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "mail")]
mod mail;
mod outbox;
mod queue;
mod spool;

use std::sync::Arc;

use deploykit_core::Registry;

pub use outbox::{Letter, Outbox, OutboxError};

/// Adds the notifiers of this crate to a registry: `file`, and with the features of their names `http` and
/// `mail`.
///
/// ```
/// let mut registry = deploykit_core::Registry::built_in();
/// deploykit_notify::register(&mut registry);
/// assert!(registry.notifier_names().any(|name| name == "file"));
/// ```
pub fn register(registry: &mut Registry) {
    registry.notifier("file", Arc::new(file::File::construct));
    #[cfg(feature = "http")]
    registry.notifier("http", Arc::new(http::Http::construct));
    #[cfg(feature = "mail")]
    registry.notifier("mail", Arc::new(mail::Mail::construct));
}

/// A time as it is told: in seconds, to the hundredth.
#[cfg(any(feature = "http", feature = "mail"))]
fn seconds(time: std::time::Duration) -> f32 {
    (time.as_secs_f32() * 100.0).round() / 100.0
}
