//! `config show`, `check`, `path` and `schema`.

use serde_json::json;

use crate::args::ConfigCommand;
use crate::exit::Exit;
use crate::render::error::CliError;
use crate::shell::Shell;

/// `deploykit config …`
pub(super) fn config(shell: &Shell, what: ConfigCommand) -> Result<Exit, CliError> {
    match what {
        ConfigCommand::Show => show(shell)?,
        ConfigCommand::Check => check(shell)?,
        ConfigCommand::Path => {
            let path = shell.config_path()?;
            shell.answer(&json!({ "path": path }), || format!("{path}\n"));
        }
        ConfigCommand::Schema => {
            let schema = deploykit::config::schema();
            shell.print(&format!("{schema:#}\n"));
        }
    }
    Ok(Exit::DONE)
}

fn show(shell: &Shell) -> Result<(), CliError> {
    let loaded = shell.config()?;
    shell.answer(&loaded.config, || format!("# {}\n{}", loaded.path, loaded.config.show()));
    Ok(())
}

fn check(shell: &Shell) -> Result<(), CliError> {
    let loaded = shell.config()?;
    let value = json!({ "path": loaded.path, "valid": true, "warnings": loaded.warnings });
    shell.answer(&value, || format!("{} is valid.\n", loaded.path));
    Ok(())
}
