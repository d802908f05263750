//! What `up` waits for: signals, and what happens to the services.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock, Weak};

use deploykit::supervisor::{Happening, Manager};
use nix::sys::signal::Signal;
use signal_hook::iterator::Signals;

/// What `up` wakes for.
#[derive(Debug)]
pub(super) enum Heard {
    /// Something has happened to what it runs.
    Happening(Happening),
    /// A signal that is for the end.
    End,
    /// The configuration is to be read again.
    Reload,
}

/// How often somebody has asked for the end by a signal.
#[derive(Debug, Clone, Default)]
pub(super) struct Ends(Arc<AtomicU32>);

impl Ends {
    /// Whether somebody has.
    pub(super) fn is_asked(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    /// Whether whoever asks does not want to wait any more.
    pub(super) fn is_impatient(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 1
    }
}

/// Hears signals from now on, in a thread that ends with the program.
pub(super) fn signals(
    heard: Sender<Heard>,
    manager: Arc<OnceLock<Weak<Manager>>>,
) -> std::io::Result<Ends> {
    let wanted = [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGCHLD,
    ];
    let mut signals = Signals::new(wanted.map(|signal| signal as i32))?;
    let ends = Ends::default();
    let counted = ends.clone();
    // There is none before it is started, and when it has ended.
    let manager = move || manager.get().and_then(Weak::upgrade);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for number in signals.forever() {
            let Ok(signal) = Signal::try_from(number) else { continue };
            match signal {
                Signal::SIGCHLD => {
                    if let Some(manager) = manager() {
                        manager.reap();
                    }
                }
                Signal::SIGUSR1 | Signal::SIGUSR2 => {
                    if let Some(manager) = manager() {
                        let _ = manager.signal(number, &[]);
                    }
                }
                Signal::SIGHUP if !has_terminal() => drop(heard.send(Heard::Reload)),
                _ => {
                    counted.0.fetch_add(1, Ordering::SeqCst);
                    let _ = heard.send(Heard::End);
                }
            }
        }
    })?;
    Ok(ends)
}

/// Whether this process belongs to a terminal: who hangs up there wants an end.
fn has_terminal() -> bool {
    // The number of the terminal is 0 where there is none; see proc(5), `/proc/PID/stat`.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let field = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(4));
    field.is_some_and(|number| number != "0")
}
