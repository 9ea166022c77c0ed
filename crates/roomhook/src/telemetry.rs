//! Logs to standard error, and the registry that all crates put their metrics into.

use std::io::IsTerminal as _;

use prometheus_client::{metrics::info::Info, registry::Registry};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
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
    let filter = filter(&log.level, std::env::var("RUST_LOG").ok().as_deref());
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed(),
    };
    tracing_subscriber::registry().with(lines).try_init()
}

/// What is told: `rust_log` word for word if there is one; else `level`, in which a level without a name is meant for our
/// own parts. Of all others only warnings and errors are of use to an operator, unless he names them.
fn filter(level: &str, rust_log: Option<&str>) -> Targets {
    if let Some(literal) = rust_log.filter(|text| !text.is_empty()).and_then(|text| text.parse().ok()) {
        return literal;
    }
    // The configuration was checked: only levels that parse come here.
    let wanted: Targets = level.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let Some(own) = wanted.default_level() else { return wanted };
    let named = wanted.iter().map(|(part, level)| (part.to_owned(), level));
    Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target(OWN, own)
        .with_targets(named.collect::<Vec<_>>())
}

/// What the targets of all our crates begin with.
const OWN: &str = "roomhook";

/// An empty registry, but for what is running here. Each part gets it handed in and registers its own.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::default();
    let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("roomhook_build", "The program that runs here", version);
    registry
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_level_is_meant_for_our_own_parts_and_others_are_heard_when_they_warn_or_are_named() {
        let told = |filter: &Targets, part: &str, level: Level| filter.would_enable(part, &level);
        let info = filter("info", None);
        assert!(told(&info, "roomhook", Level::INFO) && told(&info, "roomhook_hooks::reader", Level::INFO));
        assert!(told(&info, "fjall::db", Level::WARN) && !told(&info, "fjall::db", Level::INFO));
        assert!(!told(&info, "roomhook_hooks", Level::DEBUG));

        let named = filter("debug,lsm_tree=info,roomhook_edge=warn", None);
        assert!(told(&named, "lsm_tree::tree", Level::INFO) && !told(&named, "fjall", Level::INFO));
        assert!(told(&named, "roomhook_hooks", Level::DEBUG) && !told(&named, "roomhook_edge", Level::INFO));

        assert!(!told(&filter("error", None), "hyper", Level::WARN), "a quiet server is quiet as a whole");
        assert!(!told(&filter("off", None), "hyper", Level::ERROR));
        let literal = filter("error", Some("info"));
        assert!(told(&literal, "fjall", Level::INFO), "RUST_LOG is taken word for word");
        assert!(!told(&filter("info", Some("")), "fjall", Level::INFO), "an empty one says nothing");
    }
}
