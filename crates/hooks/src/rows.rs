//! What webhooks keep beside each shard's log: a cursor per endpoint, and the exceptions behind it. One byte of version,
//! then Protobuf; an unknown version stops the endpoint instead of guessing.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use roomhook_log::Lsn;
use roomhook_room::{AppId, EndpointId};

use crate::engine::EventPos;

pub(crate) const VERSION: u8 = 1;
/// Of a cursor that has passed what rooms with lanes are still owed. A release that knows no lanes would take that for
/// settled, so it must not go on from there.
const BESIDE_LANES: u8 = 2;

/// Where an endpoint stands in a shard, with the numbers as of there.
#[derive(Clone, PartialEq, Message)]
pub struct CursorRow {
    /// First record that is not settled.
    #[prost(uint64, tag = "1")]
    pub next: u64,
    /// First record that was not counted yet.
    #[prost(uint64, tag = "2")]
    pub counted: u64,
    #[prost(uint64, tag = "3")]
    pub acknowledged: u64,
    #[prost(uint64, tag = "4")]
    pub delivered: u64,
    #[prost(uint64, tag = "5")]
    pub parked: u64,
    #[prost(uint64, tag = "6")]
    pub expired: u64,
    #[prost(uint64, tag = "7")]
    pub skipped: u64,
    /// What was switched on from which record on.
    #[prost(message, repeated, tag = "8")]
    pub switches: Vec<SwitchesRow>,
    /// The record the endpoint began with.
    #[prost(uint64, tag = "9")]
    pub begun: u64,
    // Tag 10 was a time.
    /// Records that were dropped before they were counted.
    #[prost(uint64, tag = "11")]
    pub lost_records: u64,
    /// When the oldest event happened that is counted and not settled; 0: there is none.
    #[prost(uint64, tag = "12")]
    pub pending_at: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct SwitchesRow {
    #[prost(uint64, tag = "1")]
    pub from: u64,
    #[prost(bool, tag = "2")]
    pub has_url: bool,
    #[prost(string, repeated, tag = "3")]
    pub commands: Vec<String>,
    #[prost(string, tag = "4")]
    pub room_prefix: String,
    /// Written as 0. Older releases also kept changes that were still to come, by time.
    #[prost(uint64, tag = "5")]
    pub since: u64,
}

/// A delivery behind the cursor that is not delivered: set aside, or parked.
#[derive(Clone, PartialEq, Message)]
pub struct ExceptionRow {
    #[prost(bytes = "bytes", tag = "1")]
    pub room: Bytes,
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    #[prost(uint64, tag = "3")]
    pub at: u64,
    #[prost(uint32, tag = "4")]
    pub attempts: u32,
    #[prost(uint32, tag = "5")]
    pub tries: u32,
    /// For how long it has been failing while its endpoint was not paused.
    #[prost(uint64, tag = "6")]
    pub failing_ms: u64,
    #[prost(uint64, tag = "7")]
    pub retry_at: u64,
    #[prost(bool, tag = "8")]
    pub parked: bool,
    #[prost(uint32, tag = "9")]
    pub status: u32,
}

/// The rooms of a shard that are off its main path. Written together with the cursor.
#[derive(Clone, PartialEq, Message)]
pub struct LanesRow {
    #[prost(message, repeated, tag = "1")]
    pub lanes: Vec<LaneRow>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LaneRow {
    #[prost(bytes = "bytes", tag = "1")]
    pub room: Bytes,
    /// First record of the room that is not settled.
    #[prost(uint64, tag = "2")]
    pub next: u64,
    /// Unsettled events from there up to the cursor.
    #[prost(uint64, tag = "3")]
    pub owed: u64,
    /// When the oldest of them happened; 0: not known.
    #[prost(uint64, tag = "4")]
    pub at: u64,
}

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    #[error("row is empty")]
    Empty,
    #[error("row has version {0}, this release knows {VERSION}")]
    Version(u8),
    #[error("row is damaged: {0}")]
    Damaged(String),
}

pub(crate) fn encode(version: u8, row: &impl Message) -> Bytes {
    let mut bytes = Vec::with_capacity(1 + row.encoded_len());
    bytes.push(version);
    // A vector has room for everything.
    let _ = row.encode(&mut bytes);
    bytes.into()
}

macro_rules! versioned {
    ($visible:vis $row:ty $(, $other:ident)?) => {
        impl $row {
            $visible fn to_bytes(&self) -> bytes::Bytes {
                $crate::rows::encode($crate::rows::VERSION, self)
            }

            /// # Errors
            /// When the bytes were not written by [`Self::to_bytes`] of this or an older release.
            $visible fn from_bytes(bytes: &[u8]) -> Result<Self, RowError> {
                match bytes.split_first() {
                    None => Err(RowError::Empty),
                    Some((version, rest)) if [$crate::rows::VERSION $(, $other)?].contains(version) => {
                        Self::decode(rest).map_err(|error| RowError::Damaged(error.to_string()))
                    }
                    Some((&version, _)) => Err(RowError::Version(version)),
                }
            }
        }
    };
}
pub(crate) use versioned;
versioned!(pub ExceptionRow);
versioned!(pub LanesRow);

versioned!(pub CursorRow, BESIDE_LANES);

impl CursorRow {
    /// As [`CursorRow::to_bytes`], of a cursor that does not tell all without the row about lanes.
    pub fn to_bytes_beside_lanes(&self) -> Bytes {
        encode(BESIDE_LANES, self)
    }
}

/// The keys of one endpoint's rows.
///
/// `kind (1) | app (4) | generation (8) | length of id (2) | id | [record (8) | index (4)]`, numbers big-endian.
#[derive(Clone, Debug)]
pub struct Names {
    tail: Bytes,
}

impl Names {
    pub fn new(app: AppId, id: &EndpointId, generation: u64) -> Self {
        let mut tail = BytesMut::with_capacity(14 + id.0.len());
        tail.put_u32(app.0);
        tail.put_u64(generation);
        tail.put_u16(u16::try_from(id.0.len()).unwrap_or(u16::MAX));
        tail.put_slice(id.0.as_bytes());
        Self { tail: tail.freeze() }
    }

