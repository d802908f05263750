//! A connection over which requests are made, as little as that takes: what goes wrong must be told apart.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Failure;

/// So long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub(super) struct Connection(BufReader<TcpStream>);

/// An answer.
pub(super) struct Answer {
    pub(super) version: String,
    /// The server closes the connection behind it.
    pub(super) closes: bool,
}

impl Connection {
    pub(super) fn open(target: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect_timeout(&target, ANSWER).map_err(|e| failure(&e))?;
        let prepared = stream.set_read_timeout(Some(ANSWER)).and(stream.set_nodelay(true));
        prepared.map_err(|e| failure(&e))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Whether the server has closed it, as far as is known here by now.
    pub(super) fn is_closed(&self) -> bool {
        let stream = self.0.get_ref();
        let mut byte = [0];
        let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut byte));
        let is_open = matches!(&peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        !is_open || stream.set_nonblocking(false).is_err()
    }

    pub(super) fn get(&mut self, path: &str) -> Result<Answer, Failure> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: load\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).map_err(|e| failure(&e))?;
        let status = self.line()?;
        let code: u16 = status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let (mut length, mut closes, mut version) = (0, false, String::new());
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            match (&*name.to_ascii_lowercase(), value.trim()) {
                ("content-length", value) => length = value.parse().unwrap_or(0),
                ("connection", value) => closes = value.eq_ignore_ascii_case("close"),
                ("x-version", value) => version = value.to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).map_err(|e| failure(&e))?;
        match code {
            200 => {}
            500..600 => return Err(Failure::Status),
            _ => return Err(Failure::Other),
        }
        let body = String::from_utf8_lossy(&body);
        if body.split_whitespace().next() != Some(&version) {
            return Err(Failure::Mixed);
        }
        Ok(Answer { version, closes })
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(_) if line.ends_with('\n') => Ok(line.trim_end().to_owned()),
            Ok(_) => Err(Failure::EarlyEnd),
            Err(error) => Err(failure(&error)),
        }
    }
}

fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Failure::Reset,
        io::ErrorKind::UnexpectedEof => Failure::EarlyEnd,
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Failure::TimedOut,
        _ => Failure::Other,
    }
}
