//! Reading a configuration: what is accepted, and what every mistake looks like to a person.

use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::config::{
    self, Config, ConfigError, ConfigErrorKind as Kind, ConfigKind, EnvValue, SecretValue,
};
use deploykit_core::{BackendRequest, Registry};

fn parse(text: &str) -> Result<Config, ConfigError> {
    config::parse(text, "deploykit.toml".into())
}

fn refused(text: &str) -> ConfigError {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error,
    }
}

/// The text that the first mistake points at.
fn pointed_at(error: &ConfigError) -> &str {
    let span = error.problems()[0].span.clone().expect("no place");
    &error.text().expect("no text")[span]
}

/// Everything below `repo.url`.
fn with_url(text: &str) -> String {
    format!("repo.url = \"/srv/app.git\"\n{text}")
}

const FULL: &str = r#"
format = 1

[repo]
url = "https://example.org/app.git"
revision = "main"
username = "deploy"
password = { credential = "git" }
timeout = "30s"

[build]
env = { A = "1", B = { env = "SECRET_B" } }

[[build.step]]
name = "install"
command = ["npm", "ci"]
dir = "web"
timeout = 600

[shared]
files = [".env"]
dirs = ["uploads"]

[service]
start = ["./start"]
stop = ["./stop"]

[health]
interval = "500ms"

[[health.check]]
type = "http"
url = "http://localhost:8080/health"
status = [200, "301-308"]
json = { "/status" = "ok", "/n" = 3 }
send = { Host = "example.org", Authorization = { file = "/etc/token" } }
body = "rev {revision}"

[[health.check]]
type = "mine"
settings = { depth = { of = ["key"] } }

[disk]
min_free = "5%"
"#;

#[test]
fn a_full_configuration_is_read() {
    let config = parse(FULL).unwrap();
    assert_eq!(config.repo.password, Some(SecretValue::Credential("git".into())));
    assert_eq!(config.build.env["B"], EnvValue::Secret(SecretValue::Env("SECRET_B".into())));
    assert_eq!(config.build.steps[0].timeout.unwrap().get().as_secs(), 600);
    let check = &config.health.checks[0];
    assert!(check.status.as_ref().unwrap().contains(302));
    assert_eq!(check.json["/n"], 3);
    assert_eq!(check.label(), "http://localhost:8080/health");
    assert_eq!(config.releases.keep, 3, "the default");
}

#[test]
fn what_is_shown_is_read_back_the_same() {
    let config = parse(FULL).unwrap();
    assert_eq!(parse(&config.show()).unwrap(), config, "{}", config.show());
}

