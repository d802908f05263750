//! A builder that does what the test says.

use std::sync::Arc;

use camino::Utf8Path;
use deploykit_core::Context;
use deploykit_core::traits::{BuildError, BuildRequest, Builder};

use super::Fakes;

/// What happens in a build, in the place of running commands.
pub type BuildScript = Arc<dyn Fn(&Context, &Utf8Path) -> Result<(), BuildError> + Send + Sync>;

#[derive(Debug)]
pub(super) struct FakeBuilder(pub(super) Fakes);

impl Builder for FakeBuilder {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn steps(&self) -> Vec<String> {
        vec!["fake".into()]
    }

    fn build(&self, ctx: &Context, request: &BuildRequest) -> Result<(), BuildError> {
        self.0.call(format!("build {}", &request.source.digest()[..2]));
        ctx.check()?;
        assert!(request.root.join("content").exists(), "built before it was checked out");
        let script = self.0.world().build.clone();
        script.map_or(Ok(()), |script| script(ctx, &request.root))
    }
}
