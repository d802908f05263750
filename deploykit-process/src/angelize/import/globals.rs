//! What becomes of the global settings.

use super::super::settings::{AngelizeSettings, Globals};
use super::toml::Lines;
use super::{Became, Note, Notes};

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

/// Writes who is told, as comments: only a person knows what becomes of it.
pub(super) fn notices(settings: &AngelizeSettings, lines: &mut Lines, notes: &mut Vec<Note>) {
    let globals = &settings.globals;
    let told: Vec<_> = settings.services.iter().filter(|s| !s.notify.trim().is_empty()).collect();
    if told.is_empty() && globals.smtp.is_none() && globals.smtp_from.is_empty() {
        return;
    }
    lines.gap();
    lines.comment("Who is told when a service ends, does not answer, or is well again:");
    for service in told {
        lines.comment(&format!("  {}: {}", service.name, service.notify));
        let text = "stands as a comment at the end: who is told is set for all services together";
        Notes::of(service, notes).changed("Notify", text);
    }
    let mut notes = Notes { service: None, given: &globals.given, notes };
    if let Some(smtp) = &globals.smtp {
        let user = if smtp.user.is_empty() { "no user" } else { &smtp.user };
        lines.comment(&format!("Mail server: {}, port {}, {user}", smtp.host, smtp.port));
        let text = "stands as a comment at the end, without its password";
        notes.add("Smtp", Became::Changed, text);
    }
    if !globals.smtp_from.is_empty() {
        lines.comment(&format!("Mails come from: {}", globals.smtp_from));
        notes.changed("SmtpFrom", "stands as a comment at the end");
    }
}
