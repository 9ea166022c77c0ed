//! Finding records. All of this blocks; it runs on a pool for that.

use std::sync::Arc;

use bytes::Bytes;
use roomhook_log::{Key, LogId, Lsn, ReadError, Record, entry::decode_chunk, prefix_within_limits};

use crate::{
    engine::Mirror,
    keys::{Found, Location, event_key, index_key, parse_event, parse_index},
    segments::SegmentIndex,
};

/// A cold read stops decoding after this many bytes of chunks; streams trim what is over their own limit.
const COLD_BYTES: u64 = 512 << 10;
const COLD_RECORDS: usize = 2_048;

/// The log's own files, as far as a mirror needs them.
pub trait Chunks {
    /// The bytes that lie there.
    ///
    /// # Errors
    /// What went wrong, for a person.
    fn chunk(&self, at: Location) -> std::io::Result<Bytes>;
}

/// One question about one log.
struct Search<'a, C> {
    mirror: &'a Mirror,
    log: LogId,
    chunks: &'a C,
}

impl Mirror {
    /// Records from exactly `from` on, below `below`: at least one, from one segment.
    ///
    /// # Errors
    /// As [`ReadError`] names them.
    pub fn read_cold<C: Chunks>(
        &self,
        chunks: &C,
        log: LogId,
        from: Lsn,
        below: Lsn,
    ) -> Result<Arc<[Record]>, ReadError> {
        let segments = self.segments.all();
        let at = segments.partition_point(|segment| segment.start.first(log) <= from);
        let Some(at) = at.checked_sub(1) else {
            return Err(ReadError::Trimmed { log, wanted: from, first: self.segments.first(log) });
        };
        let search = Search { mirror: self, log, chunks };
        // A log that was quiet goes on in the last of several segments that begin at the same place of it.
        match segments.get(at) {
            Some(segment) => search.cold(segment, from, below),
            None => Err(search.missing(from)),
        }
    }

    /// The newest `limit` records of `key` with `lsn < before`, oldest first.
    ///
    /// # Errors
    /// As [`ReadError`] names them.
    pub fn last<C: Chunks>(
        &self,
        chunks: &C,
        log: LogId,
        key: &Key,
        before: Lsn,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let (segments, search) = (self.segments.all(), Search { mirror: self, log, chunks });
        let mut found = Vec::new();
        for segment in segments.iter().rev().filter(|segment| segment.start.first(log) < before) {
            if found.len() >= limit {
                break;
            }
            search.last_in(segment, key, before, limit, &mut found)?;
        }
        found.reverse();
        Ok(found)
    }

    /// The oldest `limit` records of `key` in `from..below`, oldest first.
    ///
    /// # Errors
    /// As [`ReadError`] names them.
    pub fn of_key<C: Chunks>(
        &self,
        chunks: &C,
        log: LogId,
        key: &Key,
        (from, below): (Lsn, Lsn),
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let (segments, search) = (self.segments.all(), Search { mirror: self, log, chunks });
        let mut found = Vec::new();
        if from >= below {
            return Ok(found);
        }
        // The segment that `from` is in, and those after it.
        let start = segments.partition_point(|segment| segment.start.first(log) <= from).saturating_sub(1);
        let wanted = segments.iter().skip(start).take_while(|segment| segment.start.first(log) < below);
        for segment in wanted {
            if found.len() >= limit {
                break;
            }
            search.of_key_in(segment, key, (from, below), limit, &mut found)?;
        }
        Ok(found)
    }
}

