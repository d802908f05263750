//! One service.

use super::super::action::ActionList;
use super::super::settings::{AngelizeService, Globals};
use super::actions::{List, list};
use super::program::{Known, arguments};
use super::toml::{Lines, key, quoted};
use super::{Note, Notes};

/// Writes the table of one service.
pub(super) fn write(
    globals: &Globals,
    service: &AngelizeService,
    name: &str,
    lines: &mut Lines,
    notes: &mut Vec<Note>,
) {
    let known = Known::new(globals, service);
    let mut writer = Writer { service, known, lines, notes: Notes::of(service, notes) };
    writer.lines.table("service");
    writer.lines.text("name", name);
    if !service.description.is_empty() {
        let line: Vec<&str> = service.description.split_whitespace().collect();
        writer.lines.text("description", &line.join(" "));
    }
    writer.program();
    writer.place();
    writer.environment();
    writer.order();
    writer.restarts();
    if globals.start_timeout_sec > 0 {
        writer.seconds("start_timeout", globals.start_timeout_sec);
    }
    writer.seconds("stop_timeout", service.stop_run_abort_timeout_sec);
    writer.watch();
    writer.logs();
}

struct Writer<'a> {
    service: &'a AngelizeService,
    known: Known,
    lines: &'a mut Lines,
    notes: Notes<'a>,
}

