//! `status`, `plan` and `resolve`: commands that look and change nothing.

use deploykit::{DeployRequest, Revision};
use serde_json::json;

use crate::args::PlanArgs;
use crate::exit::Exit;
use crate::render::error::CliError;
use crate::render::{plan as render_plan, status as render_status};
use crate::shell::Shell;

/// `deploykit status`
pub(super) fn status(shell: &Shell) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let status = application.status(&shell.look()?)?;
    shell.answer(&status, || render_status::screen(&status, shell.times(), shell.paint()));
    Ok(if status.intact { Exit::DONE } else { Exit::BROKEN })
}

/// `deploykit plan`
pub(super) fn plan(shell: &Shell, args: &PlanArgs) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let request =
        DeployRequest::revision(args.revision.clone()).rebuild(args.rebuild).retry(args.retry);
    let request = match args.confirm.within(&application.config().probation) {
        Some(within) => request.confirm_within(within),
        None => request,
    };
    let plan = application.plan(&shell.look_afar()?, &request)?;
    shell.answer(&plan, || render_plan::plan(&plan, shell.paint()));
    Ok(if plan.has_work() { Exit::WORK } else { Exit::DONE })
}

/// `deploykit resolve`
pub(super) fn resolve(shell: &Shell, revision: &Revision) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let resolved = application.resolve(&shell.look_afar()?, revision)?;
    let value = json!({
        "revision": revision,
        "kind": resolved.id.kind(),
        "digest": resolved.id.digest(),
        "name": resolved.name,
    });
    shell.answer(&value, || match shell.global.verbose {
        true => format!("{} {}\n", resolved.id.digest(), resolved.name),
        false => format!("{}\n", resolved.id.digest()),
    });
    Ok(Exit::DONE)
}
