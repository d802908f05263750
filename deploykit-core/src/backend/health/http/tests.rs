use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use camino::Utf8Path;

use super::*;
use crate::backend::health::testing::{TestRelease, construct};
use crate::cancel::Cause;

/// Answers each connection with the next of `answers`, and hands over the heads of the requests.
/// Each answer is all that is said on a connection; it is left open until the client closes it,
/// unless it `ends` with the answer.
fn serve(answers: Vec<String>, ends: bool) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            sender.send(head(&stream)).unwrap();
            let _ = stream.write_all(answer.as_bytes());
            if ends {
                let _ = stream.shutdown(Shutdown::Write);
            }
            let _ = io::copy(&mut stream, &mut io::sink());
        }
    });
    (port, requests)
}

fn head(stream: &TcpStream) -> String {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

fn look_at(url: &str, keys: &str, ctx: &Context) -> Look {
    let keys = format!("type = \"http\"\nurl = \"{url}\"\n{keys}");
    construct(HttpCheck::construct, &keys).look(ctx, &TestRelease::default())
}

fn look(answer: String, keys: &str) -> Look {
    let (port, _requests) = serve(vec![answer], true);
    look_at(&format!("http://127.0.0.1:{port}/health"), keys, &Context::new().unwrap())
}

#[test]
fn a_right_answer_is_well() {
    let found =
        look(answer("200 OK", "", "{\"status\":\"ok\"}"), "json = { \"/status\" = \"ok\" }");
    assert!(matches!(&found, Look::Well(what) if what.starts_with("200 in ")), "{found:?}");
}

#[test]
fn a_wrong_answer_is_ill_with_the_reason() {
    let found = look(answer("503 Unavailable", "", "no database\n"), "");
    assert_eq!(found, Look::Ill("expected status 200-299, found 503: no database".into()));
    let found =
        look(answer("200 OK", "X-Release: old\r\n", ""), "header = { X-Release = \"{release}\" }");
    let why = "expected header X-Release: \"20261121-091530-92965fdb8a7c\", found \"old\"";
    assert_eq!(found, Look::Ill(why.into()));
}

#[test]
fn a_redirection_is_not_followed() {
    let (elsewhere, requests) = serve(vec![answer("200 OK", "", "")], true);
    let location = format!("Location: http://127.0.0.1:{elsewhere}/\r\n");
    let found = look(answer("302 Found", &location, ""), "");
    assert_eq!(found, Look::Ill("expected status 200-299, found 302".into()));
    assert!(look(answer("302 Found", &location, ""), "status = 302").is_well());
    assert!(requests.try_recv().is_err(), "it was followed");
}

#[test]
fn every_look_makes_a_connection_of_its_own_and_sends_the_headers() {
    let (port, requests) = serve(vec![answer("200 OK", "", "a"), answer("200 OK", "", "b")], false);
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "Bearer s3cret\n").unwrap();
    let keys = format!(
        "type = \"http\"\nurl = \"http://127.0.0.1:{port}/x?y=1\"\nbody = \"a|b\"\n\
         send = {{ Host = \"app.example\", Authorization = {{ file = {:?} }} }}",
        token.path()
    );
    let check = construct(HttpCheck::construct, &keys);
    let ctx = Context::new().unwrap();
    for _ in 0..2 {
        let found = check.look(&ctx, &TestRelease::default());
        assert!(found.is_well(), "{found:?}");
        let request = requests.recv().unwrap().to_lowercase();
        assert!(request.starts_with("get /x?y=1 http/1.1\n"), "{request}");
        for line in ["host: app.example", "authorization: bearer s3cret", "connection: close"] {
            assert_eq!(request.lines().filter(|l| *l == line).count(), 1, "{line} in {request}");
        }
        assert_eq!(request.matches("host:").count(), 1, "{request}");
    }
}

#[test]
fn a_secret_that_was_sent_is_masked_in_what_comes_back() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "s3cret-token").unwrap();
    let keys = format!("send = {{ Authorization = {{ file = {:?} }} }}", token.path());
    // At the edge of what is shown, half of it would not be recognised any more.
    let body = format!("{}s3cret-token", "x".repeat(155));
    for (status, keys) in
        [("403 Forbidden", keys.clone()), ("200 OK", format!("{keys}\nbody = \"ok\""))]
    {
        let found = look(answer(status, "", &body), &keys);
        assert!(found.detail().contains("***"), "{found:?}");
        assert!(!found.detail().contains("s3c"), "{found:?}");
    }
}

