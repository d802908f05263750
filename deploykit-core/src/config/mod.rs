//! The configuration: its keys, how it is read, and errors that show the place.
//!
//! [`read_file`] and [`parse`], and [`read_file_for`] and [`parse_for`] for a program that knows its
//! backends, are the way to read one: they refuse unknown keys, check what keys
//! demand of one another, and show the place of every mistake. The types themselves read what serde
//! gives them and pass over keys that they do not know, so that a record made by a newer version can
//! be read.

mod check;
mod conceal;
mod de;
mod diagnose;
mod digest;
mod error;
mod exposure;
mod model;
mod notify;
mod pattern;
mod read;
mod rules;
mod runtime;
#[cfg(feature = "schema")]
mod schema;
mod service;
mod show;
mod status;
mod systemd;
mod telling;
mod tree;
mod up;
mod value;

pub use check::{CheckConfig, INSTANCE};
pub use error::{ConfigError, ConfigErrorKind, Problem};
pub use model::*;
pub use notify::{NoticeForm, NotifierConfig, NotifyConfig, SmtpConfig, SmtpTls};
#[cfg(feature = "http")]
pub(crate) use pattern::PLACEHOLDERS;
pub use pattern::Pattern;
pub use read::{
    ConfigKind, DEPLOYKIT_TOML, Loaded, MFD_TOML, find, parse, parse_for, read_file, read_file_for,
};
pub(crate) use rules::split_address;
pub use runtime::RuntimeConfig;
#[cfg(feature = "schema")]
pub use schema::schema;
pub use service::{
    Backoff, Hardening, LimitsConfig, LogForm, LogsConfig, NetworkConfig, OnDeploy, Ready,
    RestartPolicy, ServiceConfig, ServiceSpec,
};
pub use show::starter;
pub use status::StatusSet;
pub use systemd::{ManagerKind, SystemdConfig, TimersConfig};
pub use up::{UpConfig, WhenKilled};
pub use value::*;
