//! `uninstall`.

use std::io::BufRead as _;

use deploykit::UninstallRequest;

use crate::exit::Exit;
use crate::render::error::CliError;
use crate::shell::Shell;

/// `deploykit uninstall`
pub(super) fn uninstall(shell: &mut Shell, to_mfd: bool, yes: bool) -> Result<Exit, CliError> {
    let application = shell.application()?;
    if !yes && !agreed(shell, application.layout().private().as_str(), to_mfd)? {
        shell.note("Nothing was removed.");
        return Ok(Exit::FAILED);
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

/// Asks a person.
fn agreed(shell: &mut Shell, path: &str, to_mfd: bool) -> Result<bool, CliError> {
    let Some(input) = shell.io.stdin.as_mut() else {
        return Err(CliError::usage(
            "there is nobody who could be asked whether to remove deploykit's own files",
            "`deploykit uninstall --yes` does not ask",
        ));
    };
    let renames = if to_mfd { ", and rename the releases for mfd" } else { "" };
    let what = format!("Remove {path} with its history, caches and logs{renames}? [y/N] ");
    shell.io.stderr.write(&what);
    let mut answer = String::new();
    input.read_line(&mut answer).map_err(|error| CliError::io("cannot read the answer", error))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
