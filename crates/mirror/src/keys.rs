//! Keys and values in the engine.
//!
//! ```text
//! ev…     log u16 | first u64                            -> offset u32 | bytes u32: where the chunk that starts at `first` lies
//! ix…     log u16 | key length u16 | key | entry u64     -> pieces, each: lsn offset u16 | offset u32 | bytes u32: the chunks of the
//!         entry that starts at `entry` which hold records of this key
//! owner, hooks   log u16 | key                           -> value
//! meta    "stand"                                        -> see `stand`
//!         "segment/" number u32                          -> see `stand`        (keys big endian, values little endian)
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use roomhook_log::{Key, LogId, Lsn};

/// Where a chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    pub segment: u32,
    /// From the start of the segment's file.
    pub offset: u32,
    pub bytes: u32,
}

/// A chunk and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) first: Lsn,
    pub(crate) at: Location,
}

const PIECE_BYTES: usize = 2 + 4 + 4;

pub(crate) const STAND: &[u8] = b"stand";
pub(crate) const SEGMENT: &[u8] = b"segment/";
/// Written for the number that it gets alone.
pub(crate) const NUMBERS: &[u8] = b"numbers";

pub(crate) fn segment_key(number: u32) -> Vec<u8> {
    [SEGMENT, &number.to_be_bytes()].concat()
}

pub(crate) fn parse_segment_key(key: &[u8]) -> Option<u32> {
    key.strip_prefix(SEGMENT)?.try_into().ok().map(u32::from_be_bytes)
}

pub(crate) fn event_key(log: LogId, first: Lsn) -> [u8; 10] {
    let mut key = [0; 10];
    let mut out = &mut key[..];
    out.put_u16(log.0);
    out.put_u64(first.0);
    key
}

pub(crate) fn event_value(at: Location) -> [u8; 8] {
    let mut value = [0; 8];
    let mut out = &mut value[..];
    out.put_u32_le(at.offset);
    out.put_u32_le(at.bytes);
    value
}

/// `None` when the bytes are something else, or of another log.
pub(crate) fn parse_event(log: LogId, segment: u32, mut key: &[u8], mut value: &[u8]) -> Option<Found> {
    if key.len() != 10 || value.len() != 8 || key.get_u16() != log.0 {
        return None;
    }
    let at = Location { segment, offset: value.get_u32_le(), bytes: value.get_u32_le() };
    Some(Found { first: Lsn(key.get_u64()), at })
}

/// The length comes first, so that no key's entries lie among those of another key it is the beginning of.
pub(crate) fn index_key(log: LogId, key: &Key, entry: Lsn) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + key.0.len() + 8);
    out.put_u16(log.0);
    out.put_u16(u16::try_from(key.0.len()).unwrap_or(u16::MAX));
    out.put_slice(&key.0);
    out.put_u64(entry.0);
    out.freeze()
}

/// Appends a piece to the value of an index entry. An append is far shorter than 16 bits can tell.
pub(crate) fn put_piece(entry: Lsn, found: Found, out: &mut Vec<u8>) {
    out.put_u16_le(u16::try_from(found.first.0 - entry.0).unwrap_or(u16::MAX));
    out.put_u32_le(found.at.offset);
    out.put_u32_le(found.at.bytes);
}

/// Chunks that an index entry names, oldest first. `None` when the bytes are something else.
pub(crate) fn parse_index(segment: u32, key: &[u8], mut value: &[u8]) -> Option<Vec<Found>> {
    let (_, entry) = key.split_last_chunk::<8>()?;
    let entry = u64::from_be_bytes(*entry);
    if !value.len().is_multiple_of(PIECE_BYTES) {
        return None;
    }
    let mut found = Vec::with_capacity(value.len() / PIECE_BYTES);
    while value.has_remaining() {
        let first = Lsn(entry.checked_add(value.get_u16_le().into())?);
        let at = Location { segment, offset: value.get_u32_le(), bytes: value.get_u32_le() };
        found.push(Found { first, at });
    }
    Some(found)
}

pub(crate) fn row_key(log: LogId, key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(2 + key.len());
    out.put_u16(log.0);
    out.put_slice(key);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn index_keys_of_one_key_are_neighbours_in_order(a: Vec<u8>, b: Vec<u8>, x: u64, y: u64, z: u64, log: u16) {
            prop_assume!(a != b && a.len() <= 256 && b.len() <= 256);
            let (a, b, log) = (Key(Bytes::from(a)), Key(Bytes::from(b)), LogId(log));
            let (low, high) = (x.min(y), x.max(y));
            prop_assert!(index_key(log, &a, Lsn(low)) <= index_key(log, &a, Lsn(high)));
            let other = index_key(log, &b, Lsn(z));
            let between = index_key(log, &a, Lsn(low)) <= other && other <= index_key(log, &a, Lsn(high));
            prop_assert!(!between, "no other key lies between");
        }

        #[test]
        fn what_is_written_is_read(entry in 1..u64::MAX / 2, pieces in prop::collection::vec(any::<(u16, u32, u32)>(), 0..5)) {
            let found: Vec<Found> = pieces
                .iter()
                .map(|(offset, at, bytes)| Found {
                    first: Lsn(entry + u64::from(*offset)),
                    at: Location { segment: 3, offset: *at, bytes: *bytes },
                })
                .collect();
            let mut value = Vec::new();
            found.iter().for_each(|found| put_piece(Lsn(entry), *found, &mut value));
            let key = index_key(LogId(1), &Key(Bytes::from_static(b"k")), Lsn(entry));
            prop_assert_eq!(parse_index(3, &key, &value), Some(found.clone()));
            for Found { first, at } in found {
                let stored = parse_event(LogId(1), 3, &event_key(LogId(1), first), &event_value(at));
                prop_assert_eq!(stored, Some(Found { first, at }));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(key: Vec<u8>, value: Vec<u8>) {
            let _ = (parse_event(LogId(0), 1, &key, &value), parse_index(1, &key, &value), parse_segment_key(&key));
        }
    }
}
