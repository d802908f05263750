//! The figures that deploykit promises: its own time, what an unchanged revision costs, and memory.

use std::process::{Command, Stdio};

use camino::Utf8Path;
use deploykit_testkit::git_server::{Behaviour, GitServer, Seen};

use crate::input::{self, Input};
use crate::script::Script;
use crate::stats::spread;
use crate::toolkit::Toolkit;
use crate::work::{Transport, Work, transports};
use crate::{Result, child, many, report};

/// Measures them.
pub(crate) fn measure(work: &Work, inputs: &[Input]) -> Result<()> {
    own_time(work, &inputs[0])?;
    unchanged(work, &inputs[0])?;
    memory(work, inputs)
}

/// The commands whose own time is promised, and the releases that there are.
fn own_time(work: &Work, input: &Input) -> Result<()> {
    let columns = ["releases", "command", "wall, ms", "processor, ms", "in syncs, ms", "syncs"];
    report::table("Own time", &columns);
    for releases in [3, 1000] {
        let app =
            many::application(&work.fresh("many"), input.path().as_str(), &work.binary, releases)?;
        let commands: [&[&str]; 4] = [&["--version"], &["list"], &["status"], &["rollback"]];
        for command in commands {
            let rolls_back = command == ["rollback"];
            let times = match (work.quick, rolls_back && releases < 10) {
                (true, _) | (_, true) => 1,
                _ => 21,
            };
            own_time_of(work, &app, releases, command, times)?;
        }
    }
    Ok(())
}

fn own_time_of(
    work: &Work,
    app: &Toolkit,
    releases: u64,
    command: &[&str],
    times: usize,
) -> Result<()> {
    let (mut wall, mut processor) = (Vec::new(), Vec::new());
    for _ in 0..times {
        work.settle()?;
        let used = child::measure(&app.call(command))?;
        wall.push(to_millis(used.wall));
        processor.push(to_millis(used.processor));
    }
    work.settle()?;
    let syncs = syncs_of(work, &app.call(command))?;
    let (in_syncs, number) = syncs.map_or_else(
        || ("?".to_owned(), "?".to_owned()),
        |syncs| (report::number(syncs.millis), syncs.number.to_string()),
    );
    report::row(&[
        releases.to_string(),
        command.join(" "),
        report::middle_and_most(spread(&wall)),
        report::middle_and_most(spread(&processor)),
        in_syncs,
        number,
    ]);
    Ok(())
}

fn to_millis(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64() * 1e3
}

struct Syncs {
    millis: f64,
    number: usize,
}

/// How long a command waits for the disk, and how often; nothing where there is no strace.
fn syncs_of(work: &Work, command: &Command) -> Result<Option<Syncs>> {
    let log = work.fresh("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-T", "-e", "trace=fsync,fdatasync,syncfs", "-o", log.as_str()]);
    strace.arg(command.get_program()).args(command.get_args());
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match strace.status() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
        Ok(status) if !status.success() => return Ok(None),
        Ok(_) => {}
    }
    let log = std::fs::read_to_string(log)?;
    let seconds: Vec<f64> = log.lines().filter_map(seconds_of).collect();
    Ok(Some(Syncs { millis: seconds.iter().sum::<f64>().abs() * 1e3, number: seconds.len() }))
}

/// The time at the end of a line of strace: `… = 0 <0.000123>`.
fn seconds_of(line: &str) -> Option<f64> {
    line.rsplit_once('<')?.1.strip_suffix('>')?.parse().ok()
}

/// A deployment of what is deployed: counts what the server is asked, and looks whether anything
/// was written.
fn unchanged(work: &Work, input: &Input) -> Result<()> {
    let server = GitServer::start(input.root.as_std_path(), None, Behaviour::default());
    let app = work.fresh("unchanged");
    let toolkit = Toolkit::new(app.clone(), &server.url(input::NAME), &work.binary)?;
    input.set(&input.next)?;
    child::time(&mut toolkit.call(&["deploy"]))?;
    let first = server.take_seen();
    let before = listing(&app)?;
    child::time(&mut toolkit.call(&["deploy"]))?;
    let seen = server.take_seen();
    let after = listing(&app)?;
    let columns = ["deployment over http", "requests", "bytes answered", "files written"];
    report::table("An unchanged revision", &columns);
    let written = after.iter().filter(|entry| !before.contains(entry)).count();
    let bytes = |seen: &[Seen]| seen.iter().map(|seen| seen.answered).sum::<usize>().to_string();
    let requests = |seen: &[Seen]| {
        seen.iter().map(|seen| format!("`{}`", seen.request)).collect::<Vec<_>>().join(", ")
    };
    report::row(&["first".into(), requests(&first), bytes(&first), "all".into()]);
    report::row(&["unchanged".into(), requests(&seen), bytes(&seen), written.to_string()]);
    // A handshake and one ls-refs, and nothing more.
    if seen.len() != 2 || written != 0 {
        return Err(format!("an unchanged revision costs {seen:?} and writes {written}").into());
    }
    Ok(())
}

/// Every file below a directory, with its size and the time of its last change. The lock says who
/// holds it, and nothing else.
fn listing(root: &Utf8Path) -> Result<Vec<(String, u64, std::time::SystemTime)>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in directory.read_dir_utf8()? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                open.push(entry.path().to_owned());
            } else if entry.file_name() != "lock" {
                found.push((entry.path().to_string(), metadata.len(), metadata.modified()?));
            }
        }
    }
    Ok(found)
}

/// The most memory that a deployment takes.
fn memory(work: &Work, inputs: &[Input]) -> Result<()> {
    let columns = ["input", "transport", "what", "deploykit, MiB", "script, MiB"];
    report::table("Peak memory of one process", &columns);
    for input in inputs {
        let server = GitServer::start(input.root.as_std_path(), None, Behaviour::default());
        let url = server.url(input::NAME);
        let mut all = transports(input);
        all.push(Transport::of("http", url));
        for transport in &all {
            memory_of(work, input, transport)?;
        }
    }
    Ok(())
}

fn memory_of(work: &Work, input: &Input, transport: &Transport) -> Result<()> {
    let toolkit = Toolkit::new(work.fresh("toolkit"), &transport.url, &work.binary)?;
    let script = Script::new(work.fresh("script"), &transport.url)?;
    for (what, commit) in [("first", &input.first), ("next commit", &input.next)] {
        input.set(commit)?;
        let ours = child::measure(&toolkit.call(&["deploy"]))?;
        let theirs = child::measure(&script.call(&["deploy"]))?;
        let mebibytes = |kibibytes: u64| kibibytes.div_ceil(1024).to_string();
        report::row(&[
            input.name.clone(),
            transport.name.to_owned(),
            what.to_owned(),
            mebibytes(ours.memory),
            mebibytes(theirs.memory),
        ]);
    }
    Ok(())
}
