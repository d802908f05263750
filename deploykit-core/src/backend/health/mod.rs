//! The health checks that are built in: `http`, `tcp`, `unix`, `exec`.

mod exec;
#[cfg(feature = "http")]
mod expect;
#[cfg(feature = "http")]
mod http;
mod look;
mod tcp;
#[cfg(test)]
mod testing;
mod unix;

use std::sync::Arc;

use crate::registry::Registry;

/// Puts them into a registry.
pub(super) fn register(registry: &mut Registry) {
    #[cfg(feature = "http")]
    registry.check("http", Arc::new(http::HttpCheck::construct));
    registry
        .check("tcp", Arc::new(tcp::TcpCheck::construct))
        .check("unix", Arc::new(unix::UnixCheck::construct))
        .check("exec", Arc::new(exec::ExecCheck::construct));
}
