//! Reading the database. All of this blocks; it runs on the blocking pool.

use std::{ops::Bound, sync::Arc};

use bytes::Bytes;
use fjall::Keyspace;
use roomhook_log::{Key, LogId, Lsn, ReadError, Record, prefix_within_limits};

use crate::{
    codec::{ChunkError, decode_chunk, event_key, index_key, parse_event_key, parse_index_entry},
    engine::Engine,
    segments::Segment,
};

/// A cold read stops decoding after this many bytes of chunks; streams trim what is over their own limit.
const COLD_BYTES: usize = 512 << 10;
const COLD_RECORDS: usize = 2_048;

impl Engine {
    /// Records from exactly `from` on, below `below`: at least one, from one segment.
    pub(crate) fn read_cold(&self, from: Lsn, below: Lsn) -> Result<Arc<[Record]>, ReadError> {
        let segments = self.segments.all();
        let at = segments.partition_point(|segment| segment.first <= from);
        let Some(segment) = at.checked_sub(1).and_then(|at| segments.get(at)) else {
            let first = self.segments.first();
            return Err(ReadError::Trimmed { log: self.log, wanted: from, first });
        };
        let start = self.chunk_holding(segment, from)?;
        let (mut records, mut bytes) = (Vec::new(), 0);
        let mut expected = start;
        for entry in segment.events.range(event_key(start)..) {
            let (key, stored) = entry.into_inner().map_err(read_error(self.log))?;
            bytes += stored.len();
            let chunk = self.decode(&key, stored.into(), expected)?;
            expected = chunk.last().map_or(expected, |record| record.lsn.next());
            records.extend(chunk.into_iter().filter(|record| from <= record.lsn && record.lsn < below));
            if expected >= below || bytes >= COLD_BYTES || records.len() >= COLD_RECORDS {
                break;
            }
        }
        if records.is_empty() {
            return Err(corrupt(self.log, from, "it is missing".to_owned()));
        }
        records.truncate(prefix_within_limits(&records));
        Ok(records.into())
    }

    /// Position of the chunk that `lsn` is in.
    fn chunk_holding(&self, segment: &Segment, lsn: Lsn) -> Result<Lsn, ReadError> {
        let entry = segment.events.range(..=event_key(lsn)).next_back();
        let key = entry.map(fjall::Guard::key).transpose().map_err(read_error(self.log))?;
        key.and_then(|key| parse_event_key(&key)).ok_or_else(|| corrupt(self.log, lsn, "it is missing".to_owned()))
    }

    fn decode(&self, key: &[u8], stored: Bytes, expected: Lsn) -> Result<Vec<Record>, ReadError> {
        match parse_event_key(key) {
            Some(first) if first == expected => {
                decode_chunk(&stored, first).map_err(|error| corrupt(self.log, first, error.to_string()))
            }
            Some(first) => Err(corrupt(self.log, expected, format!("the next record is {first}"))),
            None => Err(corrupt(self.log, expected, ChunkError::Length.to_string())),
        }
    }

    /// The newest `limit` records of `key` before `before`, oldest first.
    pub(crate) fn last(&self, key: &Key, before: Lsn, limit: usize) -> Result<Vec<Record>, ReadError> {
        let mut found = Vec::new();
        let segments = self.segments.all();
        for segment in segments.iter().rev().filter(|segment| segment.first < before) {
            if found.len() >= limit {
                break;
            }
            self.last_in(segment, key, before, limit, &mut found)?;
        }
        found.reverse();
        Ok(found)
    }

    /// Adds records of one segment to `found`, newest first.
    fn last_in(
        &self,
        segment: &Segment,
        key: &Key,
        before: Lsn,
        limit: usize,
        found: &mut Vec<Record>,
    ) -> Result<(), ReadError> {
        for entry in segment.index.range(index_key(key, Lsn(0))..index_key(key, before)).rev() {
            let (entry, offsets) = entry.into_inner().map_err(read_error(self.log))?;
            let chunks = parse_index_entry(&entry, &offsets)
                .ok_or_else(|| corrupt(self.log, segment.first, "the index is damaged".to_owned()))?;
            for first in chunks.into_iter().filter(|first| *first < before) {
                if found.len() >= limit {
                    return Ok(());
                }
                let stored = segment.events.get(event_key(first)).map_err(read_error(self.log))?;
                let stored = stored.ok_or_else(|| corrupt(self.log, first, "it is missing".to_owned()))?;
                let chunk = self.decode(&event_key(first), stored.into(), first)?;
                let wanted = chunk.into_iter().rev().filter(|record| record.lsn < before && record.key == *key);
                // A record is a slice of its chunk, and a chunk may be long: without a copy, a page of one room's messages would
                // hold on to everything that was said beside them.
                found.extend(wanted.take(limit - found.len()).map(detached));
            }
        }
        Ok(())
    }

