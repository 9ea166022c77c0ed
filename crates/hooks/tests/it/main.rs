//! Webhooks over real sockets: a memory log in front, receivers on loopback behind.

mod delivery;
mod receiver;
mod world;
