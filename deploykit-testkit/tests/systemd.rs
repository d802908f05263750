//! The sandbox: that it is a real systemd, that its disk outlives a loss of power, and that nothing is left of it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_testkit::systemd::{REQUIRE, Sandbox};

const SLEEPER: &str =
    "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n";

fn text(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(both).unwrap()
}

/// Looks until something is so, for as long as a very busy machine may take.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn parent(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap().parse().unwrap()
}

fn kill(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

/// What a sandbox leaves on the host while it runs.
#[derive(Debug)]
struct Traces {
    init: u32,
    guard: u32,
    dir: Utf8PathBuf,
    groups: Vec<Utf8PathBuf>,
}

impl Traces {
    fn of(sandbox: &Sandbox) -> Self {
        Self::new(sandbox.init().unwrap(), sandbox.control_groups())
    }

    fn new(init: u32, groups: Vec<Utf8PathBuf>) -> Self {
        let guard = parent(parent(init));
        let arguments = std::fs::read_to_string(format!("/proc/{guard}/cmdline")).unwrap();
        let dir = arguments.split('\0').nth(3).unwrap().into();
        let traces = Self { init, guard, dir, groups };
        assert!(traces.runs() && traces.dir.is_dir() && !traces.groups.is_empty(), "{traces:?}");
        assert!(traces.groups.iter().all(|group| group.is_dir()), "{traces:?}");
        traces
    }

    fn runs(&self) -> bool {
        Path::new(&format!("/proc/{}/exe", self.init)).exists()
    }

    fn are_gone(&self) -> bool {
        let is_there = |pid: u32| Path::new(&format!("/proc/{pid}/exe")).exists();
        !is_there(self.init)
            && !is_there(self.guard)
            && !self.dir.exists()
            && self.groups.iter().all(|group| !group.exists())
    }
}

#[test]
fn systemd_boots_whole_with_a_network_of_its_own() {
    let Some(sandbox) = Sandbox::boot(&[]) else { return };
    assert_eq!(sandbox.run("systemctl", &["is-system-running"]), "running\n");
    assert_eq!(sandbox.run("cat", &["/proc/1/comm"]), "systemd\n");
    let interfaces = sandbox.run("ls", &["/sys/class/net"]);
    assert_eq!(interfaces.split_whitespace().collect::<Vec<_>>(), ["lo"]);
    // The flags say that it is up.
    assert_eq!(sandbox.run("cat", &["/sys/class/net/lo/flags"]), "0x9\n");
    let enabled = ["list-unit-files", "--state=enabled,enabled-runtime,generated", "--no-legend"];
    // It exits with 1 when there are none.
    let enabled = sandbox.command("systemctl").args(enabled).output().unwrap();
    assert_eq!(text(&enabled), "", "what the host has enabled is enabled here");
    let bus = sandbox.system_bus();
    assert!(Utf8Path::new(bus.strip_prefix("unix:path=").unwrap()).exists(), "{bus}");
}

#[test]
fn the_bus_answers_from_the_outside() {
    let Some(sandbox) = Sandbox::boot(&[]) else { return };
    let output = Command::new("busctl")
        .args([&format!("--address={}", sandbox.system_bus()), "get-property"])
        .args(["org.freedesktop.systemd1", "/org/freedesktop/systemd1"])
        .args(["org.freedesktop.systemd1.Manager", "Virtualization"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("container"), "{}", text(&output));
}

#[test]
fn a_unit_runs_and_its_journal_is_read_without_a_line_lost() {
    let Some(sandbox) = Sandbox::boot(&[]) else { return };
    let unit = "[Service]\nType=oneshot\nExecStart=sh -c 'seq -f line-%%.0f 60000'\n";
    sandbox.write_unit("talker.service", unit);
    sandbox.run("systemctl", &["start", "talker"]);
    sandbox.run("journalctl", &["--sync"]);
    let journal = sandbox.run("journalctl", &["--unit=talker", "--output=cat"]);
    let lines = journal.lines().filter(|line| line.starts_with("line-")).count();
    assert_eq!(lines, 60_000);
}

#[test]
fn a_program_inside_keeps_what_its_command_says() {
    let Some(sandbox) = Sandbox::boot(&[]) else { return };
    let script = "read line; echo $line-$MARK; pwd; exit 7";
    let mut child = sandbox
        .command("sh")
        .args(["-c", script])
        .env("MARK", "kept")
        .current_dir("/usr/share")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"said\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output).as_str()),
        (Some(7), "said-kept\n/usr/share\n")
    );

    let outside = tempfile::tempdir().unwrap();
    let output = sandbox.command("pwd").current_dir(outside.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(126), "{}", text(&output));
}

/// A program inside that has said that it runs, and the number of it outside.
fn sleeper(sandbox: &Sandbox) -> (Child, u32) {
    let mut child = sandbox
        .command("sh")
        .args(["-c", "echo up; exec sleep infinity"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    let pid = sandbox.pid_of(&child).unwrap();
    (child, pid)
}

#[test]
fn signals_reach_a_program_inside_and_its_end_is_seen() {
    let Some(sandbox) = Sandbox::boot(&[]) else { return };
    let (mut child, pid) = sleeper(&sandbox);
    kill("-TERM", pid);
    assert_eq!(child.wait().unwrap().signal(), Some(15));

    let (mut child, pid) = sleeper(&sandbox);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the program inside outlives its child", || {
        !Path::new(&format!("/proc/{pid}/exe")).exists()
    });
}

#[test]
fn live_directories_are_the_hosts_own_and_nothing_else_is() {
    let (live, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/var/tmp").unwrap());
    let live = Utf8Path::from_path(live.path()).unwrap();
    std::fs::write(live.join("from-outside"), "").unwrap();
    let Some(mut sandbox) = Sandbox::boot(&[live]) else { return };
    for _ in 0..2 {
        sandbox.run("rm", &[live.join("from-outside").as_str()]);
        sandbox.run("touch", &[live.join("from-inside").as_str()]);
        assert!(live.join("from-inside").exists() && !live.join("from-outside").exists());
        std::fs::rename(live.join("from-inside"), live.join("from-outside")).unwrap();
        sandbox.boot_again();
    }
    let elsewhere = other.path().join("from-inside");
    sandbox.run("touch", &[elsewhere.to_str().unwrap()]);
    assert!(!elsewhere.exists());
}

#[test]
fn a_user_manager_runs_units_and_is_back_after_a_boot() {
    let Some(mut sandbox) = Sandbox::boot(&[]) else { return };
    let uid = sandbox.add_user("deploy");
    assert!(uid >= 1000);
    let user = |sandbox: &Sandbox, script: &str| {
        let output = sandbox.command_as("deploy", "sh").args(["-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", text(&output));
        text(&output)
    };
    let said = user(&sandbox, "id -u; echo $HOME $USER $LOGNAME $XDG_RUNTIME_DIR; id -Gn");
    assert_eq!(said, format!("{uid}\n/home/deploy deploy deploy /run/user/{uid}\ndeploy\n"));

    let enable = "mkdir -p ~/.config/systemd/user && cd ~/.config/systemd/user && \
        printf '[Service]\\nExecStart=sleep infinity\\n[Install]\\nWantedBy=default.target\\n' \
        >web.service && systemctl --user daemon-reload && systemctl --user enable --now web 2>&1";
    user(&sandbox, enable);
    assert_eq!(user(&sandbox, "systemctl --user is-active web"), "active\n");
    let told = user(&sandbox, "journalctl --user --unit=web --output=cat");
    assert!(told.contains("Started web.service"), "{told}");

    sandbox.boot_again();
    assert_eq!(user(&sandbox, "systemctl --user is-system-running --wait"), "running\n");
    assert_eq!(user(&sandbox, "systemctl --user is-active web"), "active\n");
}

#[test]
fn what_is_on_the_disk_outlives_a_loss_of_power() {
    let Some(mut sandbox) = Sandbox::boot(&[]) else { return };
    sandbox.write_unit("web.service", SLEEPER);
    sandbox.run("systemctl", &["enable", "--now", "web"]);
    let ids = |sandbox: &Sandbox| {
        let boot = sandbox.run("cat", &["/proc/sys/kernel/random/boot_id"]);
        (boot.trim().replace('-', ""), sandbox.run("cat", &["/etc/machine-id"]))
    };
    let before = ids(&sandbox);
    sandbox.run("touch", &["/run/lost", "/tmp/lost", "/var/kept", "/home/kept"]);
    sandbox.run("journalctl", &["--sync"]);

    sandbox.power_off();
    assert_eq!(sandbox.init(), None);
    assert!(sandbox.root().join("var/kept").exists(), "{}", sandbox.root());
    std::fs::write(sandbox.root().join("home/added"), "").unwrap();
    sandbox.boot_again();

    let after = ids(&sandbox);
    assert_eq!(before.1, after.1);
    assert_ne!(before.0, after.0);
    assert_eq!(sandbox.run("systemctl", &["is-active", "web"]), "active\n");
    let left = "ls -d /run/lost /tmp/lost /var/kept /home/kept /home/added 2>/dev/null || :";
    assert_eq!(sandbox.run("sh", &["-c", left]), "/home/added\n/home/kept\n/var/kept\n");
    let boots = sandbox.run("journalctl", &["--list-boots", "--no-pager"]);
    let boots: Vec<&str> = boots.lines().filter(|line| !line.contains("BOOT ID")).collect();
    assert_eq!(boots.len(), 2, "{boots:?}");
    assert!(boots[0].contains(&before.0) && boots[1].contains(&after.0), "{boots:?}");
    let last = ["--boot=-1", "--unit=web", "--output=cat"];
    assert!(sandbox.run("journalctl", &last).contains("Started web.service"));
}

#[test]
fn a_loss_of_power_lets_nobody_finish() {
    let live = tempfile::tempdir().unwrap();
    let live = Utf8Path::from_path(live.path()).unwrap();
    let Some(mut sandbox) = Sandbox::boot(&[live]) else { return };
    let unit = format!(
        "[Service]\nExecStart=sleep infinity\nExecStop=touch {live}/stopped\nExecStopPost=touch {live}/post\n"
    );
    sandbox.write_unit("web.service", &unit);
    sandbox.run("systemctl", &["start", "web"]);
    let (mut child, _) = sleeper(&sandbox);
    sandbox.power_off();
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert_eq!(std::fs::read_dir(live).unwrap().count(), 0);
}

#[test]
fn sandboxes_beside_one_another_know_nothing_of_it() {
    let (Some(mut one), Some(other)) = (Sandbox::boot(&[]), Sandbox::boot(&[])) else { return };
    one.write_unit("web.service", SLEEPER);
    one.run("systemctl", &["enable", "--now", "web"]);
    let status = other.command("systemctl").args(["is-active", "web"]).output().unwrap();
    assert_eq!(text(&status), "inactive\n");
    assert_ne!(
        one.run("cat", &["/etc/machine-id", "/proc/sys/kernel/random/boot_id"]),
        other.run("cat", &["/etc/machine-id", "/proc/sys/kernel/random/boot_id"]),
    );
    let groups = |sandbox: &Sandbox| sandbox.control_groups().into_iter().collect::<BTreeSet<_>>();
    assert!(groups(&one).is_disjoint(&groups(&other)));
    one.power_off();
    assert_eq!(other.run("systemctl", &["is-system-running"]), "running\n");
    one.boot_again();
    drop(other);
    assert_eq!(one.run("systemctl", &["is-active", "web"]), "active\n");
}

fn restart(sandbox: &Sandbox) -> Output {
    sandbox
        .command_as("deploy", "busctl")
        .args(["call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1"])
        .args(["org.freedesktop.systemd1.Manager", "RestartUnit", "ss", "web.service", "replace"])
        .output()
        .unwrap()
}

#[test]
fn polkit_refuses_a_user_until_a_rule_allows_it() {
    let Some(sandbox) = Sandbox::boot(&[]) else { return };
    if !sandbox.has_polkit() {
        return;
    }
    sandbox.add_user("deploy");
    sandbox.write_unit("web.service", SLEEPER);
    let refused = restart(&sandbox);
    assert!(text(&refused).contains("Interactive authentication required"), "{}", text(&refused));

    let rule = "polkit.addRule(function(action, subject) {
        if (action.id == 'org.freedesktop.systemd1.manage-units'
            && action.lookup('unit') == 'web.service' && subject.user == 'deploy')
            return polkit.Result.YES;
    });";
    std::fs::write(sandbox.root().join("etc/polkit-1/rules.d/50-web.rules"), rule).unwrap();
    sandbox.run("systemctl", &["restart", "polkit"]);
    let allowed = restart(&sandbox);
    assert!(allowed.status.success(), "{}", text(&allowed));
}

#[test]
fn without_polkit_a_user_is_refused() {
    let Some(sandbox) = Sandbox::boot(&[]) else { return };
    sandbox.remove_polkit();
    sandbox.add_user("deploy");
    sandbox.write_unit("web.service", SLEEPER);
    let refused = restart(&sandbox);
    assert!(text(&refused).contains("Access denied"), "{}", text(&refused));
}

#[test]
fn nothing_is_left_when_it_is_dropped_even_by_a_panic() {
    let mounts = || {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.contains("/deploykit-sandbox-")
    };
    let Some(sandbox) = Sandbox::boot(&[]) else { return };
    assert!(!mounts(), "a mount of the sandbox shows on the host");
    let traces = Traces::of(&sandbox);
    let failed = std::panic::catch_unwind(AssertUnwindSafe(move || {
        let _sandbox = sandbox;
        panic!("this panic is meant");
    }));
    assert!(failed.is_err());
    assert!(traces.are_gone() && !mounts(), "{traces:?}");
}

/// The variable that makes the next test a victim: it boots, tells its traces, and waits for its end.
const VICTIM: &str = "DEPLOYKIT_TEST_VICTIM";

#[test]
fn a_victim_of_the_next_tests_waits_to_be_killed() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let sandbox = Sandbox::boot(&[]).unwrap();
    let traces = Traces::of(&sandbox);
    let groups: Vec<_> = traces.groups.iter().map(|group| group.as_str()).collect();
    writeln!(std::io::stderr(), "victim {} {}", traces.init, groups.join(" ")).unwrap();
    std::thread::park();
}

