//! The variables of a service while it is imported, and the argument list of its program.

use super::super::command::{CommandError, split_command};
use super::super::settings::{AngelizeService, Globals};
use super::super::variables::{ExpandError, Variables, expand, expand_in_part};
use super::Notes;

/// Those that action lists of ours know, too.
const KEPT: [&str; 7] = ["run", "name", "log", "temp", "agl.base", "agl.now", "agl.utc"];

/// The variables of one service.
pub(super) struct Known {
    /// All that the settings tell.
    settings: Variables,
    /// The same, but what our action lists know stays as it is.
    lists: Variables,
}

impl Known {
    pub(super) fn new(globals: &Globals, service: &AngelizeService) -> Self {
        let mut settings = Variables::of(globals, service);
        // It was never more than empty.
        settings.set("agl.params", "").set("tempfolder", "%temp%");
        if globals.log_path.is_empty() {
            settings.set("agl.logpath", "%log%");
        }
        let mut lists = settings.clone();
        for name in KEPT {
            lists.keep(name);
        }
        Self { settings, lists }
    }

    /// A text in which all variables are replaced, now and for ever.
    pub(super) fn whole(&self, text: &str) -> Result<String, ExpandError> {
        expand(text, &self.settings)
    }

    /// A text of an action list, in which the rest is replaced when it is run.
    pub(super) fn in_list(&self, text: &str) -> Result<String, ExpandError> {
        expand_in_part(text, &self.lists)
    }

    /// A text in which what is not known stays; which that is, is noted.
    pub(super) fn noted(&self, text: &str, setting: &'static str, notes: &mut Notes<'_>) -> String {
        let mut known = self.settings.clone();
        loop {
            match expand(text, &known) {
                Ok(text) => return text,
                Err(error) => {
                    notes.changed(setting, format!("{error}: put in its value yourself"));
                    let ExpandError::Unknown { name, .. } = error else { return text.to_owned() };
                    known.keep(&name);
                }
            }
        }
    }
}

/// The argument list of a command line. One that needs a shell gets a shell; `None` when there is none to
/// be had.
pub(super) fn arguments(
    line: &str,
    setting: &'static str,
    notes: &mut Notes<'_>,
) -> Option<Vec<String>> {
    if is_windows(line) {
        notes.changed(setting, "looks like a program for Windows: put in its path on this host");
        let (program, rest) = windows_program(line);
        let rest = split_command(&format!("x {rest}")).unwrap_or_default();
        return Some([program].into_iter().chain(rest.into_iter().skip(1)).collect());
    }
    match split_command(line) {
        Ok(words) => Some(words),
        Err(error @ CommandError::Shell { .. }) => {
            let text = format!("{error}, and gets one: it is supervised better without");
            notes.changed(setting, text);
            Some(vec!["/bin/sh".into(), "-c".into(), line.into()])
        }
        Err(error) => {
            notes.left_out(setting, format!("left out: {error}"));
            None
        }
    }
}

/// A command line for a list of actions, which no shell reads. `None` when it can stay as it is.
pub(super) fn shell_action(line: &str) -> Option<String> {
    let error = split_command(line).err()?;
    let shell = matches!(error, CommandError::Shell { .. });
    shell.then(|| format!("/bin/sh -c '{}'", line.replace('\'', r"'\''")))
}

/// Whether a line begins with a drive: `C:\`, perhaps in quotes.
fn is_windows(line: &str) -> bool {
    let line = line.trim_start().trim_start_matches('"').as_bytes();
    line.len() > 2 && line[0].is_ascii_alphabetic() && &line[1..3] == b":\\"
}

/// The program at the beginning of a line of Windows, where a backslash is no more than a character.
fn windows_program(line: &str) -> (String, &str) {
    let line = line.trim_start();
    let quoted = line.strip_prefix('"').and_then(|line| line.split_once('"'));
    let (program, rest) = quoted.or_else(|| line.split_once(' ')).unwrap_or((line, ""));
    (program.to_owned(), rest)
}
