//! An activator whose link is in memory. It refuses what the engine never names.

use camino::{Utf8Component, Utf8PathBuf};
use deploykit_core::Layout;
use deploykit_core::traits::{Activator, ActivatorError};

use super::Fakes;

#[derive(Debug)]
pub(super) struct FakeActivator {
    pub(super) fakes: Fakes,
    pub(super) layout: Layout,
}

impl FakeActivator {
    /// The path as it is named: relative to the application's directory where it lies below that.
    fn named(&self, path: &Utf8PathBuf) -> Utf8PathBuf {
        let plain = |c| matches!(c, Utf8Component::Normal(_) | Utf8Component::RootDir);
        assert!(path.components().all(plain), "{path} is not a plain path");
        path.strip_prefix(self.layout.root()).map_or_else(|_| path.clone(), ToOwned::to_owned)
    }
}

impl Activator for FakeActivator {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn active(&self) -> Result<Option<Utf8PathBuf>, ActivatorError> {
        Ok(self.fakes.world().links.get(self.layout.root()).cloned())
    }

    fn switch(
        &self,
        expected: Option<&Utf8PathBuf>,
        to: Option<&Utf8PathBuf>,
    ) -> Result<(), ActivatorError> {
        let mut world = self.fakes.world();
        let found = world.links.get(self.layout.root());
        if found != expected {
            let (expected, found) = (expected.cloned(), found.cloned());
            return Err(ActivatorError::Changed { expected, found });
        }
        let root = self.layout.root().to_owned();
        match to {
            Some(to) => world.links.insert(root, self.named(to)),
            None => world.links.remove(&root),
        };
        Ok(())
    }
}
