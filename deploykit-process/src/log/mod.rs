//! What services write: files, their rotation, and reading them.
//!
//! # Theory of operation
//!
//! A service writes to pipes. One thread, the [`Collector`], reads them all and hands what it has read
//! to a [`LogFile`], which lets only whole lines into `DIR/NAME.log`. Nothing lies in memory beyond one
//! read and one unfinished line a pipe: when the disk is slow the pipe fills, and the service waits.
//!
//! A file that is full or old is renamed to `NAME-YYYYMMDD-HHMMSS-N.log`. `N` grows by one each time,
//! and is what orders the files: a clock that goes back changes nothing. A thread that lives as long
//! as there is something to do, at the lowest priority, compresses what was renamed.
//!
//! [`read`] goes through all of them in that order, and follows the live one across its renamings.
//!
//! A pipe may have a name, and then outlives this process: lines are looked at while they stay in the pipe,
//! written, and only then taken out of it. Killed at any instant, this process has lost none of them, and a
//! note beside the file of how far the last look had come keeps them from being written twice.
//!
//! What cannot be written, because the disk is full, is dropped and counted; see [`LogEvent`].

mod collector;
mod compress;
mod copy;
mod encode;
mod event;
mod file;
mod index;
mod names;
mod pipes;
mod read;
mod rotate;
mod settings;
mod slot;
mod source;
mod tail;
mod write;

pub(crate) use collector::End;
pub use collector::{Collector, Pipe};
pub use compress::Compressor;
pub(crate) use copy::open_to_read;
pub use event::{LogError, LogEvent};
pub use file::{Echo, LogFile, SharedLog};
pub use names::Listing;
pub use read::{Line, ReadRequest, read};
pub use settings::{LogFormat, LogSettings};
pub use source::{Source, Stream};
