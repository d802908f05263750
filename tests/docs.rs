//! The documentation is tested like the program: every command that it shows is run and its output
//! compared, every configuration in it is read, every key and every command is in it.
//!
//! How blocks are marked is explained in `docs/maintain/testing.md`.

#[path = "docs/markdown.rs"]
mod markdown;
#[path = "docs/session.rs"]
mod session;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use markdown::{Block, blocks, files, fits, read, root};
use session::Session;

/// What is to be run, in the order of the file.
fn runnable(file: &Path) -> Vec<Block> {
    let mut blocks = blocks(&read(file));
    blocks.retain(|block| {
        ["console", "sh", "before"].contains(&block.kind.as_str()) && !block.has("no-test")
    });
    blocks
}

fn run(session: &Session, file: &Path) -> Vec<String> {
    let failed = |block: &Block, why| format!("{}:{}: {why}", file.display(), block.line);
    let results = runnable(file).into_iter().map(|block| (session.run(&block), block));
    results.filter_map(|(result, block)| Some(failed(&block, result.err()?))).collect()
}

fn no_failures(failures: &[String]) {
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn the_commands_of_the_readme_do_what_it_shows() {
    let Some(session) = Session::of_a_clone() else { return };
    no_failures(&run(&session, Path::new("README.md")));
}

#[test]
fn the_commands_of_the_book_do_what_it_shows() {
    let book: Vec<PathBuf> = files()
        .into_iter()
        .filter(|file| file.starts_with("docs") && !file.ends_with("use/systemd.md"))
        .collect();
    let failures = book.iter().filter(|file| !runnable(file).is_empty()).flat_map(|file| {
        let session = Session::of_an_application();
        run(&session, file)
    });
    no_failures(&failures.collect::<Vec<_>>());
}

#[test]
fn the_commands_of_the_chapter_about_systemd_do_what_it_shows() {
    let Some(session) = Session::on_a_host() else { return };
    no_failures(&run(&session, Path::new("docs/use/systemd.md")));
}

/// The word of `/proc/PID/stat` behind the name, counted from 0.
fn stat(pid: u32, word: usize) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let behind = text.rsplit_once(") ").expect("a name").1;
    behind.split(' ').nth(word).expect("a word").to_owned()
}

#[test]
fn the_script_of_the_book_tells_what_runs_from_what_has_ended_and_is_still_listed() {
    let text = read(Path::new("docs/use/start.md"));
    let script = text.split_once("cat > bin/service <<'END'\n").expect("the script").1;
    let script = script.split_once("\nEND\n").expect("its end").0;
    let app = tempfile::tempdir().expect("a directory");
    let run = app.path().join("shared/run");
    std::fs::create_dir_all(&run).expect("a directory in it");
    let is_alive = |pid: u32| {
        std::fs::write(run.join("server"), format!("{pid} {}\n", stat(pid, 19))).expect("a file");
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "service", "status"]).env("DEPLOYKIT_APP", app.path());
        shell.status().expect("a shell").success()
    };
    let mut child = Command::new("cat").stdin(std::process::Stdio::piped()).spawn().expect("cat");
    assert!(is_alive(child.id()));
    // It ends, and nobody waits for it yet.
    drop(child.stdin.take());
    while stat(child.id(), 0) != "Z" {
        std::thread::yield_now();
    }
    assert!(!is_alive(child.id()), "a zombie is taken for alive");
    child.wait().expect("its end");
}

#[test]
fn every_block_says_what_it_is() {
    let known: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("console", &["exit=", "no-test"][..]),
        ("sh", &["no-test"][..]),
        ("toml", &["mfd"][..]),
        ("rust", &["no_run"][..]),
        ("json", &[][..]),
        ("ini", &[][..]),
        ("text", &[][..]),
        ("before", &[][..]),
    ]);
    let mut wrong = Vec::new();
    for file in files() {
        for block in blocks(&read(&file)) {
            let options = known.get(block.kind.as_str());
            let fits = |option: &String| {
                options.is_some_and(|all| all.iter().any(|o| option.starts_with(o)))
            };
            if options.is_none() || !block.options.iter().all(fits) {
                wrong.push(format!(
                    "{}:{}: {} {:?}",
                    file.display(),
                    block.line,
                    block.kind,
                    block.options
                ));
            }
        }
    }
    no_failures(&wrong);
}

#[test]
fn every_configuration_is_valid() {
    let mut wrong = Vec::new();
    for file in files() {
        for block in blocks(&read(&file)).into_iter().filter(|block| block.kind == "toml") {
            let name = if block.has("mfd") { "mfd.toml" } else { "deploykit.toml" };
            let mut text = block.text;
            if !text.contains("[repo]") {
                text = format!("repo.url = \"/srv/app.git\"\n{text}");
            } else if !text.contains("url = ") {
                text = text.replace("[repo]", "[repo]\nurl = \"/srv/app.git\"");
            }
            if let Err(error) = deploykit::config::parse(&text, name.into()) {
                wrong.push(format!("{}:{}: {error:#?}", file.display(), block.line));
            }
        }
    }
    no_failures(&wrong);
}

#[test]
fn every_json_can_be_read() {
    for file in files() {
        for block in blocks(&read(&file)).into_iter().filter(|block| block.kind == "json") {
            // One value over several lines, or one a line.
            if serde_json::from_str::<serde_json::Value>(&block.text).is_ok() {
                continue;
            }
            for line in block.text.lines() {
                let read: Result<serde_json::Value, _> = serde_json::from_str(line);
                assert!(read.is_ok(), "{}:{}: {read:?}: {line}", file.display(), block.line);
            }
        }
    }
}

