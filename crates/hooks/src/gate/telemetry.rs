//! The metrics of the gate. Labels: the app, and words from this source.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use roomhook_room::AppId;

/// From a moderator next door to the deadline.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfApp {
    app: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVerdict {
    app: u32,
    verdict: &'static str,
    mode: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFailure {
    app: u32,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfException {
    app: u32,
    outcome: &'static str,
}

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    verdicts: Family<OfVerdict, Counter>,
    failures: Family<OfFailure, Counter>,
    seconds: Family<OfApp, Histogram, fn() -> Histogram>,
    waiting: Family<OfApp, Gauge>,
    asking: Family<OfApp, Gauge>,
    floods: Family<OfApp, Counter>,
    errands: Family<OfApp, Gauge>,
    errands_dropped: Family<OfApp, Counter>,
    exceptions: Family<OfException, Counter>,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let metrics = Self {
            verdicts: Family::default(),
            failures: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            waiting: Family::default(),
            asking: Family::default(),
            floods: Family::default(),
            errands: Family::default(),
            errands_dropped: Family::default(),
            exceptions: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("roomhook_gate");
        registry.register("verdicts", "Answers of moderators; mode: act, or shadow", metrics.verdicts.clone());
        registry.register("failures", "Messages that the moderator could not decide", metrics.failures.clone());
        let help = "From the question to its verdict or failure";
        registry.register_with_unit("question", help, Unit::Seconds, metrics.seconds.clone());
        registry.register(
            "waiting_messages",
            "In line or being asked about (limit: waiting_max)",
            metrics.waiting.clone(),
        );
        registry.register("questions_in_flight", "Being asked about (limit: concurrency)", metrics.asking.clone());
        let help = "Messages refused because their sender had too many waiting";
        registry.register("refused_floods", help, metrics.floods.clone());
        let help = "Questions in shadow mode and exceptions that wait to be sent (limit: errands_max of each)";
        registry.register("errands_waiting", help, metrics.errands.clone());
        registry.register(
            "errands_dropped",
            "Of these, dropped because too many waited",
            metrics.errands_dropped.clone(),
        );
        let help = "Group.CallbackSendMsgException; outcome: sent, failed or dropped";
        registry.register("exceptions", help, metrics.exceptions.clone());
        metrics
    }

    /// The metrics of one app, looked up once.
    pub(super) fn of(&self, app: AppId) -> AppMetrics {
        let key = OfApp { app: app.0 };
        AppMetrics {
            app: app.0,
            verdicts: self.verdicts.clone(),
            failures: self.failures.clone(),
            seconds: self.seconds.get_or_create(&key).clone(),
            waiting: self.waiting.get_or_create(&key).clone(),
            asking: self.asking.get_or_create(&key).clone(),
            floods: self.floods.get_or_create(&key).clone(),
            errands: self.errands.get_or_create(&key).clone(),
            errands_dropped: self.errands_dropped.get_or_create(&key).clone(),
            exceptions: self.exceptions.clone(),
        }
    }
}

/// Of one app.
#[derive(Clone, Debug)]
pub(super) struct AppMetrics {
    app: u32,
    verdicts: Family<OfVerdict, Counter>,
    failures: Family<OfFailure, Counter>,
    pub(super) seconds: Histogram,
    pub(super) waiting: Gauge,
    pub(super) asking: Gauge,
    pub(super) floods: Counter,
    pub(super) errands: Gauge,
    pub(super) errands_dropped: Counter,
    exceptions: Family<OfException, Counter>,
}

impl AppMetrics {
    /// Counts a verdict and returns how many of the kind there were.
    pub(super) fn verdict(&self, verdict: &'static str, shadow: bool) -> u64 {
        let mode = if shadow { "shadow" } else { "act" };
        self.verdicts.get_or_create(&OfVerdict { app: self.app, verdict, mode }).inc() + 1
    }

    pub(super) fn failure(&self, reason: &'static str) {
        self.failures.get_or_create(&OfFailure { app: self.app, reason }).inc();
    }

    pub(super) fn exception(&self, outcome: &'static str) {
        self.exceptions.get_or_create(&OfException { app: self.app, outcome }).inc();
    }
}