    pub fn cursor(&self) -> Bytes {
        self.key(b'c', None)
    }

    /// Of the rooms off the main path.
    pub fn lanes(&self) -> Bytes {
        self.key(b'l', None)
    }

    /// What all exceptions of the endpoint begin with.
    pub fn exceptions(&self) -> Bytes {
        self.key(b'x', None)
    }

    pub fn exception(&self, pos: EventPos) -> Bytes {
        self.key(b'x', Some(pos))
    }

    /// What the keys of all kept trails of the endpoint begin with.
    pub fn trails(&self) -> Bytes {
        self.key(b't', None)
    }

    /// Where the last attempts of a parked delivery are kept.
    pub fn trail(&self, pos: EventPos) -> Bytes {
        self.key(b't', Some(pos))
    }

    /// The position that an exception's key of this endpoint names; `None` for other keys.
    pub(crate) fn exception_at(&self, key: &[u8]) -> Option<EventPos> {
        let is_own = key.strip_prefix(b"x").is_some_and(|rest| rest.starts_with(&self.tail));
        is_own.then(|| Self::position(key)).flatten()
    }

    /// Reads the position back from an exception's key.
    pub fn position(key: &[u8]) -> Option<EventPos> {
        let (rest, index) = key.split_last_chunk::<4>()?;
        let (_, lsn) = rest.split_last_chunk::<8>()?;
        Some(EventPos { lsn: Lsn(u64::from_be_bytes(*lsn)), index: u32::from_be_bytes(*index) })
    }

    /// A number that is the same in all releases (FNV-1a), different for nearly all endpoints.
    pub(crate) fn hash(&self) -> u64 {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        self.tail.iter().fold(0xcbf2_9ce4_8422_2325, mix)
    }

    fn key(&self, kind: u8, pos: Option<EventPos>) -> Bytes {
        let mut key = BytesMut::with_capacity(1 + self.tail.len() + 12);
        key.put_u8(kind);
        key.put_slice(&self.tail);
        if let Some(pos) = pos {
            key.put_u64(pos.lsn.0);
            key.put_u32(pos.index);
        }
        key.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_read_back_and_unknown_versions_are_refused() {
        let row = CursorRow { next: 7, counted: 9, acknowledged: 5, delivered: 3, ..CursorRow::default() };
        assert_eq!(CursorRow::from_bytes(&row.to_bytes()), Ok(row));
        assert_eq!(CursorRow::from_bytes(&[9, 1]), Err(RowError::Version(9)));
        assert_eq!(ExceptionRow::from_bytes(&[]), Err(RowError::Empty));
        assert!(matches!(ExceptionRow::from_bytes(&[1, 255]), Err(RowError::Damaged(_))));
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        (0..hex.len()).step_by(2).map(byte).collect()
    }

    #[test]
    fn rows_of_releases_that_told_times_read_as_what_is_known_for_sure() {
        // A cursor at 7 that has counted to 12, with a change that waited for its time.
        let old = "010807100c180920042801300238014220080310011a1a47726f75702e43616c6c6261636b416674657253656e644d7367\
                   4229080c10011a1c4c6976652e43616c6c6261636b4166746572437265617465526f6f6d28f4d395ffbc31480350f4d395ffbc31";
        let row = CursorRow::from_bytes(&bytes(old)).expect("a row");
        assert_eq!((row.next, row.counted, row.begun), (7, 12, 3));
        assert_eq!((row.acknowledged, row.delivered, row.parked, row.expired, row.skipped), (9, 4, 1, 2, 1));
        assert_eq!((row.lost_records, row.pending_at), (0, 0), "not known then");
        let switches: Vec<_> = row.switches.iter().map(|row| (row.from, row.since)).collect();
        assert_eq!(switches, [(3, 0), (12, 1_700_000_000_500)]);
        let lanes = LanesRow::from_bytes(&bytes("010a070a017210051802")).expect("a row");
        assert_eq!(lanes.lanes, [LaneRow { room: Bytes::from_static(b"r"), next: 5, owed: 2, at: 0 }]);
    }

    #[test]
    fn endpoints_never_share_keys_and_positions_read_back() {
        let pos = EventPos { lsn: Lsn(5), index: 2 };
        let one = Names::new(AppId(1), &EndpointId("a".into()), 1);
        let two = Names::new(AppId(1), &EndpointId("ab".into()), 1);
        assert!(!two.exception(pos).starts_with(&one.exceptions()));
        assert_eq!(Names::position(&one.exception(pos)), Some(pos));
    }
}
