//! Whole deployments: the released binary, beside the script.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use crate::input::Input;
use crate::script::Script;
use crate::stats::Pairs;
use crate::toolkit::Toolkit;
use crate::work::{Transport, Work, transports};
use crate::{Result, child, report, trees};

const ROWS: [&str; 4] = ["first", "next commit", "unchanged", "rollback"];

/// Measures whole deployments.
pub(crate) fn measure(work: &Work, inputs: &[Input]) -> Result<()> {
    report::table("Whole deployments", &report::PAIRS);
    for input in inputs {
        for transport in transports(input) {
            let rows = of_input(work, input, &transport)?;
            for name in ROWS {
                report::pairs(&input.name, transport.name, name, &rows[name]);
            }
        }
    }
    Ok(())
}

fn of_input(
    work: &Work,
    input: &Input,
    transport: &Transport,
) -> Result<BTreeMap<&'static str, Pairs>> {
    let mut rows: BTreeMap<&'static str, Pairs> = BTreeMap::new();
    let warm_up = usize::from(!work.quick);
    for round in 0..work.rounds(input) + warm_up {
        let toolkit = Toolkit::new(work.fresh("toolkit"), &transport.url, &work.binary)?;
        let script = Script::new(work.fresh("script"), &transport.url)?;
        let ours = |arguments: &[&str]| toolkit.call(arguments);
        let theirs = |arguments: &[&str]| script.call(arguments);
        // Deployment by deployment in turn, each side first in every second round.
        for name in ROWS {
            let commit = if name == "first" { &input.first } else { &input.next };
            input.set(commit)?;
            let verb = if name == "rollback" { "rollback" } else { "deploy" };
            let (mine, other) = if round % 2 == 0 {
                let mine = settled(work, &mut ours(&[verb]))?;
                (mine, settled(work, &mut theirs(&[verb]))?)
            } else {
                let other = settled(work, &mut theirs(&[verb]))?;
                (settled(work, &mut ours(&[verb]))?, other)
            };
            if round >= warm_up {
                rows.entry(name).or_default().push(mine, other);
            }
            check(&toolkit, &script, if name == "rollback" { &input.first } else { commit })?;
        }
    }
    Ok(rows)
}

fn settled(work: &Work, command: &mut Command) -> Result<Duration> {
    work.settle()?;
    child::time(command)
}

/// Both must have made the same, of the commit that was asked for.
fn check(toolkit: &Toolkit, script: &Script, commit: &str) -> Result<()> {
    for side in [toolkit.active(), script.active()] {
        let revision = std::fs::read_to_string(side.join("REVISION"))?;
        if revision.trim_end() != commit {
            return Err(format!("{} is {revision}, not {commit}", side.display()).into());
        }
    }
    match trees::difference(&toolkit.active(), &script.active())? {
        None => Ok(()),
        Some(what) => Err(format!("the sides differ: {what}").into()),
    }
}
