//! `unit`: systemd's unit files, made of the configuration.

use camino::{Utf8Path, Utf8PathBuf};
use deploykit::Application;
use deploykit::systemd::{Comparison, Installed, Present, UnitError, UnitRequest, UnitSet};
use serde_json::json;

use crate::args::UnitCommand;
use crate::exit::Exit;
use crate::render::error::CliError;
use crate::render::units;
use crate::shell::Shell;

/// `deploykit unit`
pub(super) fn unit(shell: &mut Shell, what: &UnitCommand) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let set = set(shell, &application)?;
    match what {
        UnitCommand::Show { name } => show(shell, &set, name.as_deref()),
        UnitCommand::Diff => diff(shell, &set),
        UnitCommand::Install { force } => install(shell, &application, set, *force),
        UnitCommand::Remove { yes } => remove(shell, &set, *yes),
    }
}

pub(super) fn set(shell: &Shell, application: &Application) -> Result<UnitSet, CliError> {
    let program = std::env::current_exe()
        .and_then(|path| {
            Utf8PathBuf::from_path_buf(path).map_err(|_| std::io::ErrorKind::InvalidFilename.into())
        })
        .map_err(|error| CliError::io("cannot tell where this program is", &error))?;
    let path = shell.config_path()?;
    let path = path.canonicalize_utf8().unwrap_or(path);
    let usual = path.parent() == Some(application.layout().root());
    let mut request = UnitRequest::new(application.config(), application.layout(), &program);
    let runtimes = application.runtimes()?;
    (request.active, request.kept) =
        (runtimes.active.as_ref().map(|active| &active.runtime), &runtimes.kept);
    request.config_path = Some(&*path).filter(|_| !usual || shell.global.config.is_some());
    UnitSet::of(&request).map_err(|error| failed(&error))
}

pub(super) fn failed(error: &UnitError) -> CliError {
    let kind = match error {
        UnitError::NoUser { .. } | UnitError::Path { .. } => deploykit::ErrorKind::Config,
        _ => deploykit::ErrorKind::Failed,
    };
    CliError::of(kind, error, error.hint())
}

fn show(shell: &Shell, set: &UnitSet, name: Option<&str>) -> Result<Exit, CliError> {
    let is_meant = |file: &Utf8Path| {
        let named =
            |name| ['.', '@'].iter().any(|end| file.as_str().starts_with(&format!("{name}{end}")));
        name.is_none_or(|name| file == name || named(name))
    };
    let files: Vec<_> = set.files().iter().filter(|file| is_meant(&file.name)).collect();
    if files.is_empty() {
        let names: Vec<_> = set.files().iter().map(|file| file.name.as_str()).collect();
        return Err(CliError::usage(
            format!("there is no unit file {:?}", name.unwrap_or_default()),
            format!("there are: {}", names.join(", ")),
        ));
    }
    let value: Vec<_> = files
        .iter()
        .map(|file| json!({ "path": set.directory().join(&file.name), "text": file.text }))
        .collect();
    shell.answer(&value, || {
        let one = |file: &&deploykit::systemd::UnitFile| {
            format!("# {}\n{}", set.directory().join(&file.name), file.text)
        };
        files.iter().map(one).collect::<Vec<_>>().join("\n")
    });
    Ok(Exit::DONE)
}

fn diff(shell: &Shell, set: &UnitSet) -> Result<Exit, CliError> {
    let compared = set.compare().map_err(|error| failed(&error))?;
    shell.answer(&value(set, &compared), || units::diff(set, &compared, shell.paint()));
    if compared.is_same() {
        shell.note("The unit files are those of the configuration.");
        return Ok(Exit::DONE);
    }
    Ok(Exit::WORK)
}

fn value(set: &UnitSet, compared: &Comparison) -> serde_json::Value {
    let file = |file: &deploykit::systemd::Compared| {
        json!({
            "path": set.directory().join(&file.file.name),
            "present": file.present,
            "text": file.file.text,
            "there": Some(&file.there).filter(|_| file.present != Present::Absent),
        })
    };
    let obsolete = compared.obsolete.iter().map(|file| set.directory().join(&file.name));
    json!({
        "files": compared.files.iter().map(file).collect::<Vec<_>>(),
        "obsolete": obsolete.collect::<Vec<_>>(),
    })
}

fn install(
    shell: &Shell,
    application: &Application,
    set: UnitSet,
    force: bool,
) -> Result<Exit, CliError> {
    let live = shell.live(false)?;
    let result = set.install(&live.ctx, force);
    let done = live.end_with(result).map_err(|error| failed(&error))?;
    tell(shell, &done);
    if deploykit::service_backend_name(application.config()) == "process" {
        shell.note(
            "systemd runs `deploykit up` from now on, which deploys when nothing is active: \
             `deploykit ps` shows what it runs.",
        );
    } else if !application.config().service.services.is_empty() {
        shell.note("The services are started, or brought to what is new, by `deploykit deploy`.");
    }
    Ok(Exit::DONE)
}

fn remove(shell: &mut Shell, set: &UnitSet, yes: bool) -> Result<Exit, CliError> {
    let question = "End the units of this application and remove their files? [y/N] ";
    let hint = "`deploykit unit remove --yes` does not ask";
    if !yes && !shell.agreed(question, "whether to end the units", hint)? {
        shell.note("Nothing was removed.");
        return Ok(Exit::FAILED);
    }
    let live = shell.live(false)?;
    let result = set.remove(&live.ctx);
    let done = live.end_with(result).map_err(|error| failed(&error))?;
    tell(shell, &done);
    Ok(Exit::DONE)
}

fn tell(shell: &Shell, done: &Installed) {
    shell.answer(done, || {
        let lines = |what: &str, all: &mut dyn Iterator<Item = String>| -> String {
            all.map(|one| format!("{what} {one}\n")).collect()
        };
        let paths =
            |paths: &[Utf8PathBuf]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        [
            lines("kept", &mut paths(&done.kept).into_iter()),
            lines("wrote", &mut paths(&done.written).into_iter()),
            lines("stopped", &mut done.stopped.iter().cloned()),
            lines("removed", &mut paths(&done.removed).into_iter()),
            lines("starts at boot:", &mut done.enabled.iter().cloned()),
        ]
        .concat()
    });
}
