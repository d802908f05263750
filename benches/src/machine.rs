//! On what it was measured.

use std::process::Command;

use camino::Utf8Path;

use crate::Result;
use crate::work::file_system;

/// The machine and the versions, in a few lines.
pub(crate) fn describe(directory: &Utf8Path, binary: &Utf8Path) -> Result<String> {
    let cores = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    let kernel = nix::sys::utsname::uname()?;
    let kernel = kernel.release().to_string_lossy();
    let kernel = kernel.split('-').next().unwrap_or_default();
    Ok(format!(
        "{cores} cores, {}, Linux {kernel}, load {load} at the beginning; {}, {}, {}.",
        file_system(directory)?,
        first_line(Command::new(binary).arg("--version"))?,
        first_line(Command::new("git").arg("--version"))?,
        first_line(Command::new("bash").arg("--version"))?
            .split(" (")
            .next()
            .unwrap_or_default()
            .replace("GNU bash, version", "bash"),
    ))
}

fn first_line(command: &mut Command) -> Result<String> {
    let output = command.output()?.stdout;
    Ok(String::from_utf8(output)?.lines().next().unwrap_or_default().to_owned())
}
