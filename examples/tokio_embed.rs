//! Deploys from a program that runs on tokio. deploykit is synchronous: the deployment has a
//! blocking task of its own, its events come over a channel into asynchronous code, and Ctrl-C or a
//! time limit (in seconds, 600 by default) cancels it.
//!
//! ```sh
//! cargo run --example tokio_embed -- /srv/app 120
//! ```
#![allow(clippy::print_stdout, reason = "it is a program, not a library")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use deploykit::{Application, Cause, Context, DeployRequest, Event, FnSink};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("usage: tokio_embed DIRECTORY [SECONDS]")?;
    let limit = arguments.next().map_or(Ok(600), |text| text.parse())?;

    let (sender, mut events) = mpsc::unbounded_channel();
    // A sink must not wait, and an unbounded channel never does. Nobody listens any more once the
    // program ends: that is no failure of the deployment.
    let sink = FnSink::new(move |event: &Event| drop(sender.send(event.clone())));
    let context = Context::new()?.with_sink(Arc::new(sink));

    let (interrupted, late) = (context.cancellation().clone(), context.cancellation().clone());
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            interrupted.cancel(Cause::Interrupt);
        }
    });
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(limit)).await;
        late.cancel(Cause::Requested);
    });

    let deployment = tokio::task::spawn_blocking(move || {
        Application::at(directory).open()?.deploy(&context, &DeployRequest::latest())
    });
    // The sender goes with the context when the deployment ends, and then the channel is at its end.
    while let Some(event) = events.recv().await {
        println!("{:?}", event.kind);
    }
    let report = deployment.await??;
    println!("{}", report.outcome.as_ref().map_or("nothing to do".into(), ToString::to_string));
    Ok(if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
