//! The last lines of a pipe, for notices.

use std::sync::{Mutex, PoisonError};

/// So many lines.
const LINES: usize = 20;
/// So many bytes at most.
const BYTES: usize = 8 << 10;

/// The last lines of a pipe. It takes bytes as they come and makes lines of them when it is asked, so
/// that a flood costs a copy of its end.
#[derive(Debug, Default)]
pub(super) struct Tail(Mutex<Vec<u8>>);

impl Tail {
    pub(super) fn push(&self, bytes: &[u8]) {
        let end = &bytes[bytes.len().saturating_sub(BYTES)..];
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It is shortened at twice the size only: not every line may move all the others.
        if kept.len() + end.len() > 2 * BYTES {
            let surplus = (kept.len() + end.len()).saturating_sub(BYTES).min(kept.len());
            kept.drain(..surplus);
        }
        kept.extend_from_slice(end);
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept[kept.len().saturating_sub(BYTES)..]);
        let lines: Vec<&str> = text.lines().collect();
        // What is left of a line whose beginning is gone is more than nothing only when it is alone.
        let cut = usize::from(kept.len() >= BYTES && lines.len() > 1);
        let from = lines.len().saturating_sub(LINES).max(cut);
        lines[from..].iter().map(|line| (*line).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_however_they_came() {
        let tail = Tail::default();
        assert_eq!(tail.lines(), [""; 0]);
        for number in 0..10_000 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        tail.push(b"half");
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[19].as_str()), (20, "line 9981", "half"));
        tail.push(&[b'x'; 3 * BYTES]);
        assert_eq!(tail.lines(), ["x".repeat(BYTES)]);
        tail.push(b"\nend\n");
        assert_eq!(tail.lines(), ["end"], "a line without its beginning is left out");
        assert!(tail.0.lock().unwrap().len() <= 2 * BYTES);
    }
}
