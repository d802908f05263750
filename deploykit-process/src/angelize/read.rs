//! From files to settings.

use camino::Utf8PathBuf;
use jsonc_parser::ast::{Object, Value};
use jsonc_parser::common::Ranged;

use super::json::{Document, describe};
use super::problem::{Place, Problem, SettingsError};
use super::settings::{AngelizeService, AngelizeSettings, Globals, StartOptions};
use super::smtp::Smtp;
use super::table::{Noticed, Table};

/// The largest number that Angelize has room for.
const LARGEST: i64 = i32::MAX as i64;

const GLOBAL_KEYS: &[&str] = &[
    "Services",
    "ServiceName",
    "ServiceDisplayName",
    "ServiceExecutable",
    "ServiceDependencies",
    "Log",
    "LogPath",
    "LogRotateFileCount",
    "Folder",
    "Ext",
    "HttpTimeoutMS",
    "StateFile",
    "HtmlStateFileIdentifier",
    "CommandFile",
    "StartDelayMS",
    "StartTimeoutSec",
    "Smtp",
    "SmtpFrom",
];

const SERVICE_KEYS: &[&str] = &[
    "Name",
    "Description",
    "Disabled",
    "Run",
    "Level",
    "OS",
    "Start",
    "StartEnv",
    "StartOptions",
    "StartWorkDir",
    "Stop",
    "StopRunAbortTimeoutSec",
    "RetryStableSec",
    "AbortExitCodes",
    "Notify",
    "Watch",
    "WatchDelaySec",
    "WatchCountRestart",
    "RedirectLogFile",
    "RedirectLogRotateFiles",
    "RedirectLogRotateBytes",
];

const START_OPTIONS: &[&str] =
    &["soReplaceEnv", "soWinJobCloseChildren", "soRedirectLogRotateCompress"];

/// One file of settings.
#[derive(Debug, Clone)]
pub struct Source {
    /// What it is called, for messages; a name that ends with `.service` is the file of one service.
    pub file: Utf8PathBuf,
    /// What it says.
    pub text: String,
}

impl Source {
    /// A file and what it says.
    pub fn new(file: impl Into<Utf8PathBuf>, text: impl Into<String>) -> Self {
        Self { file: file.into(), text: text.into() }
    }
}

/// Reads the settings of one Angelize from all its files.
///
/// A file is an object with a list `Services` and global settings beside it, a list of services, the
/// global settings alone, or one service. Which one it is, is told by its keys; only the name of a file
/// that ends with `.service` says it, too.
///
/// Keys are the same in upper and lower case. Comments, and commas before a closing bracket, are accepted as
/// Angelize accepts them. An unknown key is a [warning](AngelizeSettings::warnings); a value that does not
/// fit is an error, where Angelize would take its default.
pub fn read(sources: &[Source]) -> Result<AngelizeSettings, SettingsError> {
    let mut reading = Reading::default();
    for source in sources {
        let (problems, warnings) = reading.noticed.len();
        reading.file(&Document::new(&source.file, &source.text));
        // The files stay in the order in which they were given.
        reading.noticed.problems[problems..].sort_by(|a, b| a.place.cmp(&b.place));
        reading.noticed.warnings[warnings..].sort_by(|a, b| a.place.cmp(&b.place));
    }
    reading.finish()
}

#[derive(Debug, Default)]
struct Reading {
    globals: Option<(Globals, Place)>,
    services: Vec<AngelizeService>,
    noticed: Noticed,
}

impl Reading {
    fn file(&mut self, document: &Document<'_>) {
        let value = match document.parse() {
            Ok(value) => value,
            Err(problem) => return self.noticed.problems.push(problem),
        };
        match &value {
            Value::Array(list) => self.services(document, &list.elements),
            Value::Object(object) if is_service(document, object) => {
                self.service(document, object, true);
            }
            Value::Object(object) => self.globals(document, object),
            other => {
                let message = format!("expected an object or a list, found {}", describe(other));
                self.noticed.problems.push(Problem::new(document.place(other.start()), message));
            }
        }
    }

