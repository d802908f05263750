//! Whoever takes note of the ends of all children that nobody waits for leaves those alone that somebody
//! does wait for. In a program of its own, since it concerns all children of the process.

use std::sync::atomic::{AtomicBool, Ordering};

use deploykit_core::Context;
use deploykit_core::process::{self, Outcome, ProcessSpec};
use deploykit_process::{Manager, Quiet};

#[test]
fn no_exit_code_of_what_is_waited_for_is_taken_away() {
    let (manager, is_over) = (Manager::start(Quiet).unwrap(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                manager.reap();
                std::thread::yield_now();
            }
        });
        let ctx = Context::new().unwrap();
        let spec = ProcessSpec::new("short", ["sh", "-c", "exit 7"], "/");
        let run = |_| match process::run(&ctx, &spec, &mut |_, _| {}).map(|done| done.outcome) {
            Ok(Outcome::Exited(exit)) => exit.to_string(),
            other => format!("{other:?}"),
        };
        let ends: Vec<String> = (0..200).map(run).collect();
        is_over.store(true, Ordering::Relaxed);
        let wrong: Vec<&String> = ends.iter().filter(|end| *end != "exited with code 7").collect();
        assert!(wrong.is_empty(), "{} of 200: {:?}", wrong.len(), wrong.first());
    });
}
