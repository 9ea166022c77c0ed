//! The server's side of RFC 6455, without I/O: the handshake as a function of a request's head, frames as bytes.
//!
//! Our own because fan-out is what this server is for: a frame of a server is not masked, so the bytes of a message are
//! the same for all receivers and can be shared, header included (docs/adr/0004-websocket-layer.md). The one extension is
//! permessage-deflate, off unless the operator wants it.

mod decoder;
mod deflate;
#[cfg(test)]
mod entry;
mod frame;
mod handshake;

pub(crate) use decoder::{Decoder, Incoming, Limits};
pub(crate) use deflate::{AGREED as DEFLATE_AGREED, deflated};
pub(crate) use frame::{Opcode, close_frame, frame, frame_of};
pub(crate) use handshake::check;
