//! `uninstall`.

use deploykit::UninstallRequest;

use crate::exit::Exit;
use crate::render::error::CliError;
use crate::shell::Shell;

/// `deploykit uninstall`
pub(super) fn uninstall(shell: &mut Shell, to_mfd: bool, yes: bool) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let renames = if to_mfd { ", and rename the releases for mfd" } else { "" };
    let path = application.layout().private();
    let question = format!("Remove {path} with its history, caches and logs{renames}? [y/N] ");
    let (what, hint) =
        ("whether to remove deploykit's own files", "`deploykit uninstall --yes` does not ask");
    if !yes && !shell.agreed(&question, what, hint)? {
        shell.note("Nothing was removed.");
        return Ok(Exit::FAILED);
    }
    // They would begin everything anew.
    let live = shell.live(false)?;
    let timers = super::unit::set(shell, &application)
        .and_then(|set| set.remove_timers(&live.ctx).map_err(|error| super::unit::failed(&error)));
    for unit in live.end_with(timers)?.stopped {
        shell.note(&format!("stopped {unit}"));
    }
    let live = shell.live(false)?;
    let result = application.uninstall(&live.ctx, &UninstallRequest::new(to_mfd));
    let done = live.end(result)?;
    shell.answer(&done, || {
        let removed = done.removed.iter().map(|path| format!("removed {path}\n"));
        let renamed = done.renamed.iter().map(|(from, to)| format!("renamed {from} to {to}\n"));
        removed.chain(renamed).collect()
    });
    shell.note("The releases, the active link, shared/ and the configuration stay as they are.");
    if to_mfd && !application.layout().root().join("mfd.toml").exists() {
        shell.note("mfd needs an mfd.toml, which is not there: it does not read deploykit.toml.");
    }
    Ok(Exit::DONE)
}
