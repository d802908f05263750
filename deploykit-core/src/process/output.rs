//! What a running program writes, read without ever waiting for it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use camino::Utf8Path;
use rustix::fs::inotify;
use rustix::io::Errno;

use super::lines::{Lines, Tail};
use super::poll::Interest;
use super::spec::{Output, ProcessSpec};
use crate::event::Stream;
use crate::secret::Masker;

const CHUNK: usize = 64 * 1024;

/// The largest pipe that an unprivileged process can make: no more than that is waiting in one when
/// nobody writes any longer.
const LARGEST_PIPE: usize = 1 << 20;

/// Where the lines go: masked, to whoever asked for the run, and to the tail.
pub(super) struct Collector<'a> {
    pub(super) masker: &'a Masker,
    pub(super) on_line: &'a mut dyn FnMut(Stream, &str),
    pub(super) tail: Tail,
}

impl Collector<'_> {
    fn take(&mut self, stream: Stream, line: &str) {
        let masked = self.masker.mask(line);
        self.tail.push(&masked);
        (self.on_line)(stream, &masked);
    }
}

struct Pipe {
    fd: Option<OwnedFd>,
    stream: Stream,
    lines: Lines,
}

impl Pipe {
    fn new(fd: OwnedFd, stream: Stream) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd: Some(fd), stream, lines: Lines::new(Instant::now()) })
    }

    /// Reads one chunk, if there is one. Returns its length.
    fn read(&mut self, chunk: &mut [u8], collector: &mut Collector<'_>) -> usize {
        let Some(fd) = &self.fd else { return 0 };
        let length = match rustix::io::read(fd, &mut *chunk) {
            Ok(0) => {
                self.fd = None;
                0
            }
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            // Reading a pipe fails for no other reason that leaves it usable.
            Err(_) => {
                self.fd = None;
                0
            }
        };
        let stream = self.stream;
        self.lines.feed(&chunk[..length], Instant::now(), &mut |line| collector.take(stream, line));
        length
    }

    fn finish(&mut self, collector: &mut Collector<'_>) {
        let stream = self.stream;
        self.lines.finish(Instant::now(), &mut |line| collector.take(stream, line));
    }
}

/// A file that the program appends to, read from where it ended before.
struct LogFile {
    file: File,
    changes: Option<OwnedFd>,
    lines: Lines,
}

impl LogFile {
    fn open(path: &Utf8Path) -> io::Result<(Self, File)> {
        // O_NOFOLLOW: a link put in its place must not make us write elsewhere.
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let writer = options.open(path)?;
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(0))?;
        // Without it (the host allows only so many watches) the output comes at the end at once.
        let changes = watch(path).ok();
        Ok((Self { file, changes, lines: Lines::new(Instant::now()) }, writer))
    }

    /// Passes on what was added up to now. A service that goes on writing cannot keep us here.
    fn read(&mut self, chunk: &mut [u8], collector: &mut Collector<'_>) {
        if let Some(changes) = &self.changes {
            // What changed does not matter; the notices only have to be taken away.
            while rustix::io::read(changes, &mut *chunk).is_ok_and(|length| length > 0) {}
        }
        let end = self.file.metadata().map_or(0, |metadata| metadata.len());
        let mut left = end.saturating_sub(self.file.stream_position().unwrap_or(end));
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(CHUNK).min(chunk.len());
            let length = match self.file.read(&mut chunk[..most]) {
                Ok(0) => return,
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            self.lines.feed(&chunk[..length], Instant::now(), &mut |line| {
                collector.take(Stream::Stdout, line);
            });
            left = left.saturating_sub(length as u64);
        }
    }
}

fn watch(path: &Utf8Path) -> rustix::io::Result<OwnedFd> {
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&fd, path.as_std_path(), inotify::WatchFlags::MODIFY)?;
    Ok(fd)
}

/// Both outputs of a program.
pub(super) struct Outputs {
    pipes: Vec<Pipe>,
    log: Option<LogFile>,
    chunk: Vec<u8>,
}

impl Outputs {
    /// Prepares the command's outputs; call [`take_pipes`](Self::take_pipes) when it runs.
    pub(super) fn prepare(spec: &ProcessSpec, command: &mut Command) -> io::Result<Self> {
        let mut log = None;
        match &spec.output {
            Output::Lines => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
            Output::File(path) => {
                let (file, writer) = LogFile::open(path)?;
                command.stdout(writer.try_clone()?).stderr(writer);
                log = Some(file);
            }
        }
        Ok(Self { pipes: Vec::new(), log, chunk: vec![0; CHUNK] })
    }

    pub(super) fn take_pipes(&mut self, child: &mut Child) -> io::Result<()> {
        if let Some(stdout) = child.stdout.take() {
            self.pipes.push(Pipe::new(stdout.into(), Stream::Stdout)?);
        }
        if let Some(stderr) = child.stderr.take() {
            self.pipes.push(Pipe::new(stderr.into(), Stream::Stderr)?);
        }
        Ok(())
    }

    /// Whether nobody can write into a pipe any more.
    pub(super) fn closed(&self) -> bool {
        self.pipes.iter().all(|pipe| pipe.fd.is_none())
    }

    /// What to wait for.
    pub(super) fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Interest)> {
        let pipes = self.pipes.iter().filter_map(|pipe| pipe.fd.as_ref());
        let changes = self.log.iter().filter_map(|log| log.changes.as_ref());
        pipes.chain(changes).map(|fd| (fd.as_fd(), Interest::Readable))
    }

    /// Reads a chunk from everything that has one.
    pub(super) fn read(&mut self, collector: &mut Collector<'_>) {
        for pipe in &mut self.pipes {
            pipe.read(&mut self.chunk, collector);
        }
        if let Some(log) = &mut self.log {
            log.read(&mut self.chunk, collector);
        }
    }

    /// Reads what is still there now that nobody is waited for any more, and passes on last lines
    /// that do not end.
    pub(super) fn finish(mut self, collector: &mut Collector<'_>) {
        for pipe in &mut self.pipes {
            let mut total = 0;
            while total < LARGEST_PIPE {
                match pipe.read(&mut self.chunk, collector) {
                    0 => break,
                    length => total += length,
                }
            }
            pipe.finish(collector);
        }
        if let Some(mut log) = self.log {
            log.read(&mut self.chunk, collector);
            log.lines.finish(Instant::now(), &mut |line| collector.take(Stream::Stdout, line));
        }
    }
}

/// What is written into the program's standard input.
pub(super) struct Feeder<'a> {
    fd: Option<OwnedFd>,
    left: &'a [u8],
}

impl<'a> Feeder<'a> {
    pub(super) fn new(child: &mut Child, bytes: &'a [u8]) -> io::Result<Self> {
        let fd = child.stdin.take().map(OwnedFd::from);
        if let Some(fd) = &fd {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        Ok(Self { fd: fd.filter(|_| !bytes.is_empty()), left: bytes })
    }

    pub(super) fn fd(&self) -> Option<(BorrowedFd<'_>, Interest)> {
        self.fd.as_ref().map(|fd| (fd.as_fd(), Interest::Writable))
    }

    /// Writes what fits. Closes the pipe when everything is written or the program reads no more.
    pub(super) fn write(&mut self) {
        let Some(fd) = &self.fd else { return };
        match rustix::io::write(fd, self.left) {
            Ok(length) => self.left = &self.left[length..],
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => self.left = &[],
        }
        if self.left.is_empty() {
            self.fd = None;
        }
    }
}
