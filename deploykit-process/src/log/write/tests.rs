use std::fs::File;
use std::io::Write as _;

use camino::Utf8PathBuf;

use super::*;
use crate::log::{Compressor, LogSettings, Stream};

fn log(edit: impl FnOnce(&mut LogSettings)) -> (tempfile::TempDir, LogFile, Utf8PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
    let mut settings = LogSettings::new(&dir, "web");
    edit(&mut settings);
    let file = LogFile::open(settings, &Compressor::new(|_| {})).unwrap();
    (directory, file, dir.join("web.log"))
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_123)
}

#[test]
fn only_whole_lines_reach_the_file_and_halves_of_two_pipes_never_meet() {
    let (_directory, mut log, path) = log(|_| {});
    let (mut out, mut err) = (Source::new(Stream::Out), Source::new(Stream::Err));
    let text = || std::fs::read_to_string(&path).unwrap();
    log.write(&mut out, b"one\ntw", now());
    log.write(&mut err, b"ER", now());
    assert_eq!(text(), "one\n");
    log.write(&mut out, b"o\nthree\nfo", now());
    log.write(&mut err, b"ROR\n", now());
    assert_eq!(text(), "one\ntwo\nthree\nERROR\n");
    log.finish(&mut out, now());
    log.finish(&mut err, now());
    assert_eq!(text(), "one\ntwo\nthree\nERROR\nfo\n");
}

#[test]
fn a_line_that_is_too_long_to_be_held_is_whole_if_nobody_writes_between() {
    let (_directory, mut log, path) = log(|_| {});
    let (mut out, mut err) = (Source::new(Stream::Out), Source::new(Stream::Err));
    let long = "x".repeat(HELD + 1);
    log.write(&mut out, long.as_bytes(), now());
    assert!(out.held.is_empty(), "it is not held any more");
    log.write(&mut out, b"end\n", now());
    log.write(&mut out, long.as_bytes(), now());
    log.write(&mut err, b"between\n", now());
    log.finish(&mut out, now());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text == format!("{long}end\n{long}\nbetween\n"), "{}", text.len());
    log.write(&mut out, long.as_bytes(), now());
    log.finish(&mut out, now());
    assert!(std::fs::read_to_string(&path).unwrap().ends_with("xx\n"));
}

#[test]
fn half_a_line_of_a_process_that_was_killed_is_not_gone_on_with() {
    let (directory, log, path) = log(|_| {});
    drop(log);
    std::fs::write(&path, "half").unwrap();
    let dir = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
    let settings = LogSettings::new(dir, "web");
    let mut log = LogFile::open(settings, &Compressor::new(|_| {})).unwrap();
    log.write(&mut Source::new(Stream::Out), b"next\n", now());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "half\nnext\n");
}

#[test]
fn every_format_has_its_lines_whole() {
    for format in [LogFormat::Timestamps, LogFormat::Json] {
        let (_directory, mut log, path) = log(|settings| settings.format = format);
        let mut out = Source::new(Stream::Out);
        let text = "word\n".repeat(20_000);
        log.write(&mut out, text.as_bytes(), now());
        log.write(&mut out, b"half", now());
        log.finish(&mut out, now());
        log.note("ours", now());
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 20_002);
        assert!(lines[..20_000].iter().all(|line| *line == lines[0] && line.contains("word")));
        assert!(lines[20_000].contains("half") && lines[20_001].contains("deploykit"));
    }
}

#[test]
fn a_full_disk_is_told_of_once_and_what_was_dropped_is_counted_in_the_file() {
    let (_directory, mut log, path) = log(|_| {});
    let mut out = Source::new(Stream::Out);
    log.write(&mut out, b"before\n", now());
    let good =
        std::mem::replace(&mut log.file, File::options().append(true).open("/dev/full").unwrap());
    let told = [&b"a\nb\n"[..], b"c\n"].map(|lines| {
        // Its own file is looked at by name, once a second.
        log.write(&mut out, lines, now())
    });
    assert!(matches!(&told[0][..], [LogEvent::Dropping { name, error }]
        if name == "web" && error.raw_os_error() == Some(nix::libc::ENOSPC)));
    assert!(told[1].is_empty(), "{told:?}");
    log.file = good;
    let told = log.write(&mut out, b"after\n", now());
    assert!(matches!(&told[..], [LogEvent::Recovered { lines: 3, bytes: 6, .. }]), "{told:?}");
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "before\ndeploykit: 3 lines (6 bytes) were dropped here: No space left on device (os error 28)\n\
         after\n"
    );
    assert!(log.write(&mut out, b"on\n", now()).is_empty());
}

#[test]
fn a_file_that_was_moved_removed_or_emptied_is_noticed() {
    let (_directory, mut log, path) = log(|_| {});
    let mut out = Source::new(Stream::Out);
    let later = |seconds| now() + std::time::Duration::from_secs(seconds);
    log.write(&mut out, b"one\n", now());
    let moved = path.with_extension("moved");
    std::fs::rename(&path, &moved).unwrap();
    log.write(&mut out, b"two\n", later(2));
    std::fs::remove_file(&path).unwrap();
    log.write(&mut out, b"three\n", later(4));
    assert_eq!(std::fs::read_to_string(&moved).unwrap(), "one\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    File::create(&path).unwrap();
    log.write(&mut out, b"four\n", later(6));
    assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), log.size), ("four\n", 5));
    let mut other = File::options().append(true).open(&path).unwrap();
    other.write_all(b"more\n").unwrap();
    log.write(&mut out, b"five\n", later(8));
    assert_eq!(log.size, 15, "what others write counts");
}
