//! Finding the program, and saying why it cannot be run.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::error::ProcessError;
use super::spec::ProcessSpec;

/// What is searched when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/bin:/bin";

/// The directory exists and can be entered.
pub(super) fn check_directory(directory: &Utf8Path) -> Result<(), ProcessError> {
    let look = || {
        if !std::fs::metadata(directory)?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(accessat(CWD, directory.as_std_path(), Access::EXEC_OK, AtFlags::EACCESS)?)
    };
    look().map_err(|source| ProcessError::Directory { directory: directory.to_owned(), source })
}

/// The file of the program, as an absolute path if the directory is one. Starts nothing.
///
/// # Errors
/// That there is none, or none that this user may run.
pub fn find(spec: &ProcessSpec) -> Result<Utf8PathBuf, ProcessError> {
    let program = spec.program();
    let not_found = |path: Option<&str>| ProcessError::NotFound {
        program: program.to_owned(),
        path: path.map(str::to_owned),
    };
    if program.is_empty() {
        return Err(not_found(None));
    }
    if program.contains('/') {
        let file = spec.dir.join(program);
        return match executable(&file) {
            Ok(()) => Ok(file),
            Err(e) if is_missing(&e) => Err(not_found(None)),
            Err(source) => Err(ProcessError::NotExecutable { program: program.to_owned(), source }),
        };
    }
    let path = spec.variable("PATH").unwrap_or(DEFAULT_PATH);
    let mut refused = None;
    for entry in path.split(':') {
        // An empty entry is the directory it runs in, and a relative one is relative to that.
        let file = spec.dir.join(entry).join(program);
        match executable(&file) {
            Ok(()) => return Ok(file),
            Err(e) if is_missing(&e) => {}
            Err(e) => refused = refused.or(Some((file, e))),
        }
    }
    match refused {
        Some((file, source)) => {
            Err(ProcessError::NotExecutable { program: file.into_string(), source })
        }
        None => Err(not_found(Some(path))),
    }
}

/// Looks whether the program could be run: it is there, and so is what its `#!` line names. Starts
/// nothing.
///
/// # Errors
/// What [`run`](super::run) would say.
pub fn preflight(spec: &ProcessSpec) -> Result<(), ProcessError> {
    check_directory(&spec.dir)?;
    let file = find(spec)?;
    match interpreter(&file) {
        Some(name) if !spec.dir.join(&name).exists() => Err(ProcessError::Interpreter {
            program: spec.program().to_owned(),
            interpreter: Some(name),
        }),
        _ => Ok(()),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn executable(file: &Utf8Path) -> io::Result<()> {
    if std::fs::metadata(file)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(accessat(CWD, file.as_std_path(), Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Why the kernel would not start `file`, which exists.
pub(super) fn explain(program: &str, file: &Utf8Path, source: io::Error) -> ProcessError {
    let program = program.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound if file.exists() => {
            ProcessError::Interpreter { program, interpreter: interpreter(file) }
        }
        io::ErrorKind::PermissionDenied => ProcessError::NotExecutable { program, source },
        _ if source.raw_os_error() == Some(nix::libc::ENOEXEC) => {
            ProcessError::NotExecutable { program, source }
        }
        _ => ProcessError::Io { operation: "start", program, source },
    }
}

/// What the `#!` line of a script names.
fn interpreter(file: &Utf8Path) -> Option<String> {
    use std::io::Read as _;
    // The kernel looks at no more than this either.
    let mut head = Vec::new();
    std::fs::File::open(file).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|&b| b == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    // A carriage return is part of the name for the kernel, and the reason why it finds nothing.
    line.split([' ', '\t']).find(|word| !word.is_empty()).map(str::to_owned)
}
