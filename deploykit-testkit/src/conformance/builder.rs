//! What every [`Builder`] keeps.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deploykit_core::process::{BUILD_MARKER, marked};
use deploykit_core::traits::{BuildError, BuildRequest, Builder, Release as _};
use deploykit_core::{Cause, Context, Event, EventKind, FnSink, Layout};

use super::name_is_settled;
use super::scene::{Scene, tree};

/// How long anything here may take that takes no time: noisy machines have slow minutes.
const LONG: Duration = Duration::from_secs(60);

/// What a builder is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildCase {
    /// Write a file `built` into the release's root, say `done` in its output, and succeed.
    Good,
    /// Say `broken` in its output and fail.
    Bad,
    /// Put a file `begun` into the release's root at once, and then work for ever. A builder that runs
    /// programs starts one that would outlive the build, and writes its process id into that file.
    Endless,
}

/// Puts a builder through everything that [`Builder`] promises. `make` makes a builder that does
/// what the case says.
///
/// # Panics
/// When a promise is not kept.
pub fn builder(make: impl Fn(&Layout, BuildCase) -> Arc<dyn Builder>) {
    let make: Make<'_> = &make;
    let scene = Scene::new();
    let good = || make(scene.layout(), BuildCase::Good);
    name_is_settled("builder", good().name(), good().name());
    steps_are_lines(&*good());
    a_good_build_stays_in_its_release(make);
    a_bad_build_ends_with_the_end_of_its_output(make);
    a_cancelled_build_does_not_begin(make);
    nothing_is_left_of_a_build_that_is_cancelled(make);
    a_deadline_ends_a_build(make);
}

type Make<'a> = &'a dyn Fn(&Layout, BuildCase) -> Arc<dyn Builder>;

struct Site {
    scene: Scene,
    request: BuildRequest,
    context: Context,
    lines: Arc<Mutex<Vec<String>>>,
}

fn site() -> Site {
    let scene = Scene::new();
    let release = scene.release(1);
    // The engine has checked something out; a build does not begin in an empty directory.
    std::fs::write(release.root().join("content"), release.source().digest()).expect("a file");
    let marker = (BUILD_MARKER.to_owned(), scene.layout().root().as_str().to_owned());
    let (id, source) = (release.id().clone(), release.source().clone());
    let request = BuildRequest::new(id, source, release.root().to_owned(), marker);
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&lines);
    let sink = FnSink::new(move |event: &Event| {
        if let EventKind::Output { line, .. } = &event.kind {
            seen.lock().expect("the lines").push(line.clone());
        }
    });
    let context = Context::new().expect("a context").with_sink(Arc::new(sink));
    Site { scene, request, context, lines }
}

impl Site {
    fn build(&self, make: Make<'_>, case: BuildCase) -> Result<(), BuildError> {
        make(self.scene.layout(), case).build(&self.context, &self.request)
    }

    fn said(&self, text: &str) -> bool {
        self.lines.lock().expect("the lines").iter().any(|line| line.contains(text))
    }

    /// The process that an endless build has started, if it is one that runs programs.
    fn process(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.request.root.join("begun")).ok()?;
        (!text.trim().is_empty()).then(|| text.trim().parse().expect("a process id"))
    }

    fn its_process_is_marked(&self) {
        let Some(pid) = self.process() else { return };
        let (name, value) = &self.request.marker;
        let marked = marked(name, value).expect("the processes");
        let found = marked.iter().any(|process| process.pid == pid);
        assert!(found, "process {pid} of the build does not carry the mark: {marked:?}");
    }

    fn nothing_runs(&self) {
        let (name, value) = &self.request.marker;
        let left = marked(name, value).expect("the processes");
        assert!(left.is_empty(), "processes of the build still run: {left:?}");
    }

    fn has(&self, name: &str) -> bool {
        self.request.root.join(name).exists()
    }
}

fn steps_are_lines(builder: &dyn Builder) {
    let steps = builder.steps();
    assert!(!steps.is_empty(), "a builder that does something has no steps");
    for step in &steps {
        let line = !step.trim().is_empty() && !step.contains('\n');
        assert!(line, "a step is not one line: {step:?}");
    }
    assert_eq!(steps, builder.steps(), "its steps change");
}

fn a_good_build_stays_in_its_release(make: Make<'_>) {
    let site = site();
    let (root, into) = (site.scene.layout().root(), site.request.root.as_path());
    let before = tree(root, &[into]);
    site.build(make, BuildCase::Good).expect("a good build");
    assert!(site.has("built"), "nothing was built in {into}");
    assert!(site.said("done"), "its output did not come through the context");
    assert_eq!(tree(root, &[into]), before, "something outside {into} has changed");
    site.nothing_runs();
}

fn a_bad_build_ends_with_the_end_of_its_output(make: Make<'_>) {
    let site = site();
    let error = site.build(make, BuildCase::Bad).expect_err("a bad build");
    assert!(matches!(error, BuildError::Failed { .. }), "it did not fail, but: {error:?}");
    let tail = error.tail();
    assert!(tail.iter().any(|line| line.contains("broken")), "its end is not told: {tail:?}");
    assert!(site.said("broken"), "its output did not come through the context");
    site.nothing_runs();
}

fn is_cancelled(answer: &Result<(), BuildError>, cause: Cause) -> bool {
    matches!(answer, Err(BuildError::Cancelled(cancelled)) if cancelled.0 == cause)
}

fn a_cancelled_build_does_not_begin(make: Make<'_>) {
    let site = site();
    site.context.cancellation().cancel(Cause::HangUp);
    let answer = site.build(make, BuildCase::Good);
    assert!(is_cancelled(&answer, Cause::HangUp), "it is not cancelled: {answer:?}");
    assert!(!site.has("built"), "it was built all the same");
}

fn nothing_is_left_of_a_build_that_is_cancelled(make: Make<'_>) {
    let site = site();
    let builder = make(site.scene.layout(), BuildCase::Endless);
    let answer = std::thread::scope(|scope| {
        let building = scope.spawn(|| builder.build(&site.context, &site.request));
        let started = Instant::now();
        while !site.has("begun") && !building.is_finished() && started.elapsed() < LONG {
            std::thread::sleep(Duration::from_millis(2));
        }
        site.its_process_is_marked();
        site.context.cancellation().cancel(Cause::Interrupt);
        building.join().expect("the builder does not panic")
    });
    assert!(site.has("begun"), "it did not begin: {answer:?}");
    assert!(is_cancelled(&answer, Cause::Interrupt), "it is not cancelled: {answer:?}");
    site.nothing_runs();
}

fn a_deadline_ends_a_build(make: Make<'_>) {
    let mut site = site();
    site.context = site.context.with_timeout(Duration::from_millis(300));
    let answer = site.build(make, BuildCase::Endless);
    let other = matches!(&answer, Ok(()) | Err(BuildError::Cancelled(_)));
    assert!(!other, "a deadline is neither a success nor a cancellation: {answer:?}");
    site.nothing_runs();
}
