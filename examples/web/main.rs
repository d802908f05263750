//! A small web service that is built with `rustc` alone, and what deploykit needs to run it:
//!
//! ```text
//! rustc -O --edition 2024 -o web main.rs
//! ./web serve      serves until it is ended
//! ./web start      starts `serve` in the background and returns when it listens
//! ./web stop       ends that
//! ./web status     exits with 0 if it runs, with 3 if not
//! ```
//!
//! It answers `/` with a greeting and `/health` with JSON in which its revision stands, so that a
//! health check can tell that this release answered and not the one before.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program, not a library")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

/// Where it listens, unless `PORT` says otherwise.
const PORT: u16 = 47831;

/// The file with the number of the process, beside the releases: each of them must find it.
const PID_FILE: &str = "../../web.pid";

fn main() -> ExitCode {
    let result = match env::args().nth(1).as_deref() {
        Some("serve") => serve(),
        Some("start") => start(),
        Some("stop") => stop(),
        Some("status") => return ExitCode::from(if running().is_some() { 0 } else { 3 }),
        _ => Err(io::Error::other("say one of: serve, start, stop, status")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("web: {error}");
            ExitCode::FAILURE
        }
    }
}

fn port() -> u16 {
    env::var("PORT").ok().and_then(|text| text.parse().ok()).unwrap_or(PORT)
}

/// The revision that this was built from: deploykit writes it into every release.
fn revision() -> String {
    fs::read_to_string("REVISION").map_or_else(|_| "unknown".into(), |text| text.trim().into())
}

fn serve() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port()))?;
    println!("listening on http://{}", listener.local_addr()?);
    let revision = revision();
    for stream in listener.incoming() {
        let revision = revision.clone();
        thread::spawn(move || stream.and_then(|stream| answer(stream, &revision)));
    }
    Ok(())
}

fn answer(mut stream: TcpStream, revision: &str) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let (status, kind, body) = match request.split_whitespace().nth(1) {
        Some("/") => ("200 OK", "text/plain", format!("Hello from {revision}\n")),
        Some("/health") => {
            let body = format!("{{\"status\":\"ok\",\"revision\":\"{revision}\"}}\n");
            ("200 OK", "application/json", body)
        }
        _ => ("404 Not Found", "text/plain", "there is no such page\n".into()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

fn start() -> io::Result<()> {
    let mut child = Command::new(env::current_exe()?)
        .arg("serve")
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()?;
    fs::write(PID_FILE, child.id().to_string())?;
    let give_up = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port())).is_err() {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("it did not start: {status}")));
        }
        if Instant::now() > give_up {
            return Err(io::Error::other("it does not listen"));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The number of the process, if it runs and is ours.
fn running() -> Option<u32> {
    let pid: u32 = fs::read_to_string(PID_FILE).ok()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    command.ends_with(b"web\0serve\0").then_some(pid)
}

fn stop() -> io::Result<()> {
    let Some(pid) = running() else { return Ok(()) };
    Command::new("sh").arg("-c").arg(format!("kill {pid}")).status()?;
    while running() == Some(pid) {
        thread::sleep(Duration::from_millis(10));
    }
    fs::remove_file(PID_FILE)
}
