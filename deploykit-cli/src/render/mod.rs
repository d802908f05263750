//! What people and programs are shown.

pub(crate) mod config_error;
pub(crate) mod error;
pub(crate) mod findings;
pub(crate) mod json;
pub(crate) mod live;
pub(crate) mod paint;
pub(crate) mod plain;
pub(crate) mod plan;
pub(crate) mod processes;
pub(crate) mod releases;
pub(crate) mod report;
pub(crate) mod sink;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod units;
