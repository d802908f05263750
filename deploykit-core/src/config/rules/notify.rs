//! Rules of `[notify]`.

use super::Rules;
use super::health::wrong_url;
use super::kinds::{Kind, Kinds, unique_name};
use crate::config::{Argv, Config, EnvValue, NotifierConfig, SmtpConfig, SmtpTls};
use crate::message::{PLACEHOLDERS, Topic};

/// Those that are built in.
const BUILT_IN: Kinds = Kinds {
    noun: "notifier",
    common: &["type", "name", "on", "services", "timeout"],
    kinds: &[
        Kind { name: "mail", needed: "to", more: &[], example: "to = [\"ops@example.org\"]" },
        Kind {
            name: "http",
            needed: "url",
            more: &["method", "send", "body", "ca_file"],
            example: "url = \"https://hooks.example.org/deploykit\"",
        },
        Kind {
            name: "command",
            needed: "command",
            more: &[],
            example: "command = [\"/usr/local/bin/tell-the-team\"]",
        },
        Kind { name: "file", needed: "path", more: &["format"], example: "path = \"notices.log\"" },
    ],
};

/// What HTTP can be asked to do with a notice.
const METHODS: [&str; 3] = ["POST", "PUT", "GET"];

pub(super) fn check(rules: &mut Rules<'_>, config: &Config) {
    let notify = &config.notify;
    rules.longer_than_nothing(&["notify", "timeout"], notify.timeout);
    if let Some(smtp) = &notify.smtp {
        server(rules, smtp);
    }
    if !rules.has_all_items(&["notify", "to"]) {
        return;
    }
    for (index, to) in notify.to.iter().enumerate() {
        let number = index.to_string();
        let path = ["notify", "to", &number];
        BUILT_IN.check(rules, &path, to.kind());
        values(rules, &path, to);
        if to.kind() == "mail" && notify.smtp.is_none() && rules.is_whole(&["notify"]) {
            let place = rules.value(&[&path[..], &["type"]].concat());
            let hint =
                "[notify.smtp] names it: host = \"mail.example.org\", from = \"ops@example.org\"";
            rules.missing(place, "no server is named that takes mail", Some(hint));
        }
        services(rules, &path, to, config);
        let before: Vec<String> = notify.to[..index].iter().map(NotifierConfig::label).collect();
        unique_name(rules, "notifier", &path, &to.label(), &before);
    }
}

fn server(rules: &mut Rules<'_>, smtp: &SmtpConfig) {
    let at = |key| ["notify", "smtp", key];
    let is_host = |c: char| c.is_alphanumeric() || "-._:".contains(c);
    let has_port = smtp.host.matches(':').count() == 1;
    if smtp.host.is_empty() || has_port || !smtp.host.chars().all(is_host) {
        let hint = "the port stands in `port`";
        rules.wrong(&at("host"), "it is the name or the address of a host", Some(hint));
    }
    if smtp.port == Some(0) {
        rules.wrong(&at("port"), "it is a number from 1 on", None);
    }
    if let Some(why) = wrong_address(&smtp.from) {
        rules.wrong(&at("from"), why, Some("for example \"deploykit <ops@example.org>\""));
    }
    let is_here = ["localhost", "127.0.0.1", "::1"].contains(&&*smtp.host);
    if smtp.tls == SmtpTls::None && smtp.password.is_some() && !is_here {
        let hint = "tls = \"starttls\", or \"implicit\" where it listens on port 465";
        rules.wrong(&at("tls"), "the password would be sent in the clear", Some(hint));
    }
    let (user, password) = (smtp.user.is_some(), smtp.password.is_some());
    if user != password && rules.is_whole(&["notify", "smtp"]) {
        let (given, missing) = if user { ("user", "password") } else { ("password", "user") };
        let place = rules.key(&at(given));
        rules.missing(place, format!("`notify.smtp.{given}` needs `{missing}`"), None);
    }
}

