//! Making a release: fetch, check out, link, build, seal; and removing what failed.

use std::hash::{BuildHasher as _, Hasher as _};

use camino::{Utf8Path, Utf8PathBuf};

use super::application::Application;
use super::error::Error;
use super::report::{Action, Plan};
use super::run::{Making, Run};
use super::transition::Happened;
use super::trouble::Trouble;
use super::{disk, prune, seal, shared};
use crate::context::Context;
use crate::id::ReleaseId;
use crate::process::{self, BUILD_MARKER, GRACE};
use crate::state::files::{At as _, sync_dir};
use crate::state::{DeploymentRecord, Layout, Record, ReleaseRecord, State};
use crate::step::Step;
use crate::traits::{BuildRequest, Resolved, TreeSize};

impl Application {
    /// Refuses a plan that cannot be carried out, as far as that is known before anything is fetched.
    pub(super) fn refuse_unmakeable(
        &self,
        ctx: &Context,
        state: &State,
        plan: &Plan,
        resolved: &Resolved,
    ) -> Result<(), Error> {
        if plan.action != Action::Build {
            return Ok(());
        }
        let source = self.source()?;
        let brings = |path: &Utf8Path| source.has_file(ctx, &resolved.id, path);
        shared::missing_files(&self.layout, &self.config.shared, brings)?;
        let last = plan.from.as_ref().and_then(|from| state.release(from));
        disk::guard(self.layout.root(), &self.config.disk, taken(last))
    }
}

/// What the last release took: the next will take that, more or less, its build included.
fn taken(last: Option<&ReleaseRecord>) -> TreeSize {
    last.map_or_else(TreeSize::default, |release| TreeSize::new(release.bytes, release.entries))
}

