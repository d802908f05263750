//! A file that may not grow any more, which is what a full disk and a quota are to a log. The limit is
//! that of a whole process, so this is one test in a process of its own.

use std::process::Command;

use camino::Utf8PathBuf;
use deploykit_core::Timestamp;
use deploykit_process::log::{Compressor, LogEvent, LogFile, LogSettings, Source, Stream};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const NAME: &str = "lines_that_do_not_fit_are_dropped_whole_and_counted";

fn limit(bytes: Option<u64>) {
    let maximum = getrlimit(Resource::Fsize).maximum;
    setrlimit(Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

#[test]
fn lines_that_do_not_fit_are_dropped_whole_and_counted() {
    if std::env::var_os("LOG_LIMITED").is_some() {
        return limited();
    }
    // The signal that comes with the limit is ignored, which a program hands on to what it becomes.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg(NAME)
        .env("LOG_LIMITED", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn limited() {
    let directory = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
    let path = dir.join("web.log");
    let mut log = LogFile::open(LogSettings::new(&dir, "web"), &Compressor::new(|_| {})).unwrap();
    let mut out = Source::new(Stream::Out);
    let mut number = 0;
    let mut lines = |count: usize| -> String {
        let from = number;
        number += count;
        (from..number).map(|number| format!("line {number}\n")).collect()
    };
    limit(Some(100_000));
    let mut told = Vec::new();
    told.extend(log.write(&mut out, lines(8_000).as_bytes(), Timestamp::now()));
    for _ in 0..5 {
        told.extend(log.write(&mut out, lines(2_000).as_bytes(), Timestamp::now()));
        told.extend(log.write(&mut out, lines(1).as_bytes(), Timestamp::now()));
    }
    let [LogEvent::Dropping { error, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(error.raw_os_error(), Some(nix::libc::EFBIG));
    let text = std::fs::read_to_string(&path).unwrap();
    let filled = text.len() <= 100_000 && text.len() > 99_900;
    assert!(text.ends_with('\n') && filled, "{}", text.len());
    limit(None);
    let told = log.write(&mut out, lines(2).as_bytes(), Timestamp::now());
    let [LogEvent::Recovered { lines: dropped, bytes, .. }] = &told[..] else { panic!("{told:?}") };
    let text = std::fs::read_to_string(&path).unwrap();
    let all: Vec<&str> = text.lines().collect();
    let kept = all.len() - 3;
    for (number, line) in all[..kept].iter().enumerate() {
        assert_eq!(*line, format!("line {number}"));
    }
    assert_eq!(kept as u64 + dropped, 18_005);
    let lost: usize = (kept..18_005).map(|number| format!("line {number}\n").len()).sum();
    assert_eq!(*bytes, lost as u64);
    let note = format!("deploykit: {dropped} lines ({bytes} bytes) were dropped here: ");
    assert!(all[kept].starts_with(&note), "{}", all[kept]);
    assert_eq!(all[kept + 1..], ["line 18005", "line 18006"]);
}
