//! The live view on a terminal: the steps that are done, the present one with its progress, and the
//! last lines of what its process writes or of what the health checks say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deploykit::{Event, EventKind, EventSink, Step, Timestamp, Unit};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::paint::Paint;
use super::sink::Renderer;
use super::text::{brief, bytes, clean, short_command, stopped_by};
use super::time;

/// How many lines of output are shown below the present step.
const TAIL: usize = 5;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// The signs before the steps.
#[derive(Debug, Clone, Copy)]
struct Signs {
    done: &'static str,
    failed: &'static str,
    spinner: &'static str,
    bar: &'static str,
}

impl Signs {
    fn of_locale() -> Self {
        let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") {
            Self {
                done: "✓", failed: "✗", spinner: "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ", bar: "━╸─"
            }
        } else {
            Self { done: "+", failed: "x", spinner: "-\\|/ ", bar: "=> " }
        }
    }
}

#[derive(Debug, Default)]
struct State {
    step: Option<Step>,
    bar: Option<ProgressBar>,
    tail: Vec<ProgressBar>,
    output: VecDeque<String>,
    checks: BTreeMap<String, (bool, String)>,
}

/// Draws on the terminal.
#[derive(Debug)]
pub(crate) struct Live {
    multi: MultiProgress,
    state: Mutex<State>,
    paint: Paint,
    signs: Signs,
    verbose: bool,
}

impl Live {
    pub(crate) fn new(paint: Paint, verbose: bool) -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { multi, state: Mutex::default(), paint, signs: Signs::of_locale(), verbose }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line that stays, above what moves.
    fn say(&self, line: &str) {
        // A terminal that is gone is no reason to stop.
        let _ = self.multi.println(line);
    }

    fn ended(&self, step: &str, took: &str, detail: &str, well: bool) {
        let sign =
            if well { self.paint.good(self.signs.done) } else { self.paint.bad(self.signs.failed) };
        let line = format!("{sign} {step:16} {took:>10}  {}", self.paint.dim(&clean(detail)));
        self.say(line.trim_end());
    }

    fn begin(&self, state: &mut State, step: Step, detail: &str) {
        self.clear(state);
        let bar = self.multi.add(ProgressBar::no_length());
        bar.set_style(style("{spinner} {prefix:16} {took:>10}  {wide_msg}", self.signs));
        bar.set_prefix(step.name());
        bar.set_message(clean(detail));
        bar.enable_steady_tick(TICK);
        state.step = Some(step);
        state.bar = Some(bar);
    }

    fn clear(&self, state: &mut State) {
        for bar in state.tail.drain(..).chain(state.bar.take()) {
            bar.finish_and_clear();
            self.multi.remove(&bar);
        }
        state.step = None;
        state.output.clear();
        state.checks.clear();
    }

    fn progress(&self, state: &mut State, step: Step, done: u64, total: Option<u64>, unit: Unit) {
        let Some(bar) = state.bar.as_ref().filter(|_| state.step == Some(step)) else { return };
        if let Some(total) = total.filter(|total| *total > 0) {
            if bar.length() != Some(total) {
                bar.set_length(total);
                let template = "{spinner} {prefix:16} {took:>10}  {bar:24} {wide_msg}";
                bar.set_style(style(template, self.signs));
            }
            bar.set_position(done.min(total));
        }
        bar.set_message(amount(done, total, unit));
    }

    /// Shows these lines below the present step.
    fn show_below(&self, state: &mut State, lines: &[String]) {
        while state.tail.len() < lines.len() {
            let bar = self.multi.add(ProgressBar::no_length());
            bar.set_style(style("    {wide_msg}", self.signs));
            state.tail.push(bar);
        }
        for (bar, line) in state.tail.iter().zip(lines) {
            bar.set_message(line.clone());
        }
    }

    fn output(&self, state: &mut State, name: &str, line: &str) {
        let line = clean(line);
        if self.verbose || state.bar.is_none() {
            let name = format!("{} |", short_command(name));
            self.say(&format!("{} {line}", self.paint.dim(&name)));
        } else if state.checks.is_empty() {
            if state.output.len() == TAIL {
                state.output.pop_front();
            }
            state.output.push_back(self.paint.dim(&line));
            let lines: Vec<_> = state.output.iter().cloned().collect();
            self.show_below(state, &lines);
        }
    }

    fn health(&self, state: &mut State, check: &str, well: bool, detail: &str) {
        state.checks.insert(check.to_owned(), (well, clean(detail)));
        let line = |(check, (well, detail)): (&String, &(bool, String))| {
            let sign = if *well {
                self.paint.good(self.signs.done)
            } else {
                self.paint.warn(self.signs.failed)
            };
            format!("{sign} {check}  {}", self.paint.dim(detail))
        };
        let lines: Vec<_> = state.checks.iter().map(line).collect();
        if self.verbose {
            self.say(&format!(
                "{check} is {}: {}",
                if well { "well" } else { "not well" },
                clean(detail)
            ));
        }
        if state.bar.is_some() {
            self.show_below(state, &lines);
        }
    }

