//! What the units have written, out of systemd's journal.

use deploykit_core::config::ManagerKind;
use deploykit_core::process::{self, Outcome, ProcessSpec};
use deploykit_core::traits::{BackendError, LogLine, LogRequest, SupervisorError};
use deploykit_core::{Context, Timestamp};
use serde_json::Value;

use crate::name::UnitName;

/// So many lines are shown of a failure.
const TAIL: usize = 20;

/// So many entries are read for them: among them are those of the process before, which do not count.
const LOOKED_AT: usize = 100;

/// By this message systemd says that somebody has asked for the end of a unit; this and the following
/// as in sd-messages(3), `SD_MESSAGE_UNIT_STOPPING`.
const STOPPING: &str = "de5b426a63be47a7b6ac3eaac82e2f6f";

/// By these it says how a unit has ended: `SD_MESSAGE_UNIT_SUCCESS`, `SD_MESSAGE_UNIT_FAILURE_RESULT`.
const ENDED: [&str; 2] = ["7ad2d189f7e94e70a38c781354912448", "d9b373ed55a64feb8242e02dbe79a49c"];

/// A line that comes in more pieces than this many bytes is none of `journalctl`.
const LONGEST: usize = 4 << 20;

/// What `journalctl` says to whom it may show nothing.
const REFUSED: &str = "insufficient permissions";

/// The program, with what it is asked for, but for the time and the number of lines.
fn command(manager: ManagerKind, units: &[UnitName]) -> Vec<String> {
    let fields = "MESSAGE,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,_SYSTEMD_USER_UNIT,UNIT,USER_UNIT,_COMM,\
                  MESSAGE_ID,INVOCATION_ID,USER_INVOCATION_ID,_SYSTEMD_INVOCATION_ID";
    let mut command: Vec<String> =
        ["journalctl", "--quiet", "--no-pager", "--all", "--output=json"].map(String::from).into();
    command.push(format!("--output-fields={fields}"));
    // Of all journals that this user may read: what a service of the host writes that runs as a user is in
    // that user's, and what one of a user without a journal writes is in the host's.
    let unit = match manager {
        ManagerKind::System => "--unit",
        ManagerKind::User => "--user-unit",
    };
    command.extend(units.iter().map(|name| format!("{unit}={name}")));
    command
}

fn since(at: Timestamp) -> String {
    let millis = at.as_millis();
    format!("--since=@{}.{:03}", millis.div_euclid(1000), millis.rem_euclid(1000))
}

/// Runs `journalctl` and hands over the entries that it prints.
fn run(
    ctx: &Context,
    command: Vec<String>,
    on_entry: &mut dyn FnMut(&Value),
) -> Result<(), SupervisorError> {
    let told = command.join(" ");
    let mut spec = ProcessSpec::new("journalctl", command, "/");
    // Not the pager, the colours or the language of whoever calls.
    let kept = ["PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "HOME", "USER"];
    spec.env = kept
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
        .chain([("LC_ALL".to_owned(), "C.UTF-8".to_owned())])
        .collect();
    let mut piece = String::new();
    let finished = process::run(ctx, &spec, &mut |_, text| {
        piece.push_str(text);
        match serde_json::from_str(&piece) {
            Ok(entry) => {
                on_entry(&entry);
                piece.clear();
            }
            // A long line comes in pieces.
            Err(error) if error.is_eof() && piece.len() < LONGEST => {}
            Err(_) => piece.clear(),
        }
    });
    let finished =
        finished.map_err(|source| SupervisorError::Process { command: told.clone(), source })?;
    match finished.outcome {
        Outcome::Exited(exit) if exit.success() => Ok(()),
        // Nothing was found.
        Outcome::Exited(process::Exit::Code(1)) if finished.tail.is_empty() => Ok(()),
        Outcome::Exited(_) if finished.tail.iter().any(|line| line.contains(REFUSED)) => {
            let user = crate::supervisor::user();
            let error = BackendError::new(format!("{user} may not read the journal"));
            let hint = format!("`usermod --append --groups systemd-journal {user}`");
            Err(error.hint(hint).of_the_host().into())
        }
        Outcome::Exited(exit) => {
            Err(SupervisorError::Failed { command: told, exit, tail: finished.tail })
        }
        Outcome::TimedOut(limit) => {
            Err(SupervisorError::TimedOut { command: told, limit, tail: finished.tail })
        }
        Outcome::Cancelled(cancelled) => Err(cancelled.into()),
    }
}

/// An entry as `journalctl` prints it; what the fields mean is in systemd.journal-fields(7).
fn line(entry: &Value) -> LogLine {
    let text = |name: &str| entry[name].as_str().map(str::to_owned);
    let micros = text("__REALTIME_TIMESTAMP").and_then(|micros| micros.parse::<i64>().ok());
    let at = micros.map(|micros| Timestamp::from_millis(micros / 1000));
    // What systemd itself says of a unit names the unit in another field.
    let own = text("UNIT").or_else(|| text("USER_UNIT"));
    let by = match own {
        Some(_) => "systemd".to_owned(),
        None => {
            let unit = text("_SYSTEMD_USER_UNIT").or_else(|| text("_SYSTEMD_UNIT"));
            let unit = unit.map(|unit| UnitName::complete(&unit).stem().to_owned());
            unit.or_else(|| text("SYSLOG_IDENTIFIER")).or_else(|| text("_COMM")).unwrap_or_default()
        }
    };
    LogLine::new(at, by, message(&entry["MESSAGE"]))
}

/// A text, or the bytes of one that is not UTF-8, or several.
fn message(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let bytes: Option<Vec<u8>> =
                items.iter().map(|item| u8::try_from(item.as_u64()?).ok()).collect();
            match bytes {
                Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                None => items.iter().map(message).collect::<Vec<_>>().join(" "),
            }
        }
        _ => String::new(),
    }
}

