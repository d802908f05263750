//! The command line of deploykit: arguments in, calls of the library, rendering out.
//!
//! [`run`] is the whole program; the binary calls it with what its process was given.

mod args;
mod commands;
mod exit;
mod io;
mod render;
mod shell;
mod signals;

use std::ffi::OsString;

use clap::Parser as _;

pub use exit::Exit;
pub use io::{Io, Output};

use args::{Cli, ColorWhen};
use render::error::{CliError, ErrorJson};
use render::paint::Paint;
use shell::Shell;

/// Runs `deploykit` with these arguments, the name of the program first.
pub fn run(arguments: impl IntoIterator<Item = OsString>, mut io: Io) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => {
            io.colour(cli.global.color);
            let only_tells = cli.command.only_tells();
            let mut shell = Shell::new(io, cli.global);
            let exit = commands::run(&mut shell, cli.command).unwrap_or_else(|error| {
                shell.fail(&error);
                error.exit()
            });
            let colours = shell.io.stderr.is_coloured();
            written(&shell.io, exit, only_tells, Paint::new(colours))
        }
        Err(error) => {
            io.colour(ColorWhen::asked_in(&arguments));
            let exit = answer(&error, &arguments, &io);
            written(&io, exit, true, Paint::new(io.stderr.is_coloured()))
        }
    }
}

/// The exit code when the result could not be written: that is a failure of a command that does
/// nothing but tell it. Of any other the code still says what it did.
fn written(io: &Io, exit: Exit, only_tells: bool, paint: Paint) -> Exit {
    let Some(error) = io.stdout.take_fault() else { return exit };
    let error = CliError::io("cannot write to standard output", &error);
    io.stderr.line(&error.render(paint, io.stderr.is_coloured()));
    if only_tells && matches!(exit, Exit::DONE | Exit::WORK) { Exit::FAILED } else { exit }
}

/// Help, the version, or what is wrong with the arguments.
fn answer(error: &clap::Error, arguments: &[OsString], io: &Io) -> Exit {
    let exit = if error.use_stderr() { Exit::USAGE } else { Exit::DONE };
    let text = error.render();
    if exit == Exit::USAGE && arguments.iter().any(|argument| argument == "--json") {
        let error = ErrorJson {
            message: message(error, &text.to_string()),
            causes: Vec::new(),
            hint: Some("`deploykit help` tells what there is".to_owned()),
            kind: "usage",
            exit: exit.code(),
        };
        io.stdout.line(&serde_json::json!({ "error": error }).to_string());
        return exit;
    }
    let output = if error.use_stderr() { &io.stderr } else { &io.stdout };
    if output.is_coloured() {
        output.write(&text.ansi().to_string());
    } else {
        output.write(&text.to_string());
    }
    exit
}

/// What is wrong with the arguments, in one line: `text` goes on with the usage and with tips.
fn message(error: &clap::Error, text: &str) -> String {
    use clap::error::ErrorKind;
    if let ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand =
        error.kind()
    {
        return "a command is missing".to_owned();
    }
    let lines: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}
