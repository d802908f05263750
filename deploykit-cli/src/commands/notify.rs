//! `notify`: whether notices arrive.

use deploykit::traits::NotifierError;
use deploykit::{Recipient, chain};
use serde_json::json;

use crate::exit::Exit;
use crate::render::error::CliError;
use crate::shell::Shell;

/// `deploykit notify`
pub(super) fn notify(shell: &Shell, to: &[String]) -> Result<Exit, CliError> {
    let application = shell.application()?;
    application.learn_secrets();
    let recipients = chosen(application.recipients(), to)?;
    let live = shell.live(false)?;
    let message = application.test_message(&live.ctx);
    let tell = |one: &Recipient| (one.label(), one.tell(&live.ctx, &message));
    let told: Vec<(String, Result<(), NotifierError>)> = recipients.iter().map(tell).collect();
    let cause = live.ctx.cancellation().cause();
    live.end_with(());
    let rows = told.iter().map(|(label, told)| {
        json!({ "to": label, "told": told.is_ok(), "error": told.as_ref().err().map(|e| chain(e)) })
    });
    let rows: Vec<_> = rows.collect();
    let paint = shell.paint();
    shell.answer(&rows, || {
        let line = |(label, told): &(String, Result<(), NotifierError>)| match told {
            Ok(()) => format!("{} {label}\n", paint.good("told")),
            Err(error) => format!("{} {label}: {}\n", paint.bad("not told"), chain(error)),
        };
        told.iter().map(line).collect()
    });
    match cause {
        Some(cause) => Ok(Exit::signal(cause.signal())),
        None if told.iter().all(|(_, told)| told.is_ok()) => Ok(Exit::DONE),
        None => Ok(Exit::FAILED),
    }
}

/// Those who are named, or all.
fn chosen(all: Vec<Recipient>, names: &[String]) -> Result<Vec<Recipient>, CliError> {
    if all.is_empty() {
        let hint =
            "[[notify.to]] names somebody: type = \"mail\" with to = [\"ops@example.org\"], say";
        return Err(CliError::usage("there is nobody to tell: [notify] names no one", hint));
    }
    let labels: Vec<String> = all.iter().map(Recipient::label).collect();
    if let Some(unknown) = names.iter().find(|name| !labels.contains(name)) {
        let hint = format!("there are: {}", labels.join("; "));
        return Err(CliError::usage(format!("nobody is called {unknown:?}"), hint));
    }
    let is_chosen = |one: &Recipient| names.is_empty() || names.contains(&one.label());
    Ok(all.into_iter().filter(is_chosen).collect())
}
