//! `ps`, and what is asked of `deploykit up`: `start`, `stop`, `restart` of services, `retry`, `signal`,
//! `down`.

use std::time::Duration;

use deploykit::supervisor::control::{Claim, Client, ClientError};
use deploykit::supervisor::machine::{Phase, Reason};
use deploykit::supervisor::{InstanceStatus, Left, as_instance, end_left_of, socket, table, usage};
use deploykit::traits::{Instance, ServiceState};
use deploykit::{ErrorKind, Layout, Timestamp};
use serde_json::json;

use super::up::wait;
use crate::args::{DownArgs, SignalArgs};
use crate::exit::Exit;
use crate::render::error::CliError;
use crate::render::processes::{self, Row};
use crate::render::text::count;
use crate::shell::Shell;

/// So long what a killed `up` has left has to end, before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// How often what is waited for is looked at.
const GLANCE: Duration = Duration::from_millis(500);

/// `deploykit ps`
pub(super) fn ps(shell: &Shell) -> Result<Exit, CliError> {
    let instances = instances(shell)?;
    let pids: Vec<u32> = instances.iter().filter_map(|one| one.pid).collect();
    // What they take is worth less than that they run.
    let taken = usage(&pids).unwrap_or_default();
    let mut taken = pids.iter().copied().zip(taken).collect::<std::collections::HashMap<_, _>>();
    let with_usage = |one: Instance| {
        let usage = one.pid.and_then(|pid| taken.remove(&pid)).flatten();
        (one, usage)
    };
    let rows: Vec<Row> = instances.into_iter().map(with_usage).collect();
    shell.answer(&processes::values(&rows), || {
        processes::screen(&rows, Timestamp::now(), shell.paint(), shell.table_width())
    });
    Ok(Exit::DONE)
}

/// The instances, as `up` knows them, or whatever else runs the services.
fn instances(shell: &Shell) -> Result<Vec<Instance>, CliError> {
    if let Ok(mut client) = Client::connect(&socket(&Layout::new(shell.directory()?))) {
        let all = client.status().map_err(|error| failed(&error))?;
        return Ok(rows(&all));
    }
    Ok(shell.application()?.service(&shell.look()?)?.instances)
}

pub(super) fn rows(all: &[InstanceStatus]) -> Vec<Instance> {
    let now = Timestamp::now();
    all.iter().map(|one| as_instance(one, now)).collect()
}

/// A connection to what runs the services. A configuration that is wrong is in nobody's way.
fn client(shell: &Shell) -> Result<Client, CliError> {
    let path = socket(&Layout::new(shell.directory()?));
    let error = match Client::connect(&path) {
        Ok(client) => return Ok(client),
        Err(error) => error,
    };
    let backend = shell.application()?.service_backend()?;
    if backend != "process" {
        let message = format!("the services are run by {backend}, and not by `deploykit up`");
        let hint = match backend.as_str() {
            "systemd" => "`systemctl` starts and stops units; `deploykit restart` restarts all",
            _ => "`deploykit restart` restarts all",
        };
        return Err(CliError::usage(message, hint));
    }
    Err(failed(&error))
}

pub(super) fn failed(error: &ClientError) -> CliError {
    let hint = match error {
        ClientError::Nobody { .. } => Some("`deploykit up` runs the services".to_owned()),
        ClientError::Manager(deploykit::supervisor::ManagerError::Unknown { .. }) => {
            Some("`deploykit ps` tells what there is".to_owned())
        }
        _ => None,
    };
    CliError::of(ErrorKind::Failed, error, hint)
}

/// What is wanted of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Start,
    Stop,
    Restart,
    Retry,
}

/// `deploykit start`, `stop`, `retry`, and `restart SERVICE`
pub(super) fn want(shell: &Shell, wish: Wish, of: &[String]) -> Result<Exit, CliError> {
    let mut client = client(shell)?;
    let error = |error: ClientError| failed(&error);
    let names = match wish {
        Wish::Retry if of.is_empty() => {
            let all = client.status().map_err(error)?;
            let ill = |one: &&InstanceStatus| {
                matches!(one.phase, Phase::Pausing | Phase::Down(Reason::Failed(_)))
            };
            let ill: Vec<String> = all.iter().filter(ill).map(|one| one.name.clone()).collect();
            if ill.is_empty() {
                shell.answer(&json!([]), || "Nothing has failed.\n".to_owned());
                return Ok(Exit::DONE);
            }
            ill
        }
        _ => of.to_vec(),
    };
    let mut begun = Vec::new();
    match wish {
        Wish::Start | Wish::Retry => client.up(&names),
        Wish::Stop => client.down(&names),
        Wish::Restart => restart(&mut client, &names).map(|beside| begun = beside),
    }
    .map_err(error)?;
    let mut found = settled(&mut client, &names, None).map_err(error)?;
    // One that did not get ready beside the one that runs on is what there is to tell.
    begun.retain(|one| one.phase != Phase::Running);
    let ill = begun.iter().map(|one| one.name.clone()).collect::<Vec<_>>().join(", ");
    found.extend(begun);
    let rows = rows(&found);
    shell.answer(&rows, || processes::lines(&rows, shell.paint()));
    if !ill.is_empty() {
        let message = format!("{ill} did not get ready beside the old one, which serves on");
        return Err(CliError::failed(message, "`deploykit logs` shows what it has written"));
    }
    let wanted = |one: &Instance| match wish {
        Wish::Stop => one.pid.is_none(),
        _ => one.state == ServiceState::Running,
    };
    Ok(if rows.iter().all(wanted) { Exit::DONE } else { Exit::FAILED })
}

