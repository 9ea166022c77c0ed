//! The codec against the protocol's golden vectors, against itself, and against hostile bytes.

mod any;
mod entry;
mod golden;
mod hostile;
mod roundtrip;
mod smoke;
