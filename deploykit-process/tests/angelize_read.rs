//! Settings of Angelize are read, in all their forms; those that are broken are told with their places.

use deploykit_process::angelize::{AngelizeSettings, SettingsError, Source, read};

const DOCUMENT: &str = include_str!("angelize_files/document.settings");
const GLOBALS: &str = include_str!("angelize_files/agl.settings");
const SHOP: &str = include_str!("angelize_files/shop.service");

fn one(text: &str) -> Result<AngelizeSettings, SettingsError> {
    read(&[Source::new("agl.settings", text)])
}

fn service(keys: &str) -> Result<AngelizeSettings, SettingsError> {
    one(&format!("[{{ \"Name\": \"a\",\n{keys} }}]"))
}

/// All mistakes, each as one line.
fn problems(read: Result<AngelizeSettings, SettingsError>) -> Vec<String> {
    read.unwrap_err().problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_form_of_the_document_is_read() {
    let settings = one(DOCUMENT).unwrap();
    assert_eq!(settings.warnings, []);
    let [api, worker] = &settings.services[..] else { panic!("not two services") };
    assert_eq!((api.name.as_str(), api.run.as_str()), ("api", "/opt/app/api-server"));
    assert_eq!((api.retry_stable_sec, api.redirect_log_rotate_bytes), (120, 10_485_760));
    assert_eq!(api.watch, ["http://127.0.0.1:8080/health=200"]);
    assert_eq!((worker.abort_exit_codes.as_slice(), worker.level), (&[99][..], None));
    assert!(!worker.is_disabled());
    assert_eq!(worker.place.to_string(), "agl.settings:17:5");
}

#[test]
fn defaults_are_those_of_angelize() {
    let settings = one("[{ \"Name\": \"a\" }]").unwrap();
    let a = &settings.services[0];
    assert_eq!((a.stop_run_abort_timeout_sec, a.retry_stable_sec), (10, 60));
    assert_eq!((a.watch_delay_sec, a.watch_count_restart), (60, 2));
    assert_eq!((a.redirect_log_rotate_files, a.redirect_log_rotate_bytes), (0, 104_857_600));
    let globals = &settings.globals;
    assert_eq!((globals.http_timeout_ms, globals.start_delay_ms), (200, 0));
    assert_eq!((globals.ext.as_str(), globals.log_rotate_file_count), (".service", 2));
    assert!(a.given.place("Name").is_some() && a.given.place("Run").is_none());
}

#[test]
fn the_files_of_the_program_are_read_with_their_comments() {
    let sources = [Source::new("agl.settings", GLOBALS), Source::new("shop.service", SHOP)];
    let settings = read(&sources).unwrap();
    assert_eq!(settings.warnings, []);
    assert_eq!(settings.globals.log, ["Info", "Warning", "Error"]);
    assert_eq!(settings.globals.smtp.as_ref().unwrap().host, "mail.example.com");
    assert!(!format!("{settings:?}").contains("hunter2"));
    let [shop] = &settings.services[..] else { panic!("not one service") };
    assert_eq!(
        (shop.name.as_str(), shop.level, shop.os.as_str()),
        ("Shop Front", Some(20), "Linux")
    );
    assert!(shop.start_options.replace_env && shop.start_options.compress_logs);
    assert_eq!(shop.start_env[1], "GREETING=Good \"day\"");
    assert_eq!(shop.given.place("Level").unwrap().to_string(), "shop.service:7:2");
}

#[test]
fn a_list_alone_a_service_alone_and_no_service_at_all_are_read() {
    assert_eq!(one("[]").unwrap().services, []);
    assert_eq!(one("{}").unwrap().services, []);
    assert_eq!(one("\u{feff}{\"services\": null}").unwrap().services, []);
    let alone = one("{ name: 'x' }");
    assert!(alone.is_err(), "quotes of this kind are none");
    let alone = one("{ name: \"x\", LEVEL: 1, /* all */ start: [\"start\",], }").unwrap();
    assert_eq!((alone.services[0].name.as_str(), alone.warnings.len()), ("x", 0));
}

#[test]
fn a_service_in_its_own_file_that_angelize_would_pass_over_is_told() {
    let settings = one("{ \"Name\": \"x\", \"Run\": \"/x\" }").unwrap();
    assert!(settings.warnings[0].to_string().starts_with("agl.settings:1:1: `Level` is not set"));
    assert!(!settings.services[0].is_disabled());
    for disabled in ["\"Level\": 0", "\"Level\": -3", "\"Disabled\": true"] {
        assert!(service(disabled).unwrap().services[0].is_disabled(), "{disabled}");
    }
}

#[test]
fn unknown_keys_are_warnings_with_their_place() {
    let settings = service("  \"Runn\": \"/x\", \"Colour\": 1").unwrap();
    let [run, colour] = &settings.warnings[..] else { panic!("not two warnings") };
    assert_eq!(run.to_string(), "agl.settings:2:3: there is no setting `Runn`: left out");
    assert_eq!(run.hint.as_deref(), Some("did you mean `Run`?"));
    assert_eq!((colour.place.column, colour.hint.as_deref()), (17, None));
}

#[test]
fn values_of_a_wrong_type_are_all_told_with_what_was_expected() {
    let found = problems(service(
        "\"Run\": 5,\n\"Level\": \"10\",\n\"Disabled\": 0,\n\"Start\": \"start\",\n\"Watch\": [1],\n\
         \"AbortExitCodes\": [1.5],\n\"WatchDelaySec\": -1,\n\"OS\": [],\n\"StartOptions\": [\"soX\"]",
    ));
    assert_eq!(
        found,
        [
            "agl.settings:2:8: expected a text for `Run`, found a number",
            "agl.settings:3:10: expected a whole number from -2147483647 to 2147483647 for `Level`, found a text",
            "agl.settings:4:13: expected true or false for `Disabled`, found a number",
            "agl.settings:5:10: expected a list of texts for `Start`, found a text",
            "agl.settings:6:11: expected a text for `Watch`, found a number",
            "agl.settings:7:20: expected a whole number from -2147483647 to 2147483647 for `AbortExitCodes`, found 1.5",
            "agl.settings:8:18: expected a whole number from 0 to 2147483647 for `WatchDelaySec`, found -1",
            "agl.settings:9:7: expected a text for `OS`, found a list",
            "agl.settings:10:17: expected some of soReplaceEnv, soWinJobCloseChildren, soRedirectLogRotateCompress for `StartOptions`, found \"soX\"",
        ]
    );
}

#[test]
fn numbers_that_are_too_large_are_told() {
    for number in ["2147483648", "99999999999999999999999999999999", "1e3"] {
        let found = problems(service(&format!("\"RedirectLogRotateBytes\": {number}")));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("agl.settings:2:27: expected a whole number from 0"),
            "{found:?}"
        );
    }
}

