//! No secret is written, shown, or handed to anybody who is not to have it.
//!
//! Each test plants a canary, lets the program do all that it can do with it, in success and in
//! failure, and then looks for the canary in everything that came out: as it is, in base64, and
//! percent-encoded.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use common::{App, Ran, SHORT, names};
use deploykit_testkit::certificates::Authority;
use deploykit_testkit::git_server::{Behaviour, GitServer, base64};

#[test]
fn a_file_with_a_secret_that_everybody_reads_is_used_with_a_warning() {
    let app = App::new();
    let open = std::fs::Permissions::from_mode(0o755);
    for directory in [app.root(), app.root().parent().unwrap()] {
        std::fs::set_permissions(directory, open.clone()).unwrap();
    }
    app.write("npm-token", OTHER);
    let mode = |mode| {
        let path = app.path("npm-token");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o644);
    let build = "[build]\nenv = { NPM_TOKEN = { file = \"npm-token\" } }\n";
    app.configure(&format!("{build}{SHORT}"));
    // The path is that of the application's directory, wherever the program was started.
    for arguments in [&["deploy"][..], &["config", "check"], &["status"]] {
        let ran = app.run(arguments).expect(0).says("warning: ").says("(build.env.NPM_TOKEN)");
        let ran = ran.says("everybody can use the file (mode 644): chmod 600 ");
        assert!(!ran.stderr.contains(OTHER), "{ran}");
    }
    mode(0o600);
    assert!(!app.run(&["config", "check"]).expect(0).stderr.contains("warning"));
}

/// With characters that are quoted, escaped or encoded here and there.
const CANARY: &str = "canary-7f3a+/&=\"b c%d";
/// Without any, for what is handed over in an environment.
const OTHER: &str = "otherCanary8Qz52";

fn percent(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    let one =
        |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

/// All the forms in which a secret could come out.
fn forms(secret: &str, user: &str) -> Vec<String> {
    let quoted = serde_json::to_string(secret).expect("JSON").trim_matches('"').to_owned();
    let account = base64(format!("{user}:{secret}").as_bytes());
    vec![secret.to_owned(), base64(secret.as_bytes()), account, percent(secret), quoted]
}

fn contains(bytes: &[u8], needle: &str) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Fails when a file below a directory contains one of them, or has it in its name.
fn search(directory: &Path, needles: &[String], but: &str) {
    for name in names(directory) {
        let path = directory.join(&name);
        let metadata = path.symlink_metadata().expect("its metadata");
        if metadata.is_dir() {
            search(&path, needles, but);
        } else if metadata.is_file() && name != but {
            let bytes = std::fs::read(&path).expect("its content");
            for needle in needles {
                assert!(!contains(&bytes, needle), "{needle:?} is in {}", path.display());
            }
        }
        assert!(needles.iter().all(|needle| !name.contains(needle.as_str())), "{name}");
    }
}

/// An application whose repository is behind a server that wants an account.
struct Guarded {
    app: App,
    server: GitServer,
    authority: tempfile::NamedTempFile,
    user: &'static str,
}

impl Guarded {
    fn new(user: &'static str) -> Self {
        let app = App::bare();
        app.commit("one");
        let authority = Authority::new();
        let account = Some((user.to_owned(), CANARY.to_owned()));
        let behaviour = Behaviour { account, ..Behaviour::default() };
        let root = app.repo.path().parent().expect("its parent");
        let server = GitServer::start(root, Some(authority.server("127.0.0.1")), behaviour);
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), authority.pem()).expect("the certificate");
        Self { app, server, authority: file, user }
    }

    fn configure(&self, repo: &str, rest: &str) {
        let (url, ca) = (self.server.url("repo/.git"), self.authority.path());
        let text = format!("[repo]\nurl = {url:?}\nca_file = {ca:?}\n{repo}\n{rest}{SHORT}");
        self.app.write("deploykit.toml", &text);
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.app.path("deploykit.toml"), private).expect("its mode");
    }

    fn needles(&self) -> Vec<String> {
        [forms(CANARY, self.user), forms(OTHER, self.user)].concat()
    }

    fn silent(&self, ran: Ran) -> Ran {
        for needle in self.needles() {
            let said = contains(ran.stdout.as_bytes(), &needle)
                || contains(ran.stderr.as_bytes(), &needle);
            assert!(!said, "{needle:?} was said: {ran}");
        }
        ran
    }

    /// Does everything, and looks for the canaries. `but`: the file that may hold one.
    fn go_through_everything(&self, but: &str) {
        let app = &self.app;
        self.silent(app.run(&["plan", "-v"])).expect(10);
        self.silent(app.run(&["deploy", "-v"])).expect(0);
        self.server.take_seen();
        app.commit("two");
        self.silent(app.run(&["deploy", "--json"])).expect(0);
        let seen = self.server.take_seen();
        assert!(seen.iter().any(|seen| seen.authorization.is_some()), "{seen:?}");
        for arguments in [
            &["status"][..],
            &["list"],
            &["history"],
            &["show"],
            &["show", "1"],
            &["config", "show"],
            &["resolve"],
            &["recover"],
        ] {
            self.silent(app.run(&[arguments, &["-v"]].concat())).expect(0);
            self.silent(app.run(&[arguments, &["--json"]].concat())).expect(0);
        }
        search(app.root(), &self.needles(), but);
        self.server.behave(|behaviour| {
            behaviour.account = Some((self.user.to_owned(), "another".to_owned()));
        });
        let ran = self.silent(app.run(&["deploy", "-v"])).expect(1);
        assert!(!ran.stderr.contains("another"), "{ran}");
        self.silent(app.run(&["deploy", "--json"])).expect(1);
        search(app.root(), &self.needles(), but);
    }
}

