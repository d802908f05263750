//! `deploy`, `rollback` and `restart`.

use deploykit::{DeployRequest, ReloadRequest, Report, RestartRequest, RollbackRequest, Step};
use serde_json::json;

use crate::args::{DeployArgs, ReloadArgs, RestartArgs, RollbackArgs, WaitArg};
use crate::exit::Exit;
use crate::render::error::CliError;
use crate::render::report::{Told, tell};
use crate::shell::Shell;

use super::up::note_changed;

/// `deploykit deploy`
pub(super) fn deploy(shell: &Shell, args: &DeployArgs) -> Result<Exit, CliError> {
    refuse_duration(&args.wait, args.revision.name())?;
    let application = shell.application()?;
    let request = DeployRequest::revision(args.revision.clone())
        .rebuild(args.rebuild)
        .retry(args.retry)
        .if_changed(args.if_changed)
        .wait(args.wait.duration());
    let request = match args.confirm.within(&application.config().probation) {
        Some(within) => request.confirm_within(within),
        None => request,
    };
    let live = shell.live(true)?;
    live.expect(Step::Resolve);
    let result = application.deploy(&live.ctx, &request);
    let report = live.end(result)?;
    Ok(conclude(shell, &report))
}

/// `deploykit rollback`
pub(super) fn rollback(shell: &Shell, args: &RollbackArgs) -> Result<Exit, CliError> {
    refuse_duration(&args.wait, args.target.as_deref())?;
    let application = shell.application()?;
    let request = match &args.target {
        Some(target) => RollbackRequest::to(target),
        None => RollbackRequest::previous(),
    };
    let request = request.retry(args.retry).wait(args.wait.duration());
    let request = match args.confirm.within(&application.config().probation) {
        Some(within) => request.confirm_within(within),
        None => request,
    };
    let live = shell.live(true)?;
    let result = application.rollback(&live.ctx, &request);
    let report = live.end(result)?;
    Ok(conclude(shell, &report))
}

/// `deploykit restart`
pub(super) fn restart(shell: &Shell, args: &RestartArgs) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let request = RestartRequest::default().wait(args.wait.duration());
    let live = shell.live(true)?;
    let result = application.restart(&live.ctx, &request);
    let report = live.end(result)?;
    note_changed(shell, &application);
    Ok(conclude(shell, &report))
}

/// `deploykit reload`
pub(super) fn reload(shell: &Shell, args: &ReloadArgs) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let request = ReloadRequest::default().wait(args.wait.duration());
    let live = shell.live(true)?;
    let result = application.reload(&live.ctx, &request);
    let report = live.end(result)?;
    Ok(conclude(shell, &report))
}

/// Refuses a duration in the place of a revision or a release.
fn refuse_duration(wait: &WaitArg, word: Option<&str>) -> Result<(), CliError> {
    match word.filter(|word| wait.was_meant(word)) {
        Some(word) => Err(CliError::usage(
            format!("{word:?} is no revision, but the duration of --wait"),
            format!("it stands behind `=`: --wait={word}"),
        )),
        None => Ok(()),
    }
}

pub(super) fn conclude(shell: &Shell, report: &Report) -> Exit {
    let exit = Exit::of_report(report);
    if shell.global.json {
        shell.print_json(&json!({ "report": report }));
        return exit;
    }
    match tell(report, shell.paint(), shell.error_paint()) {
        Told::Result(text) => shell.print(&format!("{text}\n")),
        Told::Error(text) => shell.tell(&text),
        Told::Nothing(text) if !shell.global.quiet => shell.print(&format!("{text}\n")),
        Told::Nothing(_) => {}
    }
    exit
}
