//! The owner's rows beside a log: their keys and values.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use roomhook_log::{Lsn, Row};
use roomhook_room::{CodecError, Room};

/// Where a restart begins to replay: big-endian position.
pub(crate) const REPLAY_FROM: &[u8] = b"m/replay_from";
/// The directory's: everything up to here is in its rows.
pub(crate) const APPLIED: &[u8] = b"m/applied";
/// The directory's things, each under its own key.
pub(crate) const THING: &[u8] = b"t/";

const ROOM: &[u8] = b"r/";

/// Key of a room's snapshot row, from the room's log key.
pub(crate) fn room_key(room: &[u8]) -> Bytes {
    prefixed(ROOM, room)
}

pub(crate) fn thing_key(thing: &[u8]) -> Bytes {
    prefixed(THING, thing)
}

fn prefixed(prefix: &[u8], rest: &[u8]) -> Bytes {
    [prefix, rest].concat().into()
}

/// The snapshot row of a room that covers everything up to `covers`. A room that is absent needs none: any part of its
/// past that ends with its destruction folds to nothing.
pub(crate) fn room_row(key: &[u8], room: &Room, covers: Lsn) -> Row {
    let value = room.exists().then(|| {
        let snapshot = room.to_snapshot();
        let mut value = BytesMut::with_capacity(8 + snapshot.len());
        value.put_u64(covers.0);
        value.put(snapshot);
        value.freeze()
    });
    Row { key: room_key(key), value }
}

/// Reads [`room_row`]'s value back.
pub(crate) fn parse_room(value: &[u8]) -> Result<(Lsn, Room), CodecError> {
    let (covers, snapshot) = value.split_at_checked(8).ok_or(CodecError::Empty)?;
    Ok((position(covers)?, Room::from_snapshot(snapshot)?))
}

pub(crate) fn position_row(key: &'static [u8], at: Lsn) -> Row {
    Row { key: Bytes::from_static(key), value: Some(Bytes::copy_from_slice(&at.0.to_be_bytes())) }
}

pub(crate) fn position(mut value: &[u8]) -> Result<Lsn, CodecError> {
    value.try_get_u64().map(Lsn).map_err(|_| CodecError::Field("position"))
}
