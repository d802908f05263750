//! Whether this host can have a sandbox.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What a sandbox is made with, and the Debian package that has it.
const PARTS: [(&str, &str); 9] = [
    ("/lib/systemd/systemd", "systemd"),
    ("/usr/bin/dbus-daemon", "dbus"),
    ("/lib/systemd/system/dbus.socket", "dbus"),
    ("/usr/bin/unshare", "util-linux"),
    ("/usr/bin/nsenter", "util-linux"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/usr/sbin/pivot_root", "util-linux"),
    ("/usr/bin/mount", "mount"),
    ("/sys/fs/cgroup", "a kernel with control groups"),
];

/// The first reason against it.
pub(super) fn check() -> Result<(), String> {
    let process = std::fs::metadata("/proc/self").map_err(|error| format!("/proc: {error}"))?;
    if process.uid() != 0 {
        return Err("it needs the rights of root".to_owned());
    }
    let missing = PARTS.iter().find(|(path, _)| !Path::new(path).exists() && !in_root_merged(path));
    match missing {
        Some((path, package)) => Err(format!("{path} is missing ({package})")),
        None => Ok(()),
    }
}

/// Distributions disagree on `/bin` and `/usr/bin`, and on `/sbin`.
fn in_root_merged(path: &str) -> bool {
    let Some(name) = path.strip_prefix("/usr/").and_then(|rest| rest.split('/').next_back()) else {
        return false;
    };
    ["/bin", "/sbin", "/usr/bin", "/usr/sbin"].iter().any(|at| Path::new(at).join(name).exists())
}
