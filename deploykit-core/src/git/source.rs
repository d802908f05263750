//! The source itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use gix::ObjectId;

use super::cache::{self, Cache};
use super::credentials::GitCredentials;
use super::fault::Fault;
use super::inspect::{Objection, inspect};
use super::progress::FetchProgress;
use super::remote::{Access, Session};
use super::url::{Location, Remote, locate};
use super::watch::Watch;
use super::{bring, checkout, local, resolve};
use crate::context::Context;
use crate::id::{Revision, SourceId};
use crate::registry::BackendRequest;
use crate::secret::Masker;
use crate::traits::{BoxError, Materialised, Resolved, Source, SourceError, TreeSize};

/// What a [`GitSource`] needs to know.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GitOptions {
    /// Address of the repository: an https, ssh, git or file URL, `user@host:path`, or a path.
    pub url: String,
    /// Who deploykit is to the server.
    pub credentials: GitCredentials,
    /// File with the certificates (PEM) of a private authority, trusted beside the system's. A
    /// relative path is relative to `base_dir`.
    pub ca_file: Option<Utf8PathBuf>,
    /// The longest silence of the server. 60 seconds by default.
    pub timeout: Duration,
    /// The directory below which the cache lies. It is made with mode 0700.
    pub cache_dir: Utf8PathBuf,
    /// What relative paths are relative to.
    pub base_dir: Utf8PathBuf,
}

impl GitOptions {
    /// Options for the repository at `url`, with a cache below `cache_dir`: no credentials, no
    /// private authority, sixty seconds, and relative paths are relative to `base_dir`.
    pub fn new(
        url: impl Into<String>,
        cache_dir: impl Into<Utf8PathBuf>,
        base_dir: impl Into<Utf8PathBuf>,
    ) -> Self {
        Self {
            url: url.into(),
            credentials: GitCredentials::None,
            ca_file: None,
            timeout: Duration::from_secs(60),
            cache_dir: cache_dir.into(),
            base_dir: base_dir.into(),
        }
    }
}

/// Releases from a git repository.
///
/// A revision is looked up as git does: a tag comes before a branch of the same name (with a
/// warning), a name that looks like a hash but is that of a branch or tag is the name, and a hash
/// may be shortened to four digits as long as it is the only one that begins so.
///
/// ```no_run
/// use deploykit_core::git::{GitOptions, GitSource};
/// use deploykit_core::traits::Source;
/// use deploykit_core::{Context, Revision};
///
/// let options = GitOptions::new("https://example.org/app.git", "/srv/app/.deploykit/cache", "/srv/app");
/// let source = GitSource::new(options)?;
/// let main = source.resolve(&Context::new()?, &"main".parse::<Revision>()?)?;
/// assert_eq!(main.name, "refs/heads/main");
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug)]
pub struct GitSource {
    options: GitOptions,
    location: Location,
    cache: Cache,
    masker: Option<Masker>,
    /// The last tree that was inspected, and how much it takes.
    measured: Mutex<Option<(SourceId, TreeSize)>>,
}

/// A conversation under way.
pub(super) struct Connected {
    // In this order: the conversation ends before the watch over it does.
    pub(super) session: Session,
    pub(super) watch: Watch,
}

impl GitSource {
    /// A source with these options. Nothing is read or connected to yet.
    ///
    /// # Errors
    /// When the address cannot be the address of a repository.
    pub fn new(mut options: GitOptions) -> Result<Self, BoxError> {
        let location = locate(&options.url, &options.base_dir)?;
        options.ca_file = options.ca_file.map(|file| options.base_dir.join(file));
        let cache = Cache::new(&options.cache_dir, options.url.clone());
        Ok(Self { options, location, cache, masker: None, measured: Mutex::new(None) })
    }

    /// The source that the section `repo` of a configuration describes.
    ///
    /// # Errors
    /// When the address cannot be the address of a repository, or the keys do not fit together.
    pub fn from_request(request: &BackendRequest<'_>) -> Result<Arc<dyn Source>, BoxError> {
        let repo = &request.config.repo;
        let mut options =
            GitOptions::new(repo.url.as_str(), request.layout.cache(), request.layout.root());
        options.credentials = GitCredentials::from_config(repo, request.layout.root())?;
        options.ca_file = repo.ca_file.as_ref().map(Into::into);
        options.timeout = repo.timeout.get();
        let mut source = Self::new(options)?;
        source.masker = Some(request.masker.clone());
        Ok(Arc::new(source))
    }

    /// The address, for messages. It contains no secret.
    pub(super) fn url(&self) -> &str {
        &self.options.url
    }

    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    fn remote(&self) -> Option<&Remote> {
        match &self.location {
            Location::Local(_) => None,
            Location::Remote(remote) => Some(remote),
        }
    }

    /// Connects to the server.
    pub(super) fn connect(
        &self,
        ctx: &Context,
        progress: Option<&FetchProgress>,
    ) -> Result<Connected, SourceError> {
        let Some(remote) = self.remote() else {
            let what = "connect to a repository on this machine".into();
            return Err(SourceError::Foreign {
                operation: what,
                source: "there is no server".into(),
            });
        };
        ctx.check()?;
        let mut masks = vec![ctx.masker()];
        masks.extend(&self.masker);
        let account = self
            .options
            .credentials
            .read(remote.url.user(), &masks)
            .map_err(|error| SourceError::Credentials(Box::new(error)))?;
        let access = Access {
            remote,
            account,
            ca_file: self.options.ca_file.as_deref(),
            silence: self.options.timeout,
        };
        let sampler = progress.map(|progress| Box::new(progress.sampler(ctx)) as Box<_>);
        let watch = Watch::start(ctx, sampler).map_err(|error| SourceError::Foreign {
            operation: "start a thread".into(),
            source: Box::new(error),
        })?;
        match Session::open(&access, &watch) {
            Ok(session) => Ok(Connected { session, watch }),
            Err(fault) => Err(self.failed(ctx, fault)),
        }
    }

