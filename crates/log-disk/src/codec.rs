//! Records as bytes.
//!
//! Neighbouring records of one append are stored together in a *chunk*, keyed by the position of the first one: the
//! engine's cost is per entry, and readers want neighbours. Chunks are small, so that one record is still cheap to read.
//!
//! ```text
//! chunk   version u8 | first u64 | epoch u64 | count u32 | count x record | crc32c u32 of all before
//! record  at_ms u64 | key length u16 | payload length u32 | key | payload           (numbers little endian)
//!
//! events  first u64 (big endian)                           -> chunk
//! index   key length u16 (big endian) | key | first u64 BE -> u16 offsets (little endian): the append that starts at
//!         `first` has records of this key in the chunks that start at these offsets from it
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use roomhook_log::{Epoch, Key, Lsn, NewRecord, Record};

pub(crate) const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 8 + 8 + 4;
const RECORD_HEADER_BYTES: usize = 8 + 2 + 4;
const CRC_BYTES: usize = 4;

/// A chunk is closed when it has reached either of these.
const CHUNK_BYTES: usize = 8 << 10;
const CHUNK_RECORDS: usize = 64;

/// Why bytes are not a chunk.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    #[error("record version {0} is not known")]
    Version(u8),
    #[error("checksum is wrong")]
    Checksum,
    #[error("it is cut short or too long")]
    Length,
    #[error("it says to start at {0}")]
    Position(Lsn),
}

/// Position and length of a chunk whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkHead {
    pub(crate) first: Lsn,
    pub(crate) epoch: Epoch,
    pub(crate) count: u32,
}

impl ChunkHead {
    /// Position after the last record.
    pub(crate) fn next(self) -> Lsn {
        Lsn(self.first.0.saturating_add(u64::from(self.count)))
    }
}

/// How many leading records form the next chunk; at least one.
pub(crate) fn chunk_len(records: &[NewRecord]) -> usize {
    let mut bytes = HEADER_BYTES + CRC_BYTES;
    let fits = |record: &&NewRecord| {
        let before = bytes;
        bytes += RECORD_HEADER_BYTES + record.key.0.len() + record.payload.len();
        before < CHUNK_BYTES
    };
    records.iter().take(CHUNK_RECORDS).take_while(fits).count()
}

/// Encodes one chunk. Lengths must have been checked against the limits of an append.
pub(crate) fn encode_chunk(first: Lsn, epoch: Epoch, records: &[NewRecord]) -> Bytes {
    let body: usize = records.iter().map(|r| RECORD_HEADER_BYTES + r.key.0.len() + r.payload.len()).sum();
    let mut out = BytesMut::with_capacity(HEADER_BYTES + body + CRC_BYTES);
    out.put_u8(VERSION);
    out.put_u64_le(first.0);
    out.put_u64_le(epoch.0);
    out.put_u32_le(u32::try_from(records.len()).unwrap_or(u32::MAX));
    for record in records {
        out.put_u64_le(record.at_ms);
        out.put_u16_le(u16::try_from(record.key.0.len()).unwrap_or(u16::MAX));
        out.put_u32_le(u32::try_from(record.payload.len()).unwrap_or(u32::MAX));
        out.put_slice(&record.key.0);
        out.put_slice(&record.payload);
    }
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    out.freeze()
}

/// Checks version, checksum and position, without looking at the records.
pub(crate) fn check_chunk(stored: &[u8], expected: Lsn) -> Result<ChunkHead, ChunkError> {
    let version = *stored.first().ok_or(ChunkError::Length)?;
    if version != VERSION {
        return Err(ChunkError::Version(version));
    }
    let (body, mut crc) = stored.split_at_checked(stored.len().saturating_sub(CRC_BYTES)).ok_or(ChunkError::Length)?;
    if body.len() < HEADER_BYTES {
        return Err(ChunkError::Length);
    }
    if crc32c::crc32c(body) != crc.get_u32_le() {
        return Err(ChunkError::Checksum);
    }
    let mut fields = body.get(1..).ok_or(ChunkError::Length)?;
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

/// Decodes a chunk that must start at `expected`. Records share its bytes.
pub(crate) fn decode_chunk(stored: &Bytes, expected: Lsn) -> Result<Vec<Record>, ChunkError> {
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
        records.push(Record { lsn: Lsn(head.first.0 + offset), epoch: head.epoch, key, at_ms, payload });
    }
    if rest.has_remaining() { Err(ChunkError::Length) } else { Ok(records) }
}

pub(crate) fn event_key(first: Lsn) -> [u8; 8] {
    first.0.to_be_bytes()
}

/// `None` when the bytes are not a position.
pub(crate) fn parse_event_key(key: &[u8]) -> Option<Lsn> {
    key.try_into().ok().map(u64::from_be_bytes).map(Lsn)
}

/// The length comes first, so that no key's entries lie among those of another key it is the beginning of.
pub(crate) fn index_key(key: &Key, first: Lsn) -> Bytes {
    let mut out = BytesMut::with_capacity(2 + key.0.len() + 8);
    out.put_u16(u16::try_from(key.0.len()).unwrap_or(u16::MAX));
    out.put_slice(&key.0);
    out.put_u64(first.0);
    out.freeze()
}

