//! What must be there before a unit can be started: what is missing is better known before the old
//! process is ended than after.

use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::Layout;
use deploykit_core::config::{ManagerKind, ServiceSpec};
use deploykit_core::process::{self, ProcessError, ProcessSpec};
use nix::unistd::{Group, User};

use crate::access::Who;
use crate::error::SystemdError;
use crate::facts::Facts;

/// Looks whether all is there that a unit needs as systemd knows it. What lies in the release is looked
/// for in `release`, which is not active yet, or not at all.
pub(crate) fn of_unit(
    facts: &Facts,
    layout: &Layout,
    release: Option<&Utf8Path>,
) -> Result<(), SystemdError> {
    let unit = facts.unit.as_str();
    if !facts.has_own_user {
        user(unit, &facts.user)?;
        group(unit, &facts.group)?;
    }
    let place = |path: &str| place(Utf8Path::new(path), layout, release);
    for file in &facts.env_files {
        if let Some(path) = place(file) {
            environment(unit, &path)?;
        }
    }
    let who = Who::named(&facts.user, Some(&*facts.group).filter(|group| !group.is_empty()));
    let directory = place(&facts.directory);
    let is_plain = !facts.has_own_user && !facts.sees_others;
    if let (Some(who), Some(directory), true) = (who, directory, is_plain) {
        entered(unit, &who.with_groups(&facts.groups), &directory)?;
    }
    match facts.program.as_deref().and_then(place) {
        Some(path) => program(unit, &path),
        None => Ok(()),
    }
}

/// Directives by which a service may be somebody else, or see other files than the host does.
const OTHERWISE: [&str; 12] = [
    "User",
    "Group",
    "DynamicUser",
    "SupplementaryGroups",
    "WorkingDirectory",
    "RootDirectory",
    "RootImage",
    "BindPaths",
    "BindReadOnlyPaths",
    "TemporaryFileSystem",
    "MountImages",
    "ProtectHome",
];

/// The same, of a service as it is described: its unit file may still be another one, or none.
pub(crate) fn of_service(
    spec: &ServiceSpec,
    layout: &Layout,
    manager: ManagerKind,
    release: Option<&Utf8Path>,
) -> Result<(), SystemdError> {
    let unit = format!("{}.service", spec.name);
    // What stands in directives may say who it is, and what it sees, in another way.
    let own = spec.directives.get("Service");
    let is_plain = !own.is_some_and(|own| OTHERWISE.iter().any(|name| own.contains_key(*name)));
    let is_plain = is_plain && manager == ManagerKind::System;
    if is_plain {
        user(&unit, spec.user.as_deref().unwrap_or_default())?;
        group(&unit, spec.group.as_deref().unwrap_or_default())?;
    }
    let needed = spec.env_files.iter().filter(|file| !file.starts_with('-'));
    needed.map(|file| layout.root().join(file)).try_for_each(|path| environment(&unit, &path))?;
    let Some(release) = release else { return Ok(()) };
    let directory = match &spec.dir {
        Some(dir) => release.join(dir.as_path()),
        None => release.to_owned(),
    };
    if is_missing(&directory) {
        let hint = "`dir` in [[service]] is a directory of the release".to_owned();
        return Err(lacks(&unit, format!("the directory {directory}"), hint));
    }
    if is_plain {
        let name = spec.user.clone().or_else(|| crate::unit::owner(layout.root()));
        let who = name.and_then(|name| Who::named(&name, spec.group.as_deref()));
        who.map_or(Ok(()), |who| entered(&unit, &who, &directory))?;
    }
    match spec.command.as_slice().first().filter(|program| program.contains('/')) {
        Some(path) => program(&unit, &directory.join(path.trim_start_matches("./"))),
        None => Ok(()),
    }
}

fn entered(unit: &str, who: &Who, directory: &Utf8Path) -> Result<(), SystemdError> {
    match who.barred_from(directory) {
        None => Ok(()),
        Some((barred, mode)) => Err(SystemdError::Barred {
            unit: unit.to_owned(),
            user: who.name.clone(),
            what: format!("enter {barred} (mode {mode:o})"),
        }),
    }
}