/// The end of what units have written.
#[derive(Debug, Default)]
pub(crate) struct LastLines {
    pub(crate) lines: Vec<String>,
    /// Some of them are the service's own.
    pub(crate) says: bool,
    /// systemd has written how a process of it ended.
    pub(crate) has_ended: bool,
}

/// The last lines that the units have written since then, but for those of processes that were asked
/// to end; nothing where they cannot be read.
pub(crate) fn last_lines(
    ctx: &Context,
    manager: ManagerKind,
    units: &[UnitName],
    at: Timestamp,
) -> LastLines {
    let mut command = command(manager, units);
    command.extend([since(at), format!("--lines={LOOKED_AT}")]);
    let mut entries: Vec<Value> = Vec::new();
    let read = run(ctx, command, &mut |entry| entries.push(entry.clone()));
    let mut last = of_this_start(&entries, units.len() > 1);
    if let Err(error) = read {
        last.lines.push(format!("(its journal cannot be read: {error})"));
    }
    last.lines = shortened(std::mem::take(&mut last.lines));
    last
}

/// So many lines as are shown: the last ones, and rather those of the service than what systemd says of
/// it.
fn shortened(mut lines: Vec<String>) -> Vec<String> {
    let mut surplus = lines.len().saturating_sub(TAIL);
    lines.retain(|line| {
        let goes = surplus > 0 && line.starts_with("systemd: ");
        surplus -= usize::from(goes);
        !goes
    });
    lines.split_off(surplus)
}

fn of_this_start(entries: &[Value], several: bool) -> LastLines {
    let stopped: Vec<&str> =
        entries.iter().filter(|entry| is(entry, STOPPING)).filter_map(invocation).collect();
    let mut last = LastLines::default();
    for entry in entries {
        if invocation(entry).is_some_and(|invocation| stopped.contains(&invocation)) {
            continue;
        }
        let line = line(entry);
        let own = line.by != "systemd";
        last.says |= own;
        last.has_ended |= !own && ENDED.iter().any(|message| is(entry, message));
        let by = if several || !own { format!("{}: ", line.by) } else { String::new() };
        last.lines.extend(line.line.lines().map(|part| format!("{by}{part}")));
    }
    last
}

/// Which run of the unit it is about: each has a number of its own.
fn invocation(entry: &Value) -> Option<&str> {
    let fields = ["INVOCATION_ID", "USER_INVOCATION_ID", "_SYSTEMD_INVOCATION_ID"];
    fields.iter().find_map(|name| entry[name].as_str())
}