/// A build that tells all that it knows.
const TALKATIVE: &str =
    "[build]\ncommands = [[\"env\"], [\"sh\", \"-c\", \"env >&2; ps e -p $$ || true\"]]\n";

#[test]
fn a_token_in_a_variable() {
    let mut guarded = Guarded::new("oauth2");
    guarded.app.env("MY_TOKEN", CANARY);
    guarded.configure("token = { env = \"MY_TOKEN\" }", TALKATIVE);
    guarded.go_through_everything("");
    let log = guarded.app.read(".deploykit/logs/1.log");
    assert!(log.contains("DEPLOYKIT_REVISION=") && !log.contains("MY_TOKEN"), "{log}");
}

#[test]
fn a_token_in_a_file() {
    let guarded = Guarded::new("oauth2");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), format!("{CANARY}\n")).expect("the token");
    guarded.configure(&format!("token = {{ file = {:?} }}", file.path()), TALKATIVE);
    guarded.go_through_everything("");
}

#[test]
fn a_token_in_the_configuration() {
    let guarded = Guarded::new("oauth2");
    guarded.configure(&format!("token = '{CANARY}'"), TALKATIVE);
    guarded.go_through_everything("deploykit.toml");
}

#[test]
fn a_user_name_and_a_password() {
    let guarded = Guarded::new("me");
    guarded.configure(&format!("username = \"me\"\npassword = '{CANARY}'"), TALKATIVE);
    guarded.go_through_everything("deploykit.toml");
}

#[test]
fn a_credential_of_systemd() {
    let mut guarded = Guarded::new("oauth2");
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("git"), CANARY).expect("the credential");
    guarded.app.env("CREDENTIALS_DIRECTORY", directory.path().to_str().expect("UTF-8"));
    guarded.configure("token = { credential = \"git\" }", TALKATIVE);
    guarded.go_through_everything("");
    let log = guarded.app.read(".deploykit/logs/1.log");
    assert!(!log.contains("CREDENTIALS_DIRECTORY"), "the build could read it: {log}");
}

#[test]
fn a_secret_of_the_build_reaches_the_build_and_nobody_else() {
    let mut guarded = Guarded::new("oauth2");
    guarded.app.env("MY_TOKEN", CANARY).env("NPM_FROM", OTHER);
    // It is there, under the name that is configured, and its length is all that is written.
    let build = "[build]\ncommands = [[\"env\"], [\"sh\", \"-c\", \"echo the secret: $NPM_TOKEN; \
                 printf %s $NPM_TOKEN | wc -c > length\"]]\n\
                 [build.env]\nNPM_TOKEN = { env = \"NPM_FROM\" }\nPLAIN = \"plain\"\n";
    guarded.configure("token = { env = \"MY_TOKEN\" }", build);
    guarded.go_through_everything("");
    assert_eq!(guarded.app.read("active/length").trim(), OTHER.len().to_string());
    let log = guarded.app.read(".deploykit/logs/1.log");
    assert!(log.contains("NPM_TOKEN=***") && log.contains("the secret: ***"), "{log}");
    assert!(log.contains("PLAIN=plain") && !log.contains("NPM_FROM"), "{log}");
}

