//! What is to be told of services: held back, kept, tried again.

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Place, message, until};
use deploykit_notify::{Letter, Outbox};

const FILE: &str = "[[notify.to]]\ntype = \"file\"\npath = \"told\"\nformat = \"text\"\n";

/// Fails until the file `open` is there.
const GATE: &str = "[[notify.to]]\nname = \"gate\"\ntype = \"command\"\n\
    command = [\"sh\", \"-c\", \"test -e open && echo $1 >> passed\", \"x\", \"{what}\"]\n";

#[derive(Clone, Default)]
struct Troubles(Arc<Mutex<Vec<String>>>);

impl Troubles {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

fn open(place: &Place, notify: &str) -> (Outbox, Troubles) {
    let troubles = Troubles::default();
    let told = troubles.clone();
    let application = place.application(notify);
    let outbox = Outbox::open(&application, move |what| told.0.lock().unwrap().push(what));
    (outbox.unwrap(), troubles)
}

fn tell(outbox: &Outbox, place: &Place, what: &str) {
    let mut message = message(&place.root());
    message.what = what.to_owned();
    message.at = deploykit_core::Timestamp::now();
    outbox.tell(move || Letter { message, service: Some("web".into()) });
}

fn waiting(place: &Place) -> usize {
    std::fs::read_dir(place.root().join(".deploykit/notices")).map_or(0, Iterator::count)
}

#[test]
fn equal_ones_are_held_back_and_told_with_their_count() {
    let place = Place::new();
    let (outbox, troubles) = open(&place, &format!("[notify]\nhold = \"400ms\"\n{FILE}"));
    for _ in 0..5 {
        tell(&outbox, &place, "exited with code 1");
    }
    tell(&outbox, &place, "was killed");
    until("those that were held back are told", || place.read("told").lines().count() == 3);
    let told = place.read("told");
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].ends_with("exited with code 1"), "{told}");
    assert!(lines[1].contains("exited with code 1 (4 times since "), "{told}");
    assert!(lines[2].ends_with("was killed"), "{told}");
    outbox.end(Duration::from_secs(20));
    assert_eq!((waiting(&place), troubles.all()), (0, Vec::<String>::new()));
}

#[test]
fn who_asks_for_some_topics_or_services_hears_of_those_alone() {
    let place = Place::new();
    let services = "[[service]]\nname = \"web\"\ncommand = [\"x\"]\n[[service]]\nname = \"db\"\ncommand = [\"x\"]\n";
    let to = |path: &str, more: &str| {
        format!("[[notify.to]]\ntype = \"file\"\npath = {path:?}\nformat = \"text\"\n{more}\n")
    };
    let notify = [
        services,
        &to("topic", "on = [\"recovered\"]"),
        &to("service", "services = [\"db\"]"),
        &to("both", "on = [\"exited-no-retry\"]\nservices = [\"web\"]"),
    ]
    .concat();
    let (outbox, _) = open(&place, &notify);
    tell(&outbox, &place, "stays down");
    outbox.end(Duration::from_secs(20));
    assert_eq!((place.read("topic"), place.read("service")), (String::new(), String::new()));
    assert_eq!(place.read("both").lines().count(), 1);
}

#[test]
fn what_cannot_be_told_is_kept_and_told_by_the_next_one() {
    let place = Place::new();
    let (outbox, troubles) = open(&place, &format!("{GATE}{FILE}"));
    tell(&outbox, &place, "one");
    tell(&outbox, &place, "two");
    // Nobody else waits for the one that fails.
    until("the other is told", || place.read("told").lines().count() == 2);
    until("it is told that it failed", || !troubles.all().is_empty());
    outbox.end(Duration::from_secs(20));
    let said = troubles.all();
    assert!(
        said[0].starts_with("gate could not be told: ") && said[0].ends_with("one"),
        "{said:?}"
    );
    assert_eq!(said[1], "gate: 2 notices are kept, and told by the next `up`");
    assert_eq!((said.len(), waiting(&place)), (2, 2));
    // A kill would leave the same.
    place.write("open", "");
    let (outbox, troubles) = open(&place, &format!("{GATE}{FILE}"));
    until("it is told", || place.read("passed") == "one\ntwo\n");
    outbox.end(Duration::from_secs(20));
    assert_eq!((waiting(&place), troubles.all().len()), (0, 0));
    assert_eq!(place.read("told").lines().count(), 2, "nobody is told twice");
}

#[test]
fn a_changed_configuration_tells_others_and_tries_at_once_what_could_not_be_told() {
    let place = Place::new();
    let (outbox, troubles) = open(&place, GATE);
    tell(&outbox, &place, "one");
    until("it is told that it failed", || !troubles.all().is_empty());
    place.write("open", "");
    // Its pause is ten seconds: a new configuration does not wait for that.
    let begin = Instant::now();
    outbox.renew(&place.application(&format!("{GATE}{FILE}")));
    until("it is told", || place.read("passed") == "one\n");
    assert!(begin.elapsed() < Duration::from_secs(9), "it was waited for");
    tell(&outbox, &place, "two");
    until("the new one is told", || place.read("told").ends_with("two\n"));
    until("the old one, too", || place.read("passed").ends_with("two\n"));
    std::fs::remove_file(place.root().join("open")).unwrap();
    tell(&outbox, &place, "three");
    until("it failed again", || troubles.all().len() == 2);
    outbox.renew(&place.application(FILE));
    outbox.end(Duration::from_secs(20));
    assert!(troubles.all()[2].contains("1 notice is dropped: "), "{:?}", troubles.all());
    assert_eq!(waiting(&place), 0);
}

#[test]
fn the_end_waits_for_nobody_longer_than_it_may() {
    let place = Place::new();
    let slow = "[notify]\ntimeout = \"10m\"\n[[notify.to]]\ntype = \"command\"\nname = \"slow\"\n\
        command = [\"sh\", \"-c\", \"echo $$ > begun; exec sleep 600\"]\n";
    let (outbox, _) = open(&place, slow);
    tell(&outbox, &place, "one");
    until("it has begun", || place.read("begun").ends_with('\n'));
    let begin = Instant::now();
    outbox.end(Duration::from_millis(100));
    assert!(begin.elapsed() < Duration::from_secs(60));
    assert_eq!(waiting(&place), 1);
    let pid = place.read("begun");
    let path = format!("/proc/{}/cwd", pid.trim());
    until("its program has ended", || std::fs::read_link(&path).is_err());
}
