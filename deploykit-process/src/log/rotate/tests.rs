use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use camino::Utf8PathBuf;

use super::*;
use crate::log::{Compressor, LogSettings, Source, Stream};

struct Place {
    _directory: tempfile::TempDir,
    settings: LogSettings,
}

fn place(max_bytes: u64, keep: u32) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
    let mut settings = LogSettings::new(dir, "web");
    (settings.max_bytes, settings.keep, settings.compress) = (max_bytes, keep, false);
    Place { _directory: directory, settings }
}

impl Place {
    fn open(&self) -> LogFile {
        LogFile::open(self.settings.clone(), &Compressor::new(|_| {})).unwrap()
    }

    /// The rotated files and the live one.
    fn texts(&self) -> Vec<String> {
        let rotated = names::rotated(&self.settings).unwrap();
        let paths = rotated.into_iter().map(|file| file.path).chain([names::live(&self.settings)]);
        paths.map(|path| std::fs::read_to_string(path).unwrap()).collect()
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_700_000_000_123)
}

#[test]
fn a_full_file_is_followed_by_a_new_one_and_the_oldest_are_removed() {
    let place = place(10, 2);
    let mut log = place.open();
    let mut out = Source::new(Stream::Out);
    log.write(&mut out, b"one\ntwo\n", now());
    log.write(&mut out, b"three\nfour\na line beyond that\n5\n6\n7\n", now());
    assert_eq!(place.texts(), ["four\n", "a line beyond that\n", "5\n6\n7\n"]);
    log.write(&mut out, b"8\n9\n10\n", now());
    assert_eq!(place.texts(), ["a line beyond that\n", "5\n6\n7\n8\n9\n", "10\n"]);
    let names: Vec<String> = std::fs::read_dir(&place.settings.dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.contains(&"web-20231114-221320-4.log".to_owned()), "{names:?}");
    assert_eq!(names.len(), 6, "each has its index, and nothing else is left: {names:?}");
}

#[test]
fn the_order_is_kept_by_a_clock_that_goes_back_and_by_a_restart() {
    let place = place(4, 9);
    let mut out = Source::new(Stream::Out);
    for (number, passed) in [5, 3, 4, 0, 0].into_iter().enumerate() {
        let mut log = place.open();
        log.write(
            &mut out,
            format!("{number}..\n").as_bytes(),
            now() + Duration::from_secs(passed),
        );
    }
    assert_eq!(place.texts(), ["0..\n", "1..\n", "2..\n", "3..\n", "4..\n"]);
}

#[test]
fn an_old_file_is_followed_by_a_new_one_at_the_next_line() {
    let mut place = place(100, 5);
    place.settings.max_age = Some(Duration::from_secs(60));
    let mut log = place.open();
    let mut out = Source::new(Stream::Out);
    for (passed, line) in [(0, "a\n"), (59, "b\nhalf"), (60, " of c\n"), (119, "d\n"), (120, "e\n")]
    {
        log.write(&mut out, line.as_bytes(), now() + Duration::from_secs(passed));
    }
    assert_eq!(place.texts(), ["a\nb\n", "half of c\nd\n", "e\n"]);
}

#[test]
fn a_line_is_not_torn_by_a_rotation_except_when_it_never_ends() {
    let place = place(100_000, 5);
    let mut log = place.open();
    let mut out = Source::new(Stream::Out);
    let part = "x".repeat(70_000);
    log.write(&mut out, part.as_bytes(), now());
    log.write(&mut out, part.as_bytes(), now());
    log.write(&mut out, b"\nnext\n", now());
    assert_eq!(place.texts(), [format!("{part}{part}\n"), "next\n".to_owned()]);
    for _ in 0..4 {
        log.write(&mut out, part.as_bytes(), now());
    }
    let lengths: Vec<usize> = place.texts().iter().map(String::len).collect();
    assert_eq!(lengths, [140_001, 210_006, 70_000]);
}

#[test]
fn a_rotation_that_fails_goes_on_with_the_old_file_and_is_tried_again() {
    let place = place(4, 5);
    let mut log = place.open();
    let mut out = Source::new(Stream::Out);
    let obstacle = names::next(&place.settings);
    std::fs::create_dir(&obstacle).unwrap();
    let later = |seconds| now() + Duration::from_secs(seconds);
    assert!(log.write(&mut out, b"one\n", now()).is_empty());
    let told = log.write(&mut out, b"two\n", now());
    assert!(
        matches!(&told[..], [LogEvent::RotationFailed { name, .. }] if name == "web"),
        "{told:?}"
    );
    assert!(log.write(&mut out, b"three\n", later(1)).is_empty());
    assert!(log.write(&mut out, b"four\n", later(12)).is_empty(), "it is said once");
    std::fs::remove_dir(&obstacle).unwrap();
    log.write(&mut out, b"five\n", later(13));
    assert_eq!(place.texts(), ["one\ntwo\nthree\nfour\nfive\n"], "it is left alone for a while");
    log.write(&mut out, b"six\n", later(30));
    assert_eq!(place.texts(), ["one\ntwo\nthree\nfour\nfive\n", "six\n"]);
}

#[test]
fn no_file_that_is_there_is_written_over() {
    let place = place(4, 5);
    let mut log = place.open();
    let mut out = Source::new(Stream::Out);
    log.write(&mut out, b"one\n", now());
    let occupied = names::target(&place.settings, now(), 1);
    std::fs::create_dir(&occupied).unwrap();
    std::fs::write(occupied.join("file"), "").unwrap();
    std::fs::write(names::target(&place.settings, now(), 2), "kept\n").unwrap();
    log.write(&mut out, b"two\n", now());
    let three = std::fs::read_to_string(names::target(&place.settings, now(), 3)).unwrap();
    let two = std::fs::read_to_string(names::target(&place.settings, now(), 2)).unwrap();
    assert_eq!((two.as_str(), three.as_str()), ("kept\n", "one\n"));
    assert!(
        rename_new(&names::live(&place.settings), &names::target(&place.settings, now(), 2))
            .is_err()
    );
}

#[test]
fn who_may_read_the_old_file_may_read_the_new_one_and_nobody_else() {
    let place = place(4, 5);
    let mut log = place.open();
    let mut out = Source::new(Stream::Out);
    let live = names::live(&place.settings);
    let mode = || std::fs::metadata(&live).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(&live, std::fs::Permissions::from_mode(0o640)).unwrap();
    log.write(&mut out, b"one\ntwo\n", now());
    assert_eq!(mode(), 0o640);
}

#[test]
fn a_crash_between_the_two_renamings_loses_no_line() {
    let place = place(4, 5);
    let mut log = place.open();
    let mut out = Source::new(Stream::Out);
    log.write(&mut out, b"one\n", now());
    drop(log);
    std::fs::write(names::next(&place.settings), "").unwrap();
    std::fs::rename(names::live(&place.settings), names::target(&place.settings, now(), 1))
        .unwrap();
    let mut log = place.open();
    log.write(&mut out, b"two\n", now());
    assert_eq!(place.texts(), ["one\n", "two\n"]);
    assert!(!names::next(&place.settings).exists());
}