#[test]
fn a_failing_build_that_tells_its_secret_is_masked_in_the_error_too() {
    let mut guarded = Guarded::new("oauth2");
    guarded.app.env("MY_TOKEN", CANARY).env("NPM_FROM", OTHER);
    let build = "[build]\ncommands = [[\"sh\", \"-c\", \"echo denied for $NPM_TOKEN >&2; exit 1\"]]\n\
                 [build.env]\nNPM_TOKEN = { env = \"NPM_FROM\" }\n";
    guarded.configure("token = { env = \"MY_TOKEN\" }", build);
    guarded.silent(guarded.app.run(&["deploy"])).expect(1).says("denied for ***");
    guarded.silent(guarded.app.run(&["deploy", "--json"])).expect(1).tells("denied for ***");
    search(guarded.app.root(), &guarded.needles(), "");
}

#[test]
fn a_secret_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let guarded = Guarded::new("oauth2");
    guarded.configure(&format!("token = '{CANARY}'"), TALKATIVE);
    let path = guarded.app.path("deploykit.toml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("its mode");
    for command in ["deploy", "status", "list"] {
        guarded.silent(guarded.app.run(&[command])).expect(2).says("chmod 600 ");
        guarded.silent(guarded.app.run(&[command, "--json"])).expect(2);
    }
    assert!(!guarded.app.path(".deploykit").exists());
    let ran = guarded.app.run(&["status"]);
    // As a person copies it from the screen.
    let command = ran.stderr.find("chmod ").map(|start| &ran.stderr[start..]).expect("it");
    let command = command.lines().next().expect("its line");
    let mended = std::process::Command::new("sh")
        .args(["-c", command])
        .current_dir(guarded.app.root())
        .status()
        .expect("it runs");
    assert!(mended.success());
    guarded.silent(guarded.app.run(&["deploy"])).expect(0);
}

#[test]
fn a_missing_secret_is_told_by_its_place() {
    let guarded = Guarded::new("oauth2");
    guarded.configure("token = { env = \"NOT_THERE\" }", TALKATIVE);
    guarded.app.run(&["deploy"]).expect(1).says("NOT_THERE is not set").says("export NOT_THERE");
    guarded.configure("token = { credential = \"git\" }", TALKATIVE);
    guarded.app.run(&["deploy"]).expect(1).says("CREDENTIALS_DIRECTORY");
}

/// What the service writes may be a secret that this process itself had no reason to read.
#[test]
fn what_a_service_writes_of_a_secret_is_masked_although_deploykit_did_not_need_it() {
    let app = App::new();
    app.write("npm-token", OTHER);
    app.write("service.env", "GREETING=hello\nAPI_TOKEN=\"inTheFile4711\"\n");
    let says =
        "echo it is $(cat $DEPLOYKIT_APP/npm-token), and the other inTheFile4711 >&2; exit 3";
    let service = format!(
        "[build]\nenv = {{ NPM_TOKEN = {{ file = \"npm-token\" }} }}\n\
         [service]\nrestart = [\"sh\", \"-c\", \"test -e $DEPLOYKIT_APP/quiet || {{ {says}; }}\"]\n\
         [notify]\non_failure = [\"sh\", \"-c\", \"cat > $DEPLOYKIT_APP/told\"]\n{SHORT}"
    );
    app.write("quiet", "");
    app.configure(&service);
    app.run(&["deploy"]).expect(0);
    std::fs::remove_file(app.path("quiet")).unwrap();
    let ran = app.run(&["restart"]).says("it is ***, and the other");
    assert!(!ran.stderr.contains(OTHER), "{ran}");
    // What it has written itself is its own.
    search(&app.path(".deploykit"), &[OTHER.to_owned()], "service.log");
}
