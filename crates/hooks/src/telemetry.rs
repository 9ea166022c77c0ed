//! The metrics of webhooks. Numbers are kept with the engine and read when somebody asks, so they always add up; labels
//! are app and endpoint, never a room, a user or a URL.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use crate::{
    engine::{Job, Mode, Summary},
    http::Report,
    replay::Replays,
    shared::Clock,
    supervisor::{EndpointName, Roster},
};

/// Upper bounds of latency buckets, in seconds.
const BOUNDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, f64::MAX];
/// Outcomes of attempts other than a 2xx, by label.
const OUTCOMES: [&str; 13] = [
    "acknowledged",
    "status_3xx",
    "status_4xx",
    "status_5xx",
    "status_other",
    "settings",
    "not_allowed",
    "resolve",
    "connect",
    "tls",
    "timeout",
    "broken",
    "answer_too_long",
];

/// Counters of one endpoint that only matter while the process runs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    outcomes: [u64; OUTCOMES.len()],
    malformed: u64,
    latency: Buckets,
    exchange: Buckets,
}

/// A histogram without a lock of its own.
#[derive(Clone, Debug, Default)]
struct Buckets {
    counts: [u64; BOUNDS.len()],
    sum: f64,
}

impl Buckets {
    fn observe(&mut self, secs: f64) {
        self.sum += secs;
        let at = BOUNDS.partition_point(|bound| *bound < secs);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
    }

    fn pairs(&self) -> Vec<(f64, u64)> {
        BOUNDS.iter().copied().zip(self.counts).collect()
    }
}

impl Tally {
    pub(crate) fn record(&mut self, job: &Job, report: &Report, now: u64) {
        let outcome = match &report.result {
            Ok(200..300) => "acknowledged",
            Ok(300..400) => "status_3xx",
            Ok(400..500) => "status_4xx",
            Ok(500..600) => "status_5xx",
            Ok(_) => "status_other",
            Err(error) => error.kind(),
        };
        if let Some(count) = OUTCOMES.iter().position(|name| *name == outcome).and_then(|at| self.outcomes.get_mut(at))
        {
            *count += 1;
        }
        self.malformed += u64::from(report.malformed);
        self.exchange.observe(report.phases.total.as_secs_f64());
        if report.is_acknowledged() {
            self.latency.observe(now.saturating_sub(job.at) as f64 / 1_000.0);
        }
    }

    /// 2xx answers whose body was not the documented JSON.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }
}

pub(crate) fn register(metrics: &mut Registry, roster: Roster, clock: Clock, replays: Arc<Replays>) {
    metrics.register_collector(Box::new(Webhooks { roster, clock, replays }));
}

struct Webhooks {
    roster: Roster,
    clock: Clock,
    replays: Arc<Replays>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").finish_non_exhaustive()
    }
}

