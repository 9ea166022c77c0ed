//! What an operator may choose.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use roomhook_log::TailLimits;

use crate::machine::boot_number;

/// Unix milliseconds, from whatever clock the process goes by.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Hears how far reading the journal into the mirror is, when that takes long: bytes done, bytes in all.
pub type OnReading = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// On the disk: survives power loss.
    #[default]
    Fsync,
    /// With the operating system: survives the death of the process, not of the machine.
    Os,
}

/// Can the store be written to?
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Ok,
    /// Less room on the disk than the reserve. Records are refused until there is more; claims, webhooks' rows and
    /// retention use the reserve, and reads go on.
    Full,
    /// A commit failed; what the disk holds is known again after a restart. Reads go on.
    Poisoned(String),
}

/// How to open a store. Sizes in bytes.
#[derive(Clone)]
pub struct DiskConfig {
    pub path: PathBuf,
    /// Number of logs beside the directory's. Fixed when the store is created; another number is refused later.
    pub shards: u16,
    pub durability: Durability,

    /// Records older than this may be dropped once their owner does not need them (see `trim`). `None`: never by age.
    pub retention_max_age: Option<Duration>,
    /// The oldest records are dropped when the store's segments pass this size. `None`: never by size.
    pub retention_max_bytes: Option<u64>,
    /// A segment is the unit of retention: a new one is begun at this size. The first of a new store are smaller.
    pub segment_bytes: u64,

    /// The reserve: records are refused as full when less than this is free, everything else when less than a quarter is.
    pub free_bytes_min: u64,

    /// Recent batches kept in memory, per log.
    pub tail: TailLimits,
    /// fjall's cache of blocks, for the whole store.
    pub cache_bytes: u64,
    /// fjall's write buffer per busy keyspace; there are about three.
    pub memtable_bytes: u64,

    pub clock: Clock,
    pub on_reading: OnReading,
    /// A number for the machine's present start: files that were not synced are only complete within one.
    pub boot: u64,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("data"),
            shards: 4,
            durability: Durability::Fsync,
            retention_max_age: Some(Duration::from_secs(7 * 24 * 3600)),
            retention_max_bytes: None,
            segment_bytes: 64 << 20,
            free_bytes_min: 256 << 20,
            tail: TailLimits::default(),
            cache_bytes: 16 << 20,
            memtable_bytes: 8 << 20,
            clock: Arc::new(system_clock),
            on_reading: Arc::new(|_, _| {}),
            boot: boot_number(),
        }
    }
}

fn system_clock() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for DiskConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskConfig")
            .field("path", &self.path)
            .field("shards", &self.shards)
            .field("durability", &self.durability)
            .field("retention_max_age", &self.retention_max_age)
            .field("retention_max_bytes", &self.retention_max_bytes)
            .finish_non_exhaustive()
    }
}
