//! `completions` and `man`: what follows from the definition of the arguments.

use std::io::Write as _;

use camino::Utf8Path;
use clap::CommandFactory as _;
use clap_complete::Shell as Kind;
use clap_mangen::Man;

use crate::args::{Cli, Shell as Wanted};
use crate::exit::Exit;
use crate::render::error::CliError;
use crate::shell::Shell;

/// `deploykit completions`
pub(super) fn completions(shell: &Shell, wanted: Wanted) -> Result<Exit, CliError> {
    let kind = match wanted {
        Wanted::Bash => Kind::Bash,
        Wanted::Zsh => Kind::Zsh,
        Wanted::Fish => Kind::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(kind, &mut Cli::command(), "deploykit", &mut script);
    shell.io.stdout.write(&String::from_utf8_lossy(&script));
    Ok(Exit::DONE)
}

/// `deploykit man`
pub(super) fn man(shell: &Shell, directory: Option<&Utf8Path>) -> Result<Exit, CliError> {
    let mut command = Cli::command();
    command.build();
    let Some(directory) = directory else {
        shell.io.stdout.write(&String::from_utf8_lossy(&page(command)?));
        return Ok(Exit::DONE);
    };
    let failed =
        |error| CliError::io(format!("cannot write manual pages into {directory}"), &error);
    std::fs::create_dir_all(directory).map_err(failed)?;
    write_pages(directory, command).map_err(failed)?;
    Ok(Exit::DONE)
}

fn page(command: clap::Command) -> Result<Vec<u8>, CliError> {
    let rendered = render(command).map(|(_, page)| page);
    rendered.map_err(|error| CliError::io("cannot make the manual page", &error))
}

/// The name of the file and the page. What stands behind the help is set as it stands there: its columns
/// would not survive being filled.
fn render(command: clap::Command) -> std::io::Result<(String, Vec<u8>)> {
    let behind = command.get_after_long_help().or_else(|| command.get_after_help());
    let behind = behind.map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.after_help(None::<&str>).after_long_help(None::<&str>));
    let mut page = Vec::new();
    man.render(&mut page)?;
    for section in behind.split("\n\n").filter(|section| !section.trim().is_empty()) {
        page.write_all(roff(section).as_bytes())?;
    }
    Ok((man.get_filename(), page))
}

/// A section of the text behind the help: one with a title, `Examples:`, or plain text.
fn roff(section: &str) -> String {
    let line = |line: &str| format!("\\&{}\n", line.replace('\\', "\\e").replace('-', "\\-"));
    match section.split_once(":\n") {
        Some((title, body)) if !title.contains('\n') => {
            let body: String = body.lines().map(line).collect();
            format!(".SH {}\n.nf\n{body}.fi\n", title.to_uppercase())
        }
        _ => format!(".SH NOTES\n{}", section.lines().map(line).collect::<String>()),
    }
}

/// The page of a command, and those of the commands below it. `help` has none.
fn write_pages(directory: &Utf8Path, command: clap::Command) -> std::io::Result<()> {
    let below: Vec<_> = command
        .get_subcommands()
        .filter(|below| below.get_name() != "help" && !below.is_hide_set())
        .cloned()
        .collect();
    let (name, page) = render(command)?;
    std::fs::write(directory.join(name), page)?;
    below.into_iter().try_for_each(|below| write_pages(directory, below))
}