#[test]
fn a_key_or_a_name_that_is_there_twice_is_told_with_both_places() {
    let found = service("\"run\": \"/x\",\n\"RUN\": \"/y\"").unwrap_err();
    assert_eq!(found.to_string(), "agl.settings:3:1: `Run` is set twice, first in line 2");
    assert_eq!(found.hint().as_deref(), Some("upper and lower case are the same in keys"));
    let found = problems(one("[{\"Name\": \"api\"},\n{\"Name\": \"API\"}]"));
    assert_eq!(found, ["agl.settings:2:2: the name \"API\" is taken: agl.settings:1:2"]);
    let sources = [Source::new("a", GLOBALS), Source::new("b", GLOBALS)];
    assert_eq!(problems(read(&sources)), ["b:1:1: global settings are already in a"]);
}

#[test]
fn a_service_needs_a_name() {
    assert_eq!(
        problems(one("{ \"Run\": \"/x\", \"Level\": 1 }")),
        ["agl.settings:1:1: expected a service with `Name`, which is its name, found none"]
    );
    assert_eq!(problems(one("[{ \"Name\": \" \" }]")).len(), 1);
    assert_eq!(problems(read(&[Source::new("x.service", "{}")])).len(), 1);
}

#[test]
fn broken_json_is_told_with_its_place() {
    for (text, problem) in [
        ("", "1:1: expected an object or a list in braces or brackets, found nothing"),
        ("{ \"Services\": [ {\n  \"Name\" \"a\" } ] }", "2:10: broken JSON: expected colon"),
        ("{\n\"Services\": [", "2:13: broken JSON: unterminated array"),
        ("{ \"Name\": \"a }", "1:11: broken JSON: unterminated string"),
        ("{ \"Name\": tru }", "1:11: broken JSON: unexpected word"),
        ("{ \"a\": 1 \"b\": 2 }", "1:9: broken JSON: expected comma"),
        ("/* no end", "1:1: broken JSON: unterminated comment"),
        ("5", "1:1: expected an object or a list, found a number"),
        ("[5]", "1:2: expected an object, a service, found a number"),
        ("{\"Services\": {}}", "1:14: expected a list of services for `Services`, found an object"),
    ] {
        let found = problems(one(text));
        assert_eq!(found.len(), 1, "{found:?}");
        let begin = format!("agl.settings:{problem}");
        assert!(found[0].starts_with(&begin), "{text:?}: {found:?}");
    }
}

#[test]
fn the_form_of_ini_files_is_named() {
    let error = one("[Main]\nServiceName=agl\n").unwrap_err();
    assert!(error.hint().unwrap().contains("INI"), "{error}");
}

#[test]
fn brackets_without_end_do_not_exhaust_the_stack() {
    let found = problems(one(&"[".repeat(100_000)));
    assert!(found[0].contains("nesting depth"), "{found:?}");
}

#[test]
fn a_mail_server_that_cannot_be_read_is_told_without_its_password() {
    let error = one("{ \"Smtp\": \"bot:hunter2@mail:port\" }").unwrap_err();
    assert!(error.to_string().starts_with("agl.settings:1:11: expected user:password@host:port"));
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn the_mistakes_of_all_files_are_told_at_once() {
    let sources = [Source::new("a", "[1]"), Source::new("b", "{"), Source::new("c", DOCUMENT)];
    let error = read(&sources).unwrap_err();
    assert_eq!(error.problems.len(), 2);
    assert!(error.to_string().ends_with("(and 1 more)"));
}
