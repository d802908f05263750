use std::io::Read as _;

use camino::Utf8PathBuf;
use deploykit_core::Timestamp;

use super::*;
use crate::log::{LogFile, Source, Stream};

fn settings(directory: &tempfile::TempDir) -> LogSettings {
    let dir = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
    let mut settings = LogSettings::new(dir, "web");
    (settings.max_bytes, settings.keep) = (4, 3);
    settings
}

fn unpacked(settings: &LogSettings) -> Vec<String> {
    let mut texts = Vec::new();
    for file in names::rotated(settings).unwrap() {
        assert!(file.packed, "{file:?}");
        let mut text = String::new();
        let packed = File::open(&file.path).unwrap();
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
        texts.push(text);
    }
    texts
}

fn names_of(settings: &LogSettings) -> Vec<String> {
    let entries = std::fs::read_dir(&settings.dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn rotated_files_are_compressed_and_the_oldest_removed() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let compressor = Compressor::new(|event| panic!("{event:?}"));
    let mut log = LogFile::open(settings.clone(), &compressor).unwrap();
    let mut out = Source::new(Stream::Out);
    let now = Timestamp::from_millis(1_700_000_000_123);
    for number in 0..6 {
        log.write(&mut out, format!("{number}..\n").as_bytes(), now);
    }
    compressor.wait();
    assert_eq!(unpacked(&settings), ["2..\n", "3..\n", "4..\n"]);
    assert_eq!(names_of(&settings).len(), 8, "{:?}", names_of(&settings));
}

#[test]
fn what_a_crash_has_left_is_put_right_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let now = Timestamp::from_millis(1_700_000_000_123);
    let file = |number| names::target(&settings, now, number);
    // Killed while it compressed, and between the renaming and the removal.
    std::fs::write(file(1), "one\n").unwrap();
    std::fs::write(names::packed_of(&file(1)).1, "half").unwrap();
    std::fs::write(file(2), "two\n").unwrap();
    std::fs::write(names::packed_of(&file(2)).0, "whatever it is").unwrap();
    // The half of one that was removed since.
    std::fs::write(names::packed_of(&file(9)).1, "half").unwrap();
    std::fs::write(names::index_of(&file(9)), "").unwrap();
    let compressor = Compressor::new(|event| panic!("{event:?}"));
    let log = LogFile::open(settings.clone(), &compressor).unwrap();
    compressor.wait();
    assert_eq!(unpacked(&settings), ["one\n", "two\n"]);
    let expected = [
        "web-20231114-221320-1.log.gz",
        "web-20231114-221320-2.log.gz",
        "web.log",
        "web.log.times",
    ];
    assert_eq!(names_of(&settings), expected);
    drop(log);
}

#[test]
fn what_cannot_be_compressed_stays_and_is_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let path = names::target(&settings, Timestamp::from_millis(0), 1);
    std::fs::write(&path, "one\n").unwrap();
    std::fs::create_dir(names::packed_of(&path).0).unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let compressor = Compressor::new(move |event| sink.lock().unwrap().push(event));
    let log = LogFile::open(settings, &compressor).unwrap();
    compressor.wait();
    let told = told.lock().unwrap();
    assert!(
        matches!(&told[..], [LogEvent::NotCompressed { name, .. }] if name == "web"),
        "{told:?}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\n");
    assert!(!names::packed_of(&path).1.exists());
    drop(log);
}

#[test]
fn when_fewer_files_are_kept_than_before_the_others_are_removed_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(&directory);
    settings.keep = 1;
    for (number, text) in [(1, "one\n"), (2, "two\n"), (3, "three\n")] {
        std::fs::write(names::target(&settings, Timestamp::from_millis(0), number), text).unwrap();
    }
    let compressor = Compressor::new(|event| panic!("{event:?}"));
    let _log = LogFile::open(settings.clone(), &compressor).unwrap();
    compressor.wait();
    assert_eq!(unpacked(&settings), ["three\n"]);
}
