use std::cell::Cell;
use std::time::Duration;

use camino::Utf8PathBuf;

use super::*;
use crate::log::{Compressor, LogFile, LogFormat, Source};

struct Place {
    _directory: tempfile::TempDir,
    settings: LogSettings,
    compressor: Compressor,
}

fn place(format: LogFormat) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
    let mut settings = LogSettings::new(dir, "web");
    (settings.max_bytes, settings.format, settings.keep) = (0, format, 100);
    Place { _directory: directory, settings, compressor: Compressor::new(|_| {}) }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000) + Duration::from_secs(seconds)
}

impl Place {
    fn open(&self) -> LogFile {
        LogFile::open(self.settings.clone(), &self.compressor).unwrap()
    }

    /// Ten lines, one each second, in files of three: the first is compressed, and the last live.
    fn ten() -> impl Iterator<Item = Self> {
        [LogFormat::Plain, LogFormat::Timestamps, LogFormat::Json].into_iter().map(|format| {
            let mut place = place(format);
            place.settings.max_age = Some(Duration::from_secs(3));
            let mut out = Source::new(Stream::Out);
            for number in 0..10 {
                if number == 4 {
                    place.compressor.wait();
                    place.settings.compress = false;
                }
                place.open_at(number).write(
                    &mut out,
                    format!("line {number}\n").as_bytes(),
                    at(number),
                );
            }
            let packed = names::rotated(&place.settings).unwrap();
            let packed: Vec<bool> = packed.into_iter().map(|file| file.packed).collect();
            assert_eq!(packed, [true, false, false]);
            place
        })
    }

    /// As of a process that has opened it then: the age of a file is not kept over a restart in tests.
    fn open_at(&self, number: u64) -> LogFile {
        let mut log = self.open();
        log.born = (log.size > 0).then(|| at((number - 1) / 3 * 3));
        log
    }

    fn read(&self, edit: impl FnOnce(&mut ReadRequest)) -> Vec<Line> {
        let mut request = ReadRequest::default();
        edit(&mut request);
        let mut lines = Vec::new();
        read(&self.settings, &request, &|| false, &mut |line| lines.push(line)).unwrap();
        lines
    }

    fn numbers(&self, edit: impl FnOnce(&mut ReadRequest)) -> Vec<usize> {
        let number = |line: Line| line.text.strip_prefix("line ").unwrap().parse().unwrap();
        self.read(edit).into_iter().map(number).collect()
    }
}

fn range(from: usize, to: usize) -> Vec<usize> {
    (from..to).collect()
}

#[test]
fn all_files_are_read_in_their_order() {
    for place in Place::ten() {
        assert_eq!(place.numbers(|_| {}), range(0, 10));
        let lines = place.read(|_| {});
        let times: Vec<_> = lines.iter().map(|line| line.at.unwrap()).collect();
        assert_eq!(times, (0..10).map(at).collect::<Vec<_>>(), "{:?}", place.settings.format);
        let known =
            if place.settings.format == LogFormat::Plain { None } else { Some(Stream::Out) };
        assert!(lines.iter().all(|line| line.stream == known), "{lines:?}");
    }
}

#[test]
fn the_last_lines_are_those_of_several_files() {
    for place in Place::ten() {
        for lines in 0..12 {
            let expected = range(10 - lines.min(10), 10);
            assert_eq!(place.numbers(|request| request.lines = Some(lines)), expected, "{lines}");
        }
    }
}

#[test]
fn lines_are_chosen_by_time() {
    for place in Place::ten() {
        for second in 0..10 {
            let from = usize::try_from(second).unwrap();
            assert_eq!(place.numbers(|request| request.since = Some(at(second))), range(from, 10));
            assert_eq!(
                place.numbers(|request| request.until = Some(at(second))),
                range(0, from + 1)
            );
        }
        let both = |lines: usize| {
            move |request: &mut ReadRequest| {
                (request.since, request.until) = (Some(at(2)), Some(at(7)));
                request.lines = Some(lines);
            }
        };
        assert_eq!(place.numbers(both(3)), [5, 6, 7]);
        assert_eq!(place.numbers(both(30)), range(2, 8));
        assert_eq!(place.numbers(|request| request.since = Some(at(99))), range(0, 0));
        let few = |request: &mut ReadRequest| {
            (request.lines, request.since) = (Some(4), Some(at(8)));
        };
        assert_eq!(place.numbers(few), [8, 9]);
    }
}

