//! One conformance suite for each trait: everything that the documentation of the trait promises,
//! as checks that any implementation can be put through, a third party's too.
//!
//! Each suite is a function that takes how to make a backend. It panics with what was not kept.
//! A backend is made anew, as by another process, wherever it must not depend on its memory.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use deploykit_core::Symlink;
//! use deploykit_testkit::conformance;
//!
//! conformance::activator(|layout| Arc::new(Symlink::new(layout.clone())));
//! ```

mod activator;
mod builder;
mod health;
mod scene;
mod source;
mod supervisor;

pub use activator::activator;
pub use builder::{BuildCase, builder};
pub use health::{HealthCase, Looker, health};
pub use scene::{Scene, SealedRelease};
pub use source::{SourceCase, source};
pub use supervisor::supervisor;

/// Names are what people and configurations use: there is one, on one line, and it stays.
fn name_is_settled(kind: &str, first: &str, second: &str) {
    assert!(!first.trim().is_empty(), "the {kind} has no name");
    assert!(!first.contains(char::is_control), "the name of the {kind} is not one line: {first:?}");
    assert_eq!(first, second, "the name of the {kind} changes");
}