    /// The oldest `limit` records of `key` in `from..below`, oldest first.
    pub(crate) fn of_key(&self, key: &Key, from: Lsn, below: Lsn, limit: usize) -> Result<Vec<Record>, ReadError> {
        let mut found = Vec::new();
        if from >= below {
            return Ok(found);
        }
        let segments = self.segments.all();
        // The segment that `from` is in, and those after it.
        let start = segments.partition_point(|segment| segment.first <= from).saturating_sub(1);
        let wanted = segments.iter().skip(start).take_while(|segment| segment.first < below);
        for segment in wanted {
            if found.len() >= limit {
                break;
            }
            self.of_key_in(segment, key, (from, below), limit, &mut found)?;
        }
        Ok(found)
    }

    /// Adds records of one segment to `found`, oldest first.
    fn of_key_in(
        &self,
        segment: &Segment,
        key: &Key,
        (from, below): (Lsn, Lsn),
        limit: usize,
        found: &mut Vec<Record>,
    ) -> Result<(), ReadError> {
        // Entries name the append they are of; the one that `from` is in may have begun before it.
        let holding = segment.index.range(index_key(key, Lsn(0))..=index_key(key, from)).next_back();
        let holding = holding.map(fjall::Guard::key).transpose().map_err(read_error(self.log))?;
        let start = holding.map_or_else(|| index_key(key, from), Bytes::from);
        for entry in segment.index.range(start..index_key(key, below)) {
            let (entry, offsets) = entry.into_inner().map_err(read_error(self.log))?;
            let mut chunks = parse_index_entry(&entry, &offsets)
                .ok_or_else(|| corrupt(self.log, segment.first, "the index is damaged".to_owned()))?;
            chunks.reverse();
            // Chunks before the one that `from` may be in need no decoding.
            let before = chunks.partition_point(|first| *first <= from).saturating_sub(1);
            for first in chunks.into_iter().skip(before).take_while(|first| *first < below) {
                if found.len() >= limit {
                    return Ok(());
                }
                let stored = segment.events.get(event_key(first)).map_err(read_error(self.log))?;
                let stored = stored.ok_or_else(|| corrupt(self.log, first, "it is missing".to_owned()))?;
                let chunk = self.decode(&event_key(first), stored.into(), first)?;
                let is_wanted = |record: &Record| from <= record.lsn && record.lsn < below && record.key == *key;
                found.extend(chunk.into_iter().filter(is_wanted).take(limit - found.len()));
            }
        }
        Ok(())
    }
}

fn detached(record: Record) -> Record {
    Record {
        key: Key(Bytes::copy_from_slice(&record.key.0)),
        payload: Bytes::copy_from_slice(&record.payload),
        ..record
    }
}

/// One row.
pub(crate) fn get_row(log: LogId, rows: &Keyspace, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
    Ok(rows.get(key).map_err(read_error(log))?.map(Bytes::from))
}

/// Rows of a prefix, in order, from the first key above `after`; at most `limit`.
pub(crate) fn scan_rows(
    log: LogId,
    rows: &Keyspace,
    prefix: &[u8],
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let mut found = Vec::new();
    for entry in rows.range::<&[u8], _>((start, Bound::Unbounded)).take(limit) {
        let (key, value) = entry.into_inner().map_err(read_error(log))?;
        if !key.starts_with(prefix) {
            break;
        }
        found.push((key.into(), value.into()));
    }
    Ok(found)
}

fn corrupt(log: LogId, at: Lsn, reason: String) -> ReadError {
    ReadError::Corrupt { log, at, reason }
}

fn read_error(log: LogId) -> impl Fn(fjall::Error) -> ReadError {
    move |error| ReadError::Io { log, reason: error.to_string() }
}
