//! `[notify]`: what is accepted, and what every mistake looks like to a person.

use std::sync::Arc;

use deploykit_core::Registry;
use deploykit_core::config::{self, Config, ConfigError, SmtpTls};

const SMTP: &str = "[notify.smtp]\nhost = \"mail.example.org\"\nfrom = \"deploykit <a@b.c>\"\n";

/// As a program reads it that has all notifiers.
fn parse(text: &str) -> Result<Config, ConfigError> {
    let mut registry = Registry::built_in();
    for kind in ["mail", "http", "file"] {
        registry.notifier(kind, Arc::new(|_, _| Err("it is only read here".into())));
    }
    registry.service("process", Arc::new(|_| Err("it is only read here".into())));
    let text = format!("repo.url = \"/r\"\n{text}");
    config::parse_for(&text, "deploykit.toml".into(), &registry)
}

/// The places that are shown, each with what is said of it and the hint.
fn refused(text: &str) -> Vec<(String, String, String)> {
    let error = parse(text).expect_err("it is accepted");
    let whole = error.text().expect("a text");
    let shown = |problem: &config::Problem| {
        let place = problem.span.clone().map_or("", |span| &whole[span]);
        (place.to_owned(), problem.message.clone(), problem.hint.clone().unwrap_or_default())
    };
    error.problems().iter().map(shown).collect()
}

fn to(kind: &str, more: &str) -> String {
    format!("[[notify.to]]\ntype = {kind:?}\n{more}\n")
}

#[test]
fn everybody_can_be_named() {
    let all = [
        SMTP,
        "port = 465\ntls = \"implicit\"\nuser = \"u\"\npassword = { credential = \"smtp\" }\n",
        &to(
            "mail",
            "to = [\"a@b.c\", \"The Team <d@e.f>\"]\non = [\"watch-failed\", \"rolled-back\"]",
        ),
        &to("http", "url = \"https://h/{topic}?w={what}\"\nmethod = \"GET\""),
        &to(
            "http",
            "url = { env = \"HOOK\" }\nbody = '{\"text\": \"{subject}\"}'\nsend = { A = \"b\" }",
        ),
        &to("command", "command = [\"tell\", \"{subject}\"]\ntimeout = \"5s\""),
        &to("file", "path = \"told\"\nformat = \"text\"\nservices = [\"web\"]"),
        "[[service]]\nname = \"web\"\ncommand = [\"x\"]\n",
    ];
    let notify = parse(&all.concat()).unwrap().notify;
    let labels: Vec<String> = notify.to.iter().map(config::NotifierConfig::label).collect();
    let expected = [
        "mail a@b.c, The Team <d@e.f>",
        "http https://h",
        "http $HOOK",
        "command tell",
        "file told",
    ];
    assert_eq!(labels, expected);
    assert_eq!(notify.smtp.unwrap().tls, SmtpTls::Implicit);
    assert_eq!(
        [SmtpTls::Starttls, SmtpTls::Implicit, SmtpTls::None].map(SmtpTls::port),
        [587, 465, 25]
    );
}

/// Each text has one mistake: its place, what is said of it, and the hint.
#[track_caller]
fn shown<const N: usize>(cases: [(String, &str, &str, &str); N]) {
    for (text, place, message, hint) in cases {
        let found = refused(&text);
        assert_eq!(found.len(), 1, "{text}\n{found:?}");
        let (shown, said, hinted) = &found[0];
        assert_eq!(shown, place, "{text}\n{found:?}");
        assert!(said.contains(message), "{text}\n{said}");
        assert!(hinted.contains(hint), "{text}\n{hinted}");
    }
}

