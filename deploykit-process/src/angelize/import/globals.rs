//! What becomes of the global settings.

use super::super::settings::{AngelizeSettings, Globals};
use super::{Note, Notes};

const NAMED: &str = "left out: it names the manager as a service of the system, and `deploykit up` has \
                     a unit of its own";
const WINDOWS: &str = "left out: it has a meaning on Windows only";
const OWN_LOG: &str = "left out: it is about the log of the manager itself";
const STATE: &str =
    "left out: `deploykit ps` and other programs ask the running `up` by its socket";
const FILES: &str = "left out: all services stand in deploykit.toml";
const DELAY: &str = "left out: a level is started when the one before is up, without a pause; \
                     `sleep:MILLISECONDS` at the end of a `start` list is one";
const HTTP: &str = "left out: how long an http action may take has no key of its own";

/// Notes what has no counterpart.
pub(super) fn note(settings: &AngelizeSettings, notes: &mut Vec<Note>) {
    let globals = &settings.globals;
    let mut notes = Notes { service: None, given: &globals.given, notes };
    for (setting, text) in left_out(globals) {
        notes.left_out(setting, text);
    }
    if globals.start_timeout_sec > 0 {
        let text = "becomes `start_timeout` of each service, and counts from its own start";
        notes.changed("StartTimeoutSec", text);
    }
}

/// Settings that differ from what they are by default, and why they are left out.
fn left_out(globals: &Globals) -> Vec<(&'static str, &'static str)> {
    let default = Globals::default();
    let has_http = globals.http_timeout_ms != default.http_timeout_ms;
    let all = [
        (!globals.service_name.is_empty(), "ServiceName", NAMED),
        (!globals.service_display_name.is_empty(), "ServiceDisplayName", NAMED),
        (!globals.service_executable.is_empty(), "ServiceExecutable", WINDOWS),
        (!globals.service_dependencies.is_empty(), "ServiceDependencies", WINDOWS),
        (!globals.log.is_empty(), "Log", OWN_LOG),
        (!globals.log_path.is_empty(), "LogPath", OWN_LOG),
        (
            globals.log_rotate_file_count != default.log_rotate_file_count,
            "LogRotateFileCount",
            OWN_LOG,
        ),
        (!globals.folder.is_empty(), "Folder", FILES),
        (globals.ext != default.ext, "Ext", FILES),
        (has_http, "HttpTimeoutMS", HTTP),
        (!globals.state_file.is_empty(), "StateFile", STATE),
        (!globals.html_state_file_identifier.is_empty(), "HtmlStateFileIdentifier", STATE),
        (!globals.command_file.is_empty(), "CommandFile", STATE),
        (globals.start_delay_ms > 0, "StartDelayMS", DELAY),
    ];
    all.into_iter().filter(|(set, ..)| *set).map(|(_, setting, text)| (setting, text)).collect()
}
