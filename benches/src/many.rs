//! An application with many releases, recorded through the library without deploying anything.

use std::time::Duration;

use camino::Utf8Path;
use deploykit::config::RuntimeConfig;
use deploykit::state::{ConfirmedBy, Holder, Journal, Lock, Record};
use deploykit::{
    Actor, BuildDigest, Context, DeploymentId, Layout, Outcome, ReleaseId, Request, Revision,
    SourceId, Timestamp,
};

use crate::Result;
use crate::toolkit::Toolkit;

/// How many deployments are written before the journal is opened again, which is when it may be
/// rotated.
const BETWEEN: u64 = 50;

/// Makes an application with this many confirmed releases in the directory `app`.
pub(crate) fn application(
    app: &Utf8Path,
    url: &str,
    binary: &Utf8Path,
    releases: u64,
) -> Result<Toolkit> {
    let more = "[releases]\nkeep = 100000\n";
    let toolkit = Toolkit::with(app.to_owned(), url, binary, more)?;
    let layout = toolkit.layout();
    let by = Actor::current("bench");
    let ctx = Context::new()?;
    let holder = Holder::current(ctx.now(), by.clone(), "bench");
    let lock = Lock::acquire(&ctx, &layout, holder, Duration::ZERO)?;
    std::fs::create_dir_all(layout.releases())?;
    let mut last = None;
    let mut number = 1;
    while number <= releases {
        let mut journal = Journal::open(&layout, &lock, 500)?;
        for number in number..(number + BETWEEN).min(releases + 1) {
            last = Some(deployment(&mut journal, &layout, number, &by, last)?);
        }
        number += BETWEEN;
    }
    if let Some(last) = last {
        std::os::unix::fs::symlink(Layout::release_path(&last), layout.active_link())?;
    }
    Ok(toolkit)
}

/// Records one deployment as the engine does, line by line.
fn deployment(
    journal: &mut Journal,
    layout: &Layout,
    number: u64,
    by: &Actor,
    from: Option<ReleaseId>,
) -> Result<ReleaseId> {
    let deployment = DeploymentId(number);
    let at = Timestamp::from_millis(1_700_000_000_000 + i64::try_from(number)? * 60_000);
    // Digests differ in their first digits, as real ones do.
    let digits = u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    let source = SourceId::new("git", &format!("{digits:032x}{number:08x}"))?;
    let release = ReleaseId::generate(at, &source, |_| false);
    let path = Layout::release_path(&release);
    std::fs::create_dir(layout.root().join(&path))?;
    let request =
        Request::Deploy { revision: Revision::remote_head(), rebuild: false, retry: false };
    let runtime = RuntimeConfig::default();
    let started =
        Record::DeploymentStarted { deployment, request, by: by.clone(), from: from.clone() };
    let resolved = Record::DeploymentResolved {
        deployment,
        source: source.clone(),
        release: None,
        runtime: None,
        spares: false,
        demand: None,
    };
    let created = Record::ReleaseCreated {
        deployment,
        release: release.clone(),
        source,
        name: "refs/heads/main".into(),
        build: BuildDigest::of(b"bench"),
        path,
        marker: format!("{release}.0123456789abcdef"),
    };
    let sealed =
        Record::ReleaseSealed { release: release.clone(), runtime, bytes: 1 << 20, entries: 200 };
    let to = Some(release.clone());
    let intended = Record::ActivationIntended { deployment, from, to: to.clone() };
    let activated = Record::Activated { deployment, to };
    let confirmed = Record::Confirmed { release: release.clone(), by: ConfirmedBy::Nothing };
    let outcome = Outcome::Deployed { verified: false };
    let finished = Record::DeploymentFinished { deployment, outcome };
    journal.append(at, [started, resolved])?;
    journal.append(at, [created])?;
    journal.append(at, [sealed])?;
    journal.append(at, [intended])?;
    journal.append(at, [activated, confirmed])?;
    journal.append(at, [finished])?;
    Ok(release)
}
