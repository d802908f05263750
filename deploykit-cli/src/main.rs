//! The binary `deploykit`. All that it does is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    deploykit_cli::run(std::env::args_os(), deploykit_cli::Io::of_process()).into()
}
