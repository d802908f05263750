//! The state on disk: where it lies, the locks, the journal, and what the journal adds up to.

mod connection;
pub(crate) mod files;
mod journal;
mod layout;
pub(crate) mod lock;
pub(crate) mod model;
mod notice;
mod record;

pub use connection::{Connection, Demand};
pub use files::FileError;
pub use journal::{Fingerprint, Journal, JournalError, fingerprint, read_state};
pub use layout::Layout;
pub use lock::{Holder, Lock, LockError};
pub use model::{
    Activation, BadSource, DeploymentRecord, Hold, InProgress, ProbationRecord, ReleaseRecord,
    RevertRecord, State,
};
pub use notice::{
    NOTICE_FORMAT, NOTICE_TRIES, Notice, NoticeEvent, NoticeFailure, NoticeNow, NoticeRelease,
    Notices, OwedNotice, Told, host_name,
};
pub use record::{Actor, ConfirmedBy, Entry, Outcome, Record, Request};
