//! The notifiers `http`, `file` and `command`.

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use common::Place;
use deploykit_core::{Context, chain};
use serde_json::Value;

/// A server that gives each request the next of these answers, and hands over the requests.
fn serve(answers: &'static [&'static str]) -> (String, Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
            }
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
            });
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            sender.send((head, String::from_utf8(body).unwrap())).unwrap();
            let _ = write!(stream, "HTTP/1.1 {answer}");
        }
    });
    (url, requests)
}

const OK: &str = "204 No Content\r\n\r\n";

#[test]
fn the_whole_story_is_posted_as_json_with_its_headers() {
    let (url, requests) = serve(&[OK]);
    let place = Place::new();
    place.write("key", "s3cret-key");
    let told = place.tell(&format!(
        "[[notify.to]]\ntype = \"http\"\nurl = \"{url}/hook\"\n\
         send = {{ X-Key = {{ file = \"key\" }}, X-Plain = \"yes\" }}\n"
    ));
    assert_eq!(told, Ok(()));
    let (head, body) = requests.recv().unwrap();
    let head = head.to_lowercase();
    assert!(head.starts_with("post /hook http/1.1\r\n"), "{head}");
    for header in ["x-key: s3cret-key", "x-plain: yes", "content-type: application/json"] {
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["topic"], "exited-no-retry");
}

#[test]
fn texts_of_ones_own_are_filled_and_written_as_their_place_wants_them() {
    let (url, requests) = serve(&[OK, OK, OK]);
    let place = Place::new();
    let tell = |more: &str| {
        let told = place.tell(&format!(
            "[[notify.to]]\ntype = \"http\"\nurl = \"{url}/x?t={{topic}}&w={{what}}\"\n{more}\n"
        ));
        assert_eq!(told, Ok(()));
        requests.recv().unwrap()
    };
    let (head, body) = tell("body = '{\"text\": \"{subject}\", \"all\": \"{body}\"}'");
    assert!(
        head.contains(
            "?t=exited-no-retry&w=stays%20down%3A%20%22exited%22%20with%20code%203%20%26"
        )
    );
    let value: Value = serde_json::from_str(&body).unwrap();
    assert!(value["text"].as_str().unwrap().ends_with("with code 3 & more – ünïcode"), "{body}");
    assert!(value["all"].as_str().unwrap().contains("\n  out of paper\n"), "{body}");
    let form =
        "send = { Content-Type = \"application/x-www-form-urlencoded\" }\nbody = \"a={what}\"";
    assert!(tell(form).1.starts_with("a=stays%20down%3A%20%22exited%22%20"));
    let (head, body) = tell("method = \"GET\"");
    assert!(head.starts_with("GET /x?t=exited-no-retry") && body.is_empty(), "{head}");
}

#[test]
fn what_is_no_consent_is_told_and_the_secret_address_is_not() {
    let (url, requests) = serve(&[
        "500 Oops\r\nContent-Length: 13\r\n\r\nno such\n topic",
        "301 Moved\r\nLocation: https://elsewhere.example.org/\r\nContent-Length: 0\r\n\r\n",
        "404 Not Found\r\nContent-Length: 12\r\n\r\nno s3cretkey",
    ]);
    let place = Place::new();
    place.write("url", &format!("{url}/s3cretkey"));
    let notify = "[[notify.to]]\ntype = \"http\"\nurl = { file = \"url\" }\n";
    assert_eq!(place.application(notify).recipients()[0].label(), "http url");
    let told = place.tell(notify).unwrap_err();
    assert!(told.starts_with("it answered 500: no such topi"), "{told}");
    assert!(requests.recv().unwrap().0.starts_with("POST /s3cretkey "));
    let told = place.tell(notify).unwrap_err();
    assert_eq!(told, "it answered 301: it is to be asked at https://elsewhere.example.org/");
    assert_eq!(place.tell(notify).unwrap_err(), "it answered 404: no ***");
    // Nobody is there any more.
    let told = place.tell(notify).unwrap_err();
    assert!(told.contains("refused") && !told.contains("s3cretkey"), "{told}");
}

