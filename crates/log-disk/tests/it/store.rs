//! Stores for tests, and the few words they are written in.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use roomhook_log::{Key, NewRecord, Row, TailLimits};
use roomhook_log_disk::DiskConfig;

/// A store with two shards, segments of 40 records and a clock some minutes on, so that
/// every sealed segment is old.
pub(crate) fn small(path: &Path) -> DiskConfig {
    DiskConfig {
        path: path.to_owned(),
        shards: 2,
        segment_records: 40,
        retention_max_age: Some(Duration::from_secs(1)),
        tail: TailLimits { bytes_max: 1 << 20, records_max: 20 },
        free_bytes_min: 0,
        clock: Arc::new(|| 1_000_000),
        ..DiskConfig::default()
    }
}

pub(crate) fn record(key: &str, payload: impl Into<Bytes>) -> NewRecord {
    NewRecord { key: Key(Bytes::copy_from_slice(key.as_bytes())), at_ms: 1, payload: payload.into() }
}

pub(crate) fn row(key: &str, value: &str) -> Row {
    Row { key: Bytes::copy_from_slice(key.as_bytes()), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}
