//! One append as bytes: the same in a journal of files and in a stream of messages, so one reader checks both.
//!
//! ```text
//! entry   version u8 | kind u8 | log u16 | store u64 | epoch u64 | first u64 | count u32 | newest_at_ms u64
//!         | previous u32 | chunks length u32 | rows length u32 | chunks | rows | crc32c u32 of all before
//! chunks  see `chunk`: the records `first .. first + count`
//! rows    each: key length u16 | value length u32 (all ones: delete) | key | value        (numbers little endian)
//! ```
//!
//! `previous` is the checksum of the log's entry before: together with `first` and `epoch` it proves that nothing is missing
//! between two entries, that nothing is out of order, and that nobody else wrote in between, whoever kept the bytes.

mod chunk;
mod rows;

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub use chunk::{ChunkError, ChunkHead, decode_chunk};

use crate::types::{Epoch, LogId, Lsn, NewRecord, Row};

/// Version of what is written. Another one is refused: a record that is half understood is worse than a store that does not start.
pub const VERSION: u8 = 1;

/// Bytes of an entry that holds nothing.
pub const EMPTY_BYTES: usize = HEAD_BYTES + CRC_BYTES;

const HEAD_BYTES: usize = 52;
const CRC_BYTES: usize = 4;

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Begins an epoch, and fences the ones before it. Holds one record of the log's own.
    Claim,
    /// Records and rows, each of which may be missing.
    Append,
}

/// Where a log stands: what its next entry must continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub epoch: Epoch,
    pub next: Lsn,
    /// The newest time seen in a record, in Unix milliseconds. Claims, which have no time of their own, take it over.
    pub newest_at_ms: u64,
    /// Checksum of the newest entry; 0 before the first.
    pub crc: u32,
}

impl Position {
    /// A log without an entry.
    pub const EMPTY: Self = Self { epoch: Epoch(0), next: Lsn::FIRST, newest_at_ms: 0, crc: 0 };
}

/// Everything about an entry but what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: Kind,
    pub log: LogId,
    /// Which store it belongs to: a number drawn when the store was made.
    pub store: u64,
    pub epoch: Epoch,
    /// Position of its first record, or of the next one if it has none.
    pub first: Lsn,
    /// Number of records.
    pub count: u32,
    pub newest_at_ms: u64,
    /// Checksum of the entry before.
    pub previous: u32,
    chunks_bytes: u32,
    rows_bytes: u32,
    /// Checksum of this one.
    pub crc: u32,
}

impl Head {
    /// Bytes of the whole entry.
    #[must_use]
    pub fn size(&self) -> usize {
        EMPTY_BYTES + self.chunks_bytes as usize + self.rows_bytes as usize
    }

    /// Where the log stands after it.
    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            next: Lsn(self.first.0.saturating_add(u64::from(self.count))),
            newest_at_ms: self.newest_at_ms,
            crc: self.crc,
        }
    }

    /// Whether this entry is the one that comes after `position`.
    ///
    /// # Errors
    /// What does not fit.
    pub fn continues(&self, position: &Position) -> Result<(), ChainError> {
        if self.first != position.next {
            return Err(ChainError::Gap { expected: position.next, found: self.first });
        }
        if self.previous != position.crc {
            return Err(ChainError::Fork { at: self.first });
        }
        let after = |epoch: Epoch| match self.kind {
            // The last epoch there can be has no next one.
            Kind::Claim => epoch.0.checked_add(1).map(Epoch),
            Kind::Append => Some(epoch),
        };
        // A log that lost its end goes on in an epoch after the loss.
        let lost = Epoch(u64::from(self.epoch.losses()) << 32);
        let is_next = |epoch| after(epoch) == Some(self.epoch);
        if !is_next(position.epoch) && (lost <= position.epoch || !is_next(lost)) {
            let expected = after(position.epoch).unwrap_or(position.epoch);
            return Err(ChainError::Epoch { expected, found: self.epoch });
        }
        Ok(())
    }
}

