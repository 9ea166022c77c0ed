//! Records as bytes. Neighbouring records of one append lie together in a *chunk* with a checksum of its own, so that one
//! record can be read, and believed, without the whole append around it.
//!
//! ```text
//! chunk   length u32 of all of it | first u64 | epoch u64 | count u32 | count x record | crc32c u32 of all before
//! record  at_ms u64 | key length u16 | payload length u32 | key | payload           (numbers little endian)
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::types::{Epoch, Key, Lsn, NewRecord, Record};

const LENGTH_BYTES: usize = 4;
const HEADER_BYTES: usize = LENGTH_BYTES + 8 + 8 + 4;
const RECORD_HEADER_BYTES: usize = 8 + 2 + 4;
const CRC_BYTES: usize = 4;

/// A chunk is closed when it has reached either of these: what one record costs to read.
const CHUNK_BYTES: usize = 8 << 10;
const CHUNK_RECORDS: usize = 64;

/// Why bytes are not a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("the checksum is wrong")]
    Checksum,
    #[error("it is cut short or too long")]
    Length,
    #[error("it says to start at {0}")]
    Position(Lsn),
}

/// Position and length of a chunk whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHead {
    pub first: Lsn,
    pub epoch: Epoch,
    pub count: u32,
}

impl ChunkHead {
    /// Position after the last record.
    #[must_use]
    pub fn next(self) -> Lsn {
        Lsn(self.first.0.saturating_add(u64::from(self.count)))
    }
}

/// How many leading records form the next chunk; at least one.
pub(super) fn chunk_len(records: &[NewRecord]) -> usize {
    let mut bytes = HEADER_BYTES + CRC_BYTES;
    let fits = |record: &&NewRecord| {
        let before = bytes;
        bytes += RECORD_HEADER_BYTES + record.key.0.len() + record.payload.len();
        before < CHUNK_BYTES
    };
    records.iter().take(CHUNK_RECORDS).take_while(fits).count()
}

/// Appends one chunk to `out`. Lengths must have been checked against the limits of an append.
pub(super) fn put_chunk(first: Lsn, epoch: Epoch, records: &[NewRecord], out: &mut BytesMut) {
    let body: usize = records.iter().map(|r| RECORD_HEADER_BYTES + r.key.0.len() + r.payload.len()).sum();
    let (start, len) = (out.len(), HEADER_BYTES + body + CRC_BYTES);
    out.reserve(len);
    out.put_u32_le(super::length(len));
    out.put_u64_le(first.0);
    out.put_u64_le(epoch.0);
    out.put_u32_le(super::length(records.len()));
    for record in records {
        out.put_u64_le(record.at_ms);
        out.put_u16_le(u16::try_from(record.key.0.len()).unwrap_or(u16::MAX));
        out.put_u32_le(super::length(record.payload.len()));
        out.put_slice(&record.key.0);
        out.put_slice(&record.payload);
    }
    let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
    out.put_u32_le(crc);
}

/// Bytes of the chunk that `bytes` begin with, as it says itself. `None` when it says what cannot be.
pub(super) fn whole_len(bytes: &[u8]) -> Option<usize> {
    let len = u32::from_le_bytes(*bytes.first_chunk::<LENGTH_BYTES>()?) as usize;
    (len >= HEADER_BYTES + CRC_BYTES).then_some(len)
}

/// Checks length, checksum and position, without looking at the records.
pub(super) fn check_chunk(stored: &[u8], expected: Lsn) -> Result<ChunkHead, ChunkError> {
    let len = whole_len(stored).filter(|len| *len == stored.len()).ok_or(ChunkError::Length)?;
    let (body, mut crc) = stored.split_at_checked(len - CRC_BYTES).ok_or(ChunkError::Length)?;
    if crc32c::crc32c(body) != crc.get_u32_le() {
        return Err(ChunkError::Checksum);
    }
    let mut fields = body.get(LENGTH_BYTES..).ok_or(ChunkError::Length)?;
    let first = Lsn(fields.get_u64_le());
    let head = ChunkHead { first, epoch: Epoch(fields.get_u64_le()), count: fields.get_u32_le() };
    if first != expected {
        return Err(ChunkError::Position(first));
    }
    if head.count == 0 {
        return Err(ChunkError::Length);
    }
    Ok(head)
}

/// Decodes a chunk that must start at `expected`. The records share its bytes.
///
/// # Errors
/// When the bytes are not that chunk. Never panics, whatever they are.
pub fn decode_chunk(stored: &Bytes, expected: Lsn) -> Result<Vec<Record>, ChunkError> {
    let head = check_chunk(stored, expected)?;
    let mut rest = stored.slice(HEADER_BYTES..stored.len() - CRC_BYTES);
    let mut records = Vec::with_capacity(head.count.min(CHUNK_RECORDS as u32) as usize);
    for offset in 0..u64::from(head.count) {
        if rest.remaining() < RECORD_HEADER_BYTES {
            return Err(ChunkError::Length);
        }
        let (at_ms, key_len, payload_len) = (rest.get_u64_le(), rest.get_u16_le(), rest.get_u32_le());
        let (key_len, payload_len) = (usize::from(key_len), payload_len as usize);
        if rest.remaining() < key_len + payload_len {
            return Err(ChunkError::Length);
        }
        let (key, payload) = (Key(rest.split_to(key_len)), rest.split_to(payload_len));
        let lsn = Lsn(head.first.0.checked_add(offset).ok_or(ChunkError::Length)?);
        records.push(Record { lsn, epoch: head.epoch, key, at_ms, payload });
    }
    if rest.has_remaining() { Err(ChunkError::Length) } else { Ok(records) }
}