impl Run<'_> {
    /// Does one step of making the release.
    pub(super) fn prepare(&mut self, step: Step) -> Happened {
        if let Some(session) = &mut self.session {
            session.lock.doing(format!("{}: {step}", self.request));
        }
        let detail = match (step, &self.making) {
            (Step::Fetch | Step::Checkout, Some(making)) => making.resolved.id.short().to_owned(),
            _ => String::new(),
        };
        self.step(step, detail, |run| {
            run.ctx.check()?;
            match step {
                Step::Fetch => run.fetch(),
                Step::Checkout => run.check_out(),
                Step::LinkFiles => run.link_files(),
                Step::Build => run.build(),
                Step::LinkDirectories => run.link_directories(),
                _ => run.seal(),
            }
        })
    }

    fn making(&self) -> Result<&Making, Error> {
        self.making.as_ref().ok_or_else(|| Error::Unsettled { what: "nothing to make".into() })
    }

    /// The directory of the release that is being made.
    fn root(&mut self) -> Result<Utf8PathBuf, Error> {
        let target = self.target()?;
        Ok(crate::traits::Release::root(&target).to_owned())
    }

    fn fetch(&mut self) -> Result<String, Trouble> {
        let (layout, config) = (&self.app.layout, &self.app.config);
        let from = self.from.clone();
        let last = taken(self.release(from.as_ref()).as_ref());
        let making = self.making()?;
        making.source.fetch(&self.ctx, &making.resolved)?;
        let size = making.source.size(&self.ctx, &making.resolved.id)?;
        let Some(size) = size else { return Ok(String::new()) };
        let needed = TreeSize::new(size.bytes.max(last.bytes), size.entries.max(last.entries));
        disk::guard(layout.root(), &config.disk, needed)?;
        Ok(format!("{}, {}", count(size.entries, "entry", "entries"), disk::size(size.bytes)))
    }

    fn check_out(&mut self) -> Result<String, Trouble> {
        let root = self.create_release()?;
        let making = self.making()?;
        let written = making.source.materialise(&self.ctx, &making.resolved.id, &root)?;
        let revision = root.join("REVISION");
        if revision.symlink_metadata().is_err() {
            let text = format!("{}\n", making.resolved.id.digest());
            std::fs::write(&revision, text).at("write", &revision)?;
        }
        Ok(format!("{}, {}", count(written.files, "file", "files"), disk::size(written.bytes)))
    }

    /// Records the release that is about to be made, then makes its directory.
    fn create_release(&mut self) -> Result<Utf8PathBuf, Trouble> {
        let (app, now) = (self.app, self.ctx.now());
        let (source, name) = {
            let resolved = &self.making()?.resolved;
            (resolved.id.clone(), resolved.name.clone())
        };
        let state = self.session()?.state();
        let release = ReleaseId::generate(now, &source, |id| {
            // An id that is gone is still one in the history.
            let known = |record: &DeploymentRecord| record.to.as_ref() == Some(id);
            state.releases.contains_key(id)
                || state.deployments.iter().any(known)
                || app.layout.releases().join(id.as_str()).exists()
        });
        let path = Layout::release_path(&release);
        let root = app.layout.root().join(&path);
        self.record([Record::ReleaseCreated {
            deployment: self.deployment,
            release: release.clone(),
            source,
            name,
            build: app.config.build_digest(),
            path,
            marker: marker(&release),
        }])?;
        self.to = Some(release);
        let releases = app.layout.releases();
        if !releases.exists() {
            std::fs::create_dir(&releases).at("make", &releases)?;
            sync_dir(app.layout.root())?;
        }
        std::fs::create_dir(&root).at("make", &root)?;
        Ok(root)
    }

    fn link_files(&mut self) -> Result<String, Trouble> {
        let (app, root) = (self.app, self.root()?);
        let files = shared::link_files(&app.layout, &app.config.shared, &root)?;
        let early = &app.config.shared.build_dirs;
        let directories = shared::link_directories(&app.layout, early, &root)?;
        Ok(format!("{} linked", files + directories))
    }

    fn link_directories(&mut self) -> Result<String, Trouble> {
        let (app, root) = (self.app, self.root()?);
        let dirs = &app.config.shared.dirs;
        Ok(format!("{} linked", shared::link_directories(&app.layout, dirs, &root)?))
    }

    fn build(&mut self) -> Result<String, Trouble> {
        let root = self.root()?;
        let record = self.release(self.to.clone().as_ref());
        let record = record.ok_or_else(|| Error::Unsettled { what: "no release".into() })?;
        let marker = (BUILD_MARKER.to_owned(), record.marker);
        let request = BuildRequest::new(record.id, record.source, root, marker);
        let making = self.making()?;
        making.builder.build(&self.ctx, &request)?;
        Ok(match making.builder.steps().len() {
            0 => "nothing to build".to_owned(),
            number => count(number as u64, "step", "steps"),
        })
    }

    fn seal(&mut self) -> Result<String, Trouble> {
        let root = self.root()?;
        let size = seal::sync_tree(&self.ctx, &root)?;
        // A signal that came during the sync must not find a sealed release that nobody wanted.
        self.ctx.check()?;
        if let Some(release) = self.to.clone() {
            self.record([Record::ReleaseSealed {
                release,
                runtime: self.app.config.runtime(),
                bytes: size.bytes,
                entries: size.entries,
            }])?;
        }
        Ok(disk::size(size.bytes))
    }

    /// Removes what was made of a release that failed. What cannot be removed now, recovery will.
    pub(super) fn discard(&mut self) -> Happened {
        let Some(release) = self.to.take() else { return Happened::Done };
        let reason = self.failure.as_ref().map_or_else(String::new, |f| f.error.clone());
        let (app, ctx) = (self.app, self.ctx.clone());
        let swept =
            self.session().and_then(|session| prune::discard(app, &ctx, session, &release, reason));
        if let Err(error) = swept {
            self.ctx.warn(format!(
                "release {release} is left in part: {}; `deploykit recover` removes it",
                crate::chain(&error)
            ));
        }
        Happened::Done
    }
}

/// A number with its noun.
fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A value that no other process has in its environment.
fn marker(release: &ReleaseId) -> String {
    let mut random = std::hash::RandomState::new().build_hasher();
    random.write_u32(std::process::id());
    format!("{release}.{:016x}", random.finish())
}

/// Ends whatever a killed build left behind. Returns how many processes that were.
pub(super) fn end_build(ctx: &Context, marker: &str) -> usize {
    if marker.is_empty() {
        return 0;
    }
    match process::end_marked(ctx, BUILD_MARKER, marker, GRACE) {
        Ok(ended) => ended.ended.len(),
        Err(error) => {
            ctx.warn(format!("processes of a killed build may be left: {error}"));
            0
        }
    }
}
