//! The processes of the services, as `ps` shows them.

use std::time::Duration;

use deploykit::Timestamp;
use deploykit::supervisor::Usage;
use deploykit::traits::{Instance, ServiceState};
use serde_json::{Value, json};

use super::paint::Paint;
use super::table::{Cell, Look, table};
use super::text::{bytes, clean};
use super::time::rough;

/// An instance, and what it takes.
pub(crate) type Row = (Instance, Option<Usage>);

/// A table.
pub(crate) fn screen(rows: &[Row], now: Timestamp, paint: Paint, width: Option<usize>) -> String {
    if rows.is_empty() {
        return "Nothing has been started yet.\n".to_owned();
    }
    let heading =
        ["service", "state", "pid", "up", "restarts", "memory", "cpu", "release", "remark"];
    let cells: Vec<Vec<Cell>> = rows.iter().map(|row| cells(row, now)).collect();
    table(&heading, &cells, paint, width, &[(8, 12), (7, 8), (0, 10)])
}

fn cells((one, usage): &Row, now: Timestamp) -> Vec<Cell> {
    let or_empty = |text: Option<String>| Cell::new(text.unwrap_or_default());
    let up = one.since.filter(|_| one.pid.is_some()).map(|since| now.since(since));
    let memory = usage.map(|usage| bytes(usage.memory));
    let release = one.release.as_ref().map(ToString::to_string).unwrap_or_default();
    vec![
        Cell::new(clean(&one.name)).look(Look::Name),
        match one.state {
            // It has done its work.
            ServiceState::Running if one.pid.is_none() => Cell::new("done").look(Look::Good),
            other => state(other),
        },
        or_empty(one.pid.map(|pid| pid.to_string())),
        or_empty(up.map(rough)),
        Cell::new(one.restarts.to_string()).look(if one.restarts > 0 {
            Look::Warn
        } else {
            Look::Plain
        }),
        or_empty(memory),
        or_empty(usage.zip(up).map(|(usage, up)| share(usage.cpu, up))),
        Cell::new(release),
        Cell::new(remark(one)),
    ]
}

/// What there is to say beyond the columns.
fn remark(one: &Instance) -> String {
    if matches!(one.state, ServiceState::Running | ServiceState::Draining | ServiceState::Stopped) {
        return String::new();
    }
    let detail = clean(&one.detail);
    detail.strip_prefix(&format!("{} ", one.name)).unwrap_or(&detail).to_owned()
}

fn state(state: ServiceState) -> Cell {
    let (text, look) = match state {
        ServiceState::Running => ("running", Look::Good),
        ServiceState::Starting => ("starting", Look::Warn),
        ServiceState::Draining => ("draining", Look::Dim),
        ServiceState::Stopped => ("stopped", Look::Dim),
        ServiceState::Failed => ("failed", Look::Bad),
        _ => ("unknown", Look::Dim),
    };
    Cell::new(text).look(look)
}

/// How much of one core it has had since its start.
fn share(cpu: Duration, up: Duration) -> String {
    let share = percent(cpu, up);
    if share >= 10.0 { format!("{share:.0} %") } else { format!("{share:.1} %") }
}

fn percent(cpu: Duration, up: Duration) -> f64 {
    100.0 * cpu.as_secs_f64() / up.as_secs_f64().max(0.01)
}

/// The same for programs.
pub(crate) fn values(rows: &[Row]) -> Value {
    rows.iter()
        .map(|(one, usage)| {
            let mut value = json!(one);
            if let (Some(usage), Some(map)) = (usage, value.as_object_mut()) {
                map.insert("memory_bytes".into(), usage.memory.into());
                let millis = u64::try_from(usage.cpu.as_millis()).unwrap_or(u64::MAX);
                map.insert("cpu_millis".into(), millis.into());
                map.insert("processes".into(), usage.processes.into());
            }
            value
        })
        .collect()
}

/// What became of services, a line each.
pub(crate) fn lines(rows: &[Instance], paint: Paint) -> String {
    let one = |one: &Instance| {
        let (name, text) = (paint.name(&clean(&one.name)), clean(&one.detail));
        let text = text.strip_prefix(&format!("{} ", one.name)).unwrap_or(&text).to_owned();
        let pid = one.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
        format!("{name} {text}{pid}\n")
    };
    rows.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_with_what_it_takes_and_what_is_wrong() {
        let now = Timestamp::from_millis(100_000);
        let mut web = Instance::new("web@1", ServiceState::Running);
        (web.pid, web.since, web.restarts) = (Some(4711), Some(Timestamp::from_millis(40_000)), 2);
        web.detail = "web@1 runs".into();
        let mut worker = Instance::new("worker", ServiceState::Failed);
        worker.detail = "worker is down: exited with code 1".into();
        let mut usage = Usage::default();
        (usage.memory, usage.cpu) = (5 << 20, Duration::from_secs(3));
        let rows = [(web, Some(usage)), (worker, None)];
        let expected = "\
service  state    pid   up     restarts  memory   cpu    release  remark
web@1    running  4711  1 min  2         5.0 MiB  5.0 %
worker   failed                0                                  is down: exited with code 1
";
        assert_eq!(screen(&rows, now, Paint::new(false), None), expected);
        assert_eq!(values(&rows)[0]["memory_bytes"], 5 << 20);
    }
}
