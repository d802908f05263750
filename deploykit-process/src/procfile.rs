//! A Procfile: lines `NAME: COMMAND`, as foreman and Heroku read them, for a directory without a
//! configuration.

use std::collections::BTreeMap;

use deploykit_core::config::{self, Config};
use serde::Serialize;

/// The name of the file.
pub const PROCFILE: &str = "Procfile";

/// The port of the first process, where nobody says otherwise; each further one has a hundred more.
/// Foreman's numbers.
const PORT: u32 = 5000;

/// A Procfile that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProcfileError {
    /// A line is neither empty, nor a comment, nor `NAME: COMMAND`.
    #[error("line {line} of the Procfile is not `NAME: COMMAND`")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// There is nothing in it.
    #[error("the Procfile names no process")]
    Empty,
    /// What it says makes no configuration: two of a name, say.
    #[error("the Procfile cannot be used: {why}")]
    Unusable {
        /// Why not.
        why: String,
    },
}

/// What stands for one line.
#[derive(Serialize)]
struct Service<'a> {
    name: &'a str,
    command: [&'a str; 3],
    env: BTreeMap<&'a str, String>,
    env_files: [&'a str; 1],
}

#[derive(Serialize)]
struct Whole<'a> {
    repo: BTreeMap<&'a str, &'a str>,
    service: Vec<Service<'a>>,
}

/// A configuration with a service for each line: a shell runs it, with `PORT` in its environment (from 5000
/// or `port` on, in steps of a hundred), and with what a file `.env` says. There is no repository.
///
/// # Errors
/// The first line that cannot be used, or that there is none.
///
/// ```
/// let config = deploykit_process::procfile::read("web: ./web -p $PORT\n# and\nworker: ./worker\n", None)?;
/// assert_eq!(config.service.services[1].env["PORT"], "5100");
/// # Ok::<(), deploykit_process::procfile::ProcfileError>(())
/// ```
pub fn read(text: &str, port: Option<u32>) -> Result<Config, ProcfileError> {
    let mut service = Vec::new();
    let mut ports = (port.unwrap_or(PORT)..).step_by(100);
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let failed = ProcfileError::Line { line: index + 1 };
        let (name, command) = line.split_once(':').ok_or_else(|| failed.clone())?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let command = command.trim();
        if name.is_empty() || !name.chars().all(is_plain) || command.is_empty() {
            return Err(failed);
        }
        let port = ports.next().unwrap_or(PORT).to_string();
        service.push(Service {
            name,
            command: ["/bin/sh", "-c", command],
            env: BTreeMap::from([("PORT", port)]),
            env_files: ["-.env"],
        });
    }
    if service.is_empty() {
        return Err(ProcfileError::Empty);
    }
    let whole = Whole { repo: BTreeMap::from([("url", ".")]), service };
    let unusable = |why: String| ProcfileError::Unusable { why };
    let text = toml::to_string(&whole).map_err(|error| unusable(error.to_string()))?;
    config::parse(&text, PROCFILE.into()).map_err(|error| {
        unusable(
            error.problems().first().map_or_else(|| error.to_string(), |one| one.message.clone()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_process_is_told_with_its_line() {
        assert_eq!(read("web: a\nnonsense\n", None), Err(ProcfileError::Line { line: 2 }));
        assert_eq!(read("a b: c\n", None), Err(ProcfileError::Line { line: 1 }));
        assert_eq!(read("# nothing\n\n", None), Err(ProcfileError::Empty));
        let twice = read("web: a\nweb: b\n", None).unwrap_err().to_string();
        assert!(twice.contains("another service called \"web\""), "{twice}");
        let text = "web: sh -c 'echo \"$PORT\" | tee x'\n";
        let config = read(text, Some(3000)).unwrap();
        let web = &config.service.services[0];
        assert_eq!(web.command.as_slice()[2], "sh -c 'echo \"$PORT\" | tee x'");
        assert_eq!((&*web.env["PORT"], &*web.env_files), ("3000", &["-.env".to_owned()][..]));
    }
}
