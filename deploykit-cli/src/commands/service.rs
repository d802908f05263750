//! `check` and `logs`.

use deploykit::traits::{LogLine, LogRequest};

use crate::args::LogsArgs;
use crate::exit::Exit;
use crate::render::error::CliError;
use crate::render::findings;
use crate::render::text::clean;
use crate::render::time::local;
use crate::shell::Shell;

/// `deploykit check`
pub(super) fn check(shell: &Shell) -> Result<Exit, CliError> {
    let application = shell.application()?;
    let found = application.check(&shell.look()?)?;
    shell.answer(&found, || findings::screen(&found, shell.paint()));
    Ok(if findings::is_fine(&found) { Exit::DONE } else { Exit::WORK })
}

/// `deploykit logs`
pub(super) fn logs(shell: &Shell, args: LogsArgs) -> Result<Exit, CliError> {
    let (application, _) = shell.application_or_procfile()?;
    let mut request = LogRequest::default();
    request.lines = Some(args.lines).filter(|lines| *lines > 0);
    request.since = args.since.map(|when| when.time());
    request.follow = args.follow;
    request.of = args.of;
    let ctx = shell.look_afar()?;
    let paint = shell.paint();
    let text = |line: &LogLine| {
        let at = line.at.map_or_else(String::new, |at| format!("{} ", local(at)));
        format!(
            "{}{} {}\n",
            paint.dim(&at),
            paint.name(&format!("{}:", clean(&line.by))),
            clean(&line.line)
        )
    };
    let mut tell = |line: LogLine| shell.answer(&line, || text(&line));
    match application.logs(&ctx, &request, &mut tell) {
        // Whoever follows ends it like that.
        Err(error) if args.follow && ctx.check().is_err() => Ok(CliError::from(error).exit()),
        result => {
            result?;
            Ok(Exit::DONE)
        }
    }
}
