//! Events as plain lines: for logs, pipes, and terminals that cannot do more.

use std::sync::{Mutex, PoisonError};

use deploykit::{Event, EventKind, EventSink, Timestamp};

use super::paint::Paint;
use super::sink::Renderer;
use super::text::{brief, clean, short_command, stopped_by};
use super::time;
use crate::io::Output;

/// Writes a line for every event that tells something.
#[derive(Debug)]
pub(crate) struct Plain {
    output: Output,
    paint: Paint,
    verbose: bool,
    /// Why the last step failed.
    failed: Mutex<String>,
}

impl Plain {
    pub(crate) fn new(output: Output, paint: Paint, verbose: bool) -> Self {
        Self { output, paint, verbose, failed: Mutex::default() }
    }
}

impl EventSink for Plain {
    fn event(&self, event: &Event) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let event = &without_what_was_told(event, &mut failed);
        if let Some(line) = line(&event.kind, event.at, self.paint, self.verbose) {
            self.output.line(&line);
        }
    }
}

impl Renderer for Plain {}

/// The event; a step that begins because another has failed does not tell why once more.
fn without_what_was_told(event: &Event, failed: &mut String) -> Event {
    let mut event = event.clone();
    match &mut event.kind {
        EventKind::StepFailed { error, .. } => failed.clone_from(error),
        EventKind::StepStarted { detail, .. } if detail == failed => detail.clear(),
        _ => {}
    }
    event
}

/// ` (detail)`, or nothing.
fn aside(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({})", clean(detail)) }
}

/// What is told of an event; nothing of those that are not worth a line.
fn line(kind: &EventKind, at: Timestamp, paint: Paint, verbose: bool) -> Option<String> {
    Some(match kind {
        EventKind::StepStarted { step, detail } => format!("{step}: started{}", aside(detail)),
        EventKind::StepFinished { step, millis, detail } => {
            format!("{step}: done in {}{}", time::millis(*millis), aside(detail))
        }
        EventKind::StepFailed { step, millis, error } => {
            let failed = paint.bad("failed");
            format!("{step}: {failed} after {}: {}", time::millis(*millis), brief(*step, error))
        }
        EventKind::StepInterrupted { step, millis, cause } => {
            let stopped = paint.warn(&stopped_by(*cause));
            format!("{step}: {stopped} after {}", time::millis(*millis))
        }
        EventKind::Output { name, line, .. } => {
            format!("{} | {}", short_command(name), clean(line))
        }
        EventKind::Resolved { revision, source } => {
            let digest = if verbose { source.digest() } else { source.short() };
            format!("resolve: {revision} is {digest}")
        }
        EventKind::Activated { to: Some(to), .. } => format!("active: {to}"),
        EventKind::Activated { to: None, .. } => "active: nothing".to_owned(),
        EventKind::ProbationStarted { release, deadline } => {
            let within = time::rough(deadline.since(at));
            format!("verify: {release} is watched; decided within {within}")
        }
        EventKind::ConfirmationAwaited { deadline, command, .. } => {
            let within = time::rough(deadline.since(at));
            format!("verify: confirm it from a new login within {within}: {}", clean(command))
        }
        EventKind::HealthChanged { check, well, detail } => {
            let word = if *well { paint.good("well") } else { paint.warn("not well") };
            format!("verify: {check} is {word}{}", aside(detail))
        }
        EventKind::Confirmed { release, verified } => {
            format!(
                "confirmed: {release}{}",
                if *verified { "" } else { " (unchecked: nothing looked whether it works)" }
            )
        }
        EventKind::Warning { message } => {
            format!("{} {}", paint.warn("warning:"), clean(message))
        }
        EventKind::Note { message } => clean(message),
        EventKind::DeploymentStarted { request, .. } if verbose => format!("started: {request}"),
        EventKind::DeploymentFinished { outcome, millis } if verbose => {
            format!("finished: {outcome} after {}", time::millis(*millis))
        }
        // Progress has no place in a log, and what a newer engine tells is not understood.
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use deploykit::{Cause, Step, Stream, Unit};

    fn told(kind: &EventKind) -> Option<String> {
        line(kind, Timestamp::from_millis(0), Paint::new(false), false)
    }

    #[test]
    fn steps_and_output_become_lines_without_control_characters() {
        let (step, name) = (Step::Build, "npm run build".to_owned());
        let events = [
            EventKind::StepStarted { step, detail: String::new() },
            EventKind::Output {
                name,
                stream: Stream::Stderr,
                line: "\u{1b}[32mok\u{1b}[0m\r".into(),
            },
            EventKind::Progress { step, done: 1, total: Some(2), unit: Unit::Files },
            EventKind::StepFinished { step, millis: 1234, detail: "2 steps".into() },
            EventKind::StepFailed { step, millis: 12, error: "exited\nwith 1".into() },
            EventKind::StepInterrupted { step, millis: 12, cause: Cause::Interrupt },
        ];
        let lines: Vec<_> = events.iter().filter_map(told).collect();
        let expected = [
            "build: started",
            "npm run build | ok",
            "build: done in 1.2 s (2 steps)",
            "build: failed after 12 ms: exited with 1",
            "build: interrupted (Ctrl-C, SIGINT) after 12 ms",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn why_a_step_failed_is_not_told_again_by_the_one_that_follows_from_it() {
        let (mut failed, why) = (String::new(), "x".repeat(100));
        let mut line_of = |kind| {
            let event = Event::new(Timestamp::from_millis(0), None, kind);
            told(&without_what_was_told(&event, &mut failed).kind).unwrap()
        };
        let (millis, error) = (1, why.clone());
        let line = line_of(EventKind::StepFailed { step: Step::Verify, millis, error });
        assert_eq!(line, format!("verify: failed after 1 ms: {}…", "x".repeat(59)));
        let line = line_of(EventKind::StepStarted { step: Step::Revert, detail: why });
        assert_eq!(line, "revert: started");
        let detail = "the first release is withdrawn".to_owned();
        let line = line_of(EventKind::StepStarted { step: Step::Revert, detail });
        assert_eq!(line, "revert: started (the first release is withdrawn)");
    }

    #[test]
    fn a_probation_tells_when_it_is_decided() {
        let release = "20261121-000000-abcdefabcdef".parse().unwrap();
        let deadline = Timestamp::from_millis(70_000);
        let text = told(&EventKind::ProbationStarted { release, deadline }).unwrap();
        assert_eq!(text, "verify: 20261121-000000-abcdefabcdef is watched; decided within 1 min");
    }
}
