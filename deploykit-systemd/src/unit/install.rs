//! Putting unit files in their place, and taking them away.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use deploykit_core::Context;
use serde::Serialize;

use super::file::{Present, UnitFile};
use super::{UnitError, UnitSet};
use crate::bus::{Bus, CallError};
use crate::error::SystemdError;
use crate::name::UnitName;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Installed {
    /// Files that were written.
    pub written: Vec<Utf8PathBuf>,
    /// Files that were removed.
    pub removed: Vec<Utf8PathBuf>,
    /// Where a file that was in the way is kept.
    pub kept: Vec<Utf8PathBuf>,
    /// Units that are started at boot from now on.
    pub enabled: Vec<String>,
    /// Units that were stopped.
    pub stopped: Vec<String>,
}

pub(super) fn install(set: &UnitSet, ctx: &Context, force: bool) -> Result<Installed, UnitError> {
    let wanted = set.before_the_deployment();
    let bus = Bus::connect(ctx, set.manager)?;
    let mut found = Vec::new();
    for file in &wanted {
        let (present, _) = file.present(&set.directory)?;
        found.push((file, hidden_by(ctx, &bus, file, present)?));
    }
    let in_the_way: Vec<_> = found
        .iter()
        .filter(|(_, present)| present.is_in_the_way())
        .map(|(file, present)| (set.directory.join(&file.name), *present))
        .collect();
    if !in_the_way.is_empty() && !force {
        return Err(UnitError::InTheWay { files: in_the_way });
    }
    let mut installed = Installed::default();
    for (path, _) in in_the_way.iter().filter(|(_, present)| *present != Present::Elsewhere) {
        installed.kept.push(keep(path)?);
    }
    for (file, _) in found.iter().filter(|(_, present)| *present != Present::Same) {
        file.write(&set.directory)?;
        installed.written.push(set.directory.join(&file.name));
    }
    if !installed.written.is_empty() {
        // What is ended next must not end what does not need it any more.
        reload(ctx, &bus)?;
    }
    end_the_others(set, ctx, &bus, &wanted, &mut installed)?;
    enable(ctx, &bus, &set.enabled)?;
    reload(ctx, &bus)?;
    installed.enabled.clone_from(&set.enabled);
    start_timers(set, ctx, &bus)?;
    Ok(installed)
}

/// What is there in the place of a file, units that systemd knows from elsewhere included.
fn hidden_by(
    ctx: &Context,
    bus: &Bus,
    file: &UnitFile,
    present: Present,
) -> Result<Present, UnitError> {
    if present != Present::Absent || file.name.components().count() > 1 {
        return Ok(present);
    }
    // Of a template, systemd knows instances.
    let unit = UnitName::complete(&file.name.as_str().replace("@.", "@1."));
    let facts =
        bus.facts(ctx, &unit).map_err(|error| error.failed_to(format!("look at {unit}")))?;
    let is_there = facts.load == "loaded" && crate::managed::is_foreign(&facts.fragment);
    Ok(if is_there { Present::Elsewhere } else { present })
}

/// Ends the units of this application that are neither wanted nor those of the active release, and removes
/// the files of those that no release is run by any more, while systemd still knows what they are.
fn end_the_others(
    set: &UnitSet,
    ctx: &Context,
    bus: &Bus,
    wanted: &[UnitFile],
    installed: &mut Installed,
) -> Result<(), UnitError> {
    let mut others = super::file::made_for(&set.root, &set.directory)?;
    others.retain(|file| !wanted.iter().any(|wanted| wanted.name == file.name));
    let mut units = no_longer_wanted(set, ctx, bus, &others)?;
    let of_active: &[String] = set.active.as_ref().map_or(&[], |(_, units)| units);
    units.extend(surplus(set, ctx, bus, &[&set.units, of_active])?);
    retire(ctx, bus, &units, installed)?;
    others.retain(|file| !set.kept.contains(&file.name));
    let (edited, untouched): (Vec<_>, Vec<_>) = others.into_iter().partition(UnitFile::is_edited);
    for file in &edited {
        installed.kept.push(keep(&set.directory.join(&file.name))?);
    }
    remove_files(set, &untouched, installed)?;
    remove_files(set, &edited, installed)?;
    reload(ctx, bus)?;
    Ok(())
}