/// Why an entry is not the next one of its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("record {expected} is missing, {found} follows")]
    Gap { expected: Lsn, found: Lsn },
    #[error("the entry at {at} continues another one than is there")]
    Fork { at: Lsn },
    #[error("it is of epoch {found}, expected is {expected}")]
    Epoch { expected: Epoch, found: Epoch },
}

/// Why bytes are not an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("entry version {0} is not known")]
    Version(u8),
    #[error("the checksum is wrong")]
    Checksum,
    #[error("it is cut short or too long")]
    Length,
    #[error("what it holds cannot be read")]
    Content,
}

/// An entry in the making: what goes in, in the order in which it is decided.
#[derive(Debug)]
pub struct Draft<'a> {
    pub kind: Kind,
    pub log: LogId,
    pub store: u64,
    /// The position it continues, with `epoch` as it is from this entry on.
    pub after: Position,
    pub records: &'a [NewRecord],
    pub rows: &'a [Row],
}

/// One chunk of an encoded entry: what an index points to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub first: Lsn,
    pub count: u32,
    /// Where it lies, counted from the start of the entry.
    pub offset: u32,
    pub bytes: u32,
}

impl Draft<'_> {
    /// Appends the entry to `out` and says where its chunks lie. Records and rows must have been checked against
    /// [`crate::limits`].
    pub fn encode(&self, out: &mut BytesMut) -> (Head, Vec<Piece>) {
        let start = out.len();
        out.put_bytes(0, HEAD_BYTES);
        let pieces = self.put_chunks(start, out);
        let chunks_bytes = length(out.len() - start - HEAD_BYTES);
        rows::put(self.rows, out);
        let rows_bytes = length(out.len() - start - HEAD_BYTES) - chunks_bytes;
        let newest = self.records.iter().map(|record| record.at_ms).fold(self.after.newest_at_ms, u64::max);
        let mut head = Head {
            kind: self.kind,
            log: self.log,
            store: self.store,
            epoch: self.after.epoch,
            first: self.after.next,
            count: length(self.records.len()),
            newest_at_ms: newest,
            previous: self.after.crc,
            chunks_bytes,
            rows_bytes,
            crc: 0,
        };
        if let Some(bytes) = out.get_mut(start..start + HEAD_BYTES) {
            head.put(bytes);
        }
        head.crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
        out.put_u32_le(head.crc);
        (head, pieces)
    }

    fn put_chunks(&self, start: usize, out: &mut BytesMut) -> Vec<Piece> {
        let (mut rest, mut first) = (self.records, self.after.next);
        let mut pieces = Vec::with_capacity(1);
        while !rest.is_empty() {
            let (records, after) = rest.split_at(chunk::chunk_len(rest));
            let at = out.len();
            chunk::put_chunk(first, self.after.epoch, records, out);
            let count = length(records.len());
            pieces.push(Piece { first, count, offset: length(at - start), bytes: length(out.len() - at) });
            first = Lsn(first.0 + u64::from(count));
            rest = after;
        }
        pieces
    }
}