    fn services(&mut self, document: &Document<'_>, list: &[Value<'_>]) {
        for item in list {
            match item {
                Value::Object(object) => self.service(document, object, false),
                other => {
                    let message =
                        format!("expected an object, a service, found {}", describe(other));
                    self.noticed
                        .problems
                        .push(Problem::new(document.place(other.start()), message));
                }
            }
        }
    }

    fn globals(&mut self, document: &Document<'_>, object: &Object<'_>) {
        let mut table = Table::new(document, object, GLOBAL_KEYS, &mut self.noticed);
        let globals = globals(&mut table);
        let services = list_of_services(object);
        let place = document.place(object.start());
        let alone = object.properties.len() == 1 && services.is_some();
        match services {
            Some(Value::Array(list)) => self.services(document, &list.elements),
            Some(other) => {
                let found = describe(other);
                let message = format!("expected a list of services for `Services`, found {found}");
                self.noticed.problems.push(Problem::new(document.place(other.start()), message));
            }
            None => {}
        }
        match &self.globals {
            _ if alone => {}
            Some((_, first)) => {
                let message = format!("global settings are already in {}", first.file);
                let hint = "import the files of one Angelize at a time";
                self.noticed.problems.push(Problem::new(place, message).hint(hint));
            }
            None => self.globals = Some((globals, place)),
        }
    }

    /// Reads one service. In a file of its own it is passed over by Angelize unless it has a level; in the
    /// documented list it need not have one.
    fn service(&mut self, document: &Document<'_>, object: &Object<'_>, own_file: bool) {
        let place = document.place(object.start());
        let mut table = Table::new(document, object, SERVICE_KEYS, &mut self.noticed);
        let service = service(&mut table, place.clone());
        if own_file && service.level.is_none() {
            let message = "`Level` is not set: Angelize passes over this service, here it runs";
            self.noticed.warnings.push(Problem::new(place.clone(), message));
        }
        let same = |other: &&AngelizeService| {
            !service.name.is_empty() && other.name.to_lowercase() == service.name.to_lowercase()
        };
        if let Some(first) = self.services.iter().find(same) {
            let at = service.given.place("Name").cloned().unwrap_or(place);
            let message = format!("the name {:?} is taken: {}", service.name, first.place);
            let hint = "upper and lower case are the same in names";
            self.noticed.problems.push(Problem::new(at, message).hint(hint));
        }
        self.services.push(service);
    }

    fn finish(self) -> Result<AngelizeSettings, SettingsError> {
        let Noticed { problems, warnings } = self.noticed;
        if !problems.is_empty() {
            return Err(SettingsError { problems });
        }
        let globals = self.globals.map(|(globals, _)| globals).unwrap_or_default();
        Ok(AngelizeSettings { globals, services: self.services, warnings })
    }
}

/// Whether an object is one service rather than the global settings.
fn is_service(document: &Document<'_>, object: &Object<'_>) -> bool {
    let count = |keys: &[&str]| {
        let names = object.properties.iter().map(|property| property.name.as_str());
        names.filter(|name| keys.iter().any(|key| key.eq_ignore_ascii_case(name))).count()
    };
    let named = document.file().extension() == Some("service");
    list_of_services(object).is_none() && (named || count(SERVICE_KEYS) > count(GLOBAL_KEYS))
}

/// The value of `Services`, with which only the global settings come.
fn list_of_services<'a, 'o>(object: &'o Object<'a>) -> Option<&'o Value<'a>> {
    let mut properties = object.properties.iter();
    let list = properties.find(|property| property.name.as_str().eq_ignore_ascii_case("Services"));
    list.map(|property| &property.value).filter(|value| !matches!(value, Value::NullKeyword(_)))
}

fn globals(table: &mut Table<'_, '_>) -> Globals {
    let default = Globals::default();
    let or = |text: String, default: String| if text.is_empty() { default } else { text };
    Globals {
        service_name: table.text("ServiceName"),
        service_display_name: table.text("ServiceDisplayName"),
        service_executable: table.text("ServiceExecutable"),
        service_dependencies: table.text("ServiceDependencies"),
        log: match table.value("Log") {
            // A number is a set of bits, whose names are not ours to know.
            Some(Value::NumberLit(bits)) => vec![bits.value.to_owned()],
            _ => table.set("Log", &[]),
        },
        log_path: table.text("LogPath"),
        log_rotate_file_count: count(table, "LogRotateFileCount", default.log_rotate_file_count),
        folder: table.text("Folder"),
        ext: or(table.text("Ext"), default.ext),
        http_timeout_ms: count(table, "HttpTimeoutMS", default.http_timeout_ms),
        state_file: table.text("StateFile"),
        html_state_file_identifier: table.text("HtmlStateFileIdentifier"),
        command_file: table.text("CommandFile"),
        start_delay_ms: count(table, "StartDelayMS", default.start_delay_ms),
        start_timeout_sec: count(table, "StartTimeoutSec", default.start_timeout_sec),
        smtp: smtp(table),
        smtp_from: table.text("SmtpFrom"),
        given: table.given(),
    }
}