/// Instances of the templates of these units that are none of these units: of those there are fewer now.
pub(super) fn surplus(
    set: &UnitSet,
    ctx: &Context,
    bus: &Bus,
    wanted: &[&[String]],
) -> Result<Vec<String>, UnitError> {
    let wanted: Vec<UnitName> =
        wanted.iter().copied().flatten().map(|unit| UnitName::complete(unit)).collect();
    let templates: BTreeSet<&str> =
        wanted.iter().filter(|unit| unit.instance().is_some()).map(UnitName::prefix).collect();
    let mut surplus = Vec::new();
    for prefix in templates {
        for suffix in ["service", "socket"] {
            let found = instances(set, ctx, bus, prefix, suffix)?;
            let stem = |unit: &str| UnitName::complete(unit).stem().to_owned();
            surplus.extend(
                found.into_iter().filter(|unit| !wanted.iter().any(|one| one.stem() == stem(unit))),
            );
        }
    }
    surplus.sort();
    surplus.dedup();
    Ok(surplus)
}

fn start_timers(set: &UnitSet, ctx: &Context, bus: &Bus) -> Result<(), UnitError> {
    for timer in &set.started {
        // One that runs already takes up its new times.
        manage(ctx, bus, "RestartUnit", &(timer.as_str(), "replace"), "start the timers")?;
    }
    if let Some(up) = &set.up {
        let what = "start what runs the services";
        return Ok(manage(ctx, bus, "StartUnit", &(up.as_str(), "replace"), what)?);
    }
    // From its first run on, its timer counts from the end of the last; before, every time that systemd
    // reads its files again it would begin to count anew.
    let first = super::timers::recover_service(&set.root);
    manage(ctx, bus, "StartUnit", &(first.as_str(), "replace"), "start the recovery")?;
    Ok(await_end(ctx, bus, &first)?)
}

/// How long the first recovery is waited for: a deployment that follows at once would find the lock held.
const FIRST_RECOVERY: Duration = Duration::from_secs(10);

fn await_end(ctx: &Context, bus: &Bus, unit: &str) -> Result<(), SystemdError> {
    let (unit, begun) = (UnitName::complete(unit), Instant::now());
    let failed = |error: CallError| error.failed_to(format!("look at {unit}"));
    loop {
        let facts = bus.facts(ctx, &unit).map_err(failed)?;
        let runs = facts.has_job || matches!(facts.active.as_str(), "active" | "activating");
        if !runs || begun.elapsed() > FIRST_RECOVERY {
            return Ok(());
        }
        ctx.sleep(Duration::from_millis(20))?;
    }
}

/// Keeps a file, or a link, beside itself, and whatever was kept before.
fn keep(path: &Utf8Path) -> Result<Utf8PathBuf, UnitError> {
    let names = (1..).map(|number| match number {
        1 => Utf8PathBuf::from(format!("{path}.before-deploykit")),
        number => Utf8PathBuf::from(format!("{path}.before-deploykit-{number}")),
    });
    let is_free = |name: &Utf8PathBuf| name.symlink_metadata().is_err();
    let kept = names.into_iter().find(is_free).unwrap_or_default();
    // A second name, also of a link to /dev/null, which masks a unit: nothing is copied that a loss of
    // power could leave half written when the new file has the old name already.
    let failed = |source| UnitError::File { operation: "keep", path: kept.clone(), source };
    std::fs::hard_link(path, &kept).map_err(failed)?;
    Ok(kept)
}

/// Ends the units of these files, and removes the files.
pub(super) fn remove(
    set: &UnitSet,
    ctx: &Context,
    made: &[UnitFile],
) -> Result<Installed, UnitError> {
    let bus = Bus::connect(ctx, set.manager)?;
    let mut removed = Installed::default();
    let units = no_longer_wanted(set, ctx, &bus, made)?;
    retire(ctx, &bus, &units, &mut removed)?;
    remove_files(set, made, &mut removed)?;
    reload(ctx, &bus)?;
    Ok(removed)
}

/// The units of these files: of a template, the instances that systemd knows or that are started at
/// boot.
pub(super) fn no_longer_wanted(
    set: &UnitSet,
    ctx: &Context,
    bus: &Bus,
    files: &[UnitFile],
) -> Result<Vec<String>, UnitError> {
    let mut units = Vec::new();
    for file in files {
        // A drop-in belongs to an instance of a template that stays.
        let name = match file.name.parent() {
            Some(dir) if dir.as_str().ends_with(".d") => dir.as_str().trim_end_matches(".d"),
            _ => file.name.as_str(),
        };
        match name.split_once("@.") {
            Some((prefix, suffix)) => {
                units.extend(instances(set, ctx, bus, prefix, suffix)?);
            }
            None => units.push(name.to_owned()),
        }
    }
    units.sort();
    units.dedup();
    Ok(units)
}

