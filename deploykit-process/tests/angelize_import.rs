//! Settings of Angelize become tables of ours, and nothing of them is dropped in silence.

use deploykit_process::angelize::{Action, Became, Imported, Note, Source, Verb, import, read};
use toml::{Table, Value};

fn imported(text: &str) -> Imported {
    import(&read(&[Source::new("agl.settings", text)]).unwrap())
}

/// What became of one service with these keys, as the table that is read back, and the notes.
fn service(keys: &str) -> (Table, Vec<Note>) {
    let result = imported(&format!("[{{ \"Name\": \"a\", {keys} }}]"));
    let table: Table =
        result.toml.parse().unwrap_or_else(|error| panic!("{error}\n{}", result.toml));
    let table = table["service"][0].as_table().unwrap().clone();
    (table, result.notes)
}

/// The notes of one setting, as text.
fn notes_of<'n>(notes: &'n [Note], setting: &str) -> Vec<&'n str> {
    notes.iter().filter(|note| note.setting == setting).map(|note| note.text.as_str()).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn the_example_of_the_document_is_imported() {
    let result = imported(include_str!("angelize_files/document.settings"));
    assert_eq!(result.toml, include_str!("angelize_files/document.toml"));
    let notes: Vec<String> = result.notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes.join("\n"), include_str!("angelize_files/document.notes").trim_end());
}

#[test]
fn the_files_of_the_program_are_imported() {
    let settings = read(&[
        Source::new("agl.settings", include_str!("angelize_files/agl.settings")),
        Source::new("shop.service", include_str!("angelize_files/shop.service")),
    ]);
    let result = import(&settings.unwrap());
    assert_eq!(result.toml, include_str!("angelize_files/shop.toml"));
    assert!(!format!("{result:?}").contains("hunter2"));
    result.toml.parse::<Table>().unwrap();
    let notes: Vec<String> = result.notes.iter().map(ToString::to_string).collect();
    assert_eq!(notes.join("\n"), include_str!("angelize_files/shop.notes").trim_end());
}

#[test]
fn a_plain_service_has_its_command_and_no_lists() {
    let (table, _) = service(
        r#""Run": "/opt/a 'b c'", "Start": ["start:%run%=0"], "Stop": ["stop:/opt/a 'b c'"]"#,
    );
    assert_eq!(texts(&table["command"]), ["/opt/a", "b c"]);
    assert!(!table.contains_key("start") && !table.contains_key("stop"));
    assert_eq!(table["restart"].as_str(), Some("always"));
    assert_eq!(table["stable_after"].as_str(), Some("60s"));
    assert_eq!(table["backoff"].as_str(), Some("ladder"));
}

#[test]
fn lists_stay_in_their_order_with_the_program_in_its_place() {
    let (table, notes) = service(
        r#""Run": "/opt/a", "Description": "d",
           "Start": ["exec:/x %description% %log%", "start:%run%", "sleep:5"], "Stop": ["wait:/y=3"]"#,
    );
    assert_eq!(texts(&table["start"]), ["exec:/x d %log%", "start", "sleep:5"]);
    assert_eq!(texts(&table["stop"]), ["wait:/y=3"]);
    assert!(notes_of(&notes, "Stop")[0].contains("never stops the program"));
}

#[test]
fn a_status_in_doubt_is_written_without_doubt() {
    let (table, notes) = service(
        r#""Run": "/a", "Watch": ["http://h/x?id=404", "http://h/y=204", "http://h/x?id=7"]"#,
    );
    let expected = ["http://h/x?id => 404", "http://h/y=204", "http://h/x?id=7 =>"];
    assert_eq!(texts(&table["watch"]), expected);
    let notes = notes_of(&notes, "Watch");
    assert!(notes[0].contains("`http://h/x?id=404 =>`"));
    assert!(notes[1].contains("`http://h/x?id=7` is no http status"));
}

