use std::io::Write as _;

use super::*;
use crate::log::LogEvent;

/// Nobody is told anything.
#[derive(Debug)]
struct Nobody;

impl Surroundings for Nobody {}

impl LogKeeper for Nobody {
    fn log_event(&self, _: &LogEvent) {}
}

/// The end of a pipe into which a process has written that is on record no more, as the holder has it.
fn left(dir: &Utf8Path, name: &str, text: &str) -> File {
    let path = dir.join(name);
    nix::unistd::mkfifo(path.as_std_path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut to = File::options().read(true).write(true).open(path).unwrap();
    to.write_all(text.as_bytes()).unwrap();
    to
}

#[test]
fn what_is_in_pipes_that_are_on_record_no_more_is_written_before_what_comes() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(temporary.path().to_owned()).unwrap();
    let kept = Kept::new(dir.join("logs"), Nobody).unwrap().named(&dir, None);
    let held = [
        left(&dir, "web-01.out", "one\n"),
        left(&dir, "web-01.err", "two\nhal"),
        left(&dir, "gone@2-02.out", "bye\n"),
        left(&dir, "gone@2-02.err", ""),
        left(&dir, "never-03.out", ""),
        left(&dir, "web-04.out", "three\n"),
    ];
    let web = Definition::new("web", ["./web"], "/");
    kept.succeed(&[(&web, Some("web-04"))]);
    kept.adopt(&web, "web-04", None);
    // Whoever else holds them lets go of them.
    drop(held);
    assert!(kept.drain(Duration::from_secs(10)));
    let log = |name: &str| std::fs::read_to_string(dir.join("logs").join(name)).unwrap_or_default();
    let mut lines: Vec<String> = log("web.log").lines().map(str::to_owned).collect();
    assert_eq!(lines.last().map(String::as_str), Some("three"), "{lines:?}");
    lines.sort();
    assert_eq!(lines, ["hal", "one", "three", "two"]);
    assert_eq!(log("gone@2.log"), "bye\n");
    assert!(!dir.join("logs/never.log").exists(), "nobody has written that");
    let pipes: Vec<_> = dir.read_dir_utf8().unwrap().flatten().collect();
    let pipes = pipes.iter().filter(|file| file.file_name().contains('-')).count();
    assert_eq!(pipes, 0, "they are left over");
}
