//! What a person sees: the program on a pseudo-terminal.

mod common;

use std::fs::File;
use std::io::Read as _;
use std::process::Stdio;

use common::{App, CONFIGURATION};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Runs the program on a terminal of 100 columns; its exit code, and all that it wrote.
fn on_terminal(app: &App, arguments: &[&str]) -> (i32, String) {
    on_terminal_of(100, app, arguments)
}

fn on_terminal_of(columns: u16, app: &App, arguments: &[&str]) -> (i32, String) {
    let controller =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let size = Winsize { ws_row: 30, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&controller, size).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let open = || File::options().read(true).write(true).open(&name).unwrap();
    let mut command = app.command(arguments);
    command.stdin(Stdio::null()).stdout(open()).stderr(open());
    let mut child = command.spawn().unwrap();
    // The command keeps its ends of the terminal open: nothing would end the reading.
    drop(command);
    let mut written = Vec::new();
    // When the last end is closed, a terminal is not at its end but gone (EIO).
    let _ = File::from(controller).read_to_end(&mut written);
    (child.wait().unwrap().code().unwrap(), String::from_utf8(written).unwrap())
}

#[test]
fn a_list_is_a_table_with_colours() {
    let app = App::taken_over(CONFIGURATION);
    let (code, text) = on_terminal(&app, &["list"]);
    assert_eq!(code, 0);
    assert!(text.contains("rollback goes here") && text.contains("\u{1b}[32mactive"), "{text}");
    let (_, text) = on_terminal(&app, &["list", "--color", "never"]);
    assert!(text.starts_with("release ") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn tables_fit_a_narrow_terminal_and_are_whole_in_a_pipe() {
    let app = App::taken_over(CONFIGURATION);
    for release in [common::release(1_700_000_100, "b"), common::release(1_700_000_000, "a")] {
        app.run(&["rollback", &release, "--retry"]).exits_with(0);
    }
    for command in ["list", "history"] {
        let (_, text) = on_terminal_of(80, &app, &[command, "--color", "never"]);
        assert!(text.lines().all(|line| line.trim_end().chars().count() <= 80), "{text}");
        assert!(text.contains('…'), "{text}");
        assert!(text.contains("bbbbbbbbbbbb"), "the commit is told whole: {text}");
    }
    let whole = app.run(&["history"]).exits_with(0).stdout;
    assert!(whole.contains("mfd_1700000100_bbbbbbbbbbbb") && !whole.contains('…'), "{whole}");
    let (_, text) = on_terminal_of(80, &app, &["history", "-v", "--color", "never"]);
    assert!(text.contains("mfd_1700000100_bbbbbbbbbbbb"), "{text}");
}

const WITH_SERVICE: &str = r#"
[repo]
url = "/nowhere"
[service]
restart = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.1; done; printf '\\033]0;title\\007'"]
[health]
interval = "100ms"
check = [{ type = "exec", name = "probe", command = ["true"] }]
[probation]
duration = "1s"
"#;

#[test]
fn a_rollback_is_shown_live() {
    let app = App::taken_over(WITH_SERVICE);
    let (code, text) = on_terminal(&app, &["rollback"]);
    assert_eq!(code, 0, "{text}");
    let plain = anstream::adapter::strip_str(&text).to_string();
    // Each step with its sign and its time, the output while it came, and what the check said.
    for part in ["✓ activate ", "✓ service ", "✓ verify ", "line 3", "decided within", "✓ probe"]
    {
        assert!(plain.contains(part), "{part} is missing:\n{plain}");
    }
    // The cursor goes back over what moves; what the service wrote cannot change the title.
    assert!(text.contains("\u{1b}[1A") || text.contains("\u{1b}[2K"), "{text:?}");
    assert!(!text.contains("\u{1b}]0;"), "{text:?}");
    assert!(plain.contains("Went back to"), "{plain}");
}

#[test]
fn a_terminal_that_goes_away_does_not_stop_a_rollback() {
    let app = App::taken_over(WITH_SERVICE);
    let controller =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let open = || File::options().read(true).write(true).open(&name).unwrap();
    let mut command = app.command(&["rollback"]);
    command.stdout(open()).stderr(open());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut controller = File::from(controller);
    // As soon as it shows something the terminal goes.
    let _ = controller.read(&mut [0; 16]).unwrap();
    drop(controller);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let outcome =
        app.run(&["history", "--json"]).exits_with(0).json()[0]["outcome"]["outcome"].clone();
    assert_eq!(outcome, "deployed");
}
