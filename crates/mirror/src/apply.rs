//! What one entry leaves in a mirror.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use fjall::{Keyspace, OwnedWriteBatch, PersistMode};
use roomhook_log::{Key, LogId, Lsn, Record, Row, entry::Piece};

use crate::{
    engine::Mirror,
    error::MirrorError,
    keys::{Found, Location, STAND, event_key, event_value, index_key, put_piece, row_key},
    segments::SegmentIndex,
    stand::Stand,
};

/// One entry of the log and where it lies.
#[derive(Clone, Debug)]
pub struct EntryIndex {
    pub log: LogId,
    /// Position of its first record.
    pub first: Lsn,
    pub segment: u32,
    /// Of the entry, from the start of the segment's file.
    pub offset: u32,
    pub pieces: Vec<Piece>,
    pub records: Arc<[Record]>,
    pub owner_rows: Vec<Row>,
    pub hook_rows: Vec<Row>,
}

/// Entries in the order of the log.
#[derive(Clone, Debug)]
pub struct Applied {
    pub entries: Vec<EntryIndex>,
    /// Where it stands after them. `None` while it is made anew and lacks what lies before.
    pub stand: Option<Stand>,
}

/// All entries of a batch are of the same moment, so of several writes of one key only the last may enter it.
type LastWrites = HashMap<Bytes, Option<Bytes>>;

impl Mirror {
    /// Takes all of it in, or nothing. Not synced: after a crash of the machine it may stand earlier, and what it lacks is applied again.
    ///
    /// # Errors
    /// As the engine says. Nothing more may be applied after one: close it, and go on at the next start.
    ///
    /// # Panics
    /// When the entries belong to a segment that was not begun.
    pub fn apply(&self, batches: &[Applied]) -> Result<(), MirrorError> {
        if batches.is_empty() {
            return Ok(());
        }
        let segments = self.segments.all();
        let mut batch = OwnedWriteBatch::with_capacity(self.db.clone(), 64);
        let (mut owner, mut hooks) = (LastWrites::new(), LastWrites::new());
        for entry in batches.iter().flat_map(|applied| &applied.entries) {
            if !entry.pieces.is_empty() {
                let segment = segments.iter().rev().find(|segment| segment.number() == entry.segment);
                put_index(entry, segment.expect("its segment was begun"), &mut batch);
            }
            owner.extend(rows(entry.log, &entry.owner_rows));
            hooks.extend(rows(entry.log, &entry.hook_rows));
        }
        put_rows(&self.owner_rows, owner, &mut batch);
        put_rows(&self.hook_rows, hooks, &mut batch);
        if let Some(stand) = batches.last().and_then(|applied| applied.stand.as_ref()) {
            batch.insert(&self.meta, STAND, stand.encode());
        }
        Ok(batch.durability(Some(PersistMode::Buffer)).commit()?)
    }
}

fn rows(log: LogId, rows: &[Row]) -> impl Iterator<Item = (Bytes, Option<Bytes>)> {
    rows.iter().map(move |row| (row_key(log, &row.key), row.value.clone()))
}

fn put_rows(keyspace: &Keyspace, rows: LastWrites, batch: &mut OwnedWriteBatch) {
    for (key, value) in rows {
        match value {
            Some(value) => batch.insert(keyspace, key, value),
            None => batch.remove(keyspace, key),
        }
    }
}

fn put_index(entry: &EntryIndex, segment: &SegmentIndex, batch: &mut OwnedWriteBatch) {
    let mut keys: Vec<(&Key, usize)> = Vec::with_capacity(entry.records.len());
    let mut records = entry.records.iter();
    let mut found = Vec::with_capacity(entry.pieces.len());
    for (number, piece) in entry.pieces.iter().enumerate() {
        let at = Location { segment: entry.segment, offset: entry.offset + piece.offset, bytes: piece.bytes };
        found.push(Found { first: piece.first, at });
        batch.insert(&segment.events, event_key(entry.log, piece.first), event_value(at));
        keys.extend(records.by_ref().take(piece.count as usize).map(|record| (&record.key, number)));
    }
    // The engine's cost is per entry, so there is one for each key of an append, not of a chunk.
    keys.sort_unstable();
    keys.dedup();
    for of_key in keys.chunk_by(|a, b| a.0 == b.0) {
        let Some((key, _)) = of_key.first() else { continue };
        let mut value = Vec::with_capacity(10 * of_key.len());
        for found in of_key.iter().filter_map(|(_, number)| found.get(*number)) {
            put_piece(entry.first, *found, &mut value);
        }
        batch.insert(&segment.index, index_key(entry.log, key, entry.first), value);
    }
}
