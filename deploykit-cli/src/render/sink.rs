//! Which of the renderers shows the events.

use std::sync::Arc;

use deploykit::{Event, EventKind, EventSink, Step};

use super::json::JsonEvents;
use super::live::Live;
use super::paint::Paint;
use super::plain::Plain;
use crate::args::Global;
use crate::io::Io;

/// Shows events while they happen.
pub(crate) trait Renderer: EventSink {
    /// This step comes first, and nothing tells of its beginning.
    fn expect(&self, _: Step) {}

    /// Nothing more comes: what is shown only while something goes on is taken away.
    fn finish(&self) {}
}

/// Shows nothing but warnings.
#[derive(Debug)]
struct Quiet(Plain);

impl EventSink for Quiet {
    fn event(&self, event: &Event) {
        if matches!(event.kind, EventKind::Warning { .. }) {
            self.0.event(event);
        }
    }
}

impl Renderer for Quiet {}

/// Shows nothing but warnings: for a call that only looks.
pub(crate) fn quiet(io: &Io) -> Arc<dyn Renderer> {
    let paint = Paint::new(io.stderr.is_coloured());
    Arc::new(Quiet(Plain::new(io.stderr.clone(), paint, false)))
}

/// The renderer for these outputs and options. `streams`: with `--json` the events are told, too.
pub(crate) fn renderer(io: &Io, global: &Global, streams: bool) -> Arc<dyn Renderer> {
    let paint = Paint::new(io.stderr.is_coloured());
    if global.json && streams {
        Arc::new(JsonEvents::new(io.stdout.clone()))
    } else if global.quiet || global.json {
        quiet(io)
    } else if io.stderr.is_terminal() && !is_dumb() {
        Arc::new(Live::new(paint, global.verbose))
    } else {
        Arc::new(Plain::new(io.stderr.clone(), paint, global.verbose))
    }
}

/// A terminal that cannot move its cursor.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