impl<C: Chunks> Search<'_, C> {
    fn cold(&self, segment: &SegmentIndex, from: Lsn, below: Lsn) -> Result<Arc<[Record]>, ReadError> {
        let holding = segment.events.range(event_key(self.log, Lsn(0))..=event_key(self.log, from)).next_back();
        let start = holding.map(fjall::Guard::key).transpose().map_err(|error| self.engine(error))?;
        let start = start.ok_or_else(|| self.missing(from))?;
        let (mut records, mut bytes) = (Vec::new(), 0);
        for entry in segment.events.range(start..event_key(self.log, below).into()) {
            let (key, value) = entry.into_inner().map_err(|error| self.engine(error))?;
            let found = parse_event(self.log, segment.number(), &key, &value);
            let found = found.ok_or_else(|| self.index_damaged(from))?;
            bytes += u64::from(found.at.bytes);
            let expected = records.last().map_or(found.first, |record: &Record| record.lsn.next());
            if found.first != expected && !records.is_empty() {
                return Err(self.missing(expected));
            }
            records.extend(self.decode(found)?.into_iter().filter(|record| from <= record.lsn && record.lsn < below));
            if bytes >= COLD_BYTES || records.len() >= COLD_RECORDS {
                break;
            }
        }
        if records.first().is_none_or(|record| record.lsn != from) {
            return Err(self.missing(from));
        }
        records.truncate(prefix_within_limits(&records));
        Ok(records.into())
    }

    /// Adds records of one segment to `found`, newest first.
    fn last_in(
        &self,
        segment: &SegmentIndex,
        key: &Key,
        before: Lsn,
        limit: usize,
        found: &mut Vec<Record>,
    ) -> Result<(), ReadError> {
        let (low, high) = (index_key(self.log, key, Lsn(0)), index_key(self.log, key, before));
        for entry in segment.index.range(low..high).rev() {
            for piece in self.pieces(segment, entry)?.into_iter().rev().filter(|piece| piece.first < before) {
                if found.len() >= limit {
                    return Ok(());
                }
                let chunk = self.decode(piece)?;
                let wanted = chunk.into_iter().rev().filter(|record| record.lsn < before && record.key == *key);
                // A record is a slice of its chunk, and a chunk may be long: without a copy, a page of one room's messages would
                // hold on to everything that was said beside them.
                found.extend(wanted.take(limit - found.len()).map(detached));
            }
        }
        Ok(())
    }

    /// Adds records of one segment to `found`, oldest first.
    fn of_key_in(
        &self,
        segment: &SegmentIndex,
        key: &Key,
        (from, below): (Lsn, Lsn),
        limit: usize,
        found: &mut Vec<Record>,
    ) -> Result<(), ReadError> {
        // Entries name the append they are of; the one that `from` is in may have begun before it.
        let holding =
            segment.index.range(index_key(self.log, key, Lsn(0))..=index_key(self.log, key, from)).next_back();
        let holding = holding.map(fjall::Guard::key).transpose().map_err(|error| self.engine(error))?;
        let start = holding.map_or_else(|| index_key(self.log, key, from), Bytes::from);
        for entry in segment.index.range(start..index_key(self.log, key, below)) {
            let pieces = self.pieces(segment, entry)?;
            // Chunks before the one that `from` may be in need no decoding.
            let before = pieces.partition_point(|piece| piece.first <= from).saturating_sub(1);
            for piece in pieces.into_iter().skip(before).take_while(|piece| piece.first < below) {
                if found.len() >= limit {
                    return Ok(());
                }
                let is_wanted = |record: &Record| from <= record.lsn && record.lsn < below && record.key == *key;
                let chunk = self.decode(piece)?;
                found.extend(chunk.into_iter().filter(is_wanted).take(limit - found.len()).map(detached));
            }
        }
        Ok(())
    }

    fn pieces(&self, segment: &SegmentIndex, entry: fjall::Guard) -> Result<Vec<Found>, ReadError> {
        let (key, value) = entry.into_inner().map_err(|error| self.engine(error))?;
        let pieces = parse_index(segment.number(), &key, &value);
        pieces.ok_or_else(|| self.index_damaged(segment.start.first(self.log)))
    }

    fn decode(&self, found: Found) -> Result<Vec<Record>, ReadError> {
        let stored = self.chunks.chunk(found.at);
        let stored = stored.map_err(|error| ReadError::Io { log: self.log, reason: error.to_string() })?;
        decode_chunk(&stored, found.first).map_err(|error| {
            let Location { segment, offset, .. } = found.at;
            self.corrupt(found.first, format!("{error} (segment {segment}, byte {offset})"))
        })
    }

    fn missing(&self, at: Lsn) -> ReadError {
        self.mirror.note_damage();
        self.corrupt(at, "it is missing".to_owned())
    }

    fn index_damaged(&self, at: Lsn) -> ReadError {
        self.mirror.note_damage();
        self.corrupt(at, "the index is damaged".to_owned())
    }

    fn corrupt(&self, at: Lsn, reason: String) -> ReadError {
        ReadError::Corrupt { log: self.log, at, reason }
    }

    fn engine(&self, error: fjall::Error) -> ReadError {
        self.mirror.note_damage();
        ReadError::Io { log: self.log, reason: error.to_string() }
    }
}

fn detached(record: Record) -> Record {
    Record {
        key: Key(Bytes::copy_from_slice(&record.key.0)),
        payload: Bytes::copy_from_slice(&record.payload),
        ..record
    }
}
