//! The invariants that this crate can see, by the names they have everywhere (ARCHITECTURE.md). Used by asserts, tests
//! and the simulator alike.

use crate::{
    event::Event,
    ids::MsgSeq,
    room::{Room, fold},
};

/// Message numbers stay exact in a JSON number, hence below this.
pub const MSG_SEQ_LIMIT: u64 = 1 << 53;

/// `dense`: message numbers of a room have no hole and no repeat within an incarnation.
#[must_use]
pub fn dense(top: MsgSeq, next: MsgSeq) -> bool {
    top.0.checked_add(1) == Some(next.0) && next.0 < MSG_SEQ_LIMIT
}

/// Whether an event may come next in a room: its messages are `dense`.
#[must_use]
pub fn continues(room: &Room, event: &Event) -> bool {
    match (event, &room.life) {
        (Event::MessageSent(message), Some(life)) => dense(life.top, message.seq),
        // The rest of a past whose end the room's snapshot has already: see `fold`.
        (Event::MessageSent(_), None) => true,
        (Event::RoomCreated { .. } | Event::RoomDestroyed { .. }, _) => true,
    }
}

/// `dense`, over the whole past of one room.
#[must_use]
pub fn all_dense<'a>(events: impl IntoIterator<Item = &'a Event>) -> bool {
    let mut top = MsgSeq(0);
    events.into_iter().all(|event| match event {
        Event::RoomCreated { .. } | Event::RoomDestroyed { .. } => {
            top = MsgSeq(0);
            true
        }
        Event::MessageSent(message) => {
            let follows = dense(top, message.seq);
            top = message.seq;
            follows
        }
    })
}

/// `same-fold`: a snapshot taken after `before` and the events `after` it give what everything gives.
#[must_use]
pub fn same_fold(before: &[Event], after: &[Event]) -> bool {
    let mut everything = Room::absent();
    before.iter().for_each(|event| fold(&mut everything, event));
    let Ok(mut resumed) = Room::from_snapshot(&everything.to_snapshot()) else { return false };
    for event in after {
        fold(&mut everything, event);
        fold(&mut resumed, event);
    }
    everything == resumed
}
