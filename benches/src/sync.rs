//! Ways of putting a tree on disk: each entry by itself, or the whole file system. For choosing
//! from how many entries on the engine takes the second.

use std::fs::File;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

use crate::input::Input;
use crate::stats::Pairs;
use crate::work::Work;
use crate::{Result, report};

const COUNTS: [usize; 6] = [10, 50, 200, 500, 2000, 5000];
const DIRECTORIES: usize = 10;

/// Measures both ways.
pub(crate) fn measure(work: &Work, _: &[Input]) -> Result<()> {
    let columns = ["files", "one by one, ms", "syncfs, ms", "ratio (least–most)"];
    report::table("Ways to sync a tree", &columns);
    for count in COUNTS {
        let mut pairs = Pairs::default();
        for round in 0..if work.quick { 1 } else { 9 } {
            let one = |work| timed(work, count, one_by_one);
            let whole = |work| timed(work, count, |root, _| whole(root));
            if round % 2 == 0 {
                let first = one(work)?;
                pairs.push(first, whole(work)?);
            } else {
                let first = whole(work)?;
                pairs.push(one(work)?, first);
            }
        }
        let ratio = pairs.ratio();
        report::row(&[
            count.to_string(),
            report::middle_and_most(pairs.ours()),
            report::middle_and_most(pairs.theirs()),
            format!("**{:.2}** ({:.2}–{:.2})", ratio.median, ratio.least, ratio.most),
        ]);
    }
    Ok(())
}

fn timed(
    work: &Work,
    count: usize,
    sync: impl Fn(&Utf8Path, &[Utf8PathBuf]) -> Result<()>,
) -> Result<Duration> {
    let root = work.fresh("sync");
    work.settle()?;
    let entries = write(&root, count)?;
    let begun = Instant::now();
    sync(&root, &entries)?;
    Ok(begun.elapsed())
}

fn write(root: &Utf8Path, count: usize) -> Result<Vec<Utf8PathBuf>> {
    let mut entries = Vec::new();
    for directory in 0..DIRECTORIES {
        let path = root.join(directory.to_string());
        std::fs::create_dir_all(&path)?;
        entries.push(path);
    }
    for file in 0..count {
        let path = root.join(format!("{}/{file}", file % DIRECTORIES));
        std::fs::write(&path, vec![b'x'; 2500])?;
        entries.push(path);
    }
    entries.push(root.to_owned());
    Ok(entries)
}

fn one_by_one(_: &Utf8Path, entries: &[Utf8PathBuf]) -> Result<()> {
    entries.iter().try_for_each(|path| File::open(path)?.sync_all())?;
    Ok(())
}

fn whole(root: &Utf8Path) -> Result<()> {
    Ok(nix::unistd::syncfs(File::open(root)?)?)
}