/// The value is not part of the message: it may contain a password.
fn smtp(table: &mut Table<'_, '_>) -> Option<Smtp> {
    let text = table.text("Smtp");
    let smtp = Smtp::parse(&text);
    if let (None, false, Some(place)) = (&smtp, text.is_empty(), table.place("Smtp")) {
        let message = "expected user:password@host:port for `Smtp`, found another text";
        table.noticed().problems.push(Problem::new(place, message));
    }
    smtp
}

fn service(table: &mut Table<'_, '_>, place: Place) -> AngelizeService {
    AngelizeService {
        name: name(table, &place),
        description: table.text("Description"),
        disabled: table.flag("Disabled"),
        run: table.text("Run"),
        level: table.number("Level", -LARGEST..=LARGEST).map(narrow),
        os: os(table),
        start: table.texts("Start"),
        start_env: table.texts("StartEnv"),
        start_options: start_options(table),
        start_work_dir: table.text("StartWorkDir"),
        stop: table.texts("Stop"),
        stop_run_abort_timeout_sec: count(table, "StopRunAbortTimeoutSec", 10),
        retry_stable_sec: count(table, "RetryStableSec", 60),
        abort_exit_codes: exit_codes(table),
        notify: table.text("Notify"),
        watch: table.texts("Watch"),
        watch_delay_sec: count(table, "WatchDelaySec", 60),
        watch_count_restart: count(table, "WatchCountRestart", 2),
        redirect_log_file: table.text("RedirectLogFile"),
        redirect_log_rotate_files: count(table, "RedirectLogRotateFiles", 0),
        redirect_log_rotate_bytes: u64::from(count(table, "RedirectLogRotateBytes", 100 << 20)),
        place,
        given: table.given(),
    }
}

fn name(table: &mut Table<'_, '_>, place: &Place) -> String {
    let name = table.text("Name");
    let read = matches!(table.value("Name"), None | Some(Value::StringLit(_)));
    if name.trim().is_empty() && read {
        let at = table.place("Name").unwrap_or_else(|| place.clone());
        let message = "expected a service with `Name`, which is its name, found none";
        table.noticed().problems.push(Problem::new(at, message));
    }
    name.trim().to_owned()
}

/// The system, without the letters that its name begins with in the program.
fn os(table: &mut Table<'_, '_>) -> String {
    let os = match table.value("OS") {
        Some(Value::NumberLit(number)) if number.value == "0" => String::new(),
        _ => table.text("OS"),
    };
    let os = os.strip_prefix("os").unwrap_or(&os);
    if os.eq_ignore_ascii_case("unknown") { String::new() } else { os.to_owned() }
}

fn start_options(table: &mut Table<'_, '_>) -> StartOptions {
    let mut options = StartOptions::default();
    for given in table.set("StartOptions", START_OPTIONS) {
        let all = given == "*";
        let is = |name: &str| {
            all || given.eq_ignore_ascii_case(name) || given.eq_ignore_ascii_case(&name[2..])
        };
        let [replace, job, compress] =
            ["soReplaceEnv", "soWinJobCloseChildren", "soRedirectLogRotateCompress"].map(is);
        if !(given.is_empty() || replace || job || compress) {
            let (names, place) = (START_OPTIONS.join(", "), table.place("StartOptions"));
            let message = format!("expected some of {names} for `StartOptions`, found {given:?}");
            table.noticed().problems.extend(place.map(|place| Problem::new(place, message)));
        }
        options.replace_env |= replace;
        options.win_job_close_children |= job;
        options.compress_logs |= compress;
    }
    options
}

fn exit_codes(table: &mut Table<'_, '_>) -> Vec<i32> {
    table.numbers("AbortExitCodes", -LARGEST..=LARGEST).into_iter().map(narrow).collect()
}

/// A whole number that is not negative.
fn count(table: &mut Table<'_, '_>, key: &'static str, default: u32) -> u32 {
    let number = table.number(key, 0..=LARGEST);
    number.and_then(|number| u32::try_from(number).ok()).unwrap_or(default)
}

/// A number that has been checked to fit.
fn narrow(number: i64) -> i32 {
    i32::try_from(number).unwrap_or_default()
}