#[test]
fn a_secret_that_is_missing_is_ill_and_named() {
    let keys = "send = { Authorization = { file = \"/nowhere/token\" } }";
    let found = look_at("http://127.0.0.1:1/", keys, &Context::new().unwrap());
    assert!(matches!(&found, Look::Ill(why) if why.contains("/nowhere/token")), "{found:?}");
}

#[test]
fn whoever_refuses_or_closes_is_not_there_yet() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/");
    let ctx = Context::new().unwrap();
    let closing = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let found = look_at(&url, "", &ctx);
    assert!(matches!(found, Look::NotYet(_)), "{found:?}");
    closing.join().unwrap();
    let found = look_at(&url, "", &ctx);
    assert!(matches!(&found, Look::NotYet(why) if why.contains("refused")), "{found:?}");
    let found = look_at("http://name.invalid/", "", &ctx);
    assert!(matches!(found, Look::NotYet(_)), "{found:?}");
}

#[test]
fn whoever_speaks_something_else_is_ill() {
    let found = look("SSH-2.0-OpenSSH_9.9\r\n\r\n".into(), "");
    assert!(matches!(found, Look::Ill(_)), "{found:?}");
}

#[test]
fn silence_is_not_yet_and_a_cancellation_ends_the_look_at_once() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/", silent.local_addr().unwrap().port());
    let keys = format!("type = \"http\"\nurl = \"{url}\"");
    let check = construct(HttpCheck::construct, &keys);
    let ctx = Context::new().unwrap().with_timeout(Duration::from_millis(100));
    let found = check.look(&ctx, &TestRelease::default());
    assert!(matches!(&found, Look::NotYet(why) if why.contains("time")), "{found:?}");
    drop(silent);

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/", silent.local_addr().unwrap().port());
    let ctx = Context::new().unwrap().with_timeout(Duration::from_secs(600));
    let cancellation = ctx.cancellation().clone();
    let looking = std::thread::spawn(move || look_at(&url, "", &ctx));
    let _connection = silent.accept().unwrap();
    cancellation.cancel(Cause::Terminate);
    assert_eq!(looking.join().unwrap(), Look::NotYet("terminated (SIGTERM)".into()));
}

#[test]
fn no_more_than_a_mebibyte_of_a_body_is_read() {
    let large = "x".repeat(2 << 20);
    let found = look(answer("200 OK", "", &large), "json = { \"/a\" = 1 }");
    assert_eq!(found, Look::Ill("expected JSON, found a body of more than 1 MiB".into()));
    let found = look(answer("200 OK", "", &format!("ok{large}")), "body = \"^ok\"");
    assert!(found.is_well(), "{found:?}");
}

#[test]
fn an_answer_without_a_wanted_body_is_not_waited_for() {
    // It promises more than it sends.
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort".to_owned();
    assert!(look(short.clone(), "").is_well());
    let found = look(short, "body = \"short\"");
    assert!(!found.is_well(), "{found:?}");
}

/// A server whose certificate nobody but its own authority vouches for.
fn serve_tls(looks: usize) -> (u16, tempfile::NamedTempFile) {
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), made.cert.pem()).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for _ in 0..looks {
            let (stream, _) = listener.accept().unwrap();
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, stream);
            // A client that does not trust the certificate ends the connection here.
            let _ = tls.write_all(answer("200 OK", "", "").as_bytes());
            tls.conn.send_close_notify();
            let _ = tls.flush();
            let _ = io::copy(&mut tls.sock, &mut io::sink());
        }
    });
    (port, file)
}

#[test]
fn a_private_authority_is_trusted_when_it_is_configured_and_only_then() {
    let (port, authority) = serve_tls(3);
    let ctx = Context::new().unwrap();
    let url = format!("https://localhost:{port}/");
    let trusted = format!("ca_file = {:?}", authority.path());
    let found = look_at(&url, &trusted, &ctx);
    assert!(found.is_well(), "{found:?}");
    let found = look_at(&url, "", &ctx);
    assert!(matches!(&found, Look::Ill(why) if why.contains("certificate")), "{found:?}");
    // The certificate is for another name.
    let found = look_at(&format!("https://127.0.0.1:{port}/"), &trusted, &ctx);
    assert!(matches!(&found, Look::Ill(why) if why.contains("certificate")), "{found:?}");
}

#[test]
fn an_authority_that_cannot_be_read_is_told_when_the_check_is_made() {
    let config = crate::backend::health::testing::check(
        "type = \"http\"\nurl = \"https://h\"\nca_file = \"/nowhere/ca.pem\"",
    );
    let ca_file = config.ca_file.as_deref().map(Utf8Path::new);
    assert!(
        HttpClient::new(ca_file, UseProxy::Never)
            .unwrap_err()
            .to_string()
            .contains("/nowhere/ca.pem")
    );
}
