//! Bringing a service over to another version under load: what is lost, what it costs, and how soon the new
//! one answers. By deploykit, and by what else people use for it, in the same run.

mod ours;
mod proxies;
mod sample;
mod systemd;

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use deploykit_testkit::load::{Load, MIXTURE, Tally};

use crate::Result;
use crate::report::{number, row, say, table, tell};
use crate::stats::spread;
use sample::Sample;

/// So long after its beginning a switch is looked at, and what is measured beside it.
const WINDOW: Duration = Duration::from_secs(1);

/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A way to bring a service over.
trait Way {
    fn name(&self) -> String;

    fn address(&self) -> SocketAddr;

    /// What is done before: there is something new.
    fn prepare(&mut self, _version: &str) -> Result<()> {
        Ok(())
    }

    /// Brings it over, as somebody would by hand or with a tool. It is done when this returns, but for what the
    /// old one has to finish.
    fn switch(&mut self, version: &str) -> Result<()>;

    /// Waits until the old one has ended.
    fn settle(&mut self) -> Result<()>;

    /// Begins a load on it.
    fn load(&self, version: &str) -> Load {
        Load::begin(self.address(), &MIXTURE, &[version])
    }
}

/// What came of it.
struct Measured {
    tally: Tally,
    /// When switches were, and what is measured beside them.
    switches: Vec<Range<Duration>>,
    controls: Vec<Range<Duration>>,
    /// From the command to the first answer of the new version, in milliseconds.
    first: Vec<f64>,
}

/// Measures, and prints a table.
pub(crate) fn run(program: &Path, sample: &Path, directory: &Path, rounds: usize) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    let sample = Sample::new(sample);
    let own = own_start(&sample, &directory.join("own"))?;
    say(&format!(
        "\nThe application alone answers {} ms after it is started. {rounds} switches each; the 99th percentile is of \
         requests sent within {} s of its beginning, the control the same where a process starts that nobody asks anything.",
        number(own),
        WINDOW.as_secs()
    ));
    table(
        "Hand-over",
        &[
            "way",
            "lost",
            "of requests",
            "99th percentile, ms",
            "control, ms",
            "ratio",
            "first answer after, ms",
            "beyond the application's start, ms",
        ],
    );
    let mut number_of_way = 0;
    let mut place = |name: &str| {
        number_of_way += 1;
        let path = directory.join(format!("{number_of_way}-{name}"));
        std::fs::create_dir_all(&path).map(|()| path)
    };
    let hand_over = ours::Ours::begin(program, &sample, &place("ours")?, "")?;
    measure(Box::new(hand_over), &sample, rounds, own)?;
    let more = "on_deploy = \"restart\"\n";
    let restart = ours::Ours::begin(program, &sample, &place("restart")?, more)?;
    measure(Box::new(restart), &sample, rounds, own)?;
    let by_hand = sample::ByHand::begin(&sample, &place("by-hand")?)?;
    measure(Box::new(by_hand), &sample, rounds, own)?;
    if let Some(way) = systemd::Socket::begin(&sample, &place("systemd")?)? {
        measure(Box::new(way), &sample, rounds, own)?;
    }
    for kind in proxies::installed() {
        let way = proxies::Proxied::begin(kind, &sample, &place("proxy")?)?;
        measure(Box::new(way), &sample, rounds, own)?;
    }
    Ok(())
}

fn measure(mut way: Box<dyn Way>, sample: &Sample, rounds: usize, own: f64) -> Result<()> {
    let name = way.name();
    tell(&format!("{name} …"));
    let Measured { tally, switches, controls, first } =
        switch_and_measure(&mut *way, sample, rounds)?;
    let millis = |within: &[Range<Duration>]| {
        tally.percentile(99.0, within).map(|time| time.as_secs_f64() * 1e3)
    };
    let (around, control) = (millis(&switches), millis(&controls));
    // Nobody was answered.
    let none = || "–".to_owned();
    let failures: Vec<String> =
        tally.failures.iter().map(|(kind, count)| format!("{count} {kind:?}")).collect();
    let failures =
        if failures.is_empty() { String::new() } else { format!(" ({})", failures.join(", ")) };
    let first = spread(&first).median;
    row(&[
        name,
        format!("**{}**{failures}", tally.lost()),
        tally.sent().to_string(),
        around.map_or_else(none, number),
        control.map_or_else(none, number),
        around
            .zip(control)
            .map_or_else(none, |(around, control)| format!("{:.2}", around / control)),
        number(first),
        number(first - own),
    ]);
    Ok(())
}

fn switch_and_measure(way: &mut dyn Way, sample: &Sample, rounds: usize) -> Result<Measured> {
    way.prepare("v0")?;
    way.switch("v0")?;
    way.settle()?;
    let load = way.load("v0");
    let (mut switches, mut controls, mut begun) = (Vec::new(), Vec::new(), Vec::new());
    let mut serving = "v0".to_owned();
    std::thread::sleep(WINDOW);
    for number in 1..=rounds {
        let from = load.elapsed();
        let idle = sample.start_aside()?;
        rest(&load, from);
        controls.push(from..from + WINDOW);
        drop(idle);
        let version = format!("v{number}");
        way.prepare(&version)?;
        load.allow(&[&serving, &version]);
        let from = load.elapsed();
        way.switch(&version)?;
        rest(&load, from);
        switches.push(from..from + WINDOW);
        begun.push((version.clone(), from));
        way.settle()?;
        load.allow(&[&version]);
        serving = version;
    }
    let tally = load.end();
    let first = begun.iter().filter_map(|(version, from)| {
        let at = tally.first.get(version)?;
        Some(at.saturating_sub(*from).as_secs_f64() * 1e3)
    });
    let first = first.collect();
    Ok(Measured { tally, switches, controls, first })
}

/// Waits until the window is over that has begun then.
fn rest(load: &Load, from: Duration) {
    std::thread::sleep((from + WINDOW).saturating_sub(load.elapsed()));
}

/// How long the application itself takes from its start to its first answer, in milliseconds.
fn own_start(sample: &Sample, directory: &Path) -> Result<f64> {
    let mut took = Vec::new();
    for number in 0..11 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let version = sample.version(directory, &format!("v{number}"))?;
        let begun = Instant::now();
        let running = sample.start(&version, &listener)?;
        sample::ask(address)?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        drop(running);
    }
    Ok(spread(&took).median)
}

/// Waits until it is so.
fn until(what: &str, mut so: impl FnMut() -> bool) -> Result<()> {
    let begun = Instant::now();
    while !so() {
        if begun.elapsed() > PATIENCE {
            return Err(format!("it never came to this: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