fn values(rules: &mut Rules<'_>, path: &[&str], to: &NotifierConfig) {
    let at = |key: &'static str| [path, &[key]].concat();
    if let Some(timeout) = to.timeout {
        rules.longer_than_nothing(&at("timeout"), timeout);
    }
    match to.name.as_deref() {
        Some(name) if name.trim().is_empty() => {
            rules.wrong(&at("name"), "it must not be empty", None);
        }
        Some(name) if name.chars().any(char::is_control) => {
            rules.wrong(&at("name"), "it must not contain control characters", None);
        }
        Some(name @ ("on_failure" | "on_recovery")) => {
            rules.wrong(&at("name"), format!("{name:?} is the command of that name"), None);
        }
        _ => {}
    }
    if let Some(index) = to.on.iter().position(|topic| *topic == Topic::Test) {
        let index = index.to_string();
        let hint = "`deploykit notify` sends a test to everybody";
        rules.wrong(&[path, &["on", &index]].concat(), "nothing is told of that", Some(hint));
    }
    if to.command.as_ref().is_some_and(is_open_to_others) {
        let why = "the shell would run what a service writes, in the place of a placeholder";
        let hint = "[\"sh\", \"-c\", \"… \\\"$1\\\"\", \"sh\", \"{subject}\"]";
        rules.wrong(&at("command"), why, Some(hint));
    }
    for (index, address) in to.to.iter().enumerate() {
        if let Some(why) = wrong_address(address) {
            let index = index.to_string();
            rules.wrong(
                &[path, &["to", &index]].concat(),
                why,
                Some("for example ops@example.org"),
            );
        }
    }
    if let Some(EnvValue::Plain(url)) = &to.url
        && let Some(why) = wrong_url(url)
    {
        rules.wrong(&at("url"), why, Some("for example https://hooks.example.org/deploykit"));
    }
    let method = to.method.as_deref().unwrap_or("POST");
    if !METHODS.contains(&method) {
        rules.wrong(&at("method"), format!("it is one of {}", METHODS.join(", ")), None);
    }
    if method == "GET" && to.body.is_some() {
        rules.together(
            &at("method"),
            &at("body"),
            "a GET has no body: POST, or `{subject}` in the url",
        );
    }
    if to.path.as_ref().is_some_and(|path| path.is_empty() || path.contains('\0')) {
        rules.wrong(&at("path"), "it is not the path of a file", None);
    }
    rules.sent_headers(path, &to.send);
}

/// A service that there is not tells nobody anything.
fn services(rules: &mut Rules<'_>, path: &[&str], to: &NotifierConfig, config: &Config) {
    let all = &config.service.services;
    if !rules.is_whole(&["service"]) {
        return;
    }
    for (index, name) in to.services.iter().enumerate() {
        if !all.iter().any(|service| service.name == *name) {
            let index = index.to_string();
            let known: Vec<&str> = all.iter().map(|service| &*service.name).collect();
            let hint = match crate::config::diagnose::nearest(name, &known) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "it is the name of a [[service]]".to_owned(),
            };
            let why = format!("there is no service {name:?}");
            rules.wrong(&[path, &["services", &index]].concat(), why, Some(&hint));
        }
    }
}

/// Whether it is the script of a shell in which placeholders stand.
fn is_open_to_others(command: &Argv) -> bool {
    let name = command.program().rsplit('/').next().unwrap_or_default();
    let is_shell = ["sh", "bash", "dash", "zsh", "ksh"].contains(&name);
    let [option, script, ..] = command.arguments() else { return false };
    let has_placeholder = PLACEHOLDERS.iter().any(|one| script.contains(&format!("{{{one}}}")));
    is_shell && option.starts_with('-') && option.contains('c') && has_placeholder
}

/// Why this is no address of a mail, with or without a name before it. Whether somebody has it, only its
/// server knows.
fn wrong_address(text: &str) -> Option<&'static str> {
    if text.chars().any(char::is_control) {
        return Some("it must not contain control characters");
    }
    let address = match text.strip_suffix('>') {
        Some(inner) => inner.rsplit_once('<').map_or("", |(_, address)| address),
        None => text,
    };
    let parts = address.rsplit_once('@').filter(|(local, host)| {
        let is_plain = |c: char| !c.is_whitespace() && !"<>,;\"".contains(c);
        let has_dots = local.contains("..") || local.starts_with('.') || local.ends_with('.');
        !local.is_empty() && !has_dots && !host.is_empty() && address.chars().all(is_plain)
    });
    parts.is_none().then_some("it is not the address of a mail")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_alone_or_behind_a_name() {
        for good in ["a@b", "a.b+c@mail.example.org", "The Team <a@b>", "x@[::1]"] {
            assert_eq!(wrong_address(good), None, "{good}");
        }
        for bad in [
            "", "a..b@c", ".a@b", "a", "@b", "a@", "a b@c", "a@b, c@d", "<a@b", "Team <a>", "a@b\n",
        ] {
            assert!(wrong_address(bad).is_some(), "{bad}");
        }
    }
}
