//! What every [`Activator`] keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::Utf8PathBuf;
use deploykit_core::Layout;
use deploykit_core::traits::{Activator, ActivatorError, Release as _};

use super::name_is_settled;
use super::scene::Scene;

/// How many switches the reader of [`one_or_the_other_at_every_instant`] sees.
const SWITCHES: usize = 300;

/// Puts an activator through everything that [`Activator`] promises. `make` makes the activator of
/// an application; two that it makes of one application see the same.
///
/// # Panics
/// When a promise is not kept.
pub fn activator(make: impl Fn(&Layout) -> Arc<dyn Activator>) {
    let make: &dyn Fn(&Layout) -> Arc<dyn Activator> = &make;
    let scene = Scene::new();
    name_is_settled("activator", make(scene.layout()).name(), make(scene.layout()).name());
    switches_are_seen_by_others(make);
    another_than_expected_changes_nothing(make);
    paths_are_named_from_the_application(make);
    one_or_the_other_at_every_instant(make);
}

type Make<'a> = &'a dyn Fn(&Layout) -> Arc<dyn Activator>;

/// An application with two releases, as paths.
fn two() -> (Scene, Utf8PathBuf, Utf8PathBuf) {
    let scene = Scene::new();
    let path = |number| Layout::release_path(scene.release(number).id());
    let (one, two) = (path(1), path(2));
    (scene, one, two)
}

fn switches_are_seen_by_others(make: Make<'_>) {
    let (scene, one, two) = two();
    let layout = scene.layout();
    let steps = [
        (None, None),
        (None, Some(&one)),
        (Some(&one), Some(&one)),
        (Some(&one), Some(&two)),
        (Some(&two), None),
        (None, None),
        (None, Some(&two)),
    ];
    for (from, to) in steps {
        let switched = make(layout).switch(from, to);
        switched.unwrap_or_else(|error| panic!("from {from:?} to {to:?}: {error}"));
        let active = make(layout).active().expect("what is active");
        assert_eq!(active.as_ref(), to, "another activator does not see the switch from {from:?}");
    }
}

fn another_than_expected_changes_nothing(make: Make<'_>) {
    let (scene, one, two) = two();
    let layout = scene.layout();
    for active in [None, Some(&one)] {
        make(layout).switch(None, active).expect("a switch");
        for expected in [None, Some(&one), Some(&two)].into_iter().filter(|e| *e != active) {
            for to in [None, Some(&one), Some(&two)] {
                let error = make(layout).switch(expected, to);
                let Err(ActivatorError::Changed { expected: said, found }) = &error else {
                    panic!("{active:?} is active and {expected:?} was expected: {error:?}")
                };
                assert_eq!((said.as_ref(), found.as_ref()), (expected, active));
                assert_eq!(make(layout).active().expect("what is active").as_ref(), active);
            }
        }
    }
}

fn paths_are_named_from_the_application(make: Make<'_>) {
    let (scene, one, _) = two();
    let (layout, elsewhere) = (scene.layout(), Scene::new());
    let outside = elsewhere.layout().releases();
    let activator = make(layout);
    activator.switch(None, Some(&outside)).expect("a switch to elsewhere");
    assert_eq!(activator.active().expect("what is active"), Some(outside.clone()));
    let absolute = layout.root().join(&one);
    activator.switch(Some(&outside), Some(&absolute)).expect("a switch to an absolute path");
    assert_eq!(activator.active().expect("what is active"), Some(one), "it is relative");
}

fn one_or_the_other_at_every_instant(make: Make<'_>) {
    let (scene, one, two) = two();
    let (writer, reader) = (make(scene.layout()), make(scene.layout()));
    writer.switch(None, Some(&one)).expect("a switch");
    let (ended, seen) = (AtomicBool::new(false), [&one, &two]);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                let active = reader.active().expect("what is active").expect("that something is");
                assert!(seen.contains(&&active), "{active} is active in between");
            }
        });
        let (mut from, mut to) = (&one, &two);
        for _ in 0..SWITCHES {
            writer.switch(Some(from), Some(to)).expect("a switch");
            std::mem::swap(&mut from, &mut to);
        }
        ended.store(true, Ordering::SeqCst);
        reading.join().expect("it was one or the other all the time");
    });
}
