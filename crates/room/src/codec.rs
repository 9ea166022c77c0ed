//! Bytes of events, snapshots and endpoints (docs/adr/0002-event-encoding.md).
//!
//! Everything durable starts with a version byte, followed by a Protobuf message whose structs are written by hand in
//! `wire`: no schema compiler, no generated code. Message bodies are never copied: decoding slices the record.

mod compact;
mod convert;
mod directory;
mod endpoint;
mod snapshot;
mod wire;

pub use directory::{decode_directory_record, encode_directory_record};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::event::Event;

/// Version of everything this release writes, and the only one it reads.
pub const FORMAT_VERSION: u8 = 1;

/// Why bytes are not what they should be. Each stops a start: guessing at old data would change its meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("there are no bytes")]
    Empty,
    #[error(
        "format version {found} is unknown, this release reads {FORMAT_VERSION}: was it written by a newer release?"
    )]
    UnknownVersion { found: u8 },
    #[error("event kind is unknown: was it written by a newer release?")]
    UnknownEvent,
    #[error("bytes are malformed: {0}")]
    Malformed(#[from] prost::DecodeError),
    #[error("field {0} is missing or out of range")]
    Field(&'static str),
}

/// The payload of one record: all events of one command.
#[must_use]
pub fn encode_record(events: &[Event]) -> Bytes {
    let mut buffer = BytesMut::new();
    encode_record_into(events, &mut buffer)
}

/// As [`encode_record`], out of a buffer that many records share: one allocation for a batch.
pub fn encode_record_into(events: &[Event], buffer: &mut BytesMut) -> Bytes {
    put_versioned(&wire::Record { events: events.iter().map(wire::Event::from).collect() }, buffer)
}

/// Reads [`encode_record`] back. Message bodies are slices of `payload`, not copies.
///
/// # Errors
/// [`CodecError`]; never panics, whatever the bytes are.
pub fn decode_record(payload: &Bytes) -> Result<Vec<Event>, CodecError> {
    let record: wire::Record = versioned(payload.clone())?;
    record.events.into_iter().map(Event::try_from).collect()
}

/// Writes the version byte and the message at the end of `buffer`, and takes them out of it.
fn put_versioned(message: &impl prost::Message, buffer: &mut BytesMut) -> Bytes {
    buffer.reserve(1 + message.encoded_len());
    buffer.put_u8(FORMAT_VERSION);
    message.encode_raw(buffer);
    buffer.split().freeze()
}

fn encode_versioned(message: &impl prost::Message) -> Bytes {
    put_versioned(message, &mut BytesMut::new())
}

fn versioned<M: prost::Message + Default>(mut bytes: Bytes) -> Result<M, CodecError> {
    match bytes.try_get_u8() {
        Ok(FORMAT_VERSION) => Ok(M::decode(bytes)?),
        Ok(found) => Err(CodecError::UnknownVersion { found }),
        Err(_) => Err(CodecError::Empty),
    }
}
