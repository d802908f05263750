//! How the process of a unit ended, in words.

use nix::sys::signal::Signal;

/// `CLD_EXITED`: it ended by itself (sigaction(2)).
const EXITED: i32 = 1;

/// Exit codes by which systemd itself says what kept it from running a program, and what can be done
/// about it. From systemd.exec(5), "Process Exit Codes".
const SETUP: [(i32, &str, &str); 12] = [
    (
        200,
        "its working directory cannot be entered",
        "WorkingDirectory= must lead to a directory that its user may enter",
    ),
    (
        203,
        "its program cannot be run",
        "the program of ExecStart= must exist, be executable, and have an interpreter that exists",
    ),
    (
        206,
        "its environment file cannot be read",
        "EnvironmentFile= must exist; with a dash before it, it may be missing",
    ),
    (208, "its standard input cannot be set up", "see StandardInput= of the unit"),
    (
        209,
        "its standard output cannot be set up",
        "see StandardOutput= of the unit: the directory must exist, and its user may write there",
    ),
    (216, "its group does not exist", "see Group= of the unit"),
    (217, "its user does not exist", "see User= of the unit; `useradd --system` makes one"),
    (
        218,
        "its capabilities cannot be set",
        "see CapabilityBoundingSet= and AmbientCapabilities= of the unit",
    ),
    (222, "its standard error cannot be set up", "see StandardError= of the unit"),
    (
        226,
        "its view of the file system cannot be set up",
        "a path of ReadWritePaths=, BindPaths= or WorkingDirectory= does not exist",
    ),
    (228, "its system calls cannot be filtered", "see SystemCallFilter= of the unit"),
    (238, "its state directory cannot be made", "see StateDirectory= of the unit"),
];

/// How the main process ended: `exited with code 1`, `was killed by SIGKILL`.
pub(crate) fn describe(code: i32, status: i32) -> String {
    match (code, setup(code, status)) {
        (EXITED, Some((what, _))) => format!("{what} (exit code {status})"),
        (EXITED, None) => format!("exited with code {status}"),
        (3, _) => format!("was killed by {} and dumped core", signal(status)),
        _ => format!("was killed by {}", signal(status)),
    }
}

/// What can be done about it, where that is known.
pub(crate) fn hint(code: i32, status: i32) -> Option<&'static str> {
    setup(code, status).map(|(_, hint)| hint)
}

fn setup(code: i32, status: i32) -> Option<(&'static str, &'static str)> {
    let found = SETUP.iter().find(|(number, ..)| code == EXITED && *number == status);
    found.map(|(_, what, hint)| (*what, *hint))
}

fn signal(number: i32) -> String {
    Signal::try_from(number)
        .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned())
}

/// What systemd calls the result of a unit (systemd.exec(5), `$SERVICE_RESULT`), in words.
pub(crate) fn result(result: &str) -> Option<&'static str> {
    Some(match result {
        "watchdog" => "its watchdog did not hear from it in time",
        "timeout" => "it took longer than it may",
        "start-limit-hit" => "it was started too often in too short a time",
        "oom-kill" => "the kernel ended it because memory ran out",
        "protocol" => "it did not do what its Type= demands: it never said that it is ready",
        "resources" => "systemd could not get what it needs to run it",
        "exec-condition" => "its ExecCondition= was not met",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_words() {
        assert_eq!(describe(1, 3), "exited with code 3");
        assert_eq!(describe(2, 9), "was killed by SIGKILL");
        assert_eq!(describe(3, 6), "was killed by SIGABRT and dumped core");
        assert_eq!(describe(2, 64), "was killed by signal 64");
        assert_eq!(describe(1, 203), "its program cannot be run (exit code 203)");
        assert!(hint(1, 200).unwrap().contains("WorkingDirectory"));
        assert_eq!(hint(2, 200), None);
    }
}
