//! Why a program could not be run.

use camino::Utf8PathBuf;

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// There is no such program.
    #[error("there is no program {program:?}")]
    NotFound {
        /// As it was named.
        program: String,
        /// The `PATH` that was searched, if the name has no slash.
        path: Option<String>,
    },
    /// It exists but may not be executed.
    #[error("{program:?} cannot be executed")]
    NotExecutable {
        /// As it was named.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It exists, but the program that would have to run it does not: what the `#!` line names, or
    /// the loader of the shared libraries.
    #[error("{program:?} needs {}, which does not exist", interpreter.as_ref().map_or_else(
        || "a loader of shared libraries".to_owned(), |name| format!("the interpreter {name:?}")))]
    Interpreter {
        /// As it was named.
        program: String,
        /// What its `#!` line names, if it has one.
        interpreter: Option<String>,
    },
    /// Its directory does not exist or cannot be entered.
    #[error("cannot work in the directory {directory}")]
    Directory {
        /// Which.
        directory: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It was sent SIGKILL and has not ended: it hangs in the kernel, on a dead network file
    /// system for example.
    #[error("{program:?} (process {pid}) does not end, not even by SIGKILL")]
    Stuck {
        /// As it was named.
        program: String,
        /// Its number.
        pid: u32,
    },
    /// Something else.
    #[error("failed to {operation} {program:?}")]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// Which program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl ProcessError {
    /// Whether it tells nothing of the program: no process could be made, or its directory is gone.
    pub fn is_of_the_host(&self) -> bool {
        matches!(self, Self::Directory { .. } | Self::Stuck { .. } | Self::Io { .. })
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { path: Some(path), .. } => {
                Some(format!("these directories (PATH) were searched: {path}"))
            }
            Self::NotFound { path: None, .. } => {
                Some("a name with a slash is relative to the directory it runs in".into())
            }
            Self::NotExecutable { source, .. } => Some(match source.raw_os_error() {
                Some(code) if code == nix::libc::ENOEXEC => {
                    "it is no program for this machine; a script needs a first line such as \
                     #!/bin/sh"
                        .into()
                }
                _ => "it needs the permission to be executed (chmod +x), on a file system that is \
                      not mounted noexec"
                    .into(),
            }),
            Self::Interpreter { interpreter: Some(name), .. } if name.ends_with('\r') => {
                Some("the script has Windows line ends".into())
            }
            Self::Interpreter { interpreter: None, .. } => Some(
                "it was built for another C library; `file` shows which loader it needs".into(),
            ),
            _ => None,
        }
    }
}
