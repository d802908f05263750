//! How fast lines go through a pipe into a log, beside `cat` doing the same into a file.
//!
//! `cargo run --release -p deploykit-process --example log_throughput [DIR] [MIB]`

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_process::log::{Collector, LogFormat, LogSettings, Stream};

const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = Utf8PathBuf::from(arguments.next().unwrap_or_else(|| "/tmp".to_owned()));
    let dir = dir.join(format!("log-throughput-{}", std::process::id()));
    let mebibytes: usize = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    std::fs::create_dir(&dir)?;
    let result = measure(&dir, mebibytes);
    std::fs::remove_dir_all(&dir)?;
    result
}

fn measure(dir: &Utf8Path, mebibytes: usize) -> Result<(), Box<dyn Error>> {
    let formats = [LogFormat::Plain, LogFormat::Timestamps, LogFormat::Json];
    let mut figures = vec![("cat".to_owned(), Vec::new())];
    figures.extend(formats.iter().map(|format| (format!("{format:?}"), Vec::new())));
    // In turn, so that what else the machine does meets all of them.
    for _ in 0..ROUNDS {
        figures[0].1.push(through_cat(dir, mebibytes)?);
        for (at, format) in formats.iter().enumerate() {
            figures[at + 1].1.push(through_log(dir, mebibytes, *format)?);
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "| lines of 100 bytes, {mebibytes} MiB | MB/s, median of {ROUNDS} | best |")?;
    writeln!(out, "|---|---|---|")?;
    for (name, mut taken) in figures {
        taken.sort_unstable();
        let speed = |time: Duration| (mebibytes << 20) as f64 / 1e6 / time.as_secs_f64();
        writeln!(out, "| {name} | {:.0} | {:.0} |", speed(taken[ROUNDS / 2]), speed(taken[0]))?;
    }
    Ok(())
}

fn through_cat(dir: &Utf8Path, mebibytes: usize) -> Result<Duration, Box<dyn Error>> {
    let path = dir.join("cat");
    let (reader, writer) = std::io::pipe()?;
    let started = Instant::now();
    let mut cat =
        Command::new("cat").stdin(reader).stdout(Stdio::from(File::create(&path)?)).spawn()?;
    write_lines(OwnedFd::from(writer).into(), mebibytes)?;
    cat.wait()?;
    let taken = started.elapsed();
    std::fs::remove_file(path)?;
    Ok(taken)
}

fn through_log(
    dir: &Utf8Path,
    mebibytes: usize,
    format: LogFormat,
) -> Result<Duration, Box<dyn Error>> {
    let mut settings = LogSettings::new(dir, "web");
    (settings.max_bytes, settings.format) = (0, format);
    let collector = Collector::start(|_| {})?;
    let log = collector.open(settings)?;
    let (reader, writer) = std::io::pipe()?;
    let started = Instant::now();
    collector.add(reader.into(), Stream::Out, &log)?;
    write_lines(OwnedFd::from(writer).into(), mebibytes)?;
    if !collector.drain(Duration::from_secs(60)) {
        return Err("the log was not written in time".into());
    }
    let taken = started.elapsed();
    std::fs::remove_file(log.path())?;
    Ok(taken)
}

fn write_lines(mut pipe: File, mebibytes: usize) -> std::io::Result<()> {
    let text = format!("{:099}\n", 7).repeat(656);
    let mut left = mebibytes << 20;
    while left > 0 {
        let part = left.min(text.len());
        pipe.write_all(&text.as_bytes()[..part])?;
        left -= part;
    }
    Ok(())
}
