//! No request is lost: hand-over between releases under load, by the samples of `examples/drain`, and a
//! supervisor that is killed meanwhile.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the figures of a long run are wanted"
)]

mod common;
#[path = "handover/site.rs"]
mod site;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{runs, until};
use deploykit_testkit::load::{Failure, Kind, Load, MIXTURE};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use site::{Sample, Site};

/// So many deployments, and kills, where nobody asks for more: `DEPLOYKIT_LONG_TESTS=1`.
fn many(few: usize, many: usize) -> usize {
    if std::env::var_os("DEPLOYKIT_LONG_TESTS").is_some() { many } else { few }
}

/// Deployments, every fourth one of a release that does not get ready and ends with this code. What serves at the
/// end, and what has before.
fn come_and_go(site: &Site, load: &Load, count: usize, ill: i32) -> (String, String) {
    let (mut serving, mut before) = ("v0".to_owned(), String::new());
    for number in 1..=count {
        let version = format!("v{number}");
        if number % 4 == 0 {
            load.allow(&[&serving]);
            site.deploy_broken(&version).expect(ill);
            continue;
        }
        load.allow(&[&serving, &version]);
        site.deploy(&version).expect(0);
        site.drained();
        load.allow(&[&version]);
        before = std::mem::replace(&mut serving, version);
    }
    (serving, before)
}

/// Deployments under load, and a rollback.
fn hand_over(sample: Sample, more: &str, count: usize) {
    let site = Site::new(sample, more);
    let _up = site.up();
    site.deploy("v0").expect(0);
    let load = Load::begin(site.address(), &MIXTURE, &["v0"]);
    let (serving, before) = come_and_go(&site, &load, count, 1);
    // A rollback takes the same way.
    load.allow(&[&serving, &before]);
    site.app.run(&["rollback"]).expect(0);
    site.drained();
    load.allow(&[&before]);
    std::thread::sleep(Duration::from_millis(300));
    let tally = load.end();
    println!("{sample:?}: {tally}; {:?}", tally.answers);
    assert_eq!(tally.lost(), 0, "{tally}: {:?}", tally.failed_at);
    let answered = tally.answers.len();
    assert_eq!(answered, count - count / 4 + 1, "not every version has answered: {tally:?}");
}

#[test]
fn no_request_is_lost_by_the_sample_in_rust() {
    hand_over(Sample::Rust, "count = 2", many(8, 100));
}

#[test]
fn no_request_is_lost_by_the_sample_in_python_instance_by_instance() {
    hand_over(Sample::Python, "count = 2\non_deploy = \"rolling\"", many(4, 100));
}

#[test]
fn no_request_is_lost_by_the_sample_in_node() {
    if !Sample::Node.is_here() {
        eprintln!("there is no node here: passed over");
        return;
    }
    hand_over(Sample::Node, "", many(4, 100));
}

#[test]
fn the_load_sees_what_a_restart_loses() {
    let site = Site::new(Sample::Rust, "on_deploy = \"restart\"");
    let _up = site.up();
    site.deploy("v0").expect(0);
    // The socket is there all the time; what a restart breaks off is what lies idle, and is kept.
    let load = Load::begin(site.address(), &MIXTURE, &["v0"]);
    std::thread::sleep(Duration::from_millis(500));
    site.deploy("v1").expect(0);
    std::thread::sleep(Duration::from_millis(300));
    let tally = load.end();
    assert!(tally.failures.contains_key(&Failure::WrongVersion), "{tally}");

    // A service that is stopped and started, and opens its socket itself.
    let site = Site::plain();
    let _up = site.up();
    site.deploy("v0").expect(0);
    let load = Load::begin(site.address(), &[Kind::Fresh, Kind::Kept, Kind::Slow], &["v0", "v1"]);
    std::thread::sleep(Duration::from_millis(500));
    site.deploy("v1").expect(0);
    std::thread::sleep(Duration::from_millis(500));
    let tally = load.end();
    for failure in [Failure::Refused, Failure::EarlyEnd] {
        assert!(tally.failures.contains_key(&failure), "no {failure:?} is seen in {tally}");
    }
}

#[test]
fn behind_a_proxy_that_tries_another_one_a_restart_one_by_one_loses_nothing() {
    let Some((site, _proxy)) = Site::proxied(3) else {
        eprintln!("there is no nginx here: passed over");
        return;
    };
    let _up = site.up();
    site.deploy("v0").expect(0);
    let load = Load::begin(site.address(), &[Kind::Fresh, Kind::Kept, Kind::Slow], &["v0"]);
    let (serving, _) = come_and_go(&site, &load, many(2, 20), 3);
    std::thread::sleep(Duration::from_millis(300));
    let tally = load.end();
    println!("behind nginx: {tally}");
    assert!(tally.lost() == 0 && tally.sent() > 100, "{tally}");
    assert!(tally.answers.contains_key(&serving), "{tally:?}");
}

