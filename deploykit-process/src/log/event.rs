//! What a log has to tell, and why it cannot be opened.

use std::io;

use camino::Utf8PathBuf;

/// What a log has to tell of itself.
#[derive(Debug)]
#[non_exhaustive]
pub enum LogEvent {
    /// Lines cannot be written, and are dropped from now on. Said once, until [`Recovered`](Self::Recovered).
    Dropping {
        /// The log.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// Lines can be written again. The file says so too, in a line of ours.
    Recovered {
        /// The log.
        name: String,
        /// So many lines were dropped.
        lines: u64,
        /// So many bytes of the file they would have been.
        bytes: u64,
    },
    /// The file could not be rotated: it is written on, and tried again. Said once, until it works.
    RotationFailed {
        /// The log.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// A rotated file could not be compressed, and stays as it is until the next rotation or start.
    NotCompressed {
        /// The log.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// A pipe could not be read, and is given up.
    PipeFailed {
        /// The log.
        name: String,
        /// Why.
        error: io::Error,
    },
}

impl std::fmt::Display for LogEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dropping { name, error } => {
                write!(f, "what {name} writes cannot be kept, and is dropped: {error}")
            }
            Self::Recovered { name, lines, .. } => {
                write!(f, "what {name} writes is kept again; {lines} lines were dropped")
            }
            Self::RotationFailed { name, error } => {
                write!(f, "the log of {name} cannot be rotated: {error}")
            }
            Self::NotCompressed { name, error } => {
                write!(f, "a log of {name} cannot be compressed: {error}")
            }
            Self::PipeFailed { name, error } => {
                write!(f, "what {name} writes cannot be read any more: {error}")
            }
        }
    }
}

/// Why a log cannot be opened or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The name is no file's name, or that of a rotated file of another log.
    #[error("the log cannot be called {name:?}")]
    Name {
        /// The name.
        name: String,
    },
    /// The file or its directory cannot be opened.
    #[error("the log {path} cannot be opened")]
    Open {
        /// The file, or the directory.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The files cannot be read.
    #[error("the log {path} cannot be read")]
    Read {
        /// The live file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The thread that reads the pipes cannot be started, or be told of a pipe.
    #[error("the output of the service cannot be collected")]
    Collect {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LogError {
    /// What can be done about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name { .. } => Some(
                "a name has no slash, begins with no dot, and does not end like -20261121-223039-1"
                    .to_owned(),
            ),
            Self::Open { source, .. } if source.raw_os_error() == Some(nix::libc::ELOOP) => {
                Some("a log is not written through a symbolic link: remove it".to_owned())
            }
            Self::Open { .. } | Self::Read { .. } | Self::Collect { .. } => None,
        }
    }
}
