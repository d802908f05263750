//! A source whose trees hold one file, `content`, with the digest.

use camino::Utf8Path;
use deploykit_core::traits::{Materialised, Resolved, Source, SourceError};
use deploykit_core::{Context, Revision, SourceId};

use super::Fakes;

#[derive(Debug)]
pub(super) struct FakeSource(pub(super) Fakes);

impl FakeSource {
    /// The digest that a revision means, and its name: revisions are branches, and known by their
    /// full names and their digests as well.
    fn find(&self, revision: &str) -> Option<(String, String)> {
        let world = self.0.world();
        if world.revisions.values().any(|digest| digest == revision) {
            return Some((revision.to_owned(), revision.to_owned()));
        }
        let branch = revision.strip_prefix("refs/heads/").unwrap_or(revision);
        let digest = world.revisions.get(branch)?;
        Some((digest.clone(), format!("refs/heads/{branch}")))
    }

    fn not_found(revision: String) -> SourceError {
        SourceError::NotFound { revision, url: "fake".into(), similar: Vec::new() }
    }
}

impl Source for FakeSource {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn resolve(&self, ctx: &Context, revision: &Revision) -> Result<Resolved, SourceError> {
        self.0.call("resolve");
        ctx.check()?;
        if self.0.world().unreachable {
            return Err(SourceError::Transport { url: "fake".into(), source: "no route".into() });
        }
        let revision = revision.to_string();
        let (digest, name) =
            self.find(&revision).ok_or_else(|| Self::not_found(revision.clone()))?;
        let id = SourceId::new("git", &digest).map_err(|_| Self::not_found(revision))?;
        Ok(Resolved::new(id, name))
    }

    fn fetch(&self, ctx: &Context, source: &Resolved) -> Result<(), SourceError> {
        let digest = source.id.digest();
        self.0.call(format!("fetch {}", &digest[..2]));
        ctx.check()?;
        if source.id.kind() != "git" || self.find(digest).is_none() {
            return Err(Self::not_found(digest.to_owned()));
        }
        self.0.world().fetched.insert(source.id.clone());
        Ok(())
    }

    fn has_file(&self, _: &Context, source: &SourceId, path: &Utf8Path) -> Option<bool> {
        self.0.world().fetched.contains(source).then(|| path == "content")
    }

    fn materialise(
        &self,
        ctx: &Context,
        source: &SourceId,
        into: &Utf8Path,
    ) -> Result<Materialised, SourceError> {
        self.0.call(format!("materialise {}", &source.digest()[..2]));
        ctx.check()?;
        if !self.0.world().fetched.contains(source) {
            let operation = "open the cache".into();
            return Err(SourceError::Foreign { operation, source: "it was not fetched".into() });
        }
        let io = |source| SourceError::Io { operation: "write", path: into.to_owned(), source };
        assert_eq!(into.read_dir_utf8().map_err(io)?.count(), 0, "{into} is not empty");
        std::fs::write(into.join("content"), source.digest()).map_err(io)?;
        Ok(Materialised::new(source.digest().len() as u64, 1))
    }
}