pub(super) fn instances(
    set: &UnitSet,
    ctx: &Context,
    bus: &Bus,
    prefix: &str,
    suffix: &str,
) -> Result<Vec<String>, UnitError> {
    let pattern = format!("{prefix}@*.{suffix}");
    let (states, patterns): (Vec<&str>, Vec<&str>) = (Vec::new(), vec![&pattern]);
    let mut found = bus.unit_names(ctx, &states, &patterns)?;
    // Those that are started at boot and were never started.
    for target in wanted_directories(set) {
        let Ok(entries) = target.read_dir_utf8() else { continue };
        let names = entries.flatten().map(|entry| entry.file_name().to_owned());
        found.extend(names.filter(|name| {
            name.starts_with(&format!("{prefix}@")) && name.ends_with(&format!(".{suffix}"))
        }));
    }
    // Another one is not deploykit's: its instances are numbers.
    found.retain(|name| {
        let number = UnitName::complete(name).instance().map(str::parse::<u32>);
        number.is_some_and(|number| number.is_ok())
    });
    Ok(found)
}

pub(super) fn wanted_directories(set: &UnitSet) -> Vec<Utf8PathBuf> {
    let Ok(entries) = set.directory.read_dir_utf8() else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.into_path());
    paths.filter(|path| path.as_str().ends_with(".wants")).collect()
}

/// Stops units and does not start them at boot any more: what listens or starts others first.
pub(super) fn retire(
    ctx: &Context,
    bus: &Bus,
    units: &[String],
    installed: &mut Installed,
) -> Result<(), UnitError> {
    let (services, starters): (Vec<_>, Vec<_>) =
        units.iter().partition(|unit| unit.ends_with(".service"));
    let ordered: Vec<&String> = starters.into_iter().chain(services).collect();
    // With a socket goes its service.
    for unit in &ordered {
        if crate::job::runs(ctx, bus, unit)? {
            installed.stopped.push((*unit).clone());
        }
    }
    for unit in ordered {
        crate::job::stop(ctx, bus, unit)?;
        // Nobody is to be told for ever that what is gone has failed. What is not loaded has not.
        let _ = bus.manage(ctx, "ResetFailedUnit", &(unit.as_str(),));
    }
    Ok(disable(ctx, bus, units)?)
}

/// Has units not started at boot any more.
pub(crate) fn disable(ctx: &Context, bus: &Bus, units: &[String]) -> Result<(), SystemdError> {
    if units.is_empty() {
        return Ok(());
    }
    let (names, runtime): (Vec<&str>, bool) = (units.iter().map(String::as_str).collect(), false);
    manage(ctx, bus, "DisableUnitFiles", &(names, runtime), "disable the units")?;
    // Until then systemd tells of them what was before.
    reload(ctx, bus)
}

fn remove_files(
    set: &UnitSet,
    files: &[UnitFile],
    installed: &mut Installed,
) -> Result<(), UnitError> {
    for file in files {
        let path = set.directory.join(&file.name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(UnitError::File { operation: "remove", path, source }),
            Ok(()) => {}
        }
        if let Some(parent) = path.parent().filter(|parent| parent.as_str().ends_with(".d")) {
            // Somebody may have a drop-in of their own in it.
            let _ = std::fs::remove_dir(parent);
        }
        installed.removed.push(path);
    }
    Ok(())
}

/// Lets systemd read the unit files again.
pub(super) fn reload(ctx: &Context, bus: &Bus) -> Result<(), SystemdError> {
    manage(ctx, bus, "Reload", &(), "read the unit files again")
}

/// Has units started at boot.
pub(super) fn enable(ctx: &Context, bus: &Bus, units: &[String]) -> Result<(), SystemdError> {
    let (names, runtime, replace): (Vec<&str>, bool, bool) =
        (units.iter().map(String::as_str).collect(), false, true);
    manage(ctx, bus, "EnableUnitFiles", &(names, runtime, replace), "enable the units")
}

fn manage<B: Serialize + zbus::DynamicType>(
    ctx: &Context,
    bus: &Bus,
    method: &str,
    body: &B,
    what: &'static str,
) -> Result<(), SystemdError> {
    bus.manage(ctx, method, body).map(drop).map_err(|error| {
        if error.is_forbidden() {
            return SystemdError::NotAllowed { user: crate::supervisor::user(), what };
        }
        error.failed_to(what)
    })
}
