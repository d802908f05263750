//! What the checks have in common: a look that can be given up at any moment, and short texts.

use std::time::Duration;

use crate::causes::chain;
use crate::context::Context;
use crate::interrupt::Interrupted;
use crate::traits::Look;

/// How long a look may take when the context has no deadline.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The time that is left for a look.
pub(super) fn time_left(ctx: &Context) -> Duration {
    ctx.remaining().unwrap_or(DEFAULT_TIMEOUT)
}

/// Does `work` on a thread of its own and waits for it, for the deadline, or for a cancellation,
/// whichever comes first. `work` must end by itself soon after the deadline.
pub(super) fn interruptible(ctx: &Context, work: impl FnOnce() -> Look + Send + 'static) -> Look {
    let left = time_left(ctx);
    if left.is_zero() && ctx.check().is_ok() {
        return Look::NotYet("no time was left to look".into());
    }
    match crate::interrupt::interruptible(ctx, left, work) {
        Ok(look) => look,
        Err(error @ Interrupted::NotBegun(_)) => {
            Look::NotYet(format!("cannot look: {}", chain(&error)))
        }
        Err(Interrupted::BrokeOff) => Look::NotYet("the look broke off".into()),
        Err(error) => Look::NotYet(error.to_string()),
    }
}

/// A text on one line, and no longer than a person reads in a table.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 160;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let clean = words.chars().filter(|c| !c.is_control());
    let mut short: String = clean.clone().take(LONGEST).collect();
    if clean.count() > LONGEST {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cause;

    #[test]
    fn a_look_that_has_no_answer_is_none_of_a_release() {
        let ctx = Context::new().unwrap().with_timeout(Duration::from_millis(20));
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        let look = interruptible(&ctx, move || {
            let _ = never.recv();
            Look::Well("never".into())
        });
        assert!(matches!(&look, Look::NotYet(why) if why.contains("time")), "{look:?}");
        let ctx = Context::new().unwrap();
        let look = interruptible(&ctx, || std::panic::resume_unwind(Box::new("on purpose")));
        assert_eq!(look, Look::NotYet("the look broke off".into()));
        ctx.cancellation().cancel(Cause::Interrupt);
        let look = interruptible(&ctx, || Look::Well("never".into()));
        assert_eq!(look, Look::NotYet("interrupted (SIGINT)".into()));
    }

    #[test]
    fn an_excerpt_is_one_line_and_short() {
        assert_eq!(excerpt(" a\r\n  b\u{1b}[1m \t"), "a b[1m");
        assert_eq!(excerpt(&"ä".repeat(500)).chars().count(), 161);
    }
}