/// A process of this test that boots, and does not outlive it.
struct Victim(Child);

impl Victim {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}

fn victim() -> (Victim, Traces) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_victim_of_the_next_tests_waits_to_be_killed", "--nocapture"])
        .env(VICTIM, "yes")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = child.stderr.take().unwrap();
    let victim = Victim(child);
    let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
    let line = lines.find(|line| line.starts_with("victim ")).unwrap();
    let mut words = line.split(' ').skip(1);
    let init = words.next().unwrap().parse().unwrap();
    (victim, Traces::new(init, words.map(Utf8PathBuf::from).collect()))
}

#[test]
fn nothing_is_left_when_the_test_is_killed() {
    if Sandbox::boot(&[]).is_none() {
        return;
    }
    let (mut victim, traces) = victim();
    assert!(traces.runs());
    victim.kill();
    eventually("something is left of a killed test", || traces.are_gone());
}

#[test]
fn no_systemd_outlives_its_guard_and_the_next_boot_sweeps_up() {
    if Sandbox::boot(&[]).is_none() {
        return;
    }
    let (_victim, traces) = victim();
    kill("-KILL", traces.guard);
    eventually("systemd outlives its guard", || !traces.runs());
    eventually("a later boot leaves the groups of a dead guard", || {
        Sandbox::boot(&[]).is_some() && traces.are_gone()
    });
}

#[test]
fn where_none_can_be_had_a_line_says_why_unless_it_is_required() {
    if Sandbox::boot(&[]).is_none() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let boot_without_rights = |require: &str| {
        Command::new("setpriv")
            .arg("--bounding-set=-sys_admin")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "the_bus_answers_from_the_outside", "--nocapture"])
            .env(REQUIRE, require)
            .env("TMPDIR", temporary.path())
            .output()
            .unwrap()
    };
    let skipped = boot_without_rights("");
    let said = text(&skipped);
    assert!(skipped.status.success(), "{said}");
    assert!(said.contains("skipped, no systemd for the test: unshare"), "{said}");
    let failed = boot_without_rights("required");
    let said = text(&failed);
    assert!(!failed.status.success(), "{said}");
    assert!(said.contains("no systemd for the test: unshare"), "{said}");
    assert!(!said.contains("skipped"), "{said}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
