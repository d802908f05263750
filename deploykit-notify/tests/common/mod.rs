//! An application with a configuration, and what is told of it.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "every test program uses a part of it")]

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::{Application, Context, Message, Registry, Timestamp, Topic};

pub struct Place {
    pub directory: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn root(&self) -> Utf8PathBuf {
        Utf8Path::from_path(self.directory.path()).unwrap().canonicalize_utf8().unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.root().join(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.root().join(name)).unwrap_or_default()
    }

    /// The application with this `[notify]`.
    #[track_caller]
    pub fn application(&self, notify: &str) -> Application {
        self.write("deploykit.toml", &format!("repo.url = \"/r\"\n{notify}"));
        let mut registry = Registry::built_in();
        deploykit_notify::register(&mut registry);
        Application::at(self.root()).registry(registry).open().unwrap()
    }

    /// Tells the first whom this `[notify]` names.
    #[track_caller]
    pub fn tell(&self, notify: &str) -> Result<(), String> {
        let recipient = self.application(notify).recipients().remove(0);
        let ctx = Context::new().unwrap();
        recipient.tell(&ctx, &message(&self.root())).map_err(|error| deploykit_core::chain(&error))
    }
}

pub fn message(root: &Utf8Path) -> Message {
    Message {
        id: "service-1-2".into(),
        topic: Topic::ExitedNoRetry,
        at: Timestamp::from_millis(1_796_083_200_000),
        host: "web1".into(),
        application: root.to_owned(),
        name: "web@1".into(),
        what: "stays down: \"exited\" with code 3 & more – ünïcode".into(),
        text: "\nIts last lines on standard error:\n  out of paper\n".into(),
        story: serde_json::json!({ "topic": "exited-no-retry", "times": 1 }),
        variables: vec![("DEPLOYKIT_TOPIC".into(), "exited-no-retry".into())],
    }
}

pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < give_up, "it never came to this: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