/// Whether it is this message of systemd's.
fn is(entry: &Value, message: &str) -> bool {
    entry["MESSAGE_ID"] == message
}

/// Hands over what the units have written.
pub(crate) fn show(
    ctx: &Context,
    manager: ManagerKind,
    units: &[UnitName],
    request: &LogRequest,
    on_line: &mut dyn FnMut(LogLine),
) -> Result<(), SupervisorError> {
    let mut command = command(manager, units);
    command.extend(request.since.map(since));
    match request.lines {
        Some(lines) => command.push(format!("--lines={lines}")),
        // Following shows ten lines unless it is told otherwise.
        None if request.follow => command.push("--no-tail".to_owned()),
        None => {}
    }
    if request.follow {
        command.push("--follow".to_owned());
    }
    run(ctx, command, &mut |entry| on_line(line(entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_with_who_wrote_them() {
        let read = |text: &str| line(&serde_json::from_str(text).unwrap());
        let own = read(
            r#"{"__REALTIME_TIMESTAMP":"1700000000123456","MESSAGE":"hello",
                "_SYSTEMD_UNIT":"app@1.service","SYSLOG_IDENTIFIER":"node"}"#,
        );
        assert_eq!(
            own,
            LogLine::new(Some(Timestamp::from_millis(1_700_000_000_123)), "app@1", "hello")
        );
        let manager =
            read(r#"{"MESSAGE":"Started.","UNIT":"app.service","_SYSTEMD_UNIT":"init.scope"}"#);
        assert_eq!(manager, LogLine::new(None, "systemd", "Started."));
        // Not UTF-8, and two fields of one name.
        assert_eq!(read(r#"{"MESSAGE":[104,105,255]}"#).line, "hi\u{fffd}");
        assert_eq!(read(r#"{"MESSAGE":["a","b"]}"#).line, "a b");
        assert_eq!(read("{}").line, "");
    }

    #[test]
    fn lines_of_a_process_that_was_asked_to_end_do_not_count() {
        let entries: Vec<Value> = [
            r#"{"MESSAGE":"bye","_SYSTEMD_INVOCATION_ID":"old","_SYSTEMD_UNIT":"a.service"}"#,
            r#"{"MESSAGE":"Stopping","INVOCATION_ID":"old","UNIT":"a.service",
                "MESSAGE_ID":"de5b426a63be47a7b6ac3eaac82e2f6f"}"#,
            r#"{"MESSAGE":"Failed","INVOCATION_ID":"new","UNIT":"a.service",
                "MESSAGE_ID":"d9b373ed55a64feb8242e02dbe79a49c"}"#,
            r#"{"MESSAGE":"hello\nyou","_SYSTEMD_INVOCATION_ID":"new","_SYSTEMD_UNIT":"a.service"}"#,
        ]
        .map(|text| serde_json::from_str(text).unwrap())
        .into();
        let last = of_this_start(&entries, false);
        assert_eq!(last.lines, ["systemd: Failed", "hello", "you"]);
        assert!(last.says && last.has_ended);
        let last = of_this_start(&entries[..2], true);
        assert!(last.lines.is_empty() && !last.says && !last.has_ended);
        assert_eq!(of_this_start(&entries[3..], true).lines, ["a: hello", "a: you"]);
    }

    #[test]
    fn what_systemd_says_gives_way_to_what_the_service_says() {
        let line = |number: usize| match number % 3 {
            0 => format!("own {number}"),
            _ => format!("systemd: {number}"),
        };
        let short = shortened((0..45).map(line).collect());
        assert_eq!((short.len(), short[0].as_str()), (TAIL, "own 0"), "{short:?}");
        assert_eq!(short.iter().filter(|line| line.starts_with("own")).count(), 15);
        assert_eq!(short[19], "systemd: 44");
        let own = shortened((0..30).map(|number| format!("own {number}")).collect());
        assert_eq!((own.len(), own[0].as_str()), (TAIL, "own 10"));
    }

    #[test]
    fn the_time_is_passed_on_to_the_millisecond() {
        assert_eq!(since(Timestamp::from_millis(1_700_000_000_005)), "--since=@1700000000.005");
    }
}