/// Runs services anew: beside what runs, where that hands over. How those are that were started so.
fn restart(client: &mut Client, names: &[String]) -> Result<Vec<InstanceStatus>, ClientError> {
    let all = client.settle(names, Duration::ZERO)?;
    let is_meant = |one: &&InstanceStatus| !one.leaving && one.beside.is_none();
    let (beside, others): (Vec<_>, Vec<_>) =
        all.iter().filter(is_meant).partition(|one| one.hands_over);
    let named =
        |of: Vec<&InstanceStatus>| of.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    let (beside, others) = (named(beside), named(others));
    // Names that there are not are told of.
    if !others.is_empty() || beside.is_empty() {
        client.restart(if beside.is_empty() { names } else { &others })?;
    }
    client.hand_over(&beside)
}

/// Waits until these have settled, or for so long; how they are then.
pub(super) fn settled(
    client: &mut Client,
    names: &[String],
    longest: Option<Duration>,
) -> Result<Vec<InstanceStatus>, ClientError> {
    let begun = std::time::Instant::now();
    loop {
        let found = client.settle(names, GLANCE)?;
        let is_over = longest.is_some_and(|longest| begun.elapsed() >= longest);
        // What they wait for may be others.
        let all = if names.is_empty() { found.clone() } else { client.status()? };
        if is_over || are_settled(&found, &all) {
            return Ok(found);
        }
    }
}

/// Whether there is nothing to wait for: each runs, or will not without something being done. What one waits
/// for is among `all`.
pub(super) fn are_settled(some: &[InstanceStatus], all: &[InstanceStatus]) -> bool {
    // One that is tried again and again has shown that it does not start.
    let is_moving = |one: &InstanceStatus| match one.phase {
        Phase::Running | Phase::Down(_) | Phase::Waiting => false,
        Phase::Stopping(_) => true,
        _ => one.restarts <= 1,
    };
    let is_any_moving = all.iter().any(is_moving);
    some.iter().all(|one| match one.phase {
        // What it waits for does not come.
        Phase::Waiting => !is_any_moving,
        _ => !is_moving(one),
    })
}

/// `deploykit signal`
pub(super) fn signal(shell: &Shell, args: &SignalArgs) -> Result<Exit, CliError> {
    let mut client = client(shell)?;
    client.signal(args.signal, &args.of).map_err(|error| failed(&error))?;
    Ok(Exit::DONE)
}

/// `deploykit down`
pub(super) fn down(shell: &Shell, args: &DownArgs) -> Result<Exit, CliError> {
    let layout = Layout::new(shell.directory()?);
    if !layout.private().exists() {
        // Nothing was ever up here, if it is an application at all.
        shell.config_path()?;
    }
    let path = socket(&layout);
    let Some(mut client) = wait::for_somebody(&path) else {
        let left = ended_left(&layout)?;
        if !left.is_empty() {
            shell.answer(&json!({ "was_up": false, "processes": left.len() }), || {
                let one = |name: &String| format!("Ended {name}, which a killed `up` had left.\n");
                left.iter().map(one).collect()
            });
            return Ok(Exit::DONE);
        }
        shell.answer(&json!({ "was_up": false }), || "Nothing was up.\n".to_owned());
        return Ok(Exit::DONE);
    };
    let error = |error: ClientError| failed(&error);
    let running = client.status().map_err(error)?.iter().filter(|one| one.pid.is_some()).count();
    // Another one may begin as soon as this one has ended: it is not waited for.
    let asked = client.peer().and_then(table::row);
    let runs = || {
        asked.is_none_or(|asked| {
            table::row(asked.pid).is_some_and(|now| now.start == asked.start && !now.is_dead)
        })
    };
    client.end().map_err(error)?;
    while !args.no_wait && runs() && !wait::is_free(&path) {
        std::thread::sleep(Duration::from_millis(20));
    }
    shell.answer(&json!({ "was_up": true, "processes": running }), || {
        let what = if args.no_wait { "Asked to end" } else { "Ended" };
        format!("{what}: {}.\n", count(running as u64, "process").replace("processs", "processes"))
    });
    Ok(Exit::DONE)
}

/// Ends what an `up` has left that was killed; which instances that was.
fn ended_left(layout: &Layout) -> Result<Vec<String>, CliError> {
    // Whoever begins meanwhile does it themselves.
    let Some(_claim) =
        layout.private().exists().then(|| Claim::take(&socket(layout)).ok()).flatten()
    else {
        return Ok(Vec::new());
    };
    let left = end_left_of(layout, GRACE)
        .map_err(|error| CliError::io("cannot end what a killed `up` has left", &error))?;
    let name = |left: &Left| left.instance.clone().unwrap_or_else(|| left.pid.to_string());
    Ok(left.iter().map(name).collect())
}