/// What is limited far below what 32 bits can tell (`limits::APPEND_BYTES_MAX`).
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Head {
    fn put(&self, mut out: &mut [u8]) {
        out.put_u8(VERSION);
        out.put_u8(match self.kind {
            Kind::Claim => 1,
            Kind::Append => 2,
        });
        out.put_u16_le(self.log.0);
        out.put_u64_le(self.store);
        out.put_u64_le(self.epoch.0);
        out.put_u64_le(self.first.0);
        out.put_u32_le(self.count);
        out.put_u64_le(self.newest_at_ms);
        out.put_u32_le(self.previous);
        out.put_u32_le(self.chunks_bytes);
        out.put_u32_le(self.rows_bytes);
    }

    /// Reads the head of the entry that `bytes` begin with, unchecked: its checksum may be wrong.
    ///
    /// # Errors
    /// A version that is not known, or too few bytes.
    fn peek(bytes: &[u8]) -> Result<Self, EntryError> {
        let version = *bytes.first().ok_or(EntryError::Length)?;
        if version != VERSION {
            return Err(EntryError::Version(version));
        }
        let mut fields = bytes.get(1..HEAD_BYTES).ok_or(EntryError::Length)?;
        let kind = match fields.get_u8() {
            1 => Kind::Claim,
            2 => Kind::Append,
            _ => return Err(EntryError::Content),
        };
        Ok(Self {
            kind,
            log: LogId(fields.get_u16_le()),
            store: fields.get_u64_le(),
            epoch: Epoch(fields.get_u64_le()),
            first: Lsn(fields.get_u64_le()),
            count: fields.get_u32_le(),
            newest_at_ms: fields.get_u64_le(),
            previous: fields.get_u32_le(),
            chunks_bytes: fields.get_u32_le(),
            rows_bytes: fields.get_u32_le(),
            crc: 0,
        })
    }
}

/// An entry whose checksum is right, still as the bytes it came as.
#[derive(Clone, Debug)]
pub struct Entry {
    pub head: Head,
    bytes: Bytes,
}

impl Entry {
    /// Takes one entry off the front of `bytes`, which may hold more.
    ///
    /// # Errors
    /// When what `bytes` begin with is no entry. Never panics, whatever they are.
    pub fn take(bytes: &mut Bytes) -> Result<Self, EntryError> {
        let mut head = Head::peek(bytes)?;
        let len = head.size();
        let (body, mut crc) =
            bytes.get(..len).and_then(|entry| entry.split_at_checked(len - CRC_BYTES)).ok_or(EntryError::Length)?;
        head.crc = crc32c::crc32c(body);
        if head.crc != crc.get_u32_le() {
            return Err(EntryError::Checksum);
        }
        Ok(Self { head, bytes: bytes.split_to(len) })
    }

    /// Where its chunks lie, checked to be all its records in order.
    ///
    /// # Errors
    /// When the chunks are not what the head says, although the checksum is right: another program's doing.
    pub fn pieces(&self) -> Result<Vec<Piece>, EntryError> {
        let mut pieces = Vec::with_capacity(1);
        let (mut offset, end) = (HEAD_BYTES, HEAD_BYTES + self.head.chunks_bytes as usize);
        let mut next = self.head.first;
        while offset < end {
            let rest = self.bytes.get(offset..end).ok_or(EntryError::Length)?;
            let bytes = chunk::whole_len(rest).ok_or(EntryError::Length)?;
            let stored = rest.get(..bytes).ok_or(EntryError::Length)?;
            let head = chunk::check_chunk(stored, next).map_err(|_| EntryError::Content)?;
            if head.epoch != self.head.epoch {
                return Err(EntryError::Content);
            }
            pieces.push(Piece { first: next, count: head.count, offset: length(offset), bytes: length(bytes) });
            next = head.next();
            offset += bytes;
        }
        let whole = next.0 - self.head.first.0 == u64::from(self.head.count);
        if whole { Ok(pieces) } else { Err(EntryError::Content) }
    }

    /// The bytes of one of its chunks, for [`decode_chunk`].
    #[must_use]
    pub fn chunk(&self, piece: &Piece) -> Bytes {
        let start = piece.offset as usize;
        self.bytes.slice(start..start + piece.bytes as usize)
    }

    /// The rows of webhooks that were written with it.
    ///
    /// # Errors
    /// As for [`Entry::pieces`].
    pub fn rows(&self) -> Result<Vec<Row>, EntryError> {
        let start = HEAD_BYTES + self.head.chunks_bytes as usize;
        rows::parse(self.bytes.slice(start..start + self.head.rows_bytes as usize)).ok_or(EntryError::Content)
    }

    /// As it was written.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

#[cfg(test)]
mod tests;
