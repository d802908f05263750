//! A small web service that is built with `rustc` alone:
//!
//! ```text
//! rustc -O --edition 2024 -o web main.rs
//! ./web      serves until it is ended
//! ```
//!
//! It answers `/` with a greeting and `/health` with JSON in which its revision stands, so that a
//! health check can tell that this release answered and not the one before.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program, not a library")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, io, thread};

/// Where it listens, unless `PORT` says otherwise.
const PORT: u16 = 47831;

fn main() -> ExitCode {
    match serve() {
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
