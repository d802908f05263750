//! `import`: configurations of other programs become ours.

use camino::Utf8PathBuf;
use deploykit::ErrorKind;
use deploykit::supervisor::angelize::{Became, Source, import, read};
use serde_json::json;

use crate::exit::Exit;
use crate::render::error::{CliError, warning};
use crate::shell::Shell;

/// Settings are text, and short: what is longer is something else.
const LONGEST: u64 = 16 << 20;

/// `deploykit import angelize`
pub(super) fn angelize(shell: &Shell, files: &[Utf8PathBuf]) -> Result<Exit, CliError> {
    let mut sources = Vec::new();
    for file in files {
        let text = text_of(file).map_err(|error| {
            CliError::of(ErrorKind::Usage, &std::io::Error::other(format!("{file}: {error}")), None)
        })?;
        sources.push(Source::new(file, text));
    }
    let settings = read(&sources).map_err(|error| {
        for problem in error.problems.iter().skip(1) {
            shell.tell(&problem.to_string());
        }
        CliError::of(ErrorKind::Config, &error, error.hint())
    })?;
    for problem in &settings.warnings {
        shell.tell(&warning(&problem.to_string(), shell.error_paint(), &shell.masker));
    }
    let imported = import(&settings);
    let note = |note: &deploykit::supervisor::angelize::Note| {
        json!({
            "place": note.place.as_ref().map(ToString::to_string),
            "service": note.service,
            "setting": note.setting,
            "left_out": note.became == Became::LeftOut,
            "text": note.text,
        })
    };
    let notes: Vec<_> = imported.notes.iter().map(note).collect();
    shell.answer(&json!({ "toml": imported.toml, "notes": notes }), || imported.toml.clone());
    for note in &imported.notes {
        shell.note(&note.to_string());
    }
    Ok(Exit::DONE)
}

fn text_of(file: &Utf8PathBuf) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(file)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    file.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}
