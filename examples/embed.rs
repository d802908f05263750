//! Deploys the application in a directory and prints what happens: the least that an embedding
//! program needs.
//!
//! ```sh
//! cargo run --example embed -- /srv/app
//! ```
#![allow(clippy::print_stdout, reason = "it is a program, not a library")]

use std::process::ExitCode;
use std::sync::Arc;

use deploykit::{Application, Context, DeployRequest, Event, FnSink};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: embed DIRECTORY")?;
    let application = Application::at(directory).open()?;
    let printer = FnSink::new(|event: &Event| println!("{:?}", event.kind));
    let context = Context::new()?.with_sink(Arc::new(printer));
    let report = application.deploy(&context, &DeployRequest::latest())?;
    match &report.outcome {
        Some(outcome) => println!("{outcome}"),
        None => println!("nothing to do: {}", report.nothing.as_deref().unwrap_or_default()),
    }
    Ok(if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
