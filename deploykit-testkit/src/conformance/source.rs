//! What every [`Source`] keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::traits::{Materialised, Resolved, Source, SourceError};
use deploykit_core::{Cause, Context, Layout, Revision, SourceId};

use super::name_is_settled;
use super::scene::{Entry, Scene, tree};

/// What a source is made of, and what is known of its content.
pub struct SourceCase<'a> {
    /// Makes the source of an application.
    pub make: &'a dyn Fn(&Layout) -> Arc<dyn Source>,
    /// A revision that there is.
    pub known: Revision,
    /// One that there is not.
    pub unknown: Revision,
    /// The files of `known`: path to content.
    pub files: &'a [(&'a str, &'a str)],
    /// Well-formed source ids of what there is not.
    pub absent: Vec<SourceId>,
    /// Cuts the source off from wherever its content comes from, where that can be done.
    pub cut_off: Option<&'a dyn Fn()>,
}

impl std::fmt::Debug for SourceCase<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceCase").field("known", &self.known).finish_non_exhaustive()
    }
}

/// Puts a source through everything that [`Source`] promises.
///
/// # Panics
/// When a promise is not kept.
pub fn source(case: &SourceCase<'_>) {
    let scene = Scene::new();
    let source = (case.make)(scene.layout());
    name_is_settled("source", source.name(), (case.make)(scene.layout()).name());
    let resolved = resolving_finds_one_content_and_changes_nothing(case, &scene);
    what_is_not_there_is_not_found(case, &scene, &resolved);
    a_cancellation_is_seen(case, &scene, &resolved);
    content_is_written_faithfully(case, &scene, &*source, &resolved);
}

fn context() -> Context {
    Context::new().expect("a context")
}

fn resolving_finds_one_content_and_changes_nothing(
    case: &SourceCase<'_>,
    scene: &Scene,
) -> Resolved {
    let (root, ctx) = (scene.layout().root(), context());
    let before = tree(root, &[]);
    let source = (case.make)(scene.layout());
    let resolved = source.resolve(&ctx, &case.known).expect("the known revision");
    let again = (case.make)(scene.layout()).resolve(&ctx, &case.known).expect("it again");
    assert_eq!(resolved, again, "{} means two things", case.known);
    let by_name: Revision = resolved.name.parse().expect("its full name is a revision");
    let by_name = source.resolve(&ctx, &by_name).expect("its full name");
    assert_eq!(by_name.id, resolved.id, "{} means something else", resolved.name);
    assert_eq!(tree(root, &[]), before, "resolving has changed something");
    resolved
}

fn what_is_not_there_is_not_found(case: &SourceCase<'_>, scene: &Scene, known: &Resolved) {
    let (ctx, source) = (context(), (case.make)(scene.layout()));
    match source.resolve(&ctx, &case.unknown) {
        Err(SourceError::NotFound { revision, .. }) => {
            assert_eq!(revision, case.unknown.to_string(), "it names another revision");
        }
        other => panic!("{} was resolved: {other:?}", case.unknown),
    }
    for id in &case.absent {
        let absent = Resolved::new(id.clone(), known.name.clone());
        assert!(source.fetch(&ctx, &absent).is_err(), "{id} was fetched");
        let into = empty(scene, "absent");
        assert!(source.materialise(&ctx, id, &into).is_err(), "{id} was written");
    }
}

fn a_cancellation_is_seen(case: &SourceCase<'_>, scene: &Scene, known: &Resolved) {
    let (ctx, source) = (context(), (case.make)(scene.layout()));
    ctx.cancellation().cancel(Cause::Terminate);
    let into = empty(scene, "cancelled");
    let answers = [
        ("resolve", source.resolve(&ctx, &case.known).map(drop)),
        ("fetch", source.fetch(&ctx, known)),
        ("materialise", source.materialise(&ctx, &known.id, &into).map(drop)),
    ];
    for (what, answer) in answers {
        let seen = matches!(&answer, Err(SourceError::Cancelled(c)) if c.0 == Cause::Terminate);
        assert!(seen, "{what} does not see that it is cancelled: {answer:?}");
    }
}

fn content_is_written_faithfully(
    case: &SourceCase<'_>,
    scene: &Scene,
    source: &dyn Source,
    known: &Resolved,
) {
    let ctx = context();
    source.fetch(&ctx, known).expect("it is fetched");
    source.fetch(&ctx, known).expect("what is fetched is fetched again");
    if let Some(cut_off) = case.cut_off {
        cut_off();
    }
    let size = source.size(&ctx, &known.id).expect("its size");
    for (path, _) in case.files {
        let told = source.has_file(&ctx, &known.id, Utf8Path::new(path));
        assert_ne!(told, Some(false), "{path} is in the tree");
    }
    let told = source.has_file(&ctx, &known.id, Utf8Path::new("no/such/file"));
    assert_ne!(told, Some(true), "no/such/file is not in the tree");
    let written = materialise(scene, source, known, "one");
    assert_eq!(written.1, wanted(case.files), "the tree is not what it should be");
    let again = materialise(scene, source, known, "two");
    assert_eq!(written, again, "one source id means two trees");
    let Materialised { bytes, files, .. } = written.0;
    assert_eq!((bytes, files), (total(case.files), case.files.len() as u64), "it is miscounted");
    if let Some(size) = size {
        let all = (size.bytes, size.entries);
        assert_eq!(all, (bytes, written.1.len() as u64), "its size was another");
    }
}

/// What was written, and said to be; nothing else may change.
fn materialise(
    scene: &Scene,
    source: &dyn Source,
    known: &Resolved,
    name: &str,
) -> (Materialised, BTreeMap<Utf8PathBuf, Entry>) {
    let (root, into) = (scene.layout().root(), empty(scene, name));
    let before = tree(root, &[&into]);
    let done = source.materialise(&context(), &known.id, &into).expect("the tree is written");
    assert_eq!(tree(root, &[&into]), before, "something outside {into} has changed");
    (done, tree(&into, &[]))
}

fn empty(scene: &Scene, name: &str) -> Utf8PathBuf {
    let into = scene.layout().releases().join(name);
    let _ = std::fs::remove_dir_all(&into);
    std::fs::create_dir(&into).expect("an empty directory");
    into
}

fn wanted(files: &[(&str, &str)]) -> BTreeMap<Utf8PathBuf, Entry> {
    let mut wanted = BTreeMap::new();
    for (path, content) in files {
        let path = Utf8Path::new(path);
        for parent in path.ancestors().skip(1).filter(|parent| *parent != "") {
            wanted.insert(parent.to_owned(), Entry::Directory);
        }
        let content = content.as_bytes().to_vec();
        wanted.insert(path.to_owned(), Entry::File { content, executable: false });
    }
    wanted
}

fn total(files: &[(&str, &str)]) -> u64 {
    files.iter().map(|(_, content)| content.len() as u64).sum()
}