    /// What the present step has got to is shown beside it; anything else stays to be read.
    fn note(&self, state: &State, message: &str, of_deployment: bool) {
        match &state.bar {
            Some(bar) if of_deployment && !self.verbose => bar.set_message(message.to_owned()),
            _ => self.say(&format!("  {message}")),
        }
    }

    /// Counts down until the probation is decided.
    fn count_down(&self, state: &mut State, deadline: Timestamp) {
        let Some(bar) = &state.bar else { return };
        let left = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let left = deadline.since(Timestamp::now());
            let _ = write!(out, "decided within {}", time::rough(left));
        };
        let template = "{spinner} {prefix:16} {took:>10}  {left}";
        bar.set_style(style(template, self.signs).with_key("left", left));
    }
}

/// `12 MiB of 100 MiB`, `1200 of 14533 files`.
fn amount(done: u64, total: Option<u64>, unit: Unit) -> String {
    let word = match unit {
        Unit::Bytes => {
            return match total {
                Some(total) => format!("{} of {}", bytes(done), bytes(total)),
                None => bytes(done),
            };
        }
        Unit::Files => "files",
        Unit::Objects => "objects",
        _ => "",
    };
    let text = match total {
        Some(total) => format!("{done} of {total} {word}"),
        None => format!("{done} {word}"),
    };
    text.trim_end().to_owned()
}

fn style(template: &str, signs: Signs) -> ProgressStyle {
    let took = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
        let _ = out.write_str(&time::duration(Duration::from_millis(
            // Tenths of a second are enough for what is still running.
            u64::try_from(state.elapsed().as_millis()).unwrap_or(u64::MAX) / 100 * 100,
        )));
    };
    // The templates are ours, and a test looks at each; the default style is a poor but safe choice.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .tick_chars(signs.spinner)
        .progress_chars(signs.bar)
        .with_key("took", took)
}

impl EventSink for Live {
    fn event(&self, event: &Event) {
        let state = &mut *self.state();
        match &event.kind {
            EventKind::StepStarted { step, detail } => self.begin(state, *step, detail),
            EventKind::StepFinished { step, millis, detail } => {
                self.clear(state);
                self.ended(step.name(), &time::millis(*millis), detail, true);
            }
            EventKind::StepFailed { step, millis, error } => {
                self.clear(state);
                self.ended(step.name(), &time::millis(*millis), &brief(*step, error), false);
            }
            EventKind::StepInterrupted { step, millis, cause } => {
                self.clear(state);
                self.ended(step.name(), &time::millis(*millis), &stopped_by(*cause), false);
            }
            EventKind::Progress { step, done, total, unit } => {
                self.progress(state, *step, *done, *total, *unit);
            }
            EventKind::Output { name, line, .. } => self.output(state, name, line),
            EventKind::Resolved { revision, source } => {
                let bar = state.bar.as_ref().filter(|_| state.step == Some(Step::Resolve));
                let took = bar.map_or_else(String::new, |bar| time::duration(bar.elapsed()));
                self.clear(state);
                let detail = format!("{revision} is {}", source.short());
                self.ended(Step::Resolve.name(), &took, &detail, true);
            }
            EventKind::ProbationStarted { deadline, .. } => self.count_down(state, *deadline),
            EventKind::ConfirmationAwaited { deadline, command, .. } => {
                let within = time::rough(deadline.since(event.at));
                let what = format!("confirm it from a new login within {within}:");
                self.say(&format!("  {} {}", self.paint.warn(&what), clean(command)));
            }
            EventKind::HealthChanged { check, well, detail } => {
                self.health(state, check, *well, detail);
            }
            EventKind::Warning { message } => {
                self.say(&format!("{} {}", self.paint.warn("warning:"), clean(message)));
            }
            EventKind::Note { message } => {
                self.note(state, &clean(message), event.deployment.is_some());
            }
            // The steps and the final report tell the rest.
            _ => {}
        }
    }
}

impl Renderer for Live {
    fn expect(&self, step: Step) {
        self.begin(&mut self.state(), step, "");
    }

    fn finish(&self) {
        self.clear(&mut self.state());
        let _ = self.multi.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_understood() {
        let source = include_str!("live.rs");
        let templates: Vec<_> = source
            .split('"')
            .filter(|text| text.contains("{wide_") || text.ends_with("{left}"))
            .collect();
        assert!(templates.len() >= 4, "{templates:?}");
        for template in templates {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn amounts_read_well() {
        assert_eq!(amount(3, Some(10), Unit::Files), "3 of 10 files");
        assert_eq!(amount(1 << 20, None, Unit::Bytes), "1.0 MiB");
        assert_eq!(amount(7, None, Unit::Objects), "7 objects");
    }
}