#[test]
fn unknown_keys_are_all_reported_with_place_and_advice() {
    let error = refused("[repo]\nulr = \"/x\"\n[build]\ncomands = [[\"make\"]]\n[heath]\nx = 1\n");
    let shown = format!("{error:#}");
    assert_eq!(error.problems().len(), 3, "{shown}");
    assert!(error.problems().iter().all(|p| p.kind == Kind::UnknownKey), "{shown}");
    assert_eq!(pointed_at(&error), "ulr");
    for part in [
        "deploykit.toml:2:1: unknown key `ulr` in `repo`",
        " 2 | ulr = \"/x\"\n   | ^^^ known are backend, url, revision",
        "hint: did you mean `url`?",
        "deploykit.toml:4:1: unknown key `comands` in `build`",
        "hint: did you mean `commands`?",
        "unknown key `heath`\n",
        "hint: did you mean `health`?",
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
    assert!(error.to_string().ends_with("(and 2 more mistakes)"), "{error}");
}

#[test]
fn of_thousands_of_unknown_keys_the_first_are_shown_and_the_rest_counted() {
    use std::fmt::Write as _;
    let mut keys = String::new();
    for number in 0..20_000 {
        writeln!(keys, "key{number} = 1").unwrap();
    }
    for (file, table) in [("deploykit.toml", "[build]"), ("mfd.toml", "[build]")] {
        let text = with_url(&format!("{table}\n{keys}"));
        let error = config::parse(&text, file.into()).unwrap_err();
        assert_eq!(error.problems().len(), 20);
        let last = &error.problems()[19];
        assert_eq!(last.message, "unknown key `key19` in `build`, and 19980 more");
    }
}

#[test]
fn no_error_shows_a_secret_however_it_is_mistyped() {
    for line in [
        "token: \"ghp_S3CRET\"",
        "token: ghp_S3CRET",
        "token \"ghp_S3CRET\"",
        "token =\n\"ghp_S3CRET\"",
        "token = \"ghp_S3C\"S3CRET\"",
        "token = { ghp_S3CRET }",
        "token = { env = \"ghp_S3CRET=\" }",
        "token = \"a\nS3CRET\"",
        "\"t\\u006fken\" = \"S3CRET\" x",
        "ghp_S3CRET",
        "username = \"https://ghp_S3CRET@host/\" x",
        "[[health.check]]\ntype = \"http\"\nsend = { X-Mine = \"S3CRET\" } x",
    ] {
        let error = refused(&format!("[repo]\nurl = \"/srv/app.git\"\n{line}\n[build]\n"));
        let shown = format!("{error:#}");
        assert!(!shown.contains("S3C"), "{line}\nshows as\n{shown}");
    }
}

#[test]
fn a_key_of_another_table_is_sent_home() {
    let error = refused(&with_url("keep_others = 3"));
    assert_eq!(error.hint().unwrap(), "`keep_others` belongs into `releases`");
    let error = refused(&with_url("interval = \"3s\""));
    assert_eq!(error.hint().unwrap(), "`interval` belongs into `health`");
}

#[test]
fn unknown_keys_deep_inside_are_found() {
    let error = refused(&with_url("[[health.check]]\ntype = \"tcp\"\nadress = \"localhost:1\""));
    assert!(error.to_string().contains("unknown key `adress` in `health.check[0]`"), "{error}");
    assert_eq!(error.hint().unwrap(), "did you mean `address`?");
    let error = refused(&with_url("[[build.step]]\ncommand = [\"x\"]\nworkdir = \"y\""));
    assert!(error.hint().unwrap().contains("command, dir, env"), "{error:#}");
}

#[test]
fn a_newer_format_is_told_before_its_keys_are_refused() {
    let error = refused("format = 2\nnew_key = 1\n[repo]\nurl = 3");
    assert_eq!((error.kind(), error.problems().len()), (Kind::NewerFormat, 1));
    assert!(error.to_string().contains("format 2"), "{error}");
}

#[test]
fn wrong_types_say_what_is_expected_and_found_and_show_no_value() {
    for (text, place, message) in [
        ("repo.url = 3", "3", "`repo.url` must be a text, but is a whole number"),
        ("repo = \"x\"", "\"x\"", "`repo` must be a table, but is a text"),
        ("releases.keep = \"3\"", "\"3\"", "`releases.keep` must be a whole number, but is a text"),
        ("build.commands = [\"npm ci\"]", "\"npm ci\"", "`build.commands[0]` must be a list"),
        ("build.commands = [[\"a\", 1]]", "1", "`build.commands[0][1]` must be a text"),
        ("build.commands = [[]]", "[]", "`build.commands[0]`: a command is a list of a program"),
        ("health.interval = 1.5", "1.5", "must be a length of time such as \"10s\""),
        ("health.interval = \"soon\"", "\"soon\"", "\"soon\" is not a length of time"),
        ("releases.keep = -1", "-1", "expected a whole number from 0 to"),
        ("releases.keep = 99999999999999999999", "99999999999999999999", "too large"),
        ("service.on_deploy = \"relaod\"", "\"relaod\"", "cannot be \"relaod\""),
        ("shared.dirs = [\"../x\"]", "\"../x\"", "must be relative"),
        ("health.interval = 2026-01-01", "2026-01-01", "but is a date or time"),
    ] {
        let text = if text.starts_with("repo") { text.to_owned() } else { with_url(text) };
        let error = refused(&text);
        assert!(error.to_string().contains(message), "{message:?} is not in {error}");
        assert_eq!(pointed_at(&error), place, "{error:#}");
    }
}

#[test]
fn several_wrong_values_are_reported_at_once_and_each_once() {
    let error = refused("[repo]\nurl = 1\ntimeout = \"x\"\n[releases]\nkeep = \"y\"\nkep = 1\n");
    let lines: Vec<_> =
        error.problems().iter().map(|p| error.position(p.span.clone().unwrap().start).0).collect();
    assert_eq!(lines, [2, 3, 5, 6], "{error:#}");
}

/// Mistakes of every kind, in every table and twice in one, of which each stands in a line of its own.
#[test]
fn all_mistakes_of_a_file_are_told_at_once_and_nothing_that_follows_from_them() {
    let text = r#"
[repo]
url = "/srv/app.git"
username = 5          # 4: so that nobody is told that the password needs one
password = "x"
revision = "main~1"   # 6
[build]
backend = "comands"   # 8
commands = [[1],      # 9
    ["make"], []]     # 10
[shared]
files = [".env", "../x",   # 12
    "/etc/passwd"]         # 13
[systmd]              # 14: so that nobody is told that a reload needs a command
unit = "app"
[service]
on_deploy = "reload"
backend = "systemd"   # 18
[[health.check]]
type = "htp"          # 20
url = "localhost"
[[health.check]]
type = "http"         # not 23: it has a url
ulr = "http://h/"     # 24
timeout = 0           # 25
[[health.check]]
type = "tcp"
address = "h"         # 28
timeout = "soon"      # 29
[releases]
keep = 0              # 31
"#;
    let error =
        config::parse_for(text, "deploykit.toml".into(), &Registry::built_in()).unwrap_err();
    let lines: Vec<_> =
        error.problems().iter().map(|p| error.position(p.span.clone().unwrap().start).0).collect();
    let expected = [4, 6, 8, 9, 10, 12, 13, 14, 18, 20, 24, 25, 28, 29, 31];
    assert_eq!(lines, expected, "{error:#}");
}

#[test]
fn a_backend_that_the_program_does_not_have_is_told_with_its_place() {
    let mut registry = Registry::built_in();
    let none = |_: &BackendRequest<'_>| Err("not to be made".into());
    registry.service("mine", std::sync::Arc::new(none));
    let read = |text: &str| {
        config::parse_for(&with_url(text), "deploykit.toml".into(), &registry).map(drop)
    };
    for (text, place, hint) in [
        ("repo.backend = \"gti\"", "\"gti\"", "did you mean \"git\"?"),
        ("build.backend = \"make\"", "\"make\"", "there are commands"),
        ("service.backend = \"mime\"", "\"mime\"", "did you mean \"mine\"?"),
        ("[[health.check]]\ntype = \"htpp\"", "\"htpp\"", "did you mean \"http\"?"),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(pointed_at(&error), place, "{error:#}");
        assert_eq!((error.kind(), error.hint().as_deref()), (Kind::Value, Some(hint)), "{error:#}");
    }
    read("service.backend = \"mine\"").unwrap();
    read("service.backend = \"none\"\nbuild.backend = \"commands\"").unwrap();
}

#[test]
fn what_is_missing_is_named_with_its_table() {
    let error = refused("[repo]\nrevision = \"main\"");
    assert!(error.to_string().contains("`url` is missing in `repo`"), "{error}");
    assert_eq!(refused("").kind(), Kind::Missing);
    let error = refused(&with_url("[[health.check]]\nurl = \"http://x\""));
    assert!(error.to_string().contains("`type` is missing in `health.check[0]`"), "{error}");
    // The table's header is its place.
    assert_eq!(error.position(error.problems()[0].span.clone().unwrap().start).0, 2);
}

#[test]
fn syntax_errors_show_their_place() {
    for (text, place, message) in [
        ("[repo]\nurl = \"a\"\nurl = \"b\"", "url", "url is given a second time"),
        ("[repo]\nurl = /srv/app", "/", "a text must stand in quotes"),
        ("[repo\nurl = \"a\"", "", ""),
        ("[repo]\nurl = \"a", "", ""),
        ("= 1", "", ""),
    ] {
        let error = refused(text);
        assert_eq!(error.kind(), Kind::Syntax, "{error}");
        assert!(error.to_string().contains(message), "{message:?} is not in {error}");
        assert!(pointed_at(&error).starts_with(place), "{error:#}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

/// No form of mistake may show the secret, neither in the text nor in a message.
#[test]
fn no_error_shows_a_secret() {
    for text in [
        "[repo]\nurl = \"/x\"\ntoken = S3CRET",
        "[repo]\nurl = \"/x\"\ntoken = \"S3CRET",
        "[repo]\nurl = \"/x\"\ntoken = \"S3CRET\"\ntoken = \"S3CRET\"",
        "[repo]\nurl = \"/x\"\ntokn = \"S3CRET\"",
        "[repo]\nurl = \"/x\"\ntoken = [\"S3CRET\"]",
        "[repo]\nurl = \"/x\"\ntoken = { env = \"S3CRET=\" }\n",
        "[repo]\nurl = \"/x\"\ntoken = { S3 = \"S3CRET\" }",
        "[repo]\nurl = \"/x\"\npassword = \"S3CRET\"",
        "[repo]\nurl = \"/x\"\ntoken = \"S3CRET\"\npassword = \"S3CRET\"",
        "[repo]\nurl = \"https://me:S3CRET@host/x\"",
        "repo = { url = \"/x\", token = \"S3CRET\", tokn = 1 }",
    ] {
        let error = refused(text);
        // Where a reference was given, its name is not taken for a secret by the text, but it is
        // not repeated by the message.
        let shown = if text.contains("env =") { error.to_string() } else { format!("{error:#}") };
        let debug = if text.contains("env =") { String::new() } else { format!("{error:?}") };
        assert!(!shown.contains("S3CRET") && !debug.contains("S3CRET"), "{shown}\n{debug}");
    }
}

#[test]
fn the_columns_stay_right_beside_a_masked_secret() {
    let error = refused("repo = { token = \"S3CRET\", ulr = \"/x\" }");
    assert_eq!(pointed_at(&error), "ulr");
    assert_eq!(error.text().unwrap(), "repo = { token = \"******\", ulr = \"/x\" }");
    assert!(error.to_string().starts_with("deploykit.toml:1:28: "), "{error}");
}

/// One broken rule a line: the text, what the first mistake points at, and a piece of the message.
#[test]
fn keys_that_exclude_or_need_one_another_are_refused() {
    let check = |text: &str| format!("[[health.check]]\n{text}");
    let http = "type = \"http\"\nurl = \"http://h\"\n";
    for (text, place, message) in [
        (
            "repo.token = \"a\"\nrepo.password = \"b\"\nrepo.username = \"c\"",
            "password",
            "together",
        ),
        ("repo.password = \"b\"", "password", "needs `repo.username`"),
        ("repo.revision = \"main~1\"", "\"main~1\"", "only names of branches"),
        ("repo.timeout = 0", "0", "longer than nothing"),
        ("build.commands = [[\"a\"]]\n[[build.step]]\ncommand = [\"b\"]", "step", "together"),
        ("build.env.\"A B\" = \"1\"", "\"A B\"", "cannot be the name of a variable"),
        ("build.env.DEPLOYKIT_X = \"1\"", "DEPLOYKIT_X", "deploykit's own"),
        ("build.env.A = \"a\\u0000\"", "\"a\\u0000\"", "NUL"),
        ("releases.keep = 0", "0", "at least 1"),
        ("health.successes = 0", "0", "at least 1"),
        ("health.failures = 0", "0", "at least 1"),
        ("health.interval = 0", "0", "longer than nothing"),
        ("health.start_delay = \"60s\"", "\"60s\"", "after the deadline"),
        ("shared.files = [\"a\"]\nshared.dirs = [\"a\"]", "\"a\"", "a is shared already"),
        ("shared.dirs = [\"a\", \"a/b\"]", "\"a/b\"", "a/b lies in a"),
        ("shared.dirs = [\"a/b\"]\nshared.build_dirs = [\"a\"]", "\"a\"", "a/b lies in a"),
        ("service.start = [\"a\"]", "start", "needs `service.stop`"),
        ("service.stop = [\"a\"]", "stop", "starts nothing"),
        ("service.on_deploy = \"reload\"", "\"reload\"", "needs `service.reload`"),
        ("service.reload = [\"a\"]", "reload", "a restart needs"),
        ("service.backend = \"command\"", "\"command\"", "needs commands"),
        (
            "systemd.unit = \"a\"\nservice.start = [\"a\"]\nservice.stop = [\"a\"]",
            "unit",
            "together",
        ),
        ("systemd.unit = \"a b\"", "\"a b\"", "letters, digits"),
        ("systemd.unit = \"-a\"", "\"-a\"", "dash"),
        ("systemd.unit = \"a@.service\"", "\"a@.service\"", "which instance"),
        (&check("type = \"http\""), "\"http\"", "needs `url`"),
        (&check("type = \"tcp\""), "\"tcp\"", "needs `address`"),
        (&check("type = \"unix\""), "\"unix\"", "needs `path`"),
        (&check("type = \"exec\""), "\"exec\"", "needs `command`"),
        (&check("type = \"tcp\"\naddress = \"h:1\"\nurl = \"x\""), "url", "has no `url`"),
        (&check("type = \"tcp\"\naddress = \"h\""), "\"h\"", "host:port"),
        (&check("type = \"tcp\"\naddress = \"::1:80\""), "\"::1:80\"", "host:port"),
        (&check("type = \"tcp\"\naddress = \"h:0\""), "\"h:0\"", "host:port"),
        (&check("type = \"http\"\nurl = \"ftp://h\""), "\"ftp://h\"", "http:// or https://"),
        (&check("type = \"http\"\nurl = \"http://\""), "\"http://\"", "host or port"),
        (&check("type = \"http\"\nurl = \"http://h:x/\""), "\"http://h:x/\"", "host or port"),
        (&check("type = \"http\"\nurl = \"http://u@h/\""), "\"http://u@h/\"", "user name"),
        (&check(&format!("{http}json = {{ status = 1 }}")), "status", "not a JSON pointer"),
        (&check(&format!("{http}header = {{ \"a b\" = \"1\" }}")), "\"a b\"", "name of a header"),
        (&check(&format!("{http}send = {{ a = \"x\\ny\" }}")), "\"****\"", "control characters"),
        (&check(&format!("{http}body = \"(\"")), "\"(\"", "not a regular expression"),
        (&check(&format!("{http}status = 99")), "99", "from 100 to 599"),
        (&check(&format!("{http}name = \"\"")), "\"\"", "must not be empty"),
        (&check(&format!("{http}timeout = 0")), "0", "longer than nothing"),
        (&check(&format!("{http}[[health.check]]\n{http}")), "\"http\"", "another check called"),
    ] {
        let error = refused(&with_url(text));
        assert!(error.to_string().contains(message), "{message:?} is not in {error:#}");
        assert_eq!(pointed_at(&error), place, "{error:#}");
    }
}

#[test]
fn what_breaks_no_rule_is_accepted() {
    for text in [
        "repo.token = \"a\"\nrepo.username = \"c\"",
        "systemd.unit = \"app@1.service\"",
        "systemd.unit = \"app\"\nservice.on_deploy = \"reload\"",
        "service.restart = [\"a\"]",
        "service.backend = \"mine\"\nservice.start = [\"a\"]",
        "shared.dirs = [\"a\", \"ab\"]",
        "[[health.check]]\ntype = \"http\"\nurl = \"https://[::1]:8443/x?y=a:b\"",
        "[[health.check]]\ntype = \"http\"\nurl = \"http://h/a@b\"",
        "[[health.check]]\ntype = \"tcp\"\naddress = \"[::1]:80\"",
        "[[health.check]]\ntype = \"unheard-of\"",
    ] {
        if let Err(error) = parse(&with_url(text)) {
            panic!("{error:#}");
        }
    }
}

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.0.path()).unwrap()
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> Utf8PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

#[test]
fn deploykits_file_goes_before_mfds_and_without_both_the_error_teaches() {
    let dir = Directory::new();
    let error = config::find(dir.path()).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("no deploykit.toml (and no mfd.toml)"), "{error}");
    assert!(error.hint().unwrap().contains("deploykit init"));
    let mfd = dir.file("mfd.toml", "", 0o644);
    assert_eq!(config::find(dir.path()).unwrap(), mfd);
    let own = dir.file("deploykit.toml", "", 0o644);
    assert_eq!(config::find(dir.path()).unwrap(), own);
}

#[test]
fn mfds_file_is_read_with_every_key_of_it() {
    let dir = Directory::new();
    let text = "[repo]\nurl = \"https://h/r\"\nusername = \"me\"\npassword = \"S3CRET\"\n\
                [build]\ncommands = [[\"npm\", \"install\"]]\n[systemd]\nunit = \"bloggulus\"\n";
    let loaded = config::read_file(&dir.file("mfd.toml", text, 0o600)).unwrap();
    assert_eq!(loaded.kind, ConfigKind::Mfd);
    assert_eq!(loaded.config.systemd.unit.as_deref(), Some("bloggulus"));
    assert_eq!(loaded.config.repo.username.as_deref(), Some("me"));
    assert_eq!(loaded.config.build.commands[0].program(), "npm");
}

#[test]
fn keys_that_mfd_does_not_have_are_refused_in_its_file() {
    for (text, message, hint) in [
        ("repo.url = \"/x\"", "`commands` is missing in `build`", "commands = "),
        ("repo.ulr = \"/x\"\nbuild.commands = []", "unknown key `ulr`", "did you mean `url`?"),
        (
            "repo.url = \"/x\"\nbuild.commands = []\nsystemd.untis = \"a\"",
            "unknown key `untis` in `systemd`",
            "did you mean `unit`?",
        ),
        (
            "repo.url = \"/x\"\nbuild.commands = []\nreleases.keep = 3",
            "`releases` is a key that mfd does not have",
            "rename the file to deploykit.toml",
        ),
        (
            "repo.url = \"/x\"\nbuild.commands = []\nrepo.revision = \"v1\"",
            "`revision` in `repo` is a key that mfd does not have",
            "rename the file to deploykit.toml",
        ),
        ("build.commands = []", "`repo` is missing", "[repo]"),
        (
            "repo.url = \"/x\"\nrepo.token = \"a\"\nrepo.username = \"b\"\nrepo.password = \"c\"\n\
             build.commands = []",
            "cannot be given together",
            "",
        ),
    ] {
        let error = config::parse(text, "some/mfd.toml".into()).unwrap_err();
        assert_eq!(error.problems().len(), 1, "{error:#}");
        assert!(error.to_string().contains(message), "{message:?} is not in {error:#}");
        assert!(error.hint().unwrap().contains(hint), "{hint:?} is not in {error:#}");
    }
}

#[test]
fn a_secret_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    let dir = Directory::new();
    let secret = "repo.url = \"/x\"\nrepo.token = \"S3CRET\"\nbuild.commands = []\n";
    for name in ["deploykit.toml", "mfd.toml", "it's mine.toml"] {
        for mode in [0o644, 0o640, 0o604, 0o602, 0o620] {
            let path = dir.file(name, secret, mode);
            let error = config::read_file(&path).unwrap_err();
            assert_eq!(error.kind(), Kind::Exposed, "{mode:o}");
            assert_eq!(pointed_at(&error), "\"******\"");
            assert!(!format!("{error:#} {error:?}").contains("S3CRET"));
            // What the hint says is what helps, quoting included.
            let command = error.hint().unwrap();
            assert!(command.starts_with("chmod 600 "), "{command}");
            let status = std::process::Command::new("sh").args(["-c", &command]).status().unwrap();
            assert!(status.success());
            assert!(config::read_file(&path).is_ok(), "{command} did not help");
        }
    }
}

#[test]
fn a_reference_to_a_secret_may_be_read_by_all() {
    let dir = Directory::new();
    let text = "repo.url = \"/x\"\nrepo.token = { env = \"T\" }\n";
    let loaded = config::read_file(&dir.file("deploykit.toml", text, 0o644)).unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
    let loaded = config::read_file(&dir.file("deploykit.toml", text, 0o646)).unwrap();
    assert!(loaded.warnings[0].contains("everybody on this host"), "{:?}", loaded.warnings);
}

#[test]
fn a_symbolic_link_is_followed_and_judged_by_its_target() {
    let dir = Directory::new();
    let target = dir.file("real.toml", "repo.url = \"/x\"\nrepo.token = \"abcdef\"", 0o600);
    let link = dir.path().join("deploykit.toml");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert_eq!(config::read_file(&link).unwrap().kind, ConfigKind::Deploykit);
}

#[test]
fn what_is_no_readable_file_is_an_error_that_names_it() {
    let dir = Directory::new();
    let error = config::read_file(&dir.path().join("none.toml")).unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("none.toml"), "{error}");
    assert!(config::read_file(dir.path()).is_err());
    let path = dir.path().join("binary.toml");
    std::fs::write(&path, b"[repo]\n\xff\xfe").unwrap();
    let error = config::read_file(&path).unwrap_err();
    assert!(error.to_string().contains("line 2 is not UTF-8"), "{error}");
}

