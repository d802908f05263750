//! A check that finds what the test says.

use deploykit_core::Context;
use deploykit_core::traits::{HealthCheck, Look, Release};

use super::Fakes;

#[derive(Debug)]
pub(super) struct FakeCheck {
    pub(super) fakes: Fakes,
    pub(super) name: String,
    pub(super) path: Option<String>,
}

impl HealthCheck for FakeCheck {
    fn name(&self) -> &str {
        &self.name
    }

    fn look(&self, ctx: &Context, release: &dyn Release) -> Look {
        if let Err(cancelled) = ctx.check() {
            return Look::NotYet(cancelled.to_string());
        }
        if ctx.remaining().is_some_and(|left| left.is_zero()) {
            return Look::NotYet("no time was left to look".into());
        }
        let digest = release.source().digest();
        let own = self.path.as_ref().map(|path| format!("{digest} {path}"));
        let world = self.fakes.world();
        let found = own.and_then(|own| world.health.get(&own)).or_else(|| world.health.get(digest));
        let found = found.cloned();
        found.unwrap_or_else(|| Look::Well("ok".into()))
    }
}
