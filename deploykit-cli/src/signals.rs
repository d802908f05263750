//! Signals that end a program, turned into an orderly end.
//!
//! They are caught by handlers, not blocked: a blocked signal stays blocked in every program that
//! is started from here, and a daemon that a service command leaves behind could never be ended with
//! SIGTERM. Handlers end with the `exec` of the child.

use std::sync::Arc;

use deploykit::{Cancellation, Cause, Event, EventKind, EventSink, Timestamp};
use nix::sys::signal::Signal;
use signal_hook::iterator::Signals;

/// Signals that are caught from now on.
#[derive(Debug)]
pub(crate) struct Caught(Option<Signals>);

impl Caught {
    /// Catches SIGINT, SIGTERM and SIGHUP. One that is ignored (`nohup`, a shell's `&`) stays
    /// ignored.
    pub(crate) fn new() -> Self {
        let ignored = ignored_signals();
        let wanted = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter();
        let wanted = wanted.map(|signal| signal as i32);
        // Without a descriptor left they cannot be caught, and end the program as ever.
        Self(Signals::new(wanted.filter(|number| ignored & (1 << (number - 1)) == 0)).ok())
    }

    /// Cancels when a signal comes, and says so. Ends with the program.
    pub(crate) fn watch(self, cancellation: Cancellation, sink: Arc<dyn EventSink>) {
        let Some(mut signals) = self.0 else { return };
        let watch = move || {
            for (index, signal) in signals.forever().enumerate() {
                let Some(cause) = Signal::try_from(signal).ok().and_then(cause) else { continue };
                cancellation.cancel(cause);
                // Who hung up does not read it.
                if cause != Cause::HangUp {
                    let kind = EventKind::Note { message: message(cause, index).to_owned() };
                    sink.event(&Event::new(Timestamp::now(), None, kind));
                }
            }
        };
        // Without the thread a signal is only noted: late, but the end stays orderly.
        let _ = std::thread::Builder::new().name("signals".into()).spawn(watch);
    }
}

fn cause(signal: Signal) -> Option<Cause> {
    match signal {
        Signal::SIGINT => Some(Cause::Interrupt),
        Signal::SIGTERM => Some(Cause::Terminate),
        Signal::SIGHUP => Some(Cause::HangUp),
        _ => None,
    }
}

fn message(cause: Cause, before: usize) -> &'static str {
    match (before, cause) {
        (0, Cause::Interrupt) => "interrupted: ending in order",
        (0, _) => "told to terminate: ending in order",
        _ => "cleaning up: please wait, so that nothing is left half done",
    }
}

/// The signals that this process was started to ignore, a bit each.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    parse_ignored(&status).unwrap_or_default()
}

fn parse_ignored(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status() {
        assert_eq!(parse_ignored("Name:\tx\nSigIgn:\t0000000000001001\n"), Some(0x1001));
        assert_eq!(parse_ignored("Name:\tx\n"), None);
    }

    #[test]
    fn a_second_signal_gets_another_answer() {
        assert_ne!(message(Cause::Interrupt, 0), message(Cause::Interrupt, 1));
    }
}
