//! `confirm`, `hold`, `unhold`, `recover` and `prune`: what an operator decides.

use serde_json::json;

use crate::exit::Exit;
use crate::render::error::CliError;
use crate::render::text::count;
use crate::shell::Shell;

/// `deploykit confirm`
pub(super) fn confirm(shell: &Shell) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let live = shell.live(false)?;
    let result = application.confirm(&live.ctx);
    let release = live.end(result)?;
    shell.answer(&json!({ "confirmed": release }), || format!("Release {release} is confirmed.\n"));
    Ok(Exit::DONE)
}

/// `deploykit hold`
pub(super) fn hold(shell: &Shell, reason: &[String]) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let reason = Some(reason.join(" ")).filter(|reason| !reason.trim().is_empty());
    let live = shell.live(false)?;
    let result = application.hold(&live.ctx, reason);
    live.end(result)?;
    shell.answer(&json!({ "held": true }), || {
        "The present release is held: only a revision that is named is deployed.\n".to_owned()
    });
    Ok(Exit::DONE)
}

/// `deploykit unhold`
pub(super) fn unhold(shell: &Shell) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let live = shell.live(false)?;
    let result = application.unhold(&live.ctx);
    let was_held = live.end(result)?;
    shell.answer(&json!({ "held": false, "was_held": was_held }), || match was_held {
        true => "The hold is over.\n".to_owned(),
        false => "Nothing was held.\n".to_owned(),
    });
    Ok(Exit::DONE)
}

/// `deploykit recover`
pub(super) fn recover(shell: &Shell) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let live = shell.live(true)?;
    let result = application.recover(&live.ctx);
    let recovery = live.end(result)?;
    // How the broken-off deployment ended is history; that all is in order now is the result.
    let mut ended = recovery.deployments.iter().map(|(_, outcome)| Exit::of_outcome(outcome));
    let exit = if ended.any(|exit| exit == Exit::BROKEN) { Exit::BROKEN } else { Exit::DONE };
    shell.answer(&json!({ "report": recovery }), || {
        let mut text = String::new();
        for action in &recovery.actions {
            text.push_str(&format!("{action}\n"));
        }
        for (id, outcome) in &recovery.deployments {
            let reason = outcome.reason().map_or_else(String::new, |why| format!(" ({why})"));
            text.push_str(&format!("Deployment {id} ended: {outcome}{reason}.\n"));
        }
        // Timers ask again and again.
        if text.is_empty() && !shell.global.quiet {
            "Nothing to put right.\n".to_owned()
        } else {
            text
        }
    });
    Ok(exit)
}

/// `deploykit prune`
pub(super) fn prune(shell: &Shell) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let live = shell.live(false)?;
    let result = application.prune(&live.ctx);
    let removed = live.end(result)?;
    shell.answer(&json!({ "removed": removed }), || {
        removed.iter().map(|release| format!("{release}\n")).collect()
    });
    shell.note(&match removed.len() {
        0 => "Nothing to remove.".to_owned(),
        number => format!("Removed {}.", count(number as u64, "release")),
    });
    Ok(Exit::DONE)
}
