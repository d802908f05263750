//! Measures deploykit beside the shell script that a careful person writes with git.
//!
//! `cargo run --release -p deploykit-bench` measures everything and prints tables; `-- --quick` does
//! all of it once on the small input, as a check of the measuring itself.

mod child;
mod goals;
mod hand_over;
mod input;
mod machine;
mod many;
mod options;
mod report;
mod script;
mod stats;
mod steps;
mod supervise;
mod sync;
mod toolkit;
mod trees;
mod whole;
mod work;

use std::error::Error;
use std::process::ExitCode;

use clap::Parser as _;

/// Whatever went wrong: a benchmark ends there.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let options = options::Options::parse();
    match work::run(&options) {
        Ok(code) => code,
        Err(error) => {
            report::tell(&format!("failed: {error}"));
            ExitCode::FAILURE
        }
    }
}
