//! The logs of services, with real processes and pipes.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use deploykit_process::log::{
    Collector, LogEvent, LogFormat, LogSettings, ReadRequest, Stream, read,
};

const LONG: Duration = Duration::from_secs(60);

struct Place {
    _directory: tempfile::TempDir,
    dir: Utf8PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
    Place { _directory: directory, dir }
}

fn collector() -> Collector {
    Collector::start(|event| panic!("{event:?}")).unwrap()
}

fn text(settings: &LogSettings) -> String {
    let mut text = String::new();
    let request = ReadRequest::default();
    read(settings, &request, &|| false, &mut |line| text += &(line.text + "\n")).unwrap();
    text
}

/// Waits for what the thread does by itself.
fn until(mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < 5 * LONG);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn pipe() -> (OwnedFd, std::fs::File) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader.into(), OwnedFd::from(writer).into())
}

#[test]
fn both_streams_of_a_process_that_is_killed_are_whole() {
    let (place, collector) = (place(), collector());
    let mut settings = LogSettings::new(&place.dir, "web");
    settings.format = LogFormat::Timestamps;
    let log = collector.open(settings.clone()).unwrap();
    let script = "echo to out; i=1; while [ $i -le 30 ]; do echo error $i >&2; i=$((i+1)); done; \
                  printf 'half' >&2; kill -9 $$";
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = collector.add(child.stdout.take().unwrap().into(), Stream::Out, &log).unwrap();
    let err = collector.add(child.stderr.take().unwrap().into(), Stream::Err, &log).unwrap();
    child.wait().unwrap();
    assert!(err.catch_up(LONG));
    let last = err.last_lines();
    assert_eq!((last.len(), last[0].as_str(), last[19].as_str()), (20, "error 12", "half"));
    assert_eq!(out.last_lines(), [""; 0]);
    until(|| out.has_ended() && err.has_ended());
    let mut seen = Vec::new();
    let request = ReadRequest::default();
    read(&settings, &request, &|| false, &mut |line| seen.push((line.stream.unwrap(), line.text)))
        .unwrap();
    assert!(seen.contains(&(Stream::Out, "to out".to_owned())));
    let errors: Vec<_> = seen.into_iter().filter(|(stream, _)| *stream == Stream::Err).collect();
    assert_eq!((errors.len(), errors[30].1.as_str()), (31, "half"));
}

#[test]
fn what_is_in_the_pipe_is_known_while_a_child_still_has_it() {
    let (place, collector) = (place(), collector());
    let settings = LogSettings::new(&place.dir, "web");
    let log = collector.open(settings.clone()).unwrap();
    let (reader, mut writer) = pipe();
    let err = collector.add(reader, Stream::Err, &log).unwrap();
    writer.write_all(b"why it died\n").unwrap();
    assert!(err.catch_up(LONG));
    assert_eq!(err.last_lines(), ["why it died"]);
    assert_eq!(text(&settings), "why it died\n");
    assert!(!err.has_ended());
    drop(writer);
    until(|| err.has_ended());
    assert!(err.catch_up(Duration::ZERO), "it has ended");
}

#[test]
fn at_shutdown_everything_that_is_in_the_pipes_is_written() {
    let (place, collector) = (place(), collector());
    let settings = LogSettings::new(&place.dir, "web");
    let log = collector.open(settings.clone()).unwrap();
    collector.note(&log, "the service is ended");
    let mut writers = Vec::new();
    let mut ends = Vec::new();
    for number in 0..20 {
        let (reader, mut writer) = pipe();
        write!(writer, "line {number}\nhalf {number}").unwrap();
        ends.push(collector.add(reader, Stream::Out, &log).unwrap());
        writers.push(writer);
    }
    assert!(collector.drain(LONG));
    let text = text(&settings);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 41);
    assert!(lines.contains(&"deploykit: the service is ended"));
    assert!(ends.iter().all(|end| end.has_ended() && end.catch_up(LONG)));
    assert!(writers[0].write_all(b"x").is_err(), "nobody reads any more");
}

