//! The steps of a deployment, one by one: calls of the library, beside the script's functions.

use std::collections::BTreeMap;
use std::time::Duration;

use deploykit::Step;

use crate::input::Input;
use crate::script::Script;
use crate::stats::Pairs;
use crate::toolkit::Toolkit;
use crate::work::{Transport, Work, transports};
use crate::{Result, child, report, trees};

/// The steps, in the order of the table. Those of the second deployment have a name of their own
/// where it makes a difference.
const ROWS: [&str; 7] = [
    "resolve",
    "fetch, first",
    "fetch, next",
    "checkout",
    "seal",
    "activate, first",
    "activate, next",
];

type Times = BTreeMap<&'static str, Duration>;

/// Measures the steps.
pub(crate) fn measure(work: &Work, inputs: &[Input]) -> Result<()> {
    report::table("Steps", &report::PAIRS);
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
    // The first round fills the caches of the machine, and does not count.
    let warm_up = usize::from(!work.quick);
    for round in 0..work.rounds(input) + warm_up {
        let toolkit = Toolkit::new(work.fresh("toolkit"), &transport.url, &work.binary)?;
        let script = Script::new(work.fresh("script"), &transport.url)?;
        // Each side begins every second round.
        let (ours, theirs);
        if round % 2 == 0 {
            ours = our_steps(work, input, &toolkit)?;
            theirs = their_steps(work, input, &script)?;
        } else {
            theirs = their_steps(work, input, &script)?;
            ours = our_steps(work, input, &toolkit)?;
        }
        if let Some(what) = trees::difference(&toolkit.active(), &script.active())? {
            return Err(format!("the sides differ: {what}").into());
        }
        if round >= warm_up {
            for name in ROWS {
                rows.entry(name).or_default().push(ours[name], theirs[name]);
            }
        }
    }
    Ok(rows)
}

fn our_steps(work: &Work, input: &Input, toolkit: &Toolkit) -> Result<Times> {
    input.set(&input.first)?;
    work.settle()?;
    let first = toolkit.deploy()?;
    input.set(&input.next)?;
    work.settle()?;
    let next = toolkit.deploy()?;
    Ok(Times::from([
        ("resolve", first[&Step::Resolve]),
        ("fetch, first", first[&Step::Fetch]),
        ("fetch, next", next[&Step::Fetch]),
        ("checkout", first[&Step::Checkout]),
        ("seal", first[&Step::Seal]),
        ("activate, first", first[&Step::Activate]),
        ("activate, next", next[&Step::Activate]),
    ]))
}

fn their_steps(work: &Work, input: &Input, script: &Script) -> Result<Times> {
    input.set(&input.first)?;
    work.settle()?;
    let call = |arguments: &[&str]| child::time(&mut script.call(arguments));
    let mut times = Times::from([
        ("resolve", call(&["resolve"])?),
        ("fetch, first", call(&["fetch", &input.first])?),
        ("checkout", call(&["checkout", &input.first, "1"])?),
        ("seal", call(&["seal", "1"])?),
        ("activate, first", call(&["activate", "1"])?),
    ]);
    input.set(&input.next)?;
    work.settle()?;
    times.insert("fetch, next", call(&["fetch", &input.next])?);
    call(&["checkout", &input.next, "2"])?;
    call(&["seal", "2"])?;
    times.insert("activate, next", call(&["activate", "2"])?);
    Ok(times)
}
