//! Who is told: `Notify` and the mail server as `[notify]`.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use super::super::command::split_command;
use super::super::settings::{AngelizeService, AngelizeSettings, Globals};
use super::super::variables::{Variables, expand};
use super::toml::Lines;
use super::{Became, Note, Notes};

/// What Angelize tells of.
const TOPICS: [&str; 4] = ["exited-no-retry", "exited-retry", "recovered", "watch-failed"];

/// The variable in which the password of the mail server is looked for.
const PASSWORD: &str = "SMTP_PASSWORD";

/// One who is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Mail(String),
    Url(String),
    Command(Vec<String>),
    File(String),
}

impl Target {
    /// By what it is told from others where it has no name.
    fn place(&self) -> String {
        match self {
            Self::Mail(address) => format!("mail {address}"),
            Self::Url(url) => {
                let host = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
                format!("http {}", host.split(['?', '#']).next().unwrap_or_default())
            }
            Self::Command(words) => {
                format!("command {}", words.first().map_or("", String::as_str))
            }
            Self::File(path) => format!("file {path}"),
        }
    }
}

/// Writes who is told. `names` are what the services are called here, in their order.
pub(super) fn write(
    settings: &AngelizeSettings,
    names: &[String],
    lines: &mut Lines,
    notes: &mut Vec<Note>,
) {
    let mut told: BTreeMap<Target, Vec<String>> = BTreeMap::new();
    for (service, name) in settings.services.iter().zip(names) {
        for target in targets(&settings.globals, service, lines, notes) {
            told.entry(target).or_default().push(name.clone());
        }
    }
    let has_mail = told.keys().any(|target| matches!(target, Target::Mail(_)));
    server(&settings.globals, has_mail, lines, notes);
    // Those of one host, or of one program, would go by one name.
    let mut named = BTreeMap::new();
    for (target, of) in told {
        lines.table("notify.to");
        let number = named.entry(target.place()).or_insert(0);
        *number += 1;
        if *number > 1 {
            lines.text("name", &format!("{} {number}", target.place()));
        }
        match target {
            Target::Mail(address) => {
                lines.text("type", "mail");
                lines.texts("to", &[address]);
            }
            Target::Url(url) => {
                lines.text("type", "http");
                lines.text("method", "GET");
                lines.text("url", &url);
            }
            Target::Command(words) => {
                lines.text("type", "command");
                lines.texts("command", &words);
            }
            Target::File(path) => {
                lines.text("type", "file");
                lines.text("path", &path);
                lines.text("format", "text");
            }
        }
        lines.texts("on", &TOPICS.map(str::to_owned));
        if of.len() < settings.services.len() {
            lines.texts("services", &of);
        }
    }
}

/// Whom a service names.
fn targets(
    globals: &Globals,
    service: &AngelizeService,
    lines: &mut Lines,
    notes: &mut Vec<Note>,
) -> Vec<Target> {
    let given = service.notify.split(',').map(str::trim).filter(|target| !target.is_empty());
    let mut notes = Notes::of(service, notes);
    let mut variables = Variables::of(globals, service);
    for (theirs, ours) in
        [("what", "{topic}"), ("msg", "{subject}"), ("urimsg", "{subject}"), ("name", "{name}")]
    {
        variables.set(theirs, ours);
    }
    // Its logs lie elsewhere now: the file is one of the application.
    variables.set("log", "");
    let mut found = Vec::new();
    for text in given {
        match expand(text, &variables) {
            Ok(expanded) => {
                let (target, note) = target(&expanded);
                notes.changed("Notify", format!("{text:?} becomes a [[notify.to]]{note}"));
                found.push(target);
            }
            Err(error) => {
                lines.gap();
                lines.comment(&format!("{} tells {text}", service.name));
                notes.left_out("Notify", format!("{text:?} stands as a comment: {error}"));
            }
        }
    }
    found
}

/// What a text names, as Angelize takes it, and what a person should know of that.
fn target(text: &str) -> (Target, &'static str) {
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    if is_url {
        return (Target::Url(text.to_owned()), "; {subject} in the url stands for what happened");
    }
    if text.contains('@') && !text.contains('/') {
        return (Target::Mail(text.to_owned()), "");
    }
    match split_command(text) {
        Ok(words) if words.first().is_some_and(|program| is_program(program)) => {
            (Target::Command(words), "; it also gets the whole story on its standard input")
        }
        _ => {
            let note = " of type \"file\", in the directory of the application where the path is relative. If \
                        it is a program, which is not on this host: type = \"command\", command = […]";
            (Target::File(text.to_owned()), note)
        }
    }
}

fn is_program(path: &str) -> bool {
    let found = std::fs::metadata(path);
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

fn server(globals: &Globals, has_mail: bool, lines: &mut Lines, notes: &mut Vec<Note>) {
    let mut notes = Notes { service: None, given: &globals.given, notes };
    if globals.smtp.is_none() && !has_mail {
        if !globals.smtp_from.is_empty() {
            notes.left_out("SmtpFrom", "left out: there is no mail server, and nobody gets mail");
        }
        return;
    }
    lines.gap();
    lines.section("notify.smtp");
    let (host, port) =
        globals.smtp.as_ref().map_or(("localhost", 25), |smtp| (&*smtp.host, smtp.port));
    lines.text("host", host);
    lines.entry("port", &port.to_string());
    let user = globals.smtp.as_ref().map_or("", |smtp| &*smtp.user);
    let has_password = globals.smtp.as_ref().is_some_and(|smtp| !smtp.password().is_empty());
    lines.text(
        "tls",
        match port {
            465 => "implicit",
            // No password is sent in the clear.
            25 if !has_password => "none",
            _ => "starttls",
        },
    );
    if !user.is_empty() && has_password {
        lines.text("user", user);
        lines.entry("password", &format!("{{ env = \"{PASSWORD}\" }}"));
    }
    let from = match (globals.smtp_from.as_str(), user.contains('@')) {
        ("", true) => user,
        ("", false) => "deploykit@localhost",
        (from, _) => from,
    };
    lines.text("from", from);
    if has_password {
        let text = format!(
            "becomes [notify.smtp], without its password: that is looked for in the variable {PASSWORD} of `deploykit up`"
        );
        notes.add("Smtp", Became::Changed, text);
    } else if globals.smtp.is_some() {
        notes.add("Smtp", Became::Changed, "becomes [notify.smtp]");
    } else {
        let text =
            "is not there: mail goes to this host, as `host = \"localhost\"` in [notify.smtp]";
        notes.add("Smtp", Became::Changed, text);
    }
    if !globals.smtp_from.is_empty() {
        notes.changed("SmtpFrom", "becomes `from` of [notify.smtp]");
    }
}
