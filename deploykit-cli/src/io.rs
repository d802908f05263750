//! Where the program reads and writes.
//!
//! Nothing here fails: a terminal that is gone, or a reader that has had enough, must not stop a
//! deployment. What could not be written for another reason is remembered.

use std::fmt::{self, Debug};
use std::io::{BufRead, ErrorKind, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anstream::ColorChoice;

use crate::args::ColorWhen;

/// One of the two outputs. Clones write to the same place.
#[derive(Clone)]
pub struct Output {
    writer: Arc<Mutex<dyn Write + Send>>,
    fault: Arc<Mutex<Option<std::io::Error>>>,
    terminal: bool,
    width: Option<usize>,
    colour: bool,
}

impl Output {
    /// An output that is no terminal.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        let writer = Arc::new(Mutex::new(writer));
        Self { writer, fault: Arc::default(), terminal: false, width: None, colour: false }
    }

    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// How many columns it has, if it is a terminal that tells.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    /// Whether it takes colours.
    pub fn is_coloured(&self) -> bool {
        self.colour
    }

    /// Writes a text, in one piece.
    pub fn write(&self, text: &str) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writer.write_all(text.as_bytes()).and_then(|()| writer.flush()) {
            self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }

    /// Why something could not be written, the first time. Whoever does not want to read it
    /// (`| head -1`, a closed terminal) need not: that is no fault.
    pub(crate) fn take_fault(&self) -> Option<std::io::Error> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner).take();
        fault.filter(|error| error.kind() != ErrorKind::BrokenPipe && !self.terminal)
    }

    /// Writes a line.
    pub fn line(&self, text: &str) {
        self.write(&format!("{text}\n"));
    }
}

impl Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output {{ terminal: {}, colour: {} }}", self.terminal, self.colour)
    }
}

/// Where the program reads and writes.
pub struct Io {
    /// Standard output: results.
    pub stdout: Output,
    /// Standard error: everything else.
    pub stderr: Output,
    /// Standard input: the answer to a question; nothing when nobody can be asked.
    pub stdin: Option<Box<dyn BufRead>>,
}

impl Io {
    /// The streams of this process.
    pub fn of_process() -> Self {
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let (out_terminal, err_terminal) = (stdout.is_terminal(), stderr.is_terminal());
        let size = rustix::termios::tcgetwinsize(&stdout).ok().filter(|_| out_terminal);
        let width = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        let out_colour = takes_colour(anstream::AutoStream::choice(&stdout));
        let err_colour = takes_colour(anstream::AutoStream::choice(&stderr));
        let stdin = std::io::stdin();
        Self {
            stdout: Output {
                terminal: out_terminal,
                width,
                colour: out_colour,
                ..Output::new(stdout)
            },
            stderr: Output { terminal: err_terminal, colour: err_colour, ..Output::new(stderr) },
            stdin: stdin.is_terminal().then(|| Box::new(stdin.lock()) as Box<dyn BufRead>),
        }
    }

    /// Streams that are no terminals.
    pub fn new(stdout: Output, stderr: Output) -> Self {
        Self { stdout, stderr, stdin: None }
    }

    /// Follows what was asked for on the command line.
    pub(crate) fn colour(&mut self, when: ColorWhen) {
        for output in [&mut self.stdout, &mut self.stderr] {
            match when {
                ColorWhen::Auto => {}
                ColorWhen::Always => output.colour = true,
                ColorWhen::Never => output.colour = false,
            }
        }
    }
}

impl Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("stdout", &self.stdout).field("stderr", &self.stderr).finish()
    }
}

fn takes_colour(choice: ColorChoice) -> bool {
    matches!(choice, ColorChoice::Always | ColorChoice::AlwaysAnsi)
}
