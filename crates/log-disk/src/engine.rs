//! One log's fjall database and how it is tuned. The numbers are argued for in `docs/adr/0001-store.md`.

use std::path::Path;

use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions,
    config::{BlockSizePolicy, CompressionPolicy, FilterPolicy},
};
use roomhook_log::LogId;

use crate::{
    config::DiskConfig,
    segments::{Segment, Segments, events_name, index_name},
};

/// The smallest journal fjall allows. A start replays at most about two of these.
const JOURNAL_BYTES: u64 = 64 << 20;
/// Open files per database; all databases together stay far below the usual limit of 1,024.
const OPEN_FILES: usize = 64;
const BLOCK_BYTES: u32 = 8 << 10;
/// Index entries are tiny, and each takes several times its size in memory: their memtable is a part of the events'.
const INDEX_MEMTABLE_SHARE: u64 = 4;
/// Memtables of keyspaces that are written to now and then.
const QUIET_MEMTABLE_BYTES: u64 = 2 << 20;

/// An open database, for the committer and for readers.
pub(crate) struct Engine {
    pub(crate) log: LogId,
    pub(crate) db: Database,
    /// Epoch, trim floor, segments.
    pub(crate) meta: Keyspace,
    pub(crate) owner_rows: Keyspace,
    pub(crate) rows: Keyspace,
    pub(crate) segments: Segments,
}

pub(crate) fn open_database(path: &Path, config: &DiskConfig) -> fjall::Result<Database> {
    Database::builder(path)
        .cache_size(config.cache_bytes / (u64::from(config.shards) + 1))
        .max_journaling_size(JOURNAL_BYTES)
        .max_cached_files(Some(OPEN_FILES))
        .worker_threads(1)
        // Bodies are small; compressing them costs the committer more than it saves the disk.
        .journal_compression(CompressionType::None)
        .manual_journal_persist(true)
        .open()
}

pub(crate) fn rows_keyspace(db: &Database, name: &str, config: &DiskConfig) -> fjall::Result<Keyspace> {
    let memtable = config.memtable_bytes.min(QUIET_MEMTABLE_BYTES);
    db.keyspace(name, || KeyspaceCreateOptions::default().max_memtable_size(memtable).manual_journal_persist(true))
}

/// Opens the keyspaces of a segment, creating them if need be.
pub(crate) fn segment_keyspaces(db: &Database, id: u32, config: &DiskConfig) -> fjall::Result<(Keyspace, Keyspace)> {
    let compression = if config.compress { CompressionType::Lz4 } else { CompressionType::None };
    // Entries of both are found by range or are known to be there: filters would only cost memory.
    let options = |memtable| {
        KeyspaceCreateOptions::default()
            .max_memtable_size(memtable)
            .manual_journal_persist(true)
            .filter_policy(FilterPolicy::disabled())
            .expect_point_read_hits(true)
            .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
    };
    let events = db.keyspace(&events_name(id), || {
        options(config.memtable_bytes).data_block_compression_policy(CompressionPolicy::all(compression))
    })?;
    let index = db.keyspace(&index_name(id), || options(config.memtable_bytes / INDEX_MEMTABLE_SHARE))?;
    Ok((events, index))
}

pub(crate) fn segment_exists(db: &Database, id: u32) -> bool {
    db.keyspace_exists(&events_name(id)) && db.keyspace_exists(&index_name(id))
}

/// Forgets a segment; its files go when the last reader lets go of it.
pub(crate) fn delete_segment(db: &Database, segment: Segment) -> fjall::Result<()> {
    db.delete_keyspace(segment.events)?;
    db.delete_keyspace(segment.index)
}
