//! `list`, `history` and `show`.

use deploykit::DeploymentId;
use deploykit::state::DeploymentRecord;
use serde_json::json;

use crate::exit::Exit;
use crate::render::error::CliError;
use crate::render::table::labelled;
use crate::render::text::{clean, clean_lines};
use crate::render::{releases as render, time};
use crate::shell::Shell;

/// `deploykit list`
pub(super) fn list(shell: &Shell) -> Result<Exit, CliError> {
    let releases = shell.application()?.releases()?;
    let table = shell.global.verbose || shell.io.stdout.is_terminal();
    shell.answer(&releases, || match (releases.is_empty(), table) {
        (true, _) => String::new(),
        (false, true) => {
            render::releases(&releases, shell.times(), shell.paint(), shell.table_width())
        }
        (false, false) => render::lines(&releases),
    });
    if releases.is_empty() {
        shell.note("There is no release yet: `deploykit deploy` makes one.");
    }
    Ok(Exit::DONE)
}

/// `deploykit history`
pub(super) fn history(shell: &Shell, number: usize) -> Result<Exit, CliError> {
    let mut deployments = shell.application()?.history()?;
    let all = deployments.len();
    if number > 0 {
        deployments.truncate(number);
    }
    shell.answer(&deployments, || match deployments.is_empty() {
        true => String::new(),
        false => render::history(&deployments, shell.times(), shell.paint(), shell.table_width()),
    });
    let hidden = all - deployments.len();
    if all == 0 {
        shell.note("There is no deployment yet.");
    } else if hidden > 0 && shell.io.stdout.is_terminal() {
        shell.note(&format!("{hidden} more are remembered: `deploykit history -n 0` shows all."));
    }
    Ok(Exit::DONE)
}

/// `deploykit show`
pub(super) fn show(shell: &Shell, id: Option<DeploymentId>) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let record = application.deployment(id)?;
    let log = application.log(record.id)?;
    let value = json!({ "deployment": record, "log": log });
    shell.answer(&value, || {
        let log = match &log {
            Some(log) => format!("\n{}\n", clean_lines(log)),
            None => "\nIts output is not kept any more.\n".to_owned(),
        };
        format!("{}{log}", head(shell, &record))
    });
    Ok(Exit::DONE)
}

fn head(shell: &Shell, record: &DeploymentRecord) -> String {
    let mut rows = vec![
        ("deployment", record.id.to_string()),
        ("what", clean(&record.request.to_string())),
        ("who", clean(&record.by.to_string())),
        ("when", shell.times().past(record.started)),
    ];
    let took = record.ended.map(|ended| time::duration(ended.since(record.started)));
    rows.extend(took.map(|took| ("took", took)));
    rows.extend(record.source.as_ref().map(|source| ("commit", source.digest().to_owned())));
    rows.extend(record.from.as_ref().map(|from| ("from", from.to_string())));
    rows.extend(record.to.as_ref().map(|to| ("to", to.to_string())));
    let outcome = record.outcome.as_ref();
    rows.push(("outcome", render::outcome(outcome).paint(shell.paint())));
    rows.extend(outcome.and_then(|o| o.reason()).map(|reason| ("reason", clean_lines(reason))));
    labelled(&rows, shell.paint())
}