#[test]
fn without_the_index_the_lines_are_there_and_have_no_time() {
    let place = Place::ten().next().unwrap();
    for entry in std::fs::read_dir(&place.settings.dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "times") {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(place.numbers(|_| {}), range(0, 10));
    assert_eq!(place.numbers(|request| request.until = Some(at(2))), range(0, 10));
    assert!(place.read(|_| {}).iter().all(|line| line.at.is_none()));
}

#[test]
fn a_log_that_is_not_there_has_no_lines() {
    let mut place = place(LogFormat::Plain);
    assert_eq!(place.read(|_| {}), []);
    assert_eq!(place.read(|request| request.lines = Some(3)), []);
    place.settings.dir = place.settings.dir.join("missing");
    assert_eq!(place.read(|request| request.since = Some(at(0))), []);
}

#[test]
fn the_end_of_a_line_that_is_not_written_yet_is_shown_once() {
    let place = place(LogFormat::Plain);
    std::fs::write(names::live(&place.settings), "one\r\nhalf").unwrap();
    let texts: Vec<String> = place.read(|_| {}).into_iter().map(|line| line.text).collect();
    assert_eq!(texts, ["one", "half"]);
    let texts = |lines| place.read(|request| request.lines = Some(lines));
    assert_eq!(texts(1)[0].text, "half");
    assert_eq!(texts(2)[0].text, "one");
}

#[test]
fn whoever_follows_sees_every_line_once_across_rotation_and_compression() {
    const COUNT: usize = 20_000;
    for (format, keep) in [(LogFormat::Plain, 100_000), (LogFormat::Json, 100_000)] {
        let mut place = place(format);
        (place.settings.max_bytes, place.settings.keep) = (4000, keep);
        let mut log = place.open();
        let mut out = Source::new(Stream::Out);
        log.write(&mut out, b"line 0\nline 1\nline 2\n", at(0));
        let writer = std::thread::spawn(move || {
            for number in 3..COUNT {
                log.write(&mut out, format!("line {number}\n").as_bytes(), Timestamp::now());
            }
        });
        let seen = Cell::new(0);
        let mut next = 1;
        let request = ReadRequest { follow: true, lines: Some(2), ..ReadRequest::default() };
        // The last two lines, as they were at that time.
        let mut first = true;
        let cancelled = || seen.get() == COUNT - 1;
        read(&place.settings, &request, &cancelled, &mut |line| {
            let number: usize = line.text.strip_prefix("line ").unwrap().parse().unwrap();
            if std::mem::take(&mut first) {
                next = number;
            }
            assert_eq!(number, next);
            next += 1;
            seen.set(number);
        })
        .unwrap();
        writer.join().unwrap();
        place.compressor.wait();
        assert_eq!(place.numbers(|_| {}), range(0, COUNT));
    }
}

#[test]
fn whoever_follows_waits_for_a_log_that_is_not_there_yet_and_sees_it_emptied() {
    let place = place(LogFormat::Plain);
    let live = names::live(&place.settings);
    let mut seen = Vec::new();
    let done = Cell::new(false);
    let asked = Cell::new(false);
    let cancelled = || {
        if !asked.replace(true) {
            std::fs::write(&live, "first line\n").unwrap();
        }
        done.get()
    };
    let request = ReadRequest { follow: true, ..ReadRequest::default() };
    read(&place.settings, &request, &cancelled, &mut |line| {
        if line.text == "first line" {
            std::fs::write(&live, "new\n").unwrap();
        }
        done.set(line.text == "new");
        seen.push(line.text);
    })
    .unwrap();
    assert_eq!(seen, ["first line", "new"]);
}