/// Where a path leads when the release is active; nothing where that is not known yet.
fn place(path: &Utf8Path, layout: &Layout, release: Option<&Utf8Path>) -> Option<Utf8PathBuf> {
    match path.strip_prefix(layout.active_link()) {
        Ok(rest) => release.map(|root| root.join(rest)),
        Err(_) => Some(path.to_owned()),
    }
}

fn lacks(unit: &str, what: String, hint: impl Into<String>) -> SystemdError {
    SystemdError::Lacks { unit: unit.to_owned(), what, hint: hint.into() }
}

fn user(unit: &str, name: &str) -> Result<(), SystemdError> {
    let is_there = name.is_empty()
        || name.parse::<u32>().is_ok()
        // What cannot be looked up is not known to be missing.
        || !matches!(User::from_name(name), Ok(None));
    let hint = format!("`useradd --system {name}` makes it");
    if is_there { Ok(()) } else { Err(lacks(unit, format!("the user {name:?}"), hint)) }
}

fn group(unit: &str, name: &str) -> Result<(), SystemdError> {
    let is_there = name.is_empty()
        || name.parse::<u32>().is_ok()
        || !matches!(Group::from_name(name), Ok(None));
    let hint = format!("`groupadd --system {name}` makes it");
    if is_there { Ok(()) } else { Err(lacks(unit, format!("the group {name:?}"), hint)) }
}

fn environment(unit: &str, path: &Utf8Path) -> Result<(), SystemdError> {
    let is_pattern = path.as_str().contains(['*', '?', '[']);
    if is_pattern || !is_missing(path) {
        return Ok(());
    }
    let hint = "write it, or put a dash before its path: then it may be missing";
    Err(lacks(unit, format!("the environment file {path}"), hint))
}

fn program(unit: &str, path: &Utf8Path) -> Result<(), SystemdError> {
    let spec = ProcessSpec::new("preflight", [path.as_str()], "/");
    let nobody_may = || {
        let mode = std::fs::metadata(path).map(|found| found.permissions().mode());
        mode.is_ok_and(|mode| mode & 0o111 == 0)
    };
    match process::preflight(&spec) {
        Err(ProcessError::NotExecutable { .. }) if !nobody_may() => Ok(()),
        Err(
            source @ (ProcessError::NotFound { .. }
            | ProcessError::NotExecutable { .. }
            | ProcessError::Interpreter { .. }),
        ) => Err(SystemdError::CannotRun { unit: unit.to_owned(), source }),
        // What this user cannot look at the service's may.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether there is nothing at this path. What may not be looked at may be there.
fn is_missing(path: &Utf8Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_and_what_lies_in_a_release_to_come_is_not_looked_for() {
        let directory = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(directory.path().to_owned()).unwrap();
        let layout = Layout::new(root.join("app"));
        let release = root.join("app/releases/one");
        std::fs::create_dir_all(&release).unwrap();
        let path = layout.active_link().join("server");
        assert_eq!(place(&path, &layout, None), None);
        let found = place(&path, &layout, Some(&release)).unwrap();
        assert_eq!(found, release.join("server"));
        let told = |result: Result<(), SystemdError>| {
            result.map_err(|error| deploykit_core::chain(&error))
        };
        let error = told(program("a.service", &found)).unwrap_err();
        assert!(
            error.contains("a.service cannot be started") && error.contains("server"),
            "{error}"
        );
        std::fs::write(&found, "#!/bin/sh\n").unwrap();
        let error = told(program("a.service", &found)).unwrap_err();
        assert!(error.contains("cannot be executed"), "{error}");
        std::fs::set_permissions(&found, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(told(program("a.service", &found)), Ok(()));
        std::fs::write(&found, "#!/no/such/interpreter\n").unwrap();
        let error = told(program("a.service", &found)).unwrap_err();
        assert!(error.contains("/no/such/interpreter"), "{error}");
        assert_eq!(told(environment("a", &root.join("*.env"))), Ok(()));
        assert!(told(environment("a", &root.join("x.env"))).is_err());
        assert_eq!(
            (told(user("a", "root")), told(user("a", "")), told(user("a", "4711"))),
            (Ok(()), Ok(()), Ok(()))
        );
        assert!(told(user("a", "no-such-user-here")).unwrap_err().contains("no-such-user-here"));
        assert!(told(group("a", "no-such-group-here")).is_err());
    }
}