#[test]
fn a_file_has_a_line_for_each_and_no_line_runs_into_another() {
    let place = Place::new();
    place.write("told", "half a line");
    let json = "[[notify.to]]\ntype = \"file\"\npath = \"told\"\n";
    for notify in [json, &format!("{json}format = \"text\"\n")] {
        assert_eq!(place.tell(notify), Ok(()));
    }
    let text = place.read("told");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "half a line"));
    assert_eq!(serde_json::from_str::<Value>(lines[1]).unwrap()["times"], 1);
    assert!(lines[2].starts_with("2026-12-01T00:00:00.000Z web1 "), "{}", lines[2]);
    assert!(text.ends_with('\n'));
    std::fs::create_dir(place.root().join("dir")).unwrap();
    let told = place.tell("[[notify.to]]\ntype = \"file\"\npath = \"dir\"\n").unwrap_err();
    assert!(told.ends_with("/dir is not a file"), "{told}");
    let told = place.tell("[[notify.to]]\ntype = \"file\"\npath = \"no/told\"\n").unwrap_err();
    assert!(told.contains("/no/told: "), "{told}");
}

#[test]
fn a_command_reads_the_story_and_its_arguments_are_filled() {
    let place = Place::new();
    let told = place.tell(
        "[[notify.to]]\ntype = \"command\"\n\
         command = [\"sh\", \"-c\", \"cat > story; echo \\\"$1 $DEPLOYKIT_TOPIC $PWD\\\" > said\", \"x\", \"{name}: {what}\"]\n",
    );
    assert_eq!(told, Ok(()));
    assert_eq!(serde_json::from_str::<Value>(&place.read("story")).unwrap()["times"], 1);
    let said = place.read("said");
    assert!(said.starts_with("web@1: stays down: \"exited\" with code 3 & more"), "{said}");
    assert!(said.ends_with(&format!("exited-no-retry {}\n", place.root())), "{said}");
    let told = place
        .tell("[[notify.to]]\ntype = \"command\"\ncommand = [\"sh\", \"-c\", \"echo no route; exit 3\"]\n")
        .unwrap_err();
    assert!(told.contains("exited with code 3: no route"), "{told}");
}

#[test]
fn what_stands_in_braces_in_the_older_commands_is_left_to_their_shell() {
    let place = Place::new();
    let told =
        place.tell("notify.on_failure = [\"sh\", \"-c\", \"name=ops; echo to ${name} > got\"]\n");
    assert_eq!((told, place.read("got")), (Ok(()), "to ops\n".to_owned()));
}

#[test]
fn no_part_of_a_secret_address_is_shown_when_a_server_repeats_it() {
    let (url, requests) = serve(&[
        "404 Not Found\r\nContent-Length: 55\r\n\r\nno /botS3CRETTOKEN99/send, no chat S3CRETCHAT99, really",
    ]);
    let place = Place::new();
    place.write("url", &format!("{url}/botS3CRETTOKEN99/send?chat=S3CRETCHAT99&text={{subject}}"));
    let told =
        place.tell("[[notify.to]]\ntype = \"http\"\nurl = { file = \"url\" }\n").unwrap_err();
    assert!(
        requests
            .recv()
            .unwrap()
            .0
            .contains("/botS3CRETTOKEN99/send?chat=S3CRETCHAT99&text=web1%20")
    );
    assert_eq!(told, "it answered 404: no /***/send, no chat ***, really");
}

#[test]
fn who_cannot_be_told_at_all_says_why_and_keeps_nobody_else_from_being_told() {
    let place = Place::new();
    let application = place.application(
        "[[notify.to]]\ntype = \"http\"\nurl = \"https://h/\"\nca_file = \"missing.pem\"\n\
         [[notify.to]]\ntype = \"file\"\npath = \"told\"\n",
    );
    let ctx = Context::new().unwrap();
    let tell = |recipient: &deploykit_core::Recipient| {
        recipient.tell(&ctx, &application.test_message(&ctx)).map_err(|error| chain(&error))
    };
    let [broken, file] = &application.recipients()[..] else { panic!("two are named") };
    assert!(tell(broken).unwrap_err().contains("missing.pem"));
    assert_eq!(tell(file), Ok(()));
    assert!(place.read("told").contains("\"topic\":\"test\""));
}