#[test]
fn a_flood_of_one_keeps_nobody_waiting_and_rotates_its_own_log_only() {
    let (place, collector) = (place(), collector());
    let mut settings = LogSettings::new(&place.dir, "flood");
    (settings.max_bytes, settings.keep, settings.compress) = (1 << 20, 1, false);
    let flood_log = collector.open(settings).unwrap();
    let mut flood = Command::new("yes").stdout(Stdio::piped()).spawn().unwrap();
    let end = flood.stdout.take().unwrap().into();
    let flooded = collector.add(end, Stream::Out, &flood_log).unwrap();
    let log = collector.open(LogSettings::new(&place.dir, "quiet")).unwrap();
    let (reader, mut writer) = pipe();
    collector.add(reader, Stream::Out, &log).unwrap();
    for number in 0..50 {
        writeln!(writer, "line {number}").unwrap();
        let expected = format!("line {number}\n");
        until(|| std::fs::read_to_string(log.path()).unwrap().ends_with(&expected));
        assert!(flooded.catch_up(LONG), "what is written meanwhile is not waited for");
    }
    assert!(collector.drain(LONG), "the flood goes on");
    flood.kill().unwrap();
    flood.wait().unwrap();
    let names = std::fs::read_dir(&place.dir).unwrap().map(|entry| entry.unwrap().file_name());
    let quiet = names.filter(|name| name.to_str().unwrap().starts_with("quiet"));
    assert_eq!(quiet.count(), 2);
}

#[test]
fn lines_across_rotations_are_there_once_and_whole() {
    check_lines(100_000, 500_000, true);
}

#[test]
fn ten_million_lines_across_a_thousand_rotations_are_there_once_and_whole() {
    if std::env::var_os("DEPLOYKIT_LONG_TESTS").is_some_and(|value| value == "1") {
        check_lines(10_000_000, 1_000_000, false);
    }
}

/// Two pipes write lines of about 100 bytes in pieces that do not end with them.
fn check_lines(count: usize, max_bytes: u64, compress: bool) {
    let events = Arc::new(Mutex::new(Vec::<LogEvent>::new()));
    let sink = Arc::clone(&events);
    let place = place();
    let collector = Collector::start(move |event| sink.lock().unwrap().push(event)).unwrap();
    let mut settings = LogSettings::new(&place.dir, "web");
    (settings.max_bytes, settings.keep, settings.compress) = (max_bytes, 10_000, compress);
    let log = collector.open(settings.clone()).unwrap();
    let writers = [("out", Stream::Out), ("err", Stream::Err)].map(|(name, stream)| {
        let (reader, writer) = pipe();
        let pipe = collector.add(reader, stream, &log).unwrap();
        (pipe, std::thread::spawn(move || write_lines(writer, name, count / 2)))
    });
    for (pipe, writer) in writers {
        writer.join().unwrap();
        until(|| pipe.has_ended());
    }
    collector.compressor().wait();
    let mut next = [0, 0];
    let request = ReadRequest::default();
    read(&settings, &request, &|| false, &mut |line| {
        let of = usize::from(line.text.starts_with("err"));
        assert_eq!(line.text, self::line(["out", "err"][of], next[of]));
        next[of] += 1;
    })
    .unwrap();
    assert_eq!(next, [count / 2, count / 2]);
    // Each file has an index beside it.
    let files = std::fs::read_dir(&place.dir).unwrap().count() / 2;
    assert!(files as u64 > count as u64 * 100 / max_bytes, "{files} files");
    assert!(events.lock().unwrap().is_empty(), "{events:?}");
}

fn line(name: &str, number: usize) -> String {
    format!("{name} {number:8} {}", &"abcdefghij".repeat(11)[..80 + number % 16])
}

fn write_lines(mut writer: std::fs::File, name: &str, count: usize) {
    let mut text = Vec::new();
    for number in 0..count {
        text.extend_from_slice(line(name, number).as_bytes());
        text.push(b'\n');
        if text.len() > 60_000 {
            let rest = text.split_off(60_000);
            writer.write_all(&text).unwrap();
            text = rest;
        }
    }
    writer.write_all(&text).unwrap();
}
