//! Reading the logs of several instances as one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use deploykit_core::Context;
use deploykit_core::traits::{BackendError, LogLine, LogRequest, SupervisorError};

use crate::log::{Line, LogError, LogSettings, ReadRequest, read};

/// How often it is looked whether somebody wants it to end meanwhile.
const GLANCE: Duration = Duration::from_millis(100);

/// Hands over the lines of these instances: those that are there in the order of their times, and then
/// what comes.
pub(crate) fn read_all(
    ctx: &Context,
    logs: &[LogSettings],
    request: &LogRequest,
    on_line: &mut dyn FnMut(LogLine),
) -> Result<(), SupervisorError> {
    let mut of_each = ReadRequest::default();
    (of_each.lines, of_each.since, of_each.follow) = (request.lines, request.since, request.follow);
    let is_over = AtomicBool::new(false);
    let mut tell = |name: &str, line: Line| {
        on_line(LogLine::new(line.at, name, ctx.masker().mask(line.text.trim_end_matches('\r'))));
    };
    if !request.follow {
        return Ok(history(ctx, logs, &of_each, request.lines, &mut tell).map_err(failed)?);
    }
    std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        for log in logs {
            let (sender, of_each, is_over) = (sender.clone(), &of_each, &is_over);
            scope.spawn(move || follow(log, of_each, is_over, &sender));
        }
        drop(sender);
        let result = pass_on(ctx, &receiver, &mut tell);
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

fn failed(error: LogError) -> BackendError {
    let hint = error.hint();
    BackendError::new(error).hint(hint)
}

/// What is there, the oldest first. A line whose time is not known stays behind the one before it.
fn history(
    ctx: &Context,
    logs: &[LogSettings],
    request: &ReadRequest,
    most: Option<usize>,
    tell: &mut dyn FnMut(&str, Line),
) -> Result<(), LogError> {
    if let [log] = logs {
        let is_over = || ctx.check().is_err();
        return read(log, request, &is_over, &mut |line| tell(&log.name, line));
    }
    let mut all = Vec::new();
    for log in logs {
        let mut last = None;
        read(log, request, &|| ctx.check().is_err(), &mut |line| {
            last = line.at.or(last);
            all.push((last, &log.name, line));
        })?;
    }
    all.sort_by_key(|(at, ..)| *at);
    let skipped = most.map_or(0, |most| all.len().saturating_sub(most));
    all.into_iter().skip(skipped).for_each(|(_, name, line)| tell(name, line));
    Ok(())
}

type Said = Result<(String, Line), LogError>;

fn follow(log: &LogSettings, request: &ReadRequest, is_over: &AtomicBool, sender: &Sender<Said>) {
    let over = || is_over.load(Ordering::Relaxed);
    let result = read(log, request, &over, &mut |line| {
        // Whoever listens has gone: it is over then.
        let _ = sender.send(Ok((log.name.clone(), line)));
    });
    if let Err(error) = result {
        let _ = sender.send(Err(error));
    }
}

fn pass_on(
    ctx: &Context,
    receiver: &Receiver<Said>,
    tell: &mut dyn FnMut(&str, Line),
) -> Result<(), SupervisorError> {
    loop {
        match receiver.recv_timeout(GLANCE) {
            Ok(Ok((name, line))) => tell(&name, line),
            Ok(Err(error)) => return Err(failed(error).into()),
            Err(RecvTimeoutError::Timeout) => ctx.check()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}
