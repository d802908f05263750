//! The `git` source: releases from a git repository, through gix, without any git program.
//!
//! | Address | Transport |
//! |---|---|
//! | `/path`, `./path`, `file:///path` | the repository is opened directly, nothing is copied |
//! | `https://…` | smart HTTP over ureq and rustls; token, or user name and password |
//! | `http://…` | the same without credentials, which are refused over plain text |
//! | `git://…` | gix, over TCP |
//! | `ssh://…`, `user@host:path` | the host's `ssh`, which is told never to ask (or `GIT_SSH_COMMAND`) |
//!
//! Resolving lists the remote's references and fetches nothing. Fetching brings one commit without
//! its history into a bare repository that all releases share, and sends only what that does not
//! have yet. What a repository can have and this source cannot do is refused right after the fetch,
//! before anything is built: submodules, Git LFS, other encodings than UTF-8, and the keyword `$Id$`.

mod bring;
mod cache;
mod checkout;
mod credentials;
mod extent;
mod fault;
mod fetch;
mod history;
mod http;
mod inspect;
mod local;
mod names;
mod partial;
mod progress;
mod remote;
mod resolve;
mod scratch;
mod source;
mod ssh;
mod url;
mod watch;

pub use credentials::GitCredentials;
pub use source::{GitOptions, GitSource};

pub(crate) use fault::is_of_this_host;

/// The hint of what is the cause of a [`SourceError`](crate::traits::SourceError).
pub(crate) fn hint(cause: &crate::traits::BoxError) -> Option<String> {
    fault::hint(cause).or_else(|| cache::hint(cause))
}