    /// What a fault means: being cancelled and running out of time look like faults, too.
    pub(super) fn failed(&self, ctx: &Context, fault: Fault) -> SourceError {
        if let Err(cancelled) = ctx.check() {
            return cancelled.into();
        }
        let late = ctx.remaining().is_some_and(|left| left.is_zero());
        let fault = if late { Fault::Deadline } else { fault };
        fault.into_error(self.url(), self.options.credentials.are_given())
    }

    /// The repository that holds what was fetched.
    fn repository(&self) -> Result<gix::Repository, SourceError> {
        match &self.location {
            Location::Local(path) => local::open(path),
            Location::Remote(_) => self.cache.open().ok_or_else(|| SourceError::Foreign {
                operation: "open the cache".into(),
                source: "nothing has been fetched into it".into(),
            }),
        }
    }

    /// Inspects a commit and remembers its size.
    pub(super) fn inspect(
        &self,
        ctx: &Context,
        repository: &gix::Repository,
        source: &SourceId,
        id: ObjectId,
    ) -> Result<TreeSize, Objection> {
        let size = inspect(ctx, repository, source, id)?;
        *self.measured.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((source.clone(), size));
        Ok(size)
    }

    fn measured(&self, source: &SourceId) -> Option<TreeSize> {
        let measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.as_ref().filter(|(id, _)| id == source).map(|(_, size)| *size)
    }
}

/// The commit that a source id names.
fn commit_of(source: &SourceId) -> Result<ObjectId, SourceError> {
    let refused = || SourceError::Refused {
        id: source.clone(),
        why: "it is not the hash of a git commit".into(),
    };
    if source.kind() != "git" || source.digest().len() != 40 {
        return Err(refused());
    }
    ObjectId::from_hex(source.digest().as_bytes()).map_err(|_| refused())
}

impl Source for GitSource {
    fn name(&self) -> &str {
        "git"
    }

    fn resolve(&self, ctx: &Context, revision: &Revision) -> Result<Resolved, SourceError> {
        ctx.check()?;
        match &self.location {
            Location::Local(path) => resolve::local(ctx, &local::open(path)?, self.url(), revision),
            Location::Remote(_) => resolve::remote(self, ctx, &self.cache, revision),
        }
    }

    fn fetch(&self, ctx: &Context, source: &Resolved) -> Result<(), SourceError> {
        ctx.check()?;
        let id = commit_of(&source.id)?;
        match &self.location {
            Location::Local(path) => {
                let repository = local::open(path)?;
                let inspected = self.inspect(ctx, &repository, &source.id, id);
                inspected.map(drop).map_err(|objection| objection.into_error(&source.id))
            }
            Location::Remote(_) => bring::bring(self, ctx, source, id),
        }
    }

    fn size(&self, ctx: &Context, source: &SourceId) -> Result<Option<TreeSize>, SourceError> {
        if let Some(size) = self.measured(source) {
            return Ok(Some(size));
        }
        let (id, repository) = (commit_of(source)?, self.repository()?);
        let size = self.inspect(ctx, &repository, source, id);
        size.map(Some).map_err(|objection| objection.into_error(source))
    }

    fn has_file(&self, _: &Context, source: &SourceId, path: &Utf8Path) -> Option<bool> {
        let (id, repository) = (commit_of(source).ok()?, self.repository().ok()?);
        if self.remote().is_some() && !cache::has(&repository, id) {
            return None;
        }
        let tree = repository.find_commit(id).ok()?.tree().ok()?;
        let entry = tree.lookup_entry_by_path(path).ok()?;
        Some(entry.is_some_and(|entry| entry.mode().is_blob()))
    }

    fn materialise(
        &self,
        ctx: &Context,
        source: &SourceId,
        into: &Utf8Path,
    ) -> Result<Materialised, SourceError> {
        ctx.check()?;
        let id = commit_of(source)?;
        let first = checkout::checkout(ctx, &self.repository()?, source, id, into);
        let objection = match first {
            Ok(done) => return Ok(done),
            Err(objection) => objection,
        };
        let Objection::Damaged(_) = &objection else { return Err(objection.into_error(source)) };
        if self.remote().is_none() {
            return Err(objection.into_error(source));
        }
        // The cache looked whole when it was inspected, but a file in it cannot be read.
        empty(into)?;
        bring::anew(self, ctx, &Resolved::new(source.clone(), id.to_string()), id, true)?;
        checkout::checkout(ctx, &self.repository()?, source, id, into)
            .map_err(|objection| objection.into_error(source))
    }
}

/// Removes what is in a directory.
fn empty(directory: &Utf8Path) -> Result<(), SourceError> {
    let failed =
        |source| SourceError::Io { operation: "empty", path: directory.to_owned(), source };
    // Not as UTF-8: the names are those of the repository.
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            std::fs::remove_dir_all(entry.path()).map_err(failed)?;
        } else {
            std::fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}