type Labels = [(&'static str, String); 2];
type Seen = (Labels, Summary, Tally);

impl Collector for Webhooks {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = (self.clock)().0;
        let seen: Vec<Seen> = self
            .roster
            .read()
            .iter()
            .map(|(name, shared)| {
                let core = shared.core();
                (labels(name), core.engine.summary(), core.tally.clone())
            })
            .collect();
        type Read = fn(&Summary) -> u64;
        let counters: [(&str, &str, Read); 5] = [
            ("webhook_acknowledged", "Events owed when they were appended", |s| s.totals.acknowledged),
            ("webhook_delivered", "Events that an endpoint acknowledged", |s| s.totals.delivered),
            ("webhook_expired", "Events given up: cut off by retention, or skipped", |s| s.totals.expired),
            ("webhook_skipped", "Of the expired: skipped by policy or by a person", |s| s.totals.skipped),
            ("webhook_lost_records", "Records dropped by retention before it was known what was owed of them", |s| {
                s.totals.lost_records
            }),
        ];
        for (name, help, read) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (labels, summary, _) in &seen {
                ConstCounter::new(read(summary)).encode(family.encode_family(labels)?)?;
            }
        }
        let gauges: [(&str, &str, Read); 9] = [
            ("webhook_pending", "Events owed and not settled", |s| s.totals.pending()),
            ("webhook_parked", "Events that used up their retries and wait for a person", |s| s.totals.parked),
            ("webhook_set_aside", "Of the pending: failing on their own, off the path of their room", |s| {
                s.set_aside as u64
            }),
            (
                "webhook_detached_rooms",
                "Rooms sent more than the endpoint takes in order, off the path of others",
                |s| s.detached_rooms as u64,
            ),
            ("webhook_in_flight", "Attempts in flight", |s| s.in_flight as u64),
            ("webhook_window_deliveries", "Unsettled deliveries in memory (limit: open_max)", |s| s.open as u64),
            ("webhook_window_body_bytes", "Bytes of their bodies (limit: bytes_max)", |s| s.bytes as u64),
            ("webhook_window_span", "Deliveries between cursor and newest loaded (limit: span_max)", |s| s.span as u64),
            ("webhook_paused", "1 while nothing but probes is sent", |s| {
                u64::from(!matches!(s.mode, Mode::Running | Mode::CatchingUp))
            }),
        ];
        for (name, help, read) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, summary, _) in &seen {
                ConstGauge::new(i64::try_from(read(summary)).unwrap_or(i64::MAX))
                    .encode(family.encode_family(labels)?)?;
            }
        }
        let mut lag = encoder.encode_descriptor(
            "webhook_lag",
            "Age of the oldest pending event",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        for (labels, summary, _) in &seen {
            let lag_ms = summary.oldest_pending_at.map_or(0, |at| now.saturating_sub(at));
            ConstGauge::new(lag_ms as f64 / 1_000.0).encode(lag.encode_family(labels)?)?;
        }
        let running = i64::try_from(self.replays.running()).unwrap_or(i64::MAX);
        let help = "Replays that run or wait (limit: 8)";
        let replays = encoder.encode_descriptor("webhook_replays_running", help, None, MetricType::Gauge)?;
        ConstGauge::new(running).encode(replays)?;
        encode_tallies(&mut encoder, &seen)
    }
}

fn encode_tallies(encoder: &mut DescriptorEncoder<'_>, seen: &[Seen]) -> Result<(), fmt::Error> {
    let mut attempts =
        encoder.encode_descriptor("webhook_attempts", "HTTP requests by how they ended", None, MetricType::Counter)?;
    for (labels, _, tally) in seen {
        for (outcome, count) in OUTCOMES.into_iter().zip(tally.outcomes).filter(|(_, count)| *count > 0) {
            let [app, endpoint] = labels.clone();
            let labels = [app, endpoint, ("outcome", outcome.to_owned())];
            ConstCounter::new(count).encode(attempts.encode_family(&labels)?)?;
        }
    }
    let mut malformed = encoder.encode_descriptor(
        "webhook_malformed_answers",
        "2xx answers that are not the documented JSON",
        None,
        MetricType::Counter,
    )?;
    for (labels, _, tally) in seen {
        ConstCounter::new(tally.malformed).encode(malformed.encode_family(labels)?)?;
    }
    type Read = fn(&Tally) -> &Buckets;
    let histograms: [(&str, &str, Read); 2] = [
        ("webhook_delivery_latency", "From the event to its acknowledgement by the endpoint", |tally| &tally.latency),
        ("webhook_exchange", "Whole HTTP exchanges", |tally| &tally.exchange),
    ];
    for (name, help, read) in histograms {
        let mut family = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (labels, _, tally) in seen {
            let buckets = read(tally);
            let count = buckets.counts.iter().sum();
            family.encode_family(labels)?.encode_histogram::<NoLabelSet>(buckets.sum, count, &buckets.pairs(), None)?;
        }
    }
    Ok(())
}

fn labels(name: &EndpointName) -> Labels {
    [("app", name.app.0.to_string()), ("endpoint", name.id.0.clone())]
}