#[test]
fn services_outlive_their_supervisor_and_no_request_and_no_line_is_lost() {
    let site = Site::new(Sample::Rust, "count = 2");
    site.with_chatter();
    let mut up = site.up();
    site.deploy("v0").expect(0);
    let load = Load::begin(site.address(), &MIXTURE, &["v0"]);
    let (is_over, kills) = (AtomicBool::new(false), many(8, 50));
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            for number in 0..kills {
                // Not in step with anything.
                let pause = 40 + (number * 7919) % 500;
                std::thread::sleep(Duration::from_millis(pause as u64));
                up.kill_and_begin_again();
                // On a busy machine it would otherwise never get so far that it answers.
                if number % 3 == 2 {
                    up.answers();
                }
            }
            is_over.store(true, Ordering::SeqCst);
        });
        // Several drain at a time.
        let mut versions = vec!["v0".to_owned()];
        while !is_over.load(Ordering::SeqCst) {
            versions.push(format!("v{}", versions.len()));
            load.allow(&versions.iter().map(String::as_str).collect::<Vec<_>>());
            // `up` begins with a look whether something was broken off.
            site.deploy(versions.last().unwrap()).expect(0);
        }
        killer.join().unwrap();
    });
    std::thread::sleep(Duration::from_millis(300));
    let tally = load.end();
    println!("{kills} kills, {} deployments: {tally}", tally.answers.len() - 1);
    assert_eq!(tally.lost(), 0, "{tally}: {:?}", tally.failed_at);
    let status = site.app.json(&["ps"]);
    for one in status.as_array().unwrap() {
        assert_eq!(one["restarts"], 0, "{status}");
    }
    site.drained();
    let pids = site.pids();
    drop(up);
    assert!(!pids.iter().any(|pid| runs(*pid)), "something is left");
    site.assert_started_once();
    let lines = site.assert_no_line_is_lost();
    println!("{lines} lines");
}

#[test]
fn a_newer_program_takes_over_and_no_request_and_no_line_is_lost() {
    let site = Site::new(Sample::Rust, "count = 2");
    site.with_chatter();
    let up = site.up();
    site.deploy("v0").expect(0);
    let pids = site.pids();
    let load = Load::begin(site.address(), &MIXTURE, &["v0", "v1"]);
    let count = many(4, 50);
    for number in 0..count {
        site.app.run(&["up", "--replace"]).expect(0);
        if number == count / 2 {
            assert_eq!(site.pids(), pids, "a process is another one");
            site.deploy("v1").expect(0);
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    let tally = load.end();
    println!("replaced {count} times: {tally}");
    assert_eq!(tally.lost(), 0, "{tally}: {:?}", tally.failed_at);
    assert_eq!(tally.answers.len(), 2, "{tally:?}");
    site.drained();
    drop(up);
    site.assert_started_once();
    println!("{} lines", site.assert_no_line_is_lost());
}

#[test]
fn what_ends_while_nobody_is_there_has_lost_neither_its_last_lines_nor_its_connections() {
    let site = Site::new(Sample::Rust, "");
    site.with_chatter();
    let mut up = site.up();
    site.deploy("v0").expect(0);
    let pids = site.pids();
    up.die();
    for pid in &pids {
        // The one finishes what it writes, the other one nothing: it has idle connections to wait for.
        kill(Pid::from_raw(*pid), Signal::SIGTERM).unwrap();
    }
    until("they have ended", || !pids.iter().any(|pid| runs(*pid)));
    let load = Load::begin(site.address(), &MIXTURE, &["v0"]);
    std::thread::sleep(Duration::from_millis(100));
    up.kill_and_begin_again();
    up.answers();
    until("they run again", || site.runs());
    std::thread::sleep(Duration::from_millis(300));
    let tally = load.end();
    assert!(tally.lost() == 0 && tally.sent() > 10, "{tally}: {:?}", tally.failed_at);
    assert!(site.pids().iter().all(|pid| !pids.contains(pid)));
    drop(up);
    assert!(site.assert_no_line_is_lost() > 0);
}

#[test]
fn a_supervisor_that_is_killed_and_does_not_come_back_is_missed_by_nobody() {
    let site = Site::new(Sample::Rust, "");
    let up = site.up();
    site.deploy("v0").expect(0);
    let pids = site.pids();
    let load = Load::begin(site.address(), &MIXTURE, &["v0"]);
    up.kill();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(load.end().lost(), 0);
    assert!(pids.iter().all(|pid| runs(*pid)), "they have ended");
    site.app.run(&["ps"]).expect(1).says("`deploykit up` runs the services");
    let begun = Instant::now();
    site.deploy("v1").expect(1).says("`deploykit up` runs the services");
    assert!(begun.elapsed() < Duration::from_secs(30), "it waits too long for nobody");
    site.app.run(&["down"]).expect(0).tells("which a killed `up` had left");
    assert!(!pids.iter().any(|pid| runs(*pid)), "they run on");
    let _up = site.up();
    assert!(site.pids().iter().all(|pid| !pids.contains(pid)), "nothing was left to take over");
}
