//! Speaking with a process manager that another process has: over a socket, in lines of JSON.
//!
//! A client writes requests, one a line, and reads an answer for each, in the same order. Both say which
//! version of this protocol they speak; a manager answers a newer one with an error that says so.
//!
//! ```text
//! → {"version":1,"do":"status"}
//! ← {"version":1,"ok":{"instances":[{"name":"web","phase":"running","pid":4711,…}]}}
//! → {"version":1,"do":"restart","names":["web"]}
//! ← {"version":1,"ok":"done"}
//! → {"version":1,"do":"restart","names":["wbe"]}
//! ← {"version":1,"error":{"unknown":{"name":"wbe"}}}
//! ```

mod client;
mod path;
mod protocol;
mod server;

pub use client::{Client, ClientError};
pub(crate) use path::near;
pub use protocol::{Answer, Done, Outcome, Request, Task, VERSION};
pub use server::{Asked, Claim, Server, ServerError};
