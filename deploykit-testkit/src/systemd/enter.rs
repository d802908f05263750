//! Programs that a test runs inside.

use std::ffi::OsStr;
use std::process::{Child, Command};

use super::Sandbox;

/// Joins the control groups for such programs while the host's view of them is still there, then enters.
/// systemd removes empty groups that it comes across, these included: they are made when they are missing. A working directory that is not there inside is an error, unless it is only the one that
/// the test was started in.
const ENTER: &str = r#"
init=$1 groups=$2 home=$3
shift 3
join() { mkdir -p "$1" && echo 0 >"$1/cgroup.procs"; }
while read -r group; do
    tries=0
    until join "$group/tests" 2>/dev/null; do
        tries=$((tries + 1))
        if [ "$tries" = 50 ]; then echo "cannot join $group/tests" >&2; exit 126; fi
    done
done <"$groups"
at=$(pwd -P)
if [ ! -d "/proc/$init/root$at" ]; then
    if [ "$at" != "$home" ]; then echo "$at: not a directory inside the sandbox" >&2; exit 126; fi
    at=/
fi
exec nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup --root --wdns="$at" "$@"
"#;

impl Sandbox {
    /// A command that runs `program` inside, as root. Standard streams, exit code, environment and
    /// working directory are kept, and so is the signal that ends it. Killing the child kills the program;
    /// other signals are not passed on: see [`Sandbox::pid_of`].
    ///
    /// # Panics
    ///
    /// While the power is off.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.enter(&[], program.as_ref())
    }

    /// A command as [`Sandbox::command`], run as `user` with the environment of a login whose user
    /// manager runs: `HOME`, `USER`, `LOGNAME`, `XDG_RUNTIME_DIR` and `DBUS_SESSION_BUS_ADDRESS`.
    ///
    /// # Panics
    ///
    /// While the power is off; when there is no such user inside.
    pub fn command_as(&self, user: &str, program: impl AsRef<OsStr>) -> Command {
        let account = self.account(user);
        let (uid, gid) = (account.uid, account.gid);
        let identity = [format!("--reuid={uid}"), format!("--regid={gid}"), "--init-groups".into()];
        let mut command = self.enter(&identity, program.as_ref());
        command
            .env("HOME", &account.home)
            .env("USER", user)
            .env("LOGNAME", user)
            .env("XDG_RUNTIME_DIR", format!("/run/user/{uid}"))
            .env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path=/run/user/{uid}/bus"));
        command
    }

    /// The number by which the outside knows the program that a child of [`Sandbox::command`] runs
    /// inside, for sending it signals; `None` before it is there and after its end.
    pub fn pid_of(&self, child: &Child) -> Option<u32> {
        let id = child.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        let pid = children.split_whitespace().next()?;
        // Before it enters, the child may have helpers of its own.
        let entered = std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok()?;
        let inside = std::fs::read_link(format!("/proc/{}/ns/pid", self.init?)).ok()?;
        (entered == inside).then(|| pid.parse().ok())?
    }

    fn enter(&self, identity: &[String], program: &OsStr) -> Command {
        let init = self.init.expect("a sandbox with its power on");
        let home = std::env::current_dir().unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .args(["-c", ENTER, "sh", &init.to_string()])
            .arg(self.guard.groups_file())
            .arg(home)
            // Death of the entering process, which waits outside, is passed on by the kernel.
            .args(["setpriv", "--pdeathsig", "KILL"])
            .args(identity)
            .arg("--")
            .arg(program);
        command
    }
}
