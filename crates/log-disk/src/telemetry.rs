//! What the store shows: all of this crate's metrics.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use roomhook_log::{LogId, TailSize};

use crate::{keeper::Following, space::Space};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    log: String,
}

/// Metrics of all logs.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    records: Family<Labels, Counter>,
    record_bytes: Family<Labels, Counter>,
    commits: Family<Labels, Histogram, fn() -> Histogram>,
    batch_records: Family<Labels, Histogram, fn() -> Histogram>,
    queue: Family<Labels, Gauge>,
    queue_max: Gauge,
    tail_bytes: Family<Labels, Gauge>,
    tail_records: Family<Labels, Gauge>,
    store: StoreMetrics,
}

impl Metrics {
    /// `queue_max` jobs may wait for one committer.
    pub(crate) fn new(queue_max: usize) -> Self {
        let commits: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_1, 2.0, 14));
        let batch_records: fn() -> Histogram = || Histogram::new(exponential_buckets(1.0, 2.0, 13));
        let metrics = Self {
            records: Family::default(),
            record_bytes: Family::default(),
            commits: Family::new_with_constructor(commits),
            batch_records: Family::new_with_constructor(batch_records),
            queue: Family::default(),
            queue_max: Gauge::default(),
            tail_bytes: Family::default(),
            tail_records: Family::default(),
            store: StoreMetrics::default(),
        };
        metrics.queue_max.set(gauge(queue_max));
        metrics
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("log");
        registry.register("records", "Records made durable", self.records.clone());
        registry.register_with_unit("record", "Encoded size of records", Unit::Bytes, self.record_bytes.clone());
        registry.register_with_unit("commit", "Time of a commit, sync included", Unit::Seconds, self.commits.clone());
        registry.register("commit_records", "Records in a commit", self.batch_records.clone());
        registry.register("queue_jobs", "Jobs that wait for the committer", self.queue.clone());
        registry.register("queue_jobs_max", "Jobs that may wait for a committer", self.queue_max.clone());
        registry.register_with_unit("tail", "Recent records in memory", Unit::Bytes, self.tail_bytes.clone());
        registry.register("tail_records", "Recent records in memory", self.tail_records.clone());
        registry.register("segments", "Segments of the journal on disk", self.store.segments.clone());
        registry.register("segments_dropped", "Segments dropped by retention", self.store.segments_dropped.clone());
    }

    pub(crate) fn store(&self) -> StoreMetrics {
        self.store.clone()
    }

    pub(crate) fn of(&self, log: LogId) -> LogMetrics {
        let labels = Labels { log: log.to_string() };
        LogMetrics(Arc::new(Inner {
            records: self.records.get_or_create(&labels).clone(),
            record_bytes: self.record_bytes.get_or_create(&labels).clone(),
            commits: self.commits.get_or_create(&labels).clone(),
            batch_records: self.batch_records.get_or_create(&labels).clone(),
            queue: self.queue.get_or_create(&labels).clone(),
            tail_bytes: self.tail_bytes.get_or_create(&labels).clone(),
            tail_records: self.tail_records.get_or_create(&labels).clone(),
        }))
    }
}

/// Metrics of one log.
#[derive(Clone, Debug)]
pub(crate) struct LogMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    records: Counter,
    record_bytes: Counter,
    commits: Histogram,
    batch_records: Histogram,
    queue: Gauge,
    tail_bytes: Gauge,
    tail_records: Gauge,
}

impl LogMetrics {
    pub(crate) fn committed(&self, records: u64, bytes: u64, took: Duration, tail: TailSize) {
        self.0.commits.observe(took.as_secs_f64());
        if records > 0 {
            self.0.records.inc_by(records);
            self.0.record_bytes.inc_by(bytes);
            self.0.batch_records.observe(records as f64);
            self.0.tail_bytes.set(gauge(tail.bytes));
            self.0.tail_records.set(gauge(tail.records));
        }
    }

    pub(crate) fn queued(&self, jobs: usize) {
        self.0.queue.set(gauge(jobs));
    }
}

/// Metrics of the store as a whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreMetrics {
    segments: Gauge,
    segments_dropped: Counter,
}

impl StoreMetrics {
    pub(crate) fn segments(&self, segments: usize) {
        self.segments.set(gauge(segments));
    }

    pub(crate) fn dropped(&self, segments: usize) {
        self.segments_dropped.inc();
        self.segments(segments);
    }
}

/// Room on the disk, asked when somebody reads the metrics.
#[derive(Debug)]
pub(crate) struct DiskSpace(pub(crate) Arc<Space>);

impl Collector for DiskSpace {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (free, kept) = self.0.facts();
        for (name, help, bytes) in [
            ("log_disk_free", "Room on the disk of the store", free),
            ("log_disk_reserve", "Of it kept in reserve: messages are refused when less is free", kept),
        ] {
            let value = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?;
            ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX)).encode(value)?;
        }
        Ok(())
    }
}

/// How far the mirror is behind, asked when somebody reads the metrics.
#[derive(Debug)]
pub(crate) struct MirrorLag(pub(crate) Following);

impl Collector for MirrorLag {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Frames of the journal that the mirror has not taken in yet";
        let value = encoder.encode_descriptor("log_mirror_lag_frames", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(self.0.lag()).unwrap_or(i64::MAX)).encode(value)
    }
}

fn gauge(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
