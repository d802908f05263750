//! Bringing unit files that are installed to what a release is to be run by, when it is.

use deploykit_core::config::Config;
use deploykit_core::{Context, Layout};

use super::file::{Present, UnitFile};
use super::install::{
    Installed, enable, no_longer_wanted, reload, retire, surplus, wanted_directories,
};
use super::{Compared, UnitError, UnitSet, timers};
use crate::bus::Bus;
use crate::error::SystemdError;

/// Writes the unit files of the services where they are missing or say something else than the
/// configuration of the release, has what does not run yet started at boot, and ends what the release does
/// not have. A rollback so runs the service by the unit files that it was run by. What others have changed
/// is left alone, with a warning.
pub(crate) fn refresh(
    ctx: &Context,
    bus: &Bus,
    config: &Config,
    layout: &Layout,
) -> Result<(), UnitError> {
    let set = UnitSet::of_services(config, layout)?;
    let (mut written, mut installed) = (false, true);
    for file in &set.files {
        let (present, _) = file.present(&set.directory)?;
        match present {
            Present::Same => {}
            Present::Absent | Present::Outdated => match write(ctx, &set, file, present) {
                true => written = true,
                false => installed = false,
            },
            _ => {
                installed = false;
                ctx.warn(format!(
                    "{} says something else than the configuration, and {}: \
                     `deploykit unit diff` shows what",
                    set.directory.join(&file.name),
                    present.why_not()
                ));
            }
        }
    }
    if written {
        reload(ctx, bus)?;
    }
    let ended = stray_units(ctx, bus, config, layout).and_then(|stray| end(ctx, bus, &stray));
    if installed {
        start_at_boot(&set, ctx, bus)?;
    }
    ended
}

/// Has what does not run yet started at boot from now on.
fn start_at_boot(set: &UnitSet, ctx: &Context, bus: &Bus) -> Result<(), UnitError> {
    let missing = not_started_at_boot(set, ctx, bus)?;
    if missing.is_empty() {
        return Ok(());
    }
    match enable(ctx, bus, &missing) {
        Ok(()) => Ok(reload(ctx, bus)?),
        Err(error @ SystemdError::NotAllowed { .. }) => {
            let units = missing.join(" ");
            ctx.warn(format!(
                "the host does not start {units} when it boots: {error}: `sudo systemctl enable {units}`"
            ));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn write(ctx: &Context, set: &UnitSet, file: &UnitFile, present: Present) -> bool {
    let path = set.directory.join(&file.name);
    let (done, how) = match present {
        Present::Absent => ("was made", "is missing"),
        _ => ("was written anew", "says something else than the configuration"),
    };
    match file.write(&set.directory) {
        Ok(()) => ctx.note(format!("{path} {done}")),
        Err(error) => {
            let mend = "`deploykit unit install` as root does";
            ctx.warn(format!("{path} {how}, and cannot be written: {mend} ({error})"));
            return false;
        }
    }
    true
}

/// A unit file of the services that another application has made: its units are that application's.
pub(crate) fn file_of_another(config: &Config, layout: &Layout) -> Option<String> {
    let set = UnitSet::of_services(config, layout).ok()?;
    let is_other = |file: &&UnitFile| {
        file.present(&set.directory).is_ok_and(|(present, _)| present == Present::Other)
    };
    set.files.iter().find(is_other).map(|file| set.directory.join(&file.name).into_string())
}

/// The units that neither run nor are started at boot. What runs and is not started at boot is so on
/// purpose.
fn not_started_at_boot(
    set: &UnitSet,
    ctx: &Context,
    bus: &Bus,
) -> Result<Vec<String>, SystemdError> {
    let directories = wanted_directories(set);
    let is_wanted =
        |unit: &str| directories.iter().any(|wants| wants.join(unit).symlink_metadata().is_ok());
    let mut found = Vec::new();
    for unit in set.enabled.iter().filter(|unit| !is_wanted(unit)) {
        if !crate::job::runs(ctx, bus, unit)? {
            found.push(unit.clone());
        }
    }
    Ok(found)
}

/// The units of unit files that were made for the application and that the configuration does not name, and
/// instances that are too many, as far as they run or are started at boot. Their files may stay: a release that is kept is run by them.
pub(crate) fn stray_units(
    ctx: &Context,
    bus: &Bus,
    config: &Config,
    layout: &Layout,
) -> Result<Vec<String>, UnitError> {
    let set = UnitSet::of_services(config, layout)?;
    let mut files = set.compare()?.obsolete;
    files.retain(|file| !timers::is_of_one(&file.name));
    let directories = wanted_directories(&set);
    let mut stray = Vec::new();
    let mut units = no_longer_wanted(&set, ctx, bus, &files)?;
    // How many instances there are stands in no file.
    units.extend(surplus(&set, ctx, bus, &[&set.units])?);
    for unit in units {
        let is_wanted =
            directories.iter().any(|wants| wants.join(&unit).symlink_metadata().is_ok());
        if is_wanted || crate::job::runs(ctx, bus, &unit)? {
            stray.push(unit);
        }
    }
    Ok(stray)
}

/// What is not as the configuration says of the unit files of the services, in words.
pub(crate) fn stray_service_files(
    config: &Config,
    layout: &Layout,
) -> Result<Vec<String>, UnitError> {
    let compared = UnitSet::of_services(config, layout)?.compare()?;
    let mut stray = Vec::new();
    for Compared { file, present, .. } in &compared.files {
        let how = match present {
            Present::Same => continue,
            Present::Absent => "is missing",
            Present::Outdated => "says something else than the configuration",
            _ => present.why_not(),
        };
        stray.push(format!("{} {how}", file.name));
    }
    Ok(stray)
}

/// Ends units that the release does not have.
fn end(ctx: &Context, bus: &Bus, units: &[String]) -> Result<(), UnitError> {
    if units.is_empty() {
        return Ok(());
    }
    let mut retired = Installed::default();
    retire(ctx, bus, units, &mut retired)?;
    if !retired.stopped.is_empty() {
        ctx.note(format!(
            "ended, since the release does not have it: {}",
            retired.stopped.join(", ")
        ));
    }
    Ok(())
}
