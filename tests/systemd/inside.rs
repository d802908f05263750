//! What runs inside of the sandbox: the service of the tests, and who asks it. They are this very
//! test program, run again with one of these "tests" named; without their environment they do nothing.

use std::io::{BufRead as _, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long whoever asks may take to say what.
const PATIENCE: Duration = Duration::from_secs(5);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The service: it answers every request with the version of the release that it works in, at
/// 127.0.0.1:`PORT` (or at the socket that is its standard input) and, for a test outside, at the
/// socket `APP/PORT.sock`. The files of its release say what else it does: `mute-watchdog`, `slow`
/// (milliseconds until it is ready).
#[test]
#[ignore = "the service of the other tests"]
fn serve() {
    let (Some(port), Ok(app)) = (number("PORT"), std::env::var("APP")) else { return };
    let version = std::fs::read_to_string("version").expect("a release").trim().to_owned();
    let ended = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, ended.clone()).expect("a handler");
    let reloaded = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGHUP, reloaded.clone()).expect("a handler");
    let tcp = match std::env::var("SOCKET") {
        Ok(_) => {
            TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned().expect("a socket"))
        }
        Err(_) => TcpListener::bind(("127.0.0.1", u16::try_from(port).expect("a port")))
            .expect("a free port"),
    };
    tcp.set_nonblocking(true).expect("a socket");
    let path = format!("{app}/{port}.sock");
    let _ = std::fs::remove_file(&path);
    let unix = UnixListener::bind(path).expect("a socket");
    unix.set_nonblocking(true).expect("a socket");
    let slow = std::fs::read_to_string("slow").unwrap_or_default();
    std::thread::sleep(Duration::from_millis(slow.trim().parse().unwrap_or(0)));
    notify("READY=1");
    let watchdog =
        number("WATCHDOG_USEC").is_some() && !std::path::Path::new("mute-watchdog").exists();
    let mut said = version;
    while !ended.load(Ordering::SeqCst) {
        if watchdog {
            notify("WATCHDOG=1");
        }
        if reloaded.swap(false, Ordering::SeqCst) {
            let now = std::fs::read_to_string(format!("{app}/active/version"));
            said = now.expect("the active release").trim().to_owned();
        }
        let mut ready = [
            PollFd::new(tcp.as_fd(), PollFlags::POLLIN),
            PollFd::new(unix.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut ready, PollTimeout::from(50_u8));
        if let Ok((stream, _)) = tcp.accept() {
            stream
                .set_nonblocking(false)
                .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
                .ok();
            answer(stream, &said);
        }
        if let Ok((stream, _)) = unix.accept() {
            stream
                .set_nonblocking(false)
                .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
                .ok();
            answer(stream, &said);
        }
    }
}

fn answer(mut stream: impl Read + Write, version: &str) {
    let mut reader = BufReader::new(&mut stream);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|read| read > 0) && line != "\r\n" {
        line.clear();
    }
    let length = version.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{version}"
    );
    let _ = stream.write_all(answer.as_bytes());
}

fn notify(state: &str) {
    let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return };
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.send_to(state.as_bytes(), path).expect("somebody listens");
}

/// What a client has seen.
#[derive(Debug, Default)]
struct Seen {
    answered: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
    slowest: AtomicU64,
}

impl Seen {
    /// Asks at these ports, the next one when there is no answer, and counts the last answer.
    fn ask(&self, ports: &[u16]) {
        let begun = Instant::now();
        let mut asked = Err(ErrorKind::AddrNotAvailable.into());
        for port in ports {
            asked = ask(*port);
            if asked.is_ok() {
                break;
            }
        }
        let counter = match asked {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => &self.answered,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => &self.refused,
            Ok(_) | Err(_) => &self.broken,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.slowest.fetch_max(millis, Ordering::Relaxed);
    }
}

fn ask(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}

/// Clients: `CLIENTS` of them ask at the ports in `PORTS`, `RATE` times a second together (as fast as
/// they can without it), until standard input ends. With `EITHER`, an
/// answer of one of the ports is enough. What they have seen is then in the file `RESULT`.
#[test]
#[ignore = "the clients of the other tests"]
fn load() {
    let (Some(clients), Ok(ports)) = (number("CLIENTS"), std::env::var("PORTS")) else { return };
    let ports: Vec<u16> = ports.split(',').map(|port| port.parse().expect("a port")).collect();
    let pause = number("RATE").map(|rate| Duration::from_secs_f64(clients as f64 / rate as f64));
    let either = std::env::var_os("EITHER").is_some();
    let (seen, ended) = (Seen::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (seen, ended, ports) = (&seen, &ended, &ports);
            scope.spawn(move || {
                let mut next = Instant::now();
                if let Some(pause) = pause {
                    next += pause.mul_f64(client as f64 / clients as f64);
                }
                let each = if either { ports.len() } else { 1 };
                let mut turns = ports.chunks(each).cycle();
                while !ended.load(Ordering::Relaxed) {
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    next += pause.unwrap_or_default();
                    seen.ask(turns.next().expect("a port"));
                }
            });
        }
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        ended.store(true, Ordering::Relaxed);
    });
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let text = [&seen.answered, &seen.refused, &seen.broken, &seen.slowest].map(read);
    let path = std::env::var("RESULT").expect("where to");
    std::fs::write(path, text.map(|number| number.to_string()).join(" ")).expect("the result");
}
