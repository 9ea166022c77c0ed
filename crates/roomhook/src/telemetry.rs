//! Logs to standard error, and the registry that all crates put their metrics into.

use std::io::IsTerminal as _;

use prometheus_client::{metrics::info::Info, registry::Registry};
use tracing_subscriber::{
    filter::Targets,
    fmt,
    layer::{Layer as _, SubscriberExt as _},
    util::{SubscriberInitExt as _, TryInitError},
};

use crate::config::{Log, LogFormat};

/// Sends logs to standard error from here on. A process does this once.
///
/// # Errors
/// When it was done before.
pub(crate) fn init(log: &Log) -> Result<(), TryInitError> {
    // The configuration was checked: only levels that parse come here.
    let filter: Targets = log.level.parse().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed(),
    };
    tracing_subscriber::registry().with(lines).try_init()
}

/// An empty registry, but for what is running here. Each part gets it handed in and registers its own.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("roomhook_build", "The program that runs here", version);
    registry
}