impl Writer<'_> {
    fn seconds(&mut self, name: &str, seconds: u32) {
        self.lines.text(name, &format!("{seconds}s"));
    }

    fn list(&mut self, which: ActionList) -> List {
        list(self.service, which, &self.known, &mut self.notes)
    }

    /// `command`, `start` and `stop`.
    fn program(&mut self) {
        let start = self.list(ActionList::Start);
        let stop = self.list(ActionList::Stop);
        match &start.program {
            Some(program) => self.command(program),
            None => {
                let text = "starts no program that is supervised: no `command`";
                self.notes.changed("Start", text);
            }
        }
        if start.more {
            self.lines.texts("start", &start.texts);
        }
        if stop.more {
            self.lines.texts("stop", &stop.texts);
        }
        self.compare(&start, &stop);
    }

    fn command(&mut self, program: &str) {
        // Where the line comes from, for notes.
        let setting = if program.eq_ignore_ascii_case("%run%") { "Run" } else { "Start" };
        let line = self.known.noted(program, setting, &mut self.notes);
        match arguments(&line, setting, &mut self.notes) {
            Some(words) => self.lines.texts("command", &words),
            None => self.lines.comment(&format!("command: {line}")),
        }
        if setting == "Start" && !self.service.run.is_empty() {
            let run = self.known.whole("%run%");
            if run.as_ref() != Ok(&line) {
                let text = "`%run%` is not what `start` starts: here it stands for `command`";
                self.notes.changed("Run", text);
            }
        }
    }

    /// Whether what is stopped is what is started: Angelize refuses to stop anything else.
    fn compare(&mut self, start: &List, stop: &List) {
        let line = |list: &List| {
            let program = list.program.as_deref()?;
            Some(self.known.whole(program).unwrap_or_else(|_| program.to_owned()))
        };
        let (started, stopped) = (line(start), line(stop));
        if started.is_some() && stopped.is_none() {
            let text = "never stops the program itself, which Angelize leaves running until it ends; \
                        here it is ended when the list is done";
            self.notes.changed("Stop", text);
        } else if started != stopped {
            let text = "names another program than `Start`: `stop` ends the one that runs";
            self.notes.changed("Stop", text);
        }
    }

    /// `dir`.
    fn place(&mut self) {
        let given = &self.service.start_work_dir;
        if given.is_empty() {
            let text = "is not set: Angelize runs the program in the program's own directory, here it \
                        runs in the release";
            return self.notes.changed("StartWorkDir", text);
        }
        let dir = self.known.noted(given, "StartWorkDir", &mut self.notes);
        let dir = dir.trim_matches('"');
        if dir.starts_with('/')
            || dir.split('/').any(|part| part == "..")
            || dir.contains(['%', '\\'])
        {
            self.lines.comment(&format!("dir: {dir}"));
            let text =
                format!("stands as a comment: `dir` lies in the release, and {dir:?} does not");
            return self.notes.changed("StartWorkDir", text);
        }
        self.lines.text("dir", dir);
        self.notes.changed("StartWorkDir", "`dir` is relative to the release");
    }

    /// `env` and `clean_env`.
    fn environment(&mut self) {
        let mut names = Vec::new();
        for given in &self.service.start_env {
            let text = self.known.noted(given, "StartEnv", &mut self.notes);
            match text.split_once('=') {
                Some((name, _)) if name.starts_with("DEPLOYKIT_") => {
                    let text = format!("left out: {name:?} is a name of deploykit's own");
                    self.notes.left_out("StartEnv", text);
                }
                Some((name, value)) if !name.is_empty() && !names.iter().any(|n| n == name) => {
                    self.lines.text(&format!("env.{}", key(name)), value);
                    names.push(name.to_owned());
                }
                Some((name, _)) if !name.is_empty() => {
                    self.notes.left_out("StartEnv", format!("left out: {name:?} is set already"));
                }
                _ => {
                    let text = format!("left out: {text:?} is not of the form name=value");
                    self.notes.left_out("StartEnv", text);
                }
            }
        }
        if !names.is_empty() {
            let text = "becomes `env`: Angelize ignores it on Linux, here it has an effect";
            self.notes.changed("StartEnv", text);
        }
        if self.service.start_options.replace_env {
            self.lines.entry("clean_env", "true");
        }
        if self.service.start_options.win_job_close_children {
            let text =
                "`soWinJobCloseChildren` is left out: the children of a program always end with it";
            self.notes.left_out("StartOptions", text);
        }
    }

    /// `level` and `enabled`.
    fn order(&mut self) {
        if let Some(level) = self.service.level.filter(|level| *level > 0) {
            self.lines.entry("level", &level.to_string());
        }
        let os = self.service.os.to_lowercase();
        let foreign = matches!(os.as_str(), "windows" | "osx" | "bsd");
        if self.service.is_disabled() || foreign {
            self.lines.entry("enabled", "false");
        }
        if self.service.level.is_some_and(|level| level <= 0) {
            self.notes.changed("Level", "passes over the service: `enabled = false`");
        }
        match os.as_str() {
            "" => {}
            "linux" | "posix" => {
                self.notes.left_out("OS", "left out: deploykit runs on Linux alone");
            }
            _ if foreign => {
                let text = format!("runs on {} alone: `enabled = false`", self.service.os);
                self.notes.changed("OS", text);
            }
            _ => {
                let text =
                    format!("left out: it ran on {} alone, now on every host", self.service.os);
                self.notes.left_out("OS", text);
            }
        }
    }

    /// `restart` and what belongs to it.
    fn restarts(&mut self) {
        match self.service.retry_stable_sec {
            0 => {
                self.lines.text("restart", "never");
                if !self.service.watch.is_empty() {
                    let text = "0 also means that a failed watch only tells, and restarts nothing";
                    self.notes.changed("RetryStableSec", text);
                }
            }
            seconds => {
                self.lines.text("restart", "always");
                self.seconds("stable_after", seconds);
                self.lines.text("backoff", "ladder");
            }
        }
        let (codes, never): (Vec<i32>, Vec<i32>) =
            self.service.abort_exit_codes.iter().partition(|code| (0..=255).contains(*code));
        if let Some(code) = never.first() {
            let text = format!("left out {code}: no process exits with it");
            self.notes.changed("AbortExitCodes", text);
        }
        if !codes.is_empty() {
            let codes: Vec<_> = codes.iter().map(i32::to_string).collect();
            self.lines.entry("no_restart_codes", &format!("[{}]", codes.join(", ")));
        }
    }

    /// `watch` and what belongs to it.
    fn watch(&mut self) {
        let watch = self.list(ActionList::Watch);
        if !watch.texts.is_empty() {
            self.lines.texts("watch", &watch.texts);
            self.seconds("watch_interval", self.service.watch_delay_sec.max(1));
            let failures = self.service.watch_count_restart.max(1);
            self.lines.entry("watch_failures", &failures.to_string());
            return;
        }
        for (setting, set) in [
            ("WatchDelaySec", self.service.watch_delay_sec != 60),
            ("WatchCountRestart", self.service.watch_count_restart != 2),
        ] {
            if set {
                self.notes.left_out(setting, "left out: there is nothing to watch");
            }
        }
    }

    /// `logs`.
    fn logs(&mut self) {
        let service = self.service;
        if service.redirect_log_file.is_empty() {
            if service.redirect_log_rotate_files != 0 {
                let text = "left out: without `RedirectLogFile` it has no effect there";
                self.notes.left_out("RedirectLogRotateFiles", text);
            }
            return self.without_rotation();
        }
        let text = format!(
            "{:?} is left out: what the service writes, errors too, is kept with the other logs, and \
             `deploykit logs` shows it",
            service.redirect_log_file
        );
        self.notes.changed("RedirectLogFile", text);
        if service.redirect_log_rotate_files == 0 {
            let text =
                "0 never rotates: here logs are always rotated, and the last five files kept";
            self.notes.changed("RedirectLogRotateFiles", text);
            return self.without_rotation();
        }
        let size = quoted(&bytes(service.redirect_log_rotate_bytes));
        let keep = service.redirect_log_rotate_files - 1;
        let compress = service.start_options.compress_logs;
        let table = format!("{{ max_size = {size}, keep = {keep}, compress = {compress} }}");
        self.lines.entry("logs", &table);
        let text = "becomes `keep` without the live file, which Angelize counts, too";
        self.notes.changed("RedirectLogRotateFiles", text);
    }

    /// What has no effect in Angelize when nothing is rotated.
    fn without_rotation(&mut self) {
        let text = "left out: nothing is rotated there, and it has no effect";
        if self.service.redirect_log_rotate_bytes != 100 << 20 {
            self.notes.left_out("RedirectLogRotateBytes", text);
        }
        if self.service.start_options.compress_logs {
            self.notes.left_out("StartOptions", text);
        }
    }
}

/// A size, in the largest unit that divides it.
fn bytes(size: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if size > 0 && size.is_multiple_of(1 << shift) {
            return format!("{}{unit}", size >> shift);
        }
    }
    format!("{size}B")
}