#[test]
fn every_mistake_of_somebody_who_is_told_is_shown_in_its_place() {
    let mail = to("mail", "to = [\"a@b.c\"]");
    let url = "url = \"https://h/\"\n";
    shown([
        (
            to("pager", ""),
            "\"pager\"",
            "there is no type of notifier \"pager\"",
            "there are command, file, http, mail",
        ),
        (
            to("mial", ""),
            "\"mial\"",
            "there is no type of notifier \"mial\"",
            "did you mean \"mail\"?",
        ),
        (mail, "\"mail\"", "no server is named that takes mail", "[notify.smtp] names it"),
        (
            format!("{SMTP}{}", to("mail", "")),
            "\"mail\"",
            "a notifier of type \"mail\" needs `to`",
            "to = [\"ops@example.org\"]",
        ),
        (
            format!("{SMTP}{}", to("mail", "to = [\"a@b.c\", \"c\"]")),
            "\"c\"",
            "it is not the address of a mail",
            "for example",
        ),
        (
            format!("{SMTP}{}", to("mail", "to = [\"a@b\"]\nurl = \"https://h\"")),
            "url",
            "has no `url`",
            "it belongs to a notifier of type \"http\"",
        ),
        (
            to("http", "url = \"h/x\""),
            "\"h/x\"",
            "it must begin with http:// or https://",
            "for example",
        ),
        (
            to("http", &format!("{url}method = \"PSOT\"")),
            "\"PSOT\"",
            "it is one of POST, PUT, GET",
            "",
        ),
        (
            to("http", &format!("{url}method = \"GET\"\nbody = \"x\"")),
            "body",
            "cannot be given together",
            "a GET has no body",
        ),
        (
            to("http", &format!("{url}send = {{ \"A b\" = \"c\" }}")),
            "\"A b\"",
            "is not the name of a header",
            "",
        ),
    ]);
}

#[test]
fn every_mistake_of_what_is_told_and_how_is_shown_in_its_place() {
    let twice = format!("{}{}", to("file", "path = \"x\""), to("file", "path = \"x\""));
    shown([
        (to("file", "path = \"\""), "\"\"", "it is not the path of a file", ""),
        (
            to("file", "path = \"x\"\non = [\"recovered\", \"test\"]"),
            "\"test\"",
            "nothing is told of that",
            "`deploykit notify` sends a test",
        ),
        (
            to("file", "path = \"x\"\nname = \"on_failure\""),
            "\"on_failure\"",
            "is the command of that name",
            "",
        ),
        (
            to("file", "path = \"x\"\nname = \"a\\u001Bb\""),
            "\"a\\u001Bb\"",
            "must not contain control characters",
            "",
        ),
        (
            to("command", "command = [\"/bin/sh\", \"-ec\", \"echo {what}\"]"),
            "[\"/bin/sh\", \"-ec\", \"echo {what}\"]",
            "the shell would run what a service writes",
            "{subject}",
        ),
        (
            "[[notify.to]]\npath = \"x\"\n".to_owned(),
            "[[notify.to]]",
            "`type` is missing",
            "type = \"mail\", \"http\", \"command\" or \"file\"",
        ),
        (to("file", "path = \"x\"\non = [\"exited\"]"), "\"exited\"", "cannot be \"exited\"", ""),
        (
            to(
                "file",
                "path = \"x\"\nservices = [\"wbe\"]\n[[service]]\nname = \"web\"\ncommand = [\"x\"]",
            ),
            "\"wbe\"",
            "there is no service \"wbe\"",
            "did you mean \"web\"?",
        ),
        (
            to("file", "path = \"x\"\ntimeout = \"0s\""),
            "\"0s\"",
            "it must be longer than nothing",
            "",
        ),
        (twice, "\"file\"", "there is another notifier called \"file x\"", "give it another name"),
    ]);
}

#[test]
fn every_mistake_of_a_mail_server_is_shown_in_its_place() {
    shown([
        (
            SMTP.replace("mail.example.org", "mail:25"),
            "\"mail:25\"",
            "it is the name or the address of a host",
            "the port stands in `port`",
        ),
        (
            SMTP.replace("mail.example.org", "https://mail"),
            "\"https://mail\"",
            "it is the name or the address of a host",
            "the port stands in `port`",
        ),
        (
            SMTP.replace("deploykit <a@b.c>", "deploykit"),
            "\"deploykit\"",
            "it is not the address of a mail",
            "for example",
        ),
        (format!("{SMTP}user = \"u\"\n"), "user", "`notify.smtp.user` needs `password`", ""),
        (
            format!("{SMTP}user = \"u\"\npassword = \"s3cret\"\ntls = \"none\"\n"),
            "\"none\"",
            "the password would be sent in the clear",
            "tls = \"starttls\"",
        ),
    ]);
}

#[test]
fn a_password_may_go_to_this_host_as_it_is_and_is_never_shown() {
    let here = SMTP.replace("mail.example.org", "localhost");
    let config = parse(&format!("{here}user = \"u\"\npassword = \"s3cret\"\ntls = \"none\"\n"));
    let shown = config.unwrap().show();
    assert!(shown.contains("password = \"***\"") && !shown.contains("s3cret"), "{shown}");
}
