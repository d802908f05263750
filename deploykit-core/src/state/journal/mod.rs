//! The journal: an append-only file of checksummed records, and its snapshot.
//!
//! # Theory of operation
//!
//! `.deploykit/journal` holds one record a line: the CRC-32 of the rest of the line as eight
//! hexadecimal digits, a space, and JSON. The first line is a header that names the format, its
//! version, and the number of the last record before this file. `.deploykit/snapshot` has two lines
//! of the same form: a header like that, and the state after that record. The state is the snapshot plus the records that
//! come after it.
//!
//! * A record counts once its line is whole and on disk (`fdatasync`). What follows the last whole
//!   line is a torn tail, left by a kill or a power loss: readers pass over it, the next writer cuts
//!   it off. A broken line with whole ones behind it is damage, and is reported, never skipped.
//! * When the file has grown, a snapshot is put in place by rename, then a new, empty journal. A kill
//!   between the two leaves records that the snapshot contains already; their numbers tell.
//! * A file of a newer version is read as far as its records are known, and never written.
//!
//! Readers take no lock. A reader that meets a rotation sees a gap between snapshot and journal and
//! reads again.

mod format;
mod read;
mod snapshot;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Fingerprint, JournalError, fingerprint, read_state};
pub use write::Journal;
