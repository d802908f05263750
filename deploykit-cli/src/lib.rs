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

use args::Cli;
use render::error::ErrorJson;
use shell::Shell;

/// Runs `deploykit` with these arguments, the name of the program first.
pub fn run(arguments: impl IntoIterator<Item = OsString>, mut io: Io) -> Exit {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => {
            io.colour(cli.global.color);
            let mut shell = Shell::new(io, cli.global);
            commands::run(&mut shell, cli.command).unwrap_or_else(|error| {
                shell.fail(&error);
                error.exit()
            })
        }
        Err(error) => answer(&error, &arguments, &io),
    }
}

/// Help, the version, or what is wrong with the arguments.
fn answer(error: &clap::Error, arguments: &[OsString], io: &Io) -> Exit {
    let exit = if error.use_stderr() { Exit::USAGE } else { Exit::DONE };
    let text = error.render();
    if exit == Exit::USAGE && arguments.iter().any(|argument| argument == "--json") {
        let text = text.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let error = ErrorJson {
            message: message.to_owned(),
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
