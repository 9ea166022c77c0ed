//! All metrics of this crate. Labels are bounded: known commands, documented codes; never a room, a user or an address.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Of one listener.
#[derive(Clone, Debug, Default)]
pub struct ListenerMetrics {
    pub(crate) open: Gauge,
    pub(crate) accepted: Counter,
    pub(crate) tls_failed: Counter,
    pub(crate) idle_closed: Counter,
    pub(crate) proxy_refused: Counter,
}

impl ListenerMetrics {
    /// `name` tells listeners of one process apart, e.g. `public` and `admin`.
    pub fn register(registry: &mut Registry, name: &'static str) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_label(("listener".into(), name.into()));
        registry.register(
            "roomhook_connections_open",
            "Sockets open now, upgraded ones included",
            metrics.open.clone(),
        );
        registry.register("roomhook_connections_accepted", "Sockets accepted", metrics.accepted.clone());
        registry.register(
            "roomhook_connections_tls_failed",
            "TLS handshakes that failed or took too long",
            metrics.tls_failed.clone(),
        );
        registry.register(
            "roomhook_connections_idle_closed",
            "Connections closed because they were idle or never sent a request",
            metrics.idle_closed.clone(),
        );
        registry.register(
            "roomhook_connections_proxy_refused",
            "Connections of trusted proxies closed because their PROXY header was missing, malformed or late",
            metrics.proxy_refused.clone(),
        );
        metrics
    }
}

/// Of UserSig verification.
#[derive(Clone, Debug, Default)]
pub struct AuthMetrics {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) cache_entries: Gauge,
    pub(crate) cache_bytes: Gauge,
}

impl AuthMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "roomhook_usersig_cache_hits",
            "UserSigs found among those verified before",
            metrics.hits.clone(),
        );
        registry.register(
            "roomhook_usersig_cache_misses",
            "UserSigs that had to be verified in full, bad ones included",
            metrics.misses.clone(),
        );
        registry.register("roomhook_usersig_cache_entries", "Verified UserSigs kept", metrics.cache_entries.clone());
        registry.register("roomhook_usersig_cache_bytes", "About what they take up", metrics.cache_bytes.clone());
        metrics
    }
}

/// Of the REST API.
#[derive(Clone, Debug)]
pub struct RestMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<CommandLabels, Histogram, fn() -> Histogram>,
    pub(crate) in_work: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommandLabels {
    command: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    command: &'static str,
    code: i32,
}

impl Default for RestMetrics {
    fn default() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(LATENCY_SECONDS);
        Self { requests: Family::default(), seconds: Family::new_with_constructor(seconds), in_work: Gauge::default() }
    }
}

/// From a cached refusal to the backend deadline.
const LATENCY_SECONDS: [f64; 16] =
    [50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

impl RestMetrics {
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "roomhook_rest_requests",
            "REST calls answered, by command (other: none of this API) and ErrorCode",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "roomhook_rest_request_duration",
            "From the request's head to its answer, by command",
            prometheus_client::registry::Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register("roomhook_rest_requests_in_work", "REST calls being worked on now", metrics.in_work.clone());
        metrics
    }

    /// The metrics of one command, looked up once so that a call only counts.
    pub(crate) fn command(&self, command: &'static str) -> CommandMetrics {
        CommandMetrics {
            command,
            ok: self.requests.get_or_create(&RequestLabels { command, code: 0 }).clone(),
            seconds: self.seconds.get_or_create(&CommandLabels { command }).clone(),
            requests: self.requests.clone(),
        }
    }
}

/// Of one REST command.
#[derive(Clone, Debug)]
pub(crate) struct CommandMetrics {
    command: &'static str,
    ok: Counter<u64, AtomicU64>,
    seconds: Histogram,
    requests: Family<RequestLabels, Counter>,
}

impl CommandMetrics {
    pub(crate) fn answered(&self, code: i32, seconds: f64) {
        if code == 0 {
            self.ok.inc();
        } else {
            self.requests.get_or_create(&RequestLabels { command: self.command, code }).inc();
        }
        self.seconds.observe(seconds);
    }
}