/// `None` when the bytes are not an index key.
fn parse_index_key(stored: &[u8]) -> Option<Lsn> {
    let (_, first) = stored.split_last_chunk::<8>()?;
    Some(Lsn(u64::from_be_bytes(*first)))
}

/// Where a chunk of an append starts, from the start of the append: appends are far shorter than this can tell.
pub(crate) fn chunk_offset(append: Lsn, chunk: Lsn) -> u16 {
    u16::try_from(chunk.0 - append.0).unwrap_or(u16::MAX)
}

pub(crate) fn encode_offsets(offsets: impl Iterator<Item = u16>) -> Vec<u8> {
    offsets.flat_map(u16::to_le_bytes).collect()
}

/// Positions of the chunks that an index entry names, newest first. `None` when the bytes are no index entry.
pub(crate) fn parse_index_entry(key: &[u8], offsets: &[u8]) -> Option<Vec<Lsn>> {
    let append = parse_index_key(key)?;
    let (offsets, odd) = offsets.as_chunks::<2>();
    let chunks = offsets.iter().rev().map(|offset| append.0.checked_add(u16::from_le_bytes(*offset).into()).map(Lsn));
    if odd.is_empty() { chunks.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_record() -> impl Strategy<Value = NewRecord> {
        let bytes = |len| prop::collection::vec(any::<u8>(), len).prop_map(Bytes::from);
        (bytes(0..Key::BYTES_MAX + 1), any::<u64>(), bytes(0..2_000)).prop_map(|(key, at_ms, payload)| NewRecord {
            key: Key(key),
            at_ms,
            payload,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn decoding_undoes_encoding(
            records in prop::collection::vec(any_record(), 1..80),
            first in 1..u64::MAX / 2,
            epoch: u64,
        ) {
            let (mut rest, mut next) = (&records[..], Lsn(first));
            while !rest.is_empty() {
                let (chunk, after) = rest.split_at(chunk_len(rest));
                let stored = encode_chunk(next, Epoch(epoch), chunk);
                prop_assert_eq!(check_chunk(&stored, next).map(ChunkHead::next), Ok(Lsn(next.0 + chunk.len() as u64)));
                let decoded = decode_chunk(&stored, next).expect("decode");
                prop_assert_eq!(decoded.len(), chunk.len());
                for (decoded, given) in decoded.iter().zip(chunk) {
                    prop_assert_eq!((decoded.lsn, decoded.epoch), (next, Epoch(epoch)));
                    prop_assert_eq!((&decoded.key, decoded.at_ms), (&given.key, given.at_ms));
                    prop_assert_eq!(&decoded.payload, &given.payload);
                    next = next.next();
                }
                rest = after;
            }
        }

        #[test]
        fn a_changed_byte_is_noticed(
            records in prop::collection::vec(any_record(), 1..5),
            at: prop::sample::Index,
            bit in 0..8u8,
        ) {
            let mut stored = encode_chunk(Lsn(9), Epoch(1), &records).to_vec();
            let at = at.index(stored.len());
            stored[at] ^= 1 << bit;
            prop_assert!(decode_chunk(&Bytes::from(stored), Lsn(9)).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(stored in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut with_crc = stored.clone();
            with_crc.extend(crc32c::crc32c(&stored).to_le_bytes());
            for bytes in [stored, with_crc] {
                let _ = decode_chunk(&Bytes::from(bytes.clone()), Lsn(1));
                let _ = (parse_event_key(&bytes), parse_index_entry(&bytes, &bytes));
            }
        }

        #[test]
        fn index_keys_of_one_key_are_neighbours_in_order(a: Vec<u8>, b: Vec<u8>, x: u64, y: u64, z: u64) {
            prop_assume!(a != b && a.len() <= 256 && b.len() <= 256);
            let (a, b) = (Key(Bytes::from(a)), Key(Bytes::from(b)));
            let (low, high) = (x.min(y), x.max(y));
            prop_assert!(index_key(&a, Lsn(low)) <= index_key(&a, Lsn(high)));
            let other = index_key(&b, Lsn(z));
            let between = index_key(&a, Lsn(low)) <= other && other <= index_key(&a, Lsn(high));
            prop_assert!(!between, "no other key lies between");
            prop_assert_eq!(parse_index_key(&other), Some(Lsn(z)));
        }
    }

    #[test]
    fn an_index_entry_names_its_chunks_newest_first() {
        let key = index_key(&Key(Bytes::from_static(b"k")), Lsn(100));
        let offsets = encode_offsets([0, 22, 4_000].into_iter());
        assert_eq!(parse_index_entry(&key, &offsets), Some(vec![Lsn(4_100), Lsn(122), Lsn(100)]));
        assert_eq!(parse_index_entry(&key, &offsets[..3]), None);
        assert_eq!(parse_index_entry(b"short", &offsets), None);
    }

    #[test]
    fn a_chunk_of_an_unknown_version_is_named() {
        let record = NewRecord { key: Key(Bytes::from_static(b"k")), at_ms: 1, payload: Bytes::new() };
        let mut stored = encode_chunk(Lsn(1), Epoch(1), &[record]).to_vec();
        stored[0] = 2;
        assert_eq!(decode_chunk(&Bytes::from(stored), Lsn(1)), Err(ChunkError::Version(2)));
    }
}