#[test]
fn a_start_in_doubt_is_told() {
    let (table, notes) = service(r#""Start": ["start:/opt/a --port=80"]"#);
    assert_eq!(texts(&table["command"]), ["/opt/a", "--port"]);
    assert!(notes_of(&notes, "Start")[0].contains("`start:/opt/a --port=80 =>`"));
    let (table, notes) = service(r#""Run": "/opt/a --port=80", "Start": ["start:%run%"]"#);
    assert_eq!(texts(&table["command"]), ["/opt/a", "--port=80"]);
    assert!(notes_of(&notes, "Start")[0].contains("here it stays"));
}

#[test]
fn what_needs_a_shell_gets_one() {
    let (table, notes) =
        service(r#""Run": "/opt/a > /tmp/it's", "Start": ["exec:/x | /y 'z'", "start"]"#);
    assert_eq!(texts(&table["command"]), ["/bin/sh", "-c", "/opt/a > /tmp/it's"]);
    assert_eq!(texts(&table["start"])[0], r"exec:/bin/sh -c '/x | /y '\''z'\'''");
    assert!(notes_of(&notes, "Run")[0].contains("needs a shell"));
    assert!(notes_of(&notes, "Start")[0].contains("needs a shell"));
}

#[test]
fn what_cannot_be_read_is_left_out_and_told() {
    let (table, notes) = service(
        r#""Run": "/a 'b", "Start": ["start", "strat:/x", "start:/y", "wait:%nmae%"],
           "Stop": ["start:/z"], "Watch": ["http:x", "stop"]"#,
    );
    for key in ["command", "start", "stop", "watch"] {
        assert!(!table.contains_key(key), "{key}");
    }
    let start = notes_of(&notes, "Start");
    assert!(start[0].contains("did you mean `start`"), "{start:?}");
    assert!(start[1].contains("one program") && start[2].contains("`%name%`"), "{start:?}");
    assert!(notes_of(&notes, "Run")[0].contains("not closed"));
    assert!(notes_of(&notes, "Stop")[0].contains("no meaning"));
    assert_eq!(notes_of(&notes, "Watch").len(), 2);
}

#[test]
fn unknown_variables_of_the_command_are_told() {
    let (table, notes) = service(r#""Run": "/a --log %log%a.log""#);
    assert_eq!(texts(&table["command"]), ["/a", "--log", "%log%a.log"]);
    assert!(notes_of(&notes, "Run")[0].contains("no variable `%log%`"));
    let (table, notes) = service(r#""Run": "/%name% %now% %run%""#);
    assert!(table.contains_key("command") && notes_of(&notes, "Run").len() == 2, "{notes:?}");
}

#[test]
fn names_become_names_of_units_and_stay_different() {
    let result = imported(
        r#"[{"Name":"Shop Front"},{"Name":"shop/front"},{"Name":"Shop-Front"},{"Name":"ä"}]"#,
    );
    let table: Table = result.toml.parse().unwrap();
    let names: Vec<_> =
        table["service"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Shop-Front", "shop-front", "Shop-Front-2", "service"]);
}

#[test]
fn what_runs_elsewhere_or_not_at_all_is_disabled() {
    for (keys, setting) in
        [(r#""OS": "osWindows""#, "OS"), (r#""Level": 0"#, "Level"), (r#""Disabled": true"#, "")]
    {
        let (table, notes) = service(keys);
        assert_eq!(table["enabled"].as_bool(), Some(false), "{keys}");
        assert_eq!(notes_of(&notes, setting).len(), usize::from(!setting.is_empty()), "{keys}");
    }
    let (table, notes) = service(r#""OS": "osDebian", "Level": 7"#);
    assert!(!table.contains_key("enabled"));
    assert_eq!(table["level"].as_integer(), Some(7));
    assert!(notes_of(&notes, "OS")[0].contains("Debian"));
}

#[test]
fn logs_count_rotated_files_only() {
    let keys =
        r#""RedirectLogFile": "/x.log", "RedirectLogRotateBytes": 1500, "RedirectLogRotateFiles":"#;
    let (table, _) = service(&format!("{keys} 5"));
    assert_eq!(table["logs"]["max_size"].as_str(), Some("1500B"));
    assert_eq!(table["logs"]["keep"].as_integer(), Some(4));
    assert_eq!(table["logs"]["compress"].as_bool(), Some(false));
    let (table, notes) = service(&format!("{keys} 0"));
    assert!(!table.contains_key("logs"));
    assert!(notes_of(&notes, "RedirectLogRotateFiles")[0].contains("never rotates"));
    assert_eq!(notes_of(&notes, "RedirectLogRotateBytes").len(), 1);
}

#[test]
fn the_environment_is_quoted_and_what_is_none_is_told() {
    let (table, notes) = service(r#""StartEnv": ["A=1=\"2\"", "B.C=%name%\n", "D", "A=3", "E="]"#);
    assert_eq!(table["env"]["A"].as_str(), Some("1=\"2\""));
    assert_eq!(table["env"]["B.C"].as_str(), Some("a\n"));
    assert_eq!(table["env"]["E"].as_str(), Some(""));
    let left: Vec<_> = notes.iter().filter(|note| note.became == Became::LeftOut).collect();
    assert_eq!(left.len(), 2);
}

#[test]
fn programs_for_windows_keep_their_backslashes() {
    let (table, notes) = service(r#""Run": "\"c:\\path to\\program.exe\" a \"b c\"""#);
    assert_eq!(texts(&table["command"]), ["c:\\path to\\program.exe", "a", "b c"]);
    assert!(notes_of(&notes, "Run")[0].contains("Windows"));
}

#[test]
fn every_setting_of_a_service_is_in_the_table_or_in_a_note() {
    let settings = [
        ("Description", "\"d\""),
        ("Disabled", "true"),
        ("Run", "\"/r\""),
        ("Level", "3"),
        ("OS", "\"osWindows\""),
        ("Start", "[\"sleep:1\"]"),
        ("StartEnv", "[\"A=1\"]"),
        ("StartOptions", "[\"soReplaceEnv\"]"),
        ("StartOptions", "[\"soWinJobCloseChildren\"]"),
        ("StartOptions", "4"),
        ("StartWorkDir", "\"/w\""),
        ("Stop", "[\"sleep:1\"]"),
        ("StopRunAbortTimeoutSec", "3"),
        ("RetryStableSec", "3"),
        ("AbortExitCodes", "[3]"),
        ("Notify", "\"n\""),
        ("Watch", "[\"sleep:1\"]"),
        ("WatchDelaySec", "3"),
        ("WatchCountRestart", "3"),
        ("RedirectLogFile", "\"/l\""),
        ("RedirectLogRotateFiles", "3"),
        ("RedirectLogRotateBytes", "3"),
    ];
    let (plain, plain_notes) = service("");
    for (setting, value) in settings {
        let (table, notes) = service(&format!("\"{setting}\": {value}"));
        let noted = notes_of(&notes, setting) != notes_of(&plain_notes, setting);
        assert!(table != plain || noted, "{setting} = {value} was dropped");
    }
}

#[test]
fn every_global_setting_has_a_note() {
    let texts = [
        "ServiceName",
        "ServiceDisplayName",
        "ServiceExecutable",
        "ServiceDependencies",
        "LogPath",
        "Folder",
        "Ext",
        "StateFile",
        "HtmlStateFileIdentifier",
        "CommandFile",
        "Smtp",
        "SmtpFrom",
    ];
    let numbers = ["Log", "LogRotateFileCount", "HttpTimeoutMS", "StartDelayMS", "StartTimeoutSec"];
    let texts = texts.map(|key| (key, "\"x\""));
    for (setting, value) in texts.into_iter().chain(numbers.map(|key| (key, "7"))) {
        let notes = imported(&format!("{{ \"{setting}\": {value} }}")).notes;
        assert_eq!(notes_of(&notes, setting).len(), 1, "{setting}");
        assert_eq!(notes[0].place.as_ref().unwrap().to_string(), "agl.settings:1:3");
    }
}

#[test]
fn who_is_told_is_told_here_too_and_no_password_is_written() {
    let text = r#"{ "Smtp": "bot:hunter2@mail.example.com:465", "SmtpFrom": "agl@example.com", "Services": [
        { "Name": "api", "Run": "/r", "Notify": "ops@example.com, https://h/x?w=%what%&m=%urimsg%,https://h/y" },
        { "Name": "db", "Run": "/r", "Notify": "ops@example.com,/bin/echo %name% \"%msg%\",/var/log/agl-notices,%nothing%" }
    ] }"#;
    let result = imported(text);
    let read: Table = result.toml.parse().unwrap();
    let smtp = &read["notify"]["smtp"];
    assert_eq!(
        (smtp["host"].as_str(), smtp["tls"].as_str()),
        (Some("mail.example.com"), Some("implicit"))
    );
    assert_eq!(
        (smtp["user"].as_str(), smtp["from"].as_str()),
        (Some("bot"), Some("agl@example.com"))
    );
    assert_eq!(smtp["password"]["env"].as_str(), Some("SMTP_PASSWORD"));
    let shown = result.notes.iter().map(ToString::to_string).collect::<String>();
    assert!(!result.toml.contains("hunter2") && !shown.contains("hunter2"), "{shown}");
    let told = read["notify"]["to"].as_array().unwrap();
    let of = |kind: &str| told.iter().find(|one| one["type"].as_str() == Some(kind)).unwrap();
    assert_eq!(of("mail")["to"][0].as_str(), Some("ops@example.com"));
    assert!(of("mail").get("services").is_none(), "it is told of all");
    assert_eq!(of("http")["url"].as_str(), Some("https://h/x?w={topic}&m={subject}"));
    assert_eq!(of("http")["services"][0].as_str(), Some("api"));
    let words: Vec<_> =
        of("command")["command"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    assert_eq!(words, ["/bin/echo", "{name}", "{subject}"]);
    assert_eq!(of("file")["path"].as_str(), Some("/var/log/agl-notices"));
    assert!(result.toml.contains("# db tells %nothing%"), "{}", result.toml);
    // It is a configuration that is taken.
    let mut registry = deploykit_core::Registry::built_in();
    deploykit_process::register(&mut registry);
    for kind in ["mail", "http", "file"] {
        registry.notifier(kind, std::sync::Arc::new(|_, _| Err("it is only read here".into())));
    }
    let all = format!("repo.url = \"/r\"\n{}", result.toml);
    deploykit_core::config::parse_for(&all, "deploykit.toml".into(), &registry).unwrap();
}

/// The text of the first block of a kind.
fn block<'t>(text: &'t str, kind: &str) -> &'t str {
    let begin = format!("\n```{kind}\n");
    text.split_once(&begin).unwrap().1.split_once("\n```").unwrap().0
}

const CHAPTER: &str = include_str!("../../docs/use/angelize.md");

#[test]
fn the_example_of_the_chapter_becomes_what_it_shows() {
    let result = imported(block(CHAPTER, "json"));
    let shown = CHAPTER.split_once("becomes\n").unwrap().1;
    let written = result.toml.split_once("\n\n").unwrap().1;
    assert_eq!(written.trim_end(), block(shown, "toml"));
}

#[test]
fn every_action_of_the_chapter_is_read_as_it_says() {
    let table = CHAPTER.split_once("### A number at the end").unwrap().1;
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let mut count = 0;
    for row in rows.take_while(|row| row.contains("| `http") || row.contains("| `start")) {
        let quoted: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        let (action, doubt) = Action::parse(quoted[0]).unwrap();
        let parameter = quoted[1].trim_start_matches("http:");
        assert_eq!(action.parameter, parameter, "{row}");
        assert_eq!(doubt.is_some(), quoted.len() > 2, "{row}");
        for clear in &quoted[2..] {
            assert_eq!(Action::parse(clear).unwrap().1, None, "{row}");
        }
        count += 1;
    }
    assert_eq!(count, 4);
    for verb in Verb::ALL {
        assert!(CHAPTER.contains(&format!("`{verb}`")), "{verb}");
    }
}

#[test]
fn every_setting_that_can_be_read_is_in_the_chapter() {
    let text =
        [include_str!("angelize_files/agl.settings"), include_str!("angelize_files/shop.service")];
    let keys = text
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.strip_prefix("\t\"")?.split_once("\":").map(|(key, _)| key));
    let mut count = 0;
    for key in keys {
        assert!(CHAPTER.contains(&format!("`{key}`")), "{key}");
        count += 1;
    }
    assert_eq!(count, 36);
}

#[test]
fn what_is_written_is_a_configuration_that_can_be_run() {
    for name in ["document.toml", "shop.toml"] {
        let path = format!("{}/tests/angelize_files/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let text = format!("repo.url = \"/r\"\n{text}");
        let config = deploykit_core::config::parse(&text, name.into())
            .unwrap_or_else(|error| panic!("{name}: {:#?}", error.problems()));
        let layout = deploykit_core::Layout::new("/app".into());
        let all = deploykit_process::describe_all(&config, "1", "/app/releases/1".into(), &layout);
        assert!(!all.unwrap().is_empty(), "{name}");
    }
}
