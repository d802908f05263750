//! A pipe's side of a log: which stream it is, and what it has of a line that has not ended.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::awaited::Awaited;

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stream {
    /// The service's standard output.
    Out,
    /// The service's standard error.
    Err,
    /// A line of ours, about the service or its log.
    Ours,
}

impl Stream {
    /// As it is written in the files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::Err => "err",
            Self::Ours => "deploykit",
        }
    }

    /// As it was written in a file.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        [Self::Out, Self::Err, Self::Ours].into_iter().find(|stream| stream.as_str() == text)
    }
}

/// So much of a line is held until its end comes.
pub(super) const HELD: usize = 64 << 10;

/// What one pipe writes. Each pipe has its own, so that the halves of lines of two never meet.
#[derive(Debug)]
pub struct Source {
    pub(super) id: u64,
    pub(super) stream: Stream,
    /// The beginning of a line without its end.
    pub(super) held: Vec<u8>,
    /// A line that somebody waits for.
    pub(super) awaited: Awaited,
}

impl Source {
    /// For a pipe that was just opened.
    pub fn new(stream: Stream) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self {
            id: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            stream,
            held: Vec::new(),
            awaited: Awaited::default(),
        }
    }

    /// The same, and tells of a line that is waited for.
    pub(super) fn awaited(self, awaited: Awaited) -> Self {
        Self { awaited, ..self }
    }
}
