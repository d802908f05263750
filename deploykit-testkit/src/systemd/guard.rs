//! The process that holds a sandbox's disk and switches its power, as the test says.
//!
//! It is a shell in a mount namespace of its own (`boot.sh`). It hears from the test through a pipe
//! and clears away when that ends, which it does however the test process ends.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

const SCRIPT: &str = include_str!("boot.sh");
/// Much more than any boot takes, even on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Guard {
    child: Child,
    /// Closing it ends the guard; there is none when that has been done.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    dir: Utf8PathBuf,
}

impl Guard {
    /// Starts one that has its disk, switched off; or says why there can be none.
    pub(super) fn start(live: &[&Utf8Path]) -> Result<Self, String> {
        let dir = tempfile::Builder::new()
            .prefix("deploykit-sandbox-")
            .tempdir()
            .map_err(|error| format!("a temporary directory: {error}"))?;
        // The guard removes it, since it may have to without the test.
        let dir = Utf8PathBuf::from_path_buf(dir.keep()).expect("a path in UTF-8");
        std::fs::write(dir.join("boot.sh"), SCRIPT).expect("the script");
        let log = std::fs::File::create(dir.join("log")).expect("a log");
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh"])
            .args([dir.join("boot.sh").as_str(), "guard", dir.as_str()])
            .args(live.iter().map(|path| path.canonicalize_utf8().expect("a live directory")))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // What ends the group of the test, a terminal or a runner, must not stop the clearing away.
            .process_group(0)
            .spawn()
            .map_err(|error| format!("unshare: {error}"))?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut guard = Self { child, orders, answers, dir };
        match guard.answer().as_str() {
            "ready" => Ok(guard),
            _ => {
                let reason = guard.log();
                let _ = guard.finish();
                Err(reason.trim_end().to_owned())
            }
        }
    }

    /// The disk, as the outside reaches it while no machine runs on it.
    pub(super) fn disk(&self) -> Utf8PathBuf {
        Utf8PathBuf::from(format!("/proc/{}/root{}/disk/root", self.child.id(), self.dir))
    }

    /// Boots, and says by which number the outside knows process 1.
    pub(super) fn power_on(&mut self) -> u32 {
        let notices = self.listen();
        let answer = self.order("on");
        let init = answer.strip_prefix("on ").and_then(|number| number.parse().ok());
        let init = init.unwrap_or_else(|| panic!("the sandbox does not start:\n{}", self.log()));
        self.wait_until_booted(init, &notices);
        init
    }

    pub(super) fn power_off(&mut self) {
        let answer = self.order("off");
        assert_eq!(answer, "off", "the sandbox does not end:\n{}", self.log());
    }

    /// The socket on which systemd says that it has booted, as to any service manager above it. It is
    /// there for one boot only: later messages that nobody read would in the end block process 1.
    fn listen(&self) -> UnixDatagram {
        let path = self.dir.join("notify");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time limit");
        socket
    }

    /// Waits for systemd's word that everything it starts at boot has been started.
    fn wait_until_booted(&self, init: u32, notices: &UnixDatagram) {
        let since = Instant::now();
        let mut message = [0; 4096];
        loop {
            match notices.recv(&mut message) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&message[..length]);
                    if text.lines().any(|line| line == "READY=1") {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("no word from systemd: {error}"),
            }
            // A process that has ended is still there for its parent, but without a program.
            let runs = Path::new(&format!("/proc/{init}/exe")).exists();
            assert!(runs, "systemd ended while booting:\n{}", self.log());
            assert!(since.elapsed() < PATIENCE, "systemd has not booted:\n{}", self.log());
        }
    }

    pub(super) fn control_groups(&self) -> Vec<Utf8PathBuf> {
        let text = std::fs::read_to_string(self.groups_file()).unwrap_or_default();
        text.lines().map(Utf8PathBuf::from).collect()
    }

    /// The file that lists the control groups, one a line.
    pub(super) fn groups_file(&self) -> Utf8PathBuf {
        self.dir.join("groups")
    }

    fn order(&mut self, order: &str) -> String {
        let orders = self.orders.as_mut().expect("a guard that was not told to end");
        writeln!(orders, "{order}").unwrap_or_else(|_| panic!("the guard ended:\n{}", self.log()));
        self.answer()
    }

    /// The next line that the guard says; empty when it has ended.
    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("text from the guard");
        line.trim_end().to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Ends it, with everything inside; what goes wrong with that is told. Once is enough.
    fn finish(&mut self) -> Result<(), String> {
        if self.orders.take().is_none() {
            return Ok(());
        }
        let ended = self.wait().map_err(|reason| format!("{reason}: {}", self.log()));
        if ended.is_err() {
            // It may have ended before it could clear anything away.
            for name in ["boot.sh", "groups", "log", "notify", "owner", "pid"] {
                let _ = std::fs::remove_file(self.dir.join(name));
            }
            let _ = std::fs::remove_dir(self.dir.join("disk"));
            let _ = std::fs::remove_dir(&self.dir);
        }
        ended
    }

    fn wait(&mut self) -> Result<(), String> {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(status.to_string()),
                Ok(None) => std::thread::sleep(Duration::from_millis(2)),
                Err(error) => return Err(error.to_string()),
            }
        }
        // The kernel then ends what is inside, and lets go of the disk.
        let _ = self.child.kill();
        let _ = self.child.wait();
        Err("it took too long".to_owned())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Err(reason) = self.finish()
            && !std::thread::panicking()
        {
            panic!("the sandbox was not cleared away: {reason}");
        }
    }
}
