//! Mail, through a real server, and through some that are none.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::time::Instant;

use common::Place;
use deploykit_core::{Cause, Context};
use deploykit_testkit::certificates::Authority;
use deploykit_testkit::mail_server::{MailServer, NOBODY, PASSWORD, USER};

fn configuration(port: u16, tls: &str, more: &str, to: &str) -> String {
    format!(
        "[notify]\ntimeout = \"20s\"\n[notify.smtp]\nhost = \"localhost\"\nport = {port}\ntls = {tls:?}\n\
         from = \"deploykit <deploykit@example.org>\"\n{more}\n\
         [[notify.to]]\ntype = \"mail\"\nto = [{to:?}]\n"
    )
}

fn login(place: &Place, authority: &Authority, password: &str) -> String {
    place.write("password", password);
    place.write("ca.pem", authority.pem());
    format!("user = {USER:?}\npassword = {{ file = \"password\" }}\nca_file = \"ca.pem\"")
}

#[test]
fn a_mail_arrives_whole_over_either_kind_of_tls() {
    let (place, authority) = (Place::new(), Authority::new());
    let Some(server) = MailServer::start(&authority) else { return };
    let login = login(&place, &authority, PASSWORD);
    for (port, tls) in [(server.port, "starttls"), (server.tls_port, "implicit")] {
        let told = place.tell(&configuration(port, tls, &login, "The Team <ops@example.org>"));
        assert_eq!(told, Ok(()), "{}", server.log());
    }
    let mails = server.mails();
    assert_eq!(mails.len(), 2, "{}", server.log());
    for (headers, body) in &mails {
        assert!(headers.contains("\nops@example.org\n"), "{headers}");
        for header in [
            "From: deploykit <deploykit@example.org>",
            "To: ",
            "Date: Tue, 01 Dec 2026 00:00:00 +0000",
            "Message-ID: <service-1-2.",
            "Auto-Submitted: auto-generated",
            "Subject: ",
        ] {
            assert!(headers.contains(header), "{header:?} is not in {headers}");
        }
        assert!(!headers.contains(PASSWORD) && body.contains("out of paper"), "{body}");
    }
    let identity = |headers: &str| {
        let line = headers.lines().find(|line| line.contains("Message-ID:")).unwrap();
        line.split_once('<').unwrap().1.to_owned()
    };
    assert_eq!(identity(&mails[0].0), identity(&mails[1].0), "the same has the same");
}

#[test]
fn what_a_server_refuses_is_told_with_its_reason_and_no_secret() {
    let (place, authority) = (Place::new(), Authority::new());
    let Some(server) = MailServer::start(&authority) else { return };
    let right = login(&place, &authority, PASSWORD);
    let told = place.tell(&configuration(server.port, "starttls", &right, NOBODY)).unwrap_err();
    assert!(told.contains("localhost") && told.contains("nobody is called that"), "{told}");
    let none = "ca_file = \"ca.pem\"";
    let told = place.tell(&configuration(server.port, "starttls", none, "a@b.c")).unwrap_err();
    assert!(told.contains("not without a login"), "{told}");
    // Whom nobody vouches for is given no password.
    let stranger = right.replace("ca_file = \"ca.pem\"", "");
    for (port, tls) in [(server.port, "starttls"), (server.tls_port, "implicit")] {
        let told = place.tell(&configuration(port, tls, &stranger, "a@b.c")).unwrap_err();
        assert!(told.to_lowercase().contains("certificate"), "{told}");
    }
    let wrong = login(&place, &authority, "wrong-password");
    let told = place.tell(&configuration(server.port, "starttls", &wrong, "a@b.c")).unwrap_err();
    assert!(told.contains("535") || told.to_lowercase().contains("authentic"), "{told}");
    assert!(!told.contains("wrong-password"), "{told}");
    std::fs::remove_file(place.root().join("password")).unwrap();
    let told = place.tell(&configuration(server.port, "starttls", &wrong, "a@b.c")).unwrap_err();
    assert!(told.contains(&format!("the password of {USER}")), "{told}");
    assert!(server.mails().is_empty());
}

/// A server that answers each line with the next of these.
fn answering(answers: &'static [&'static str]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for answer in answers {
                let _ = write!(stream, "{answer}\r\n");
                if lines.next().is_none_or(|line| line.is_err()) {
                    break;
                }
            }
            // It says nothing any more, and stays.
            while lines.next().is_some_and(|line| line.is_ok()) {}
        }
    });
    port
}

#[test]
fn nothing_is_said_in_the_clear_to_a_server_that_cannot_do_tls() {
    let place = Place::new();
    let port = answering(&["220 hello", "250 hello"]);
    let told = place.tell(&configuration(port, "starttls", "", "a@b.c")).unwrap_err();
    assert!(told.to_lowercase().contains("starttls"), "{told}");
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for_longer_than_is_configured() {
    let place = Place::new();
    let port = answering(&[]);
    let configuration = configuration(port, "none", "", "a@b.c");
    let told = place.tell(&configuration.replace("20s", "100ms")).unwrap_err();
    assert!(told.contains("localhost has not taken it within 0.1 s"), "{told}");
    let recipient = place.application(&configuration.replace("20s", "10m")).recipients().remove(0);
    let ctx = Context::new().unwrap();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let telling = scope.spawn(|| recipient.tell(&ctx, &common::message(&place.root())));
        ctx.cancellation().cancel(Cause::Interrupt);
        assert!(telling.join().unwrap().unwrap_err().to_string().contains("interrupted"));
    });
    assert!(begin.elapsed().as_secs() < 60, "it was not seen");
}

#[test]
fn a_server_on_this_host_may_take_it_without_tls() {
    let place = Place::new();
    let port = answering(&["220 hello", "250 hello", "250 ok", "250 ok", "354 go on"]);
    // It never acknowledges the end of the mail: so it is not told.
    let configuration = configuration(port, "none", "", "a@b.c").replace("20s", "1s");
    assert!(place.tell(&configuration).unwrap_err().contains("has not taken it"));
}