#[test]
fn every_link_leads_to_a_file() {
    let mut wrong = Vec::new();
    for file in files() {
        let text = read(&file);
        let directory = root().join(file.parent().unwrap_or(Path::new("")));
        for (at, _) in text.match_indices("](") {
            let target = text[at + 2..].split(')').next().unwrap_or_default();
            let path = target.split('#').next().unwrap_or_default();
            if !target.contains("://") && !path.is_empty() && !directory.join(path).exists() {
                wrong.push(format!("{}: {target}", file.display()));
            }
        }
    }
    no_failures(&wrong);
}

/// The keys of the configuration by the schema: `health.interval`, `health.check.url`.
fn keys() -> Vec<String> {
    let schema = deploykit::config::schema();
    let mut keys = Vec::new();
    collect(&schema, &schema, "", &mut keys);
    keys
}

fn collect(
    schema: &serde_json::Value,
    node: &serde_json::Value,
    path: &str,
    keys: &mut Vec<String>,
) {
    // A table is a reference by itself, in `allOf`, or in the items of a list.
    let reference = [&node["$ref"], &node["allOf"][0]["$ref"], &node["items"]["$ref"]];
    let target = reference.iter().find_map(|found| found.as_str()?.strip_prefix("#/definitions/"));
    let table = target.map_or(node, |name| &schema["definitions"][name]);
    // What is a table or a list of tables is both.
    if let Some(forms) = table["anyOf"].as_array().filter(|_| path == "service") {
        collect(schema, &forms[0], "service", keys);
        collect(schema, &forms[1]["items"], "service[]", keys);
        return;
    }
    match table["properties"].as_object() {
        Some(properties) => {
            for (name, below) in properties {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(schema, below, &path, keys);
            }
        }
        None => keys.push(path.to_owned()),
    }
}

#[test]
fn every_key_of_the_configuration_is_in_the_book() {
    let text = read(Path::new("docs/use/configuration.md"));
    let keys = keys();
    assert!(keys.len() > 50 && keys.contains(&"health.check.url".to_owned()), "{keys:?}");
    let missing = keys.into_iter().filter(|key| !text.contains(&format!("\n| `{key}` | ")));
    no_failures(&missing.collect::<Vec<_>>());
}

#[test]
fn every_default_is_as_the_book_says() {
    let text = read(Path::new("docs/use/configuration.md"));
    let config = deploykit::config::parse("repo.url = \"/x\"", "deploykit.toml".into()).unwrap();
    let shown: toml::Table = config.show().parse().unwrap();
    let mut wrong = Vec::new();
    let mut compare = |section: &str, table: &toml::Table, given: &[&str]| {
        for (key, value) in table.iter().filter(|(key, _)| !given.contains(&key.as_str())) {
            let row = format!("\n| `{section}.{key}` | `{value}` | ");
            if !value.is_table() && !text.contains(&row) {
                wrong.push(row.trim().to_owned());
            }
        }
    };
    for (section, table) in shown.iter().filter_map(|(name, value)| Some((name, value.as_table()?)))
    {
        compare(section, table, &["url"]);
    }
    let listed = "repo.url = \"/x\"\nsystemd.manager = \"user\"\n[[service]]\nname = \"a\"\ncommand = [\"b\"]";
    let config = deploykit::config::parse(listed, "deploykit.toml".into()).unwrap();
    let shown: toml::Table = config.show().parse().unwrap();
    let service = shown["service"][0].as_table().expect("a service");
    compare("service[]", service, &["name", "command"]);
    compare("service[].limits", service["limits"].as_table().expect("limits"), &[]);
    no_failures(&wrong);
}

#[test]
fn every_command_and_every_exit_code_is_in_the_book() {
    let text = read(Path::new("docs/use/commands.md"));
    let output = Command::new(env!("CARGO_BIN_EXE_deploykit")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let section = |title: &str| {
        let lines = help.lines().skip_while(move |line| *line != title).skip(1);
        lines.take_while(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let first = |line: &String| line.split_whitespace().next().unwrap_or_default().to_owned();
    let commands: Vec<_> = section("Commands:").iter().map(first).collect();
    let codes: Vec<_> = section("Exit codes:").iter().map(first).collect();
    assert!(commands.len() > 15 && codes.len() == 8, "{commands:?} {codes:?}");
    let headings = commands.into_iter().map(|command| format!("\n## `{command}"));
    let rows = codes.into_iter().map(|code| format!("\n| {code} | "));
    no_failures(&headings.chain(rows).filter(|part| !text.contains(part)).collect::<Vec<_>>());
}

#[test]
fn a_shown_output_may_leave_things_open_but_not_more_than_it_says() {
    assert!(fits("a … c\n", "a b c\n") && fits("…\nz\n", "x\ny\nz\n") && fits("…\nz\n", "z\n"));
    assert!(fits("Deployed … in … ms\n", "Deployed 1 (v1) in 7 ms\n"));
    assert!(!fits("a … c\n", "a b d\n") && !fits("a\n", "a\nb\n") && !fits("a\nb\n", "a\n"));
    assert!(!fits("…\nz\n", "x\ny\n") && !fits("a\n", "ab\n"));
}
