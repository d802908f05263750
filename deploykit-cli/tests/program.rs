//! The program itself: help, completions, errors of usage and configuration, colours, pipes.

mod common;

use std::process::Stdio;

use common::{App, CONFIGURATION, Done};

#[test]
fn help_and_version_need_no_configuration() {
    let app = App::empty();
    for arguments in [&["--help"][..], &["-h"], &["help"], &["help", "deploy"], &["--version"]] {
        let done = app.run(arguments).exits_with(0);
        assert!(!done.stdout.is_empty() && done.stderr.is_empty(), "{arguments:?}: {done:#?}");
    }
    assert!(app.run(&["--help"]).stdout.contains("3      activated, then rolled back"));
    assert_eq!(
        app.run(&["--version"]).stdout,
        concat!("deploykit ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn completions_are_made_for_every_shell() {
    let app = App::empty();
    for shell in ["bash", "zsh", "fish"] {
        let done = app.run(&["completions", shell]).exits_with(0);
        for word in ["rollback", "if-changed"] {
            assert!(done.stdout.contains(word), "{shell} does not know {word}");
        }
    }
}

#[test]
fn manual_pages_are_made_for_every_command() {
    let app = App::empty();
    let page = app.run(&["man"]).exits_with(0).stdout;
    let codes = page.split_once("\n.SH EXIT CODES\n.nf\n").expect("a section of its own").1;
    assert!(
        codes.lines().any(|line| line == "\\&  5      not in a good state: a person must look")
    );
    assert!(page.contains(".TH deploykit 1") && page.contains("another deployment holds the lock"));
    app.run(&["man", "--dir", "man1"]).exits_with(0);
    let mut pages: Vec<_> = std::fs::read_dir(app.path().join("man1"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    for page in ["deploykit.1", "deploykit-deploy.1", "deploykit-config-show.1"] {
        assert!(pages.contains(&page.to_owned()), "{page} is missing: {pages:?}");
    }
    assert!(!pages.iter().any(|page| page.contains("help")), "{pages:?}");
}

#[test]
fn wrong_usage_exits_with_two_and_suggests_what_was_meant() {
    let app = App::empty();
    let done = app.run(&["rolback"]).exits_with(2);
    assert!(done.stderr.contains("'rollback'") && done.stdout.is_empty(), "{done:#?}");
    let done = app.run(&["deploy", "main~2"]).exits_with(2);
    assert!(done.stderr.contains("only names of branches and tags"), "{done:#?}");
    let done = app.run(&["--json", "rolback"]).exits_with(2);
    assert_eq!(done.json()["error"]["kind"], "usage");
    app.run(&["-q", "-v", "list"]).exits_with(2);
}

#[test]
fn an_unknown_type_of_check_is_refused_by_every_command_with_its_place() {
    let app = App::empty();
    let check = "[[health.check]]\ntype = \"htp\"\nurl = \"http://localhost\"\n";
    app.write("deploykit.toml", &format!("{CONFIGURATION}{check}"));
    for command in [&["config", "check"][..], &["status"], &["deploy"], &["list"]] {
        let done = app.run(command).exits_with(2);
        assert!(done.stderr.contains("there is no type of check \"htp\""), "{done:#?}");
        assert!(done.stderr.contains("deploykit.toml:4:8"), "{done:#?}");
        assert!(done.stderr.contains("did you mean \"http\"?"), "{done:#?}");
    }
}

#[test]
fn wrong_usage_is_told_whole_in_json() {
    let app = App::empty();
    for (arguments, expected) in [
        (&["--json", "completions"][..], "arguments were not provided: <SHELL>"),
        (&["--json", "config"], "a command is missing"),
        (&["--json", "completions", "tcsh"], "[possible values: bash, zsh, fish]"),
    ] {
        let error = app.run(arguments).exits_with(2).json()["error"].clone();
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(expected) && !message.contains("error:"), "{message}");
    }
}

#[test]
fn a_result_that_could_not_be_written_is_a_failure() {
    let app = App::taken_over(CONFIGURATION);
    let full = |arguments: &[&str]| {
        let device = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = app.command(arguments);
        let child = command.stdout(device).stderr(Stdio::piped()).spawn().unwrap();
        Done::of(child.wait_with_output().unwrap())
    };
    for arguments in [
        &["list"][..],
        &["config", "schema"],
        &["completions", "bash"],
        &["man"],
        &["--json", "status"],
        &["--help"],
    ] {
        let done = full(arguments).exits_with(1);
        assert!(done.stderr.contains("cannot write to standard output"), "{done:#?}");
    }
    // What was done is done.
    let done = full(&["rollback"]).exits_with(0);
    assert!(done.stderr.contains("cannot write to standard output"), "{done:#?}");
}

#[test]
fn a_missing_configuration_is_an_error_with_a_hint() {
    let app = App::empty();
    let done = app.run(&["list"]).exits_with(2);
    assert!(done.stderr.contains("deploykit init"), "{done:#?}");
    let error = app.run(&["list", "--json"]).exits_with(2).json()["error"].clone();
    assert_eq!((&error["kind"], &error["exit"]), (&"config".into(), &2.into()));
    let done = app.run(&["-C", "nowhere", "list"]).exits_with(1);
    assert!(done.stderr.starts_with("error: cannot use nowhere"), "{done:#?}");
}

#[test]
fn a_misspelt_key_is_shown_with_its_line() {
    let app = App::empty();
    app.write("deploykit.toml", "[repo]\nulr = \"/x\"\n");
    let done = app.run(&["deploy"]).exits_with(2);
    for part in ["deploykit.toml:2:1", "2 | ulr = \"/x\"", "^^^", "did you mean `url`?"] {
        assert!(done.stderr.contains(part), "{part} is missing:\n{}", done.stderr);
    }
    let message = app.run(&["--json", "deploy"]).exits_with(2).json()["error"]["message"].clone();
    assert!(
        message.as_str().unwrap().contains("deploykit.toml:2:1: unknown key `ulr`"),
        "{message}"
    );
}

#[test]
fn colours_come_and_go_as_they_are_asked_for() {
    let app = App::empty();
    let coloured = |arguments: &[&str], variables: &[(&str, &str)]| {
        let output = app.command(arguments).envs(variables.iter().copied()).output().unwrap();
        Done::of(output).stderr.contains('\u{1b}')
    };
    assert!(!coloured(&["list"], &[]));
    assert!(coloured(&["list"], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&["list"], &[("NO_COLOR", "1")]));
    assert!(coloured(&["list", "--color", "always"], &[("NO_COLOR", "1")]));
    assert!(!coloured(&["list", "--color", "never"], &[("CLICOLOR_FORCE", "1")]));
    // Also where the arguments are what is wrong.
    assert!(coloured(&["rolback"], &[("CLICOLOR_FORCE", "1")]));
    for never in [&["rolback", "--color", "never"][..], &["--color=never", "rolback"]] {
        assert!(!coloured(never, &[("CLICOLOR_FORCE", "1")]));
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let app = App::taken_over(CONFIGURATION);
    for arguments in [&["list"][..], &["--help"], &["completions", "zsh"], &["rollback", "--json"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = app.command(arguments).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        Done::of(child.wait_with_output().unwrap()).exits_with(0);
    }
    // Neither is a terminal that has gone: nothing that is told must stop what is done.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = app.command(&["rollback"]).stdout(Stdio::piped()).stderr(writer).spawn().unwrap();
    Done::of(child.wait_with_output().unwrap()).exits_with(0);
}

#[test]
fn init_writes_a_configuration_once() {
    let app = App::empty();
    let done = app.run(&["-C", "new/app", "init", "https://example.org/app.git"]).exits_with(0);
    assert!(done.stderr.contains("deploykit -C new/app deploy"), "{done:#?}");
    app.run(&["-C", "new/app", "config", "check"]).exits_with(0);
    let text = app.read("new/app/deploykit.toml");
    let done = app.run(&["-C", "new/app", "init", "https://example.org/other.git"]).exits_with(2);
    assert!(done.stderr.contains("exists already"), "{done:#?}");
    assert_eq!(app.read("new/app/deploykit.toml"), text);
}

#[test]
fn init_finds_the_origin_and_respects_mfd() {
    let app = App::empty();
    let done = app.run(&["init"]).exits_with(2);
    assert!(done.stderr.contains("no address of a repository"), "{done:#?}");
    std::fs::create_dir(app.path().join(".git")).unwrap();
    app.write(".git/config", "[remote \"origin\"]\n\turl = https://tok3n@example.org/app.git\n");
    app.run(&["init"]).exits_with(0);
    let text = app.read("deploykit.toml");
    assert!(text.contains("\"https://example.org/app.git\"") && !text.contains("tok3n"), "{text}");

    let app = App::empty();
    app.write("mfd.toml", "[repo]\nurl = \"/x\"\n[build]\ncommands = [[\"true\"]]\n");
    let done = app.run(&["init", "/x"]).exits_with(0);
    assert!(done.stdout.contains("deploykit reads mfd.toml"), "{done:#?}");
    assert!(!app.path().join("deploykit.toml").exists());
}

#[test]
fn the_configuration_can_be_looked_at() {
    let app = App::empty();
    app.write("other.toml", "[repo]\nurl = \"/x\"\ntoken = { env = \"TOKEN\" }\n");
    let show = |arguments: &[&str]| {
        app.run(&[&["-c", "other.toml", "config"], arguments].concat()).exits_with(0)
    };
    assert!(show(&["show"]).stdout.contains("url = \"/x\""));
    assert!(show(&["path"]).stdout.ends_with("other.toml\n"));
    assert_eq!(show(&["check", "--json"]).json()["valid"], true);
    assert!(show(&["schema"]).json()["properties"]["repo"].is_object());
}