#[test]
fn what_is_recorded_with_a_release_is_read_back_and_put_to_use() {
    let config = parse(FULL).unwrap();
    let json = serde_json::to_string(&config.runtime()).unwrap();
    let runtime: config::RuntimeConfig = serde_json::from_str(&json).unwrap();
    assert_eq!(runtime, config.runtime());
    let other = parse(&with_url("health.failures = 9")).unwrap();
    let mixed = other.with_runtime(&runtime);
    assert_eq!((&mixed.repo, &mixed.health), (&other.repo, &config.health));
    // A key of a later version in the record is no reason to refuse it.
    let later =
        json.replacen('{', "{\"later\":1,", 1).replacen("\"health\":{", "\"health\":{\"x\":1,", 1);
    assert_eq!(serde_json::from_str::<config::RuntimeConfig>(&later).unwrap(), runtime);
}

#[test]
fn the_starter_is_a_valid_configuration_with_every_example_in_it() {
    for url in ["https://example.org/app.git", "/srv/it's \"here\"\\x", "git@h:o/r.git"] {
        assert_eq!(parse(&config::starter(url)).unwrap().repo.url.as_str(), url);
    }
    // Lines that are commented-out examples, not sentences, work as they stand.
    let starter = config::starter("/x");
    let example = |line: &&str| line.contains(" = ") || line.starts_with("# [");
    let lines = starter.lines().map(|line| {
        if line.starts_with("# ") && !line.contains("; or") && example(&line) {
            &line[2..]
        } else {
            line
        }
    });
    let text = lines.collect::<Vec<_>>().join("\n").replace("    # [", "    [");
    let config = parse(&text).unwrap_or_else(|error| panic!("{error:#}\n{text}"));
    assert_eq!(config.build.commands.len(), 2);
    assert_eq!(config.health.checks.len(), 1);
}

#[test]
fn who_writes_a_command_as_a_text_is_shown_a_list() {
    let hint = |text: &str| refused(&with_url(text)).hint().unwrap_or_default();
    assert!(hint("build.commands = [\"npm\", \"ci\"]").contains("[[\"npm\", \"ci\"]]"));
    let check = "[[health.check]]\ntype = \"exec\"\ncommand = \"curl\"";
    assert!(hint(check).contains("[\"curl\", "));
    assert_eq!(hint("shared.files = \"x\""), "");
}
