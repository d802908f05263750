//! Bringing unit files that are installed to what a release is to be run by, when it is.

use deploykit_core::config::Config;
use deploykit_core::{Context, Layout};

use super::file::{Present, UnitFile};
use super::install::{Installed, enable, instances, reload, retire, wanted_directories};
use super::{Compared, UnitError, UnitSet, timers};
use crate::bus::Bus;
use crate::units::names;

/// Writes the unit files of the services anew where they say something else than the configuration of
/// the release, and ends instances that there are too many of. A rollback so runs the service by the
/// unit files that it was run by. What others have changed is left alone, with a warning.
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
        let path = set.directory.join(&file.name);
        match present {
            Present::Same => {}
            Present::Absent => installed = false,
            Present::Outdated => match file.write(&set.directory) {
                Ok(()) => {
                    ctx.note(format!("{path} was written anew"));
                    written = true;
                }
                Err(error) => {
                    installed = false;
                    ctx.warn(format!(
                        "{path} says something else than the configuration, and cannot be written: \
                         `deploykit unit install` as root does ({error})"
                    ));
                }
            },
            Present::Edited | Present::Foreign | Present::Other => {
                installed = false;
                ctx.warn(format!(
                    "{path} says something else than the configuration, and {}: \
                     `deploykit unit diff` shows what",
                    present.why_not()
                ));
            }
        }
    }
    if written {
        reload(ctx, bus)?;
    }
    // How many instances there are stands in no file.
    if installed && (written || !are_enabled(&set)) {
        enable(ctx, bus, &set.enabled)?;
    }
    if installed {
        retire_surplus(&set, ctx, bus, config)?;
    }
    Ok(())
}

/// A unit file of the services that another application has made: its units are that application's.
pub(crate) fn file_of_another(config: &Config, layout: &Layout) -> Option<String> {
    let set = UnitSet::of_services(config, layout).ok()?;
    let is_other = |file: &&UnitFile| {
        file.present(&set.directory).is_ok_and(|(present, _)| present == Present::Other)
    };
    set.files.iter().find(is_other).map(|file| set.directory.join(&file.name).into_string())
}

/// Whether every instance is started at boot. What is there once may have been disabled on purpose.
fn are_enabled(set: &UnitSet) -> bool {
    let directories = wanted_directories(set);
    let is_wanted =
        |unit: &String| directories.iter().any(|wants| wants.join(unit).symlink_metadata().is_ok());
    set.enabled.iter().filter(|unit| unit.contains('@')).all(is_wanted)
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
    let obsolete = compared.obsolete.iter().filter(|file| !timers::is_of_one(&file.name));
    stray.extend(obsolete.map(|file| format!("{} is of no service any more", file.name)));
    Ok(stray)
}

/// Ends the instances of a service that has fewer now.
fn retire_surplus(
    set: &UnitSet,
    ctx: &Context,
    bus: &Bus,
    config: &Config,
) -> Result<(), UnitError> {
    let mut surplus = Vec::new();
    for spec in config.service.services.iter().filter(|spec| spec.count.is_some()) {
        let wanted: Vec<String> = names(spec).iter().map(ToString::to_string).collect();
        for suffix in ["service", "socket"] {
            let found = instances(set, ctx, bus, &spec.name, suffix)?;
            let stem = |unit: &str| unit.trim_end_matches(&format!(".{suffix}")).to_owned();
            surplus.extend(found.into_iter().filter(|unit| {
                !wanted.iter().any(|wanted| wanted.trim_end_matches(".service") == stem(unit))
            }));
        }
    }
    surplus.sort();
    surplus.dedup();
    if surplus.is_empty() {
        return Ok(());
    }
    let mut retired = Installed::default();
    retire(ctx, bus, &surplus, &mut retired)?;
    if !retired.stopped.is_empty() {
        ctx.note(format!("ended, being too many: {}", retired.stopped.join(", ")));
    }
    Ok(())
}
