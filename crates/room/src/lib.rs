//! What a room allows and what it remembers.
//!
//! Pure: no clock, no randomness, no I/O, no async, no JSON, and no other crate of ours. Time and random numbers
//! come in as arguments; what should happen comes out as values. The shell around it is `roomhook-shard`.

mod ids;
mod message;

mod command;
mod event;

mod decide;
mod dedup;
mod rate;
mod room;

pub mod invariants;

mod endpoint;

pub mod directory;

mod codec;

pub use codec::{
    CodecError, FORMAT_VERSION, decode_directory_record, decode_record, encode_directory_record, encode_record,
    encode_record_into,
};
pub use command::{Command, CreateRoom, Facts, Outcome, Receipt, Reject, RoomInfo, Sent, Statistic};
pub use decide::{Foreseen, decide, foresee};
pub use dedup::{DEDUP_ENTRIES_MAX, DEDUP_WINDOW_MS};
pub use endpoint::{Endpoint, EndpointId, GateFailure, Order, PastSwitches, Positions, RetryProfile, Start, Token};
pub use event::Event;
pub use ids::{
    AppId, IdError, Incarnation, MsgSeq, ROOM_ID_BYTES_MAX, RoomId, RoomKey, USER_ID_BYTES_MAX, UnixMillis, UserId,
};
pub use message::{ClientId, ContentHash, DedupKey, Draft, Message, MsgId, Origin, Platform, Priority};
pub use room::{Role, Room, fold};
