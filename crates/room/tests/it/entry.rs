//! What the fuzz target `record` runs, and an ordinary test besides. Included by both.

use bytes::{BufMut, Bytes, BytesMut};
use roomhook_room::{
    Endpoint, Event, FORMAT_VERSION, Message, Room, UnixMillis, decode_directory_record, decode_record, directory,
    encode_directory_record, encode_record, fold, foresee,
    invariants::{continues, same_fold},
};

/// Bytes of somebody's disk. The first one says as what they are read, the second one where a snapshot ends.
pub(crate) fn stored(data: &[u8]) {
    let [kind, cut, bytes @ ..] = data else { return };
    match kind % 4 {
        0 => resumed(Room::absent(), bytes),
        1 => {
            let (snapshot, record) = bytes.split_at(usize::from(*cut).min(bytes.len()));
            if let Ok(room) = Room::from_snapshot(&versioned(snapshot)) {
                snapshot_is_stable(&room);
                resumed(room, record);
            }
        }
        2 => directory_record(bytes),
        _ => {
            if let Ok(endpoint) = Endpoint::decode(&versioned(bytes)) {
                assert_eq!(Endpoint::decode(&endpoint.encode()).as_ref(), Ok(&endpoint));
            }
        }
    }
}

/// So that the fuzzer needs not find out about it.
fn versioned(bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + bytes.len());
    out.put_u8(FORMAT_VERSION);
    out.put_slice(bytes);
    out.freeze()
}

/// Reads a record and goes on with it from `room` the way a restart does.
fn resumed(mut room: Room, bytes: &[u8]) {
    let Ok(events) = decode_record(&versioned(bytes)) else { return };
    assert_eq!(decode_record(&encode_record(&events)).as_ref(), Ok(&events), "what is read is written as it was");
    let is_new = room == Room::absent();
    // A room's time never goes back, unless its disk says so.
    let (mut newest, mut is_in_order) = (UnixMillis(0), true);
    for event in &events {
        if !continues(&room, event) {
            return;
        }
        fold(&mut room, event);
        let (Event::MessageSent(Message { at, .. }) | Event::RoomCreated { at, .. } | Event::RoomDestroyed { at, .. }) =
            event;
        is_in_order &= newest <= *at;
        newest = *at;
        if let Event::MessageSent(Message { draft, at, .. }) = event
            && let Ok(seen) = foresee(&room, &draft.from, draft.dedup_key(), *at)
        {
            let is_repeat = draft.content.is_some() && is_in_order && is_new;
            assert!(seen.repeats.is_some() || !is_repeat, "what was just sent is known");
        }
    }
    snapshot_is_stable(&room);
    let (before, after) = events.split_at(events.len() / 2);
    assert!(!is_new || same_fold(before, after));
}

fn snapshot_is_stable(room: &Room) {
    assert_eq!(Room::from_snapshot(&room.to_snapshot()).as_ref(), Ok(room));
}

fn directory_record(bytes: &[u8]) {
    let Ok(events) = decode_directory_record(&versioned(bytes)) else { return };
    let again = decode_directory_record(&encode_directory_record(&events));
    assert_eq!(again.as_ref(), Ok(&events), "what is read is written as it was");
    let mut state = directory::State::default();
    events.iter().for_each(|event| directory::fold(&mut state, event));
    let once = state.clone();
    events.iter().for_each(|event| directory::fold(&mut state, event));
    assert_eq!(state, once, "twice is the same as once");
}
