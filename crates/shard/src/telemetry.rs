//! All metrics of this crate. The only labels are the shard (`directory` for the directory) and, for refusals, one of a
//! few kinds.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use roomhook_log::LogId;
use roomhook_room::Reject;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfShard {
    shard: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReject {
    shard: String,
    kind: &'static str,
}

/// The metrics of all shards.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    inbox: Family<OfShard, Gauge>,
    inbox_bytes: Family<OfShard, Gauge>,
    rooms_cached: Family<OfShard, Gauge>,
    replayed: Family<OfShard, Gauge>,
    batch_records: Family<OfShard, Histogram, fn() -> Histogram>,
    append_seconds: Family<OfShard, Histogram, fn() -> Histogram>,
    appended_records: Family<OfShard, Counter>,
    appended_bytes: Family<OfShard, Counter>,
    snapshots: Family<OfShard, Counter>,
    append_failures: Family<OfShard, Counter>,
    panics: Family<OfShard, Counter>,
    rejects: Family<OfReject, Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            inbox: Family::default(),
            inbox_bytes: Family::default(),
            rooms_cached: Family::default(),
            replayed: Family::default(),
            // 1 to 1,024 records.
            batch_records: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1.0, 2.0, 11))),
            // 100 µs to 3.3 s.
            append_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0001, 2.0, 16))),
            appended_records: Family::default(),
            appended_bytes: Family::default(),
            snapshots: Family::default(),
            append_failures: Family::default(),
            panics: Family::default(),
            rejects: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("shard");
        let help = "Commands that wait for the owner of the shard or for its answer";
        registry.register("inbox_commands", help, metrics.inbox.clone());
        let help = "Weight of the commands that wait for the owner of the shard or for its answer";
        registry.register_with_unit("inbox", help, Unit::Bytes, metrics.inbox_bytes.clone());
        registry.register("rooms_cached", "Rooms in memory", metrics.rooms_cached.clone());
        registry.register("replayed_records", "Records replayed by the last start", metrics.replayed.clone());
        registry.register("batch_records", "Records of one append", metrics.batch_records.clone());
        let help = "From handing a batch to the log to knowing its outcome";
        registry.register_with_unit("append", help, Unit::Seconds, metrics.append_seconds.clone());
        registry.register("appended_records", "Records made durable", metrics.appended_records.clone());
        let help = "Payload of records made durable";
        registry.register_with_unit("appended", help, Unit::Bytes, metrics.appended_bytes.clone());
        registry.register("snapshot_rows", "Rows written with records", metrics.snapshots.clone());
        registry.register("append_failures", "Appends that did not succeed", metrics.append_failures.clone());
        registry.register("owner_panics", "Owners that panicked and were restarted", metrics.panics.clone());
        registry.register("rejected_commands", "Commands refused by a room", metrics.rejects.clone());
        metrics
    }

    /// The metrics of one log's owner.
    pub(crate) fn of(&self, log: LogId) -> ShardMetrics {
        let shard = OfShard { shard: log.to_string() };
        ShardMetrics {
            inbox: self.inbox.get_or_create_owned(&shard),
            inbox_bytes: self.inbox_bytes.get_or_create_owned(&shard),
            rooms_cached: self.rooms_cached.get_or_create_owned(&shard),
            replayed: self.replayed.get_or_create_owned(&shard),
            batch_records: self.batch_records.get_or_create_owned(&shard),
            append_seconds: self.append_seconds.get_or_create_owned(&shard),
            appended_records: self.appended_records.get_or_create_owned(&shard),
            appended_bytes: self.appended_bytes.get_or_create_owned(&shard),
            snapshots: self.snapshots.get_or_create_owned(&shard),
            append_failures: self.append_failures.get_or_create_owned(&shard),
            panics: self.panics.get_or_create_owned(&shard),
            rejects: self.rejects.clone(),
            shard: shard.shard,
        }
    }
}

/// The metrics of one owner.
#[derive(Clone, Debug)]
pub(crate) struct ShardMetrics {
    /// These two are moved by the inbox alone.
    pub(crate) inbox: Gauge,
    pub(crate) inbox_bytes: Gauge,
    pub(crate) rooms_cached: Gauge,
    pub(crate) replayed: Gauge,
    pub(crate) panics: Counter,
    batch_records: Histogram,
    append_seconds: Histogram,
    appended_records: Counter,
    appended_bytes: Counter,
    snapshots: Counter,
    append_failures: Counter,
    rejects: Family<OfReject, Counter>,
    shard: String,
}

impl ShardMetrics {
    /// One append, whatever became of it.
    pub(crate) fn append(&self, took: Duration, records: usize, bytes: usize, rows: usize, succeeded: bool) {
        self.append_seconds.observe(took.as_secs_f64());
        self.batch_records.observe(records as f64);
        if succeeded {
            self.appended_records.inc_by(records as u64);
            self.appended_bytes.inc_by(bytes as u64);
            self.snapshots.inc_by(rows as u64);
        } else {
            self.append_failures.inc();
        }
    }

    pub(crate) fn reject(&self, reject: &Reject) {
        let kind = match reject {
            Reject::RoomMissing => "room_missing",
            Reject::RoomExists => "room_exists",
            Reject::RoomExistsOwned => "room_exists_owned",
            Reject::MessagesDisabled => "messages_disabled",
            Reject::TooLong { .. } => "too_long",
        };
        self.rejects.get_or_create(&OfReject { shard: self.shard.clone(), kind }).inc();
    }
}
